"""The devices of this machine that engines may be given, and how a process is told to use some of them and no others.

A variable that shows devices to a platform says which there are, if it is set (`CUDA_VISIBLE_DEVICES=2,3`). Else they
are the GPUs that nvidia-smi lists; without any, and where the installed vLLM runs on the CPU, the cores.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from planner.space.types import StudyError
from runners import environment

__all__ = ["DEVICES", "READ_LATE", "Platform", "found_platform", "own_devices", "use"]

DEVICES: Final = "SWEEPWISE_DEVICES"
"""Tells what runs on any platform which devices are its own."""

_VARIABLES: Final = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK",
                     "ASCEND_RT_VISIBLE_DEVICES", "TPU_VISIBLE_CHIPS")
"""What vLLM's platforms obey: NVIDIA, AMD, AMD, Intel, Ascend, Google."""
_CUDA: Final = _VARIABLES[0]
_ORDER: Final = "CUDA_DEVICE_ORDER"
READ_LATE: Final = frozenset({DEVICES, *_VARIABLES, _ORDER})
"""Platforms read these when a process first uses a device, long after it has imported what it needs for that."""


@dataclass(frozen=True, slots=True)
class Platform:
    """devices: names, in order. variable: what shows them to a process; empty for cores. share: devices of ours that
    make one accelerator of a study's: several cores, or one. ids: device → what it is called on all of the machine,
    where that is another name: jobs of a batch system may each have a GPU 0."""

    devices: tuple[str, ...]
    variable: str = ""
    share: int = 1
    ids: Mapping[str, str] = field(default_factory=dict)

    def lock_name(self, device: str) -> str:
        """A name for the file that stands for this device, the same in all studies of this machine."""
        plain = "".join(letter if letter.isalnum() else "-" for letter in self.ids.get(device, device))
        return f"{self.variable.partition('_')[0].lower() or 'core'}-{plain}"

    @property
    def accelerators(self) -> int:
        """How many accelerators that is."""
        return len(self.devices) // self.share


def found_platform(workers: int, is_cpu_engine: bool) -> Platform:
    """The devices for this many workers. Cores are shared out among them equally. is_cpu_engine: whether what is
    measured runs on the CPU, whatever else the machine has. Raises StudyError if it has fewer cores than workers."""
    if not is_cpu_engine:
        given = next((name for name in _VARIABLES if os.environ.get(name, "").strip()), "")
        gpus = _nvidia() if given in {"", _CUDA} else {}
        if given:
            names = [name.strip() for name in os.environ[given].split(",") if name.strip()]
            numbers = tuple(dict.fromkeys(_number(name, gpus) for name in names))
            return Platform(numbers, given, ids={number: uuid for uuid, number in gpus.items()})
        if gpus:
            return Platform(tuple(gpus.values()), _CUDA, ids={number: uuid for uuid, number in gpus.items()})
    cores = environment.cores()
    if len(cores) < workers:
        raise StudyError(f"--parallel: {workers} workers need a core each and this machine gives {len(cores)}; "
                         f"ask for at most {len(cores)}")
    return Platform(tuple(map(str, cores)), share=len(cores) // workers)


def use(platform: Platform, devices: Sequence[str]) -> None:
    """Have this process, and all that it starts from now on, use these devices and no others."""
    named = ",".join(devices)
    os.environ[DEVICES] = named
    if platform.variable:
        os.environ[platform.variable] = named
        if platform.variable == _CUDA:  # or CUDA's numbers are not nvidia-smi's where devices differ
            os.environ.setdefault(_ORDER, "PCI_BUS_ID")
    elif hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, map(int, devices))


def own_devices() -> str:
    """The devices that this process may use, as DEVICES and a command's {devices} say it."""
    return os.environ.get(DEVICES) or ",".join(_all_devices())


@functools.cache
def _all_devices() -> tuple[str, ...]:
    return found_platform(1, is_cpu_engine=False).devices


def _nvidia() -> dict[str, str]:
    """UUID → number of each of NVIDIA's GPUs; empty if there are none."""
    rows = [line.split(",") for line in environment.nvidia_gpus("uuid,index") if line.count(",") == 1]
    return {uuid.strip(): number.strip() for uuid, number in rows}


def _number(name: str, gpus: dict[str, str]) -> str:
    """The number of a GPU that is named by the beginning of its UUID, so that a device has one name in all studies."""
    found = [number for uuid, number in gpus.items() if uuid.startswith(name)]
    return found[0] if len(found) == 1 and not name.isdecimal() else name
