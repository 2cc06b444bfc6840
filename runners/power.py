"""Power and energy of the accelerators while something runs: watts on average and at most, joules.

    with PowerMeter(accelerators=2) as meter:
        ...
    meter.reading()   → Power, or None where the machine cannot tell

The energy comes from the devices' own counters where they have them; their power is read ten times a second, for the
peak, and for the energy of devices without a counter.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import numpy as np

from planner.space.types import FloatArray
from runners.power_devices import Device, found_devices

__all__ = ["Power", "PowerMeter"]

_INTERVAL_S: Final = 0.1
"""Between two samples. Drivers renew their readings every 20 to 100 ms (Yang, Adamek, Armour, arXiv 2312.02741)."""

_LONGEST_GAP_S: Final = 1.0
"""Without a sample for longer than this, neither a peak nor an integral is given. By judgement: ten samples."""

_JOIN_S: Final = 2.0
"""How long a driver that does not answer is waited for at the window's end. By judgement."""


@dataclass(frozen=True, slots=True)
class Power:
    """What the devices of an engine drew together in one window.

    mean_w, peak_w: watts; the peak is that of the samples, and None if there were too few. energy_j: joules. seconds:
    length of the window. source: library and method, such as "nvml counter" or "nvml samples".
    """

    mean_w: float
    peak_w: float | None
    energy_j: float
    seconds: float
    source: str


class PowerMeter:
    """Measures the time between `__enter__` and `__exit__`, however it ends. Never raises; may be used again.

    accelerators: how many devices the engine uses: the first ones that CUDA_VISIBLE_DEVICES leaves.
    """

    def __init__(self, accelerators: int) -> None:
        self._accelerators = accelerators
        self._window: _Window | None = None
        self._reading: Power | None = None

    def __enter__(self) -> Self:
        self._reading = None
        devices = found_devices(self._accelerators)
        self._window = _Window(devices) if devices else None
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        window, self._window = self._window, None
        if window is not None:
            self._reading = window.close()

    def reading(self) -> Power | None:
        """The window that ended last; None before its end, and where the machine cannot tell."""
        return self._reading


class _Window:
    """Samples the devices in a thread from its construction to `close`."""

    def __init__(self, devices: tuple[Device, ...]) -> None:
        self._devices = devices
        self._samples: list[tuple[float, ...]] = []  # time, watts of each device
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._sample_all, name="power", daemon=True)
        self._counters, self._began = _counters(devices), time.perf_counter()
        try:
            self._thread.start()
        except RuntimeError:  # no more threads to be had: the counters are left
            self._ending.set()

    def close(self) -> Power | None:
        """What the window measured; None if that is not known for each device."""
        ended, counters = time.perf_counter(), _counters(self._devices)
        self._ending.set()
        if self._thread.ident is not None:
            self._thread.join(_JOIN_S)
        seconds = ended - self._began
        samples = [sample for sample in list(self._samples) if sample[0] <= ended]
        table = np.array(samples, dtype=np.float64).reshape(-1, 1 + len(self._devices))
        times, watts = table[:, 0] - self._began, table[:, 1:]
        sampled = is_covered(times, seconds)
        energies, methods = [], set()
        for row, (before, after) in enumerate(zip(self._counters, counters, strict=True)):
            if before is not None and after is not None and after > before:  # a driver that was reset counts from 0
                energies.append(after - before)
                methods.add("counter")
            elif sampled:
                energies.append(integral(times, watts[:, row], seconds))
                methods.add("samples")
            else:
                return None
        mean = sum(energies) / seconds
        peak = max(float(watts.sum(axis=1).max()), mean) if sampled else None
        return Power(mean, peak, sum(energies), seconds,
                     f"{self._devices[0].library} {' and '.join(sorted(methods))}")

    def _sample_all(self) -> None:
        while not self._ending.is_set():
            try:
                watts = [device.watts() for device in self._devices]
                self._samples.append((time.perf_counter(), *watts))
            except Exception:  # a driver's passing error leaves a gap, a lasting one too long a gap
                pass
            self._ending.wait(_INTERVAL_S)


def is_covered(times: FloatArray, seconds: float) -> bool:
    """Whether samples at these times, (n,) from 0 to `seconds`, leave no gap that is too long to say what was in it."""
    if not len(times):
        return False
    return bool(np.diff(times, prepend=0.0, append=seconds).max() <= _LONGEST_GAP_S)


def integral(times: FloatArray, watts: FloatArray, seconds: float) -> float:
    """Joules of one device from 0 to `seconds`: straight lines between samples, (n,), and level before and after."""
    edges = np.array([0.0, *times, seconds])
    return float(np.trapezoid(np.interp(edges, times, watts), edges))


def _counters(devices: tuple[Device, ...]) -> list[float | None]:
    """Joules that each device has counted; None for one that has no counter, or fails to answer."""
    found: list[float | None] = []
    for device in devices:
        try:
            found.append(None if device.joules is None else device.joules())
        except Exception:
            found.append(None)
    return found
