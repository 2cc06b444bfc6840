"""Accelerators whose power can be read: NVIDIA's by NVML (package nvidia-ml-py), others by Zeus, if installed."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from runners.nvml import load_nvml, visible_devices

__all__ = ["Device", "found_devices"]

_MILLI: Final = 1e-3  # both libraries speak of milliwatts and millijoules


@dataclass(frozen=True, slots=True)
class Device:
    """One accelerator.

    watts: its draw now. joules: a counter that grows with its energy, from an arbitrary start; None if it has none.
    Both raise what their library raises. library: nvml or zeus.
    """

    watts: Callable[[], float]
    joules: Callable[[], float] | None
    library: str


def found_devices(count: int) -> tuple[Device, ...]:
    """The first `count` devices that CUDA_VISIBLE_DEVICES leaves, as an engine takes them; empty if this machine cannot
    tell the power of all of them. Never raises."""
    for find in (_nvml_devices, _zeus_devices):
        try:
            devices = find(count) if count > 0 else ()
        except Exception:  # whatever a driver or its library says: the machine cannot tell
            continue
        if devices:
            return devices
    return ()


def _nvml_devices(count: int) -> tuple[Device, ...]:
    nvml = load_nvml()
    if nvml is None:
        return ()
    handles = visible_devices(nvml)[:count]
    if len(handles) < count or any(_is_shared(nvml, handle) for handle in handles):
        return ()
    return tuple(Device(_watts(nvml, handle), _counter(
        functools.partial(nvml.nvmlDeviceGetTotalEnergyConsumption, handle)), "nvml") for handle in handles)


def _is_shared(nvml: Any, handle: Any) -> bool:
    """Whether the device is cut into MIG slices: its power is then not that of one engine."""
    try:
        return int(nvml.nvmlDeviceGetMigMode(handle)[0]) != 0
    except Exception:  # a device or a driver without MIG
        return False


def _watts(nvml: Any, handle: Any) -> Callable[[], float]:
    """Reader of the draw at this moment where the driver gives that, else of the mean of up to a second."""
    def instant() -> float:
        field = nvml.nvmlDeviceGetFieldValues(handle, [nvml.NVML_FI_DEV_POWER_INSTANT])[0]
        if field.nvmlReturn != 0 or field.value.uiVal <= 0:
            raise ValueError("the driver does not tell the power of a moment")
        return float(field.value.uiVal) * _MILLI

    def usual() -> float:
        return float(nvml.nvmlDeviceGetPowerUsage(handle)) * _MILLI

    return instant if _answers(instant) else usual


def _zeus_devices(count: int) -> tuple[Device, ...]:
    gpus = _zeus()[:count]
    if len(gpus) < count:
        return ()
    return tuple(Device(functools.partial(_scaled, gpu.get_instant_power_usage),
                        _counter(gpu.get_total_energy_consumption), "zeus") for gpu in gpus)


def _counter(millijoules: Callable[[], float]) -> Callable[[], float] | None:
    """Reader of a counter in joules; None where the device has none."""
    return functools.partial(_scaled, millijoules) if _answers(millijoules) else None


def _scaled(read: Callable[[], float]) -> float:
    return float(read()) * _MILLI


def _answers(read: Callable[[], object]) -> bool:
    try:
        read()
    except Exception:
        return False
    return True


@functools.cache
def _zeus() -> Sequence[Any]:
    """Zeus's devices; it leaves out those that the environment hides. Empty without it."""
    if importlib.util.find_spec("zeus") is None:
        return ()
    try:
        from zeus.device import get_gpus

        return tuple(get_gpus().gpus)
    except Exception:
        return ()
