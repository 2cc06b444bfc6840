"""What slowed a run that is neither the engine nor its load: limits of power, heat, changed clocks, other processes.

    with DeviceWatch(accelerators=2) as watch:
        ...
    watch.disturbances()   → a sentence for each, or none

NVIDIA's accelerators tell by NVML. Counters of the driver are read before and after a run, so that nothing is done
during it. On any machine the kernel tells how long the host gave its cores to somebody else.
"""

from __future__ import annotations

import functools
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Protocol, Self, TypeVar

from planner.space.types import Measurement, Point, Proposal
from runners.environment import text_of
from runners.nvml import load_nvml, visible_devices
from runners.process_table import find

__all__ = ["DeviceWatch", "watched"]

_LEAST_SHARE: Final = 0.01
"""By calculation: what slows a device for less of a run than this makes the run less than 1 % slower."""

_NANO: Final = 1e-9  # the driver counts nanoseconds

# What slowed the clocks → names of the driver's counters, of which each version has some.
_COUNTERS: Final[Mapping[str, tuple[str, ...]]] = {
    "its limit of power": ("NVML_FI_DEV_PERF_POLICY_POWER",),
    "heat": ("NVML_FI_DEV_PERF_POLICY_THERMAL", "NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN",
             "NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN"),
    "the power brake of the machine": ("NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_POWER_BRAKE_SLOWDOWN",),
}


@dataclass(frozen=True, slots=True)
class _State:
    """A device at a moment. slowed_s: seconds by what slowed it, since the driver started. others: processes on it that
    are not ours, number → name. limits: sentences about what somebody has set on it."""

    slowed_s: Mapping[str, float] = field(default_factory=dict)
    others: Mapping[int, str] = field(default_factory=dict)
    limits: tuple[str, ...] = ()


class DeviceWatch:
    """Watches the time between `__enter__` and `__exit__`, however it ends. Never raises.

    accelerators: how many devices the engine uses: the first ones that CUDA_VISIBLE_DEVICES leaves.
    """

    def __init__(self, accelerators: int) -> None:
        self._accelerators = accelerators
        self._found: tuple[str, ...] = ()

    def __enter__(self) -> Self:
        self._began, self._stolen = time.perf_counter(), _stolen_s()
        self._devices = _devices(self._accelerators)
        self._before = [_quietly(device, _State()) for device in self._devices]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        seconds = max(time.perf_counter() - self._began, _NANO)
        after = [_quietly(device, _State()) for device in self._devices]
        lines = [f"device {number}: {line}" for number, states in enumerate(zip(self._before, after, strict=True))
                 for line in _changes(*states, seconds)]
        stolen = (_stolen_s() - self._stolen) / (seconds * (os.cpu_count() or 1))
        if stolen >= _LEAST_SHARE:
            lines.append(f"the host gave {stolen:.0%} of this machine's core time to somebody else")
        self._found = tuple(lines)

    def disturbances(self) -> tuple[str, ...]:
        """What disturbed the time that ended last, a sentence each; empty before its end, and where nothing is known.
        Devices are numbered as the engine sees them."""
        return self._found


class _Measuring(Protocol):
    def accelerators(self, point: Point) -> float: ...


R = TypeVar("R", bound=_Measuring)


def watched(measure: Callable[[R, Proposal], Measurement]) -> Callable[[R, Proposal], Measurement]:
    """The `measure` of a runner on this machine's accelerators, with what disturbed a run noted in its measurement."""

    @functools.wraps(measure)
    def noted(runner: R, proposal: Proposal) -> Measurement:
        with DeviceWatch(math.ceil(runner.accelerators(proposal.point))) as watch:
            measurement = measure(runner, proposal)
        return replace(measurement, disturbances=watch.disturbances())

    return noted


def _changes(before: _State, after: _State, seconds: float) -> list[str]:
    """What two states of a device say of the seconds between them. That a device with its usual limit of power reaches
    that limit is no disturbance: it does so everywhere."""
    lines = list(after.limits)
    for cause, counted in after.slowed_s.items():
        share = min(1.0, (counted - before.slowed_s.get(cause, counted)) / seconds)
        if share >= _LEAST_SHARE and (cause != "its limit of power" or after.limits):
            lines.append(f"slowed by {cause} for {share:.0%} of the run")
    lines += [f"process {pid} ({name}) used it, which is not of this study"
              for pid, name in sorted({**before.others, **after.others}.items())]
    return lines


def _devices(count: int) -> list[Callable[[], _State]]:
    """A reader of each device's state; none where the driver is not NVIDIA's."""
    nvml = load_nvml()
    if nvml is None:
        return []
    try:
        return [functools.partial(_state, nvml, handle) for handle in visible_devices(nvml)[:count]]
    except Exception:  # whatever the driver says: nothing is known
        return []


def _state(nvml: Any, handle: Any) -> _State:
    slowed = {cause: sum(_quietly(functools.partial(_counter, nvml, handle, name), 0.0) for name in names)
              for cause, names in _COUNTERS.items()}
    limits = [_quietly(functools.partial(read, nvml, handle), "") for read in (_power_limit, _clocks)]
    return _State(slowed, _quietly(functools.partial(_others, nvml, handle), {}), tuple(filter(None, limits)))


def _counter(nvml: Any, handle: Any, name: str) -> float:
    """Seconds that a counter of the driver has reached. Raises where it has none."""
    value = nvml.nvmlDeviceGetFieldValues(handle, [getattr(nvml, name)])[0]
    if value.nvmlReturn != 0:
        raise ValueError(f"the driver has no counter {name}")
    return float(value.value.ullVal) * _NANO


def _others(nvml: Any, handle: Any) -> dict[int, str]:
    """Processes on the device that are neither this one nor its descendants. A number that is no process here, as in a
    container that shares the device, may be one of ours and is left out."""
    ours = {os.getpid(), *find([], below=os.getpid())}
    running = {int(process.pid) for process in nvml.nvmlDeviceGetComputeRunningProcesses(handle)}
    return {pid: name for pid in running - ours if (name := _name(pid))}


def _name(pid: int) -> str:
    return text_of(Path(f"/proc/{pid}/comm")).strip()


def _power_limit(nvml: Any, handle: Any) -> str:
    """What is said of a limit of power below the usual one."""
    limit, usual = nvml.nvmlDeviceGetEnforcedPowerLimit(handle), nvml.nvmlDeviceGetPowerManagementDefaultLimit(handle)
    return f"its power is limited to {limit / 1e3:.0f} W of {usual / 1e3:.0f} W" if limit < usual else ""


def _clocks(nvml: Any, handle: Any) -> str:
    """What is said of a clock that somebody has set."""
    now = nvml.nvmlDeviceGetApplicationsClock(handle, nvml.NVML_CLOCK_SM)
    usual = nvml.nvmlDeviceGetDefaultApplicationsClock(handle, nvml.NVML_CLOCK_SM)
    return f"its clock is set to {now} MHz in place of {usual} MHz" if now != usual else ""


def _stolen_s() -> float:
    """Seconds that the host has kept all cores of this machine waiting, added up; 0 where the kernel does not tell."""
    fields = text_of(Path("/proc/stat")).partition("\n")[0].split()
    return float(fields[8]) / os.sysconf("SC_CLK_TCK") if len(fields) > 8 and fields[0] == "cpu" else 0.0


T = TypeVar("T")


def _quietly(read: Callable[[], T], default: T) -> T:
    """What `read` gives, or the default where the driver refuses, in whatever way its library says so."""
    try:
        return read()
    except Exception:
        return default
