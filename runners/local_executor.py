"""The executor `local`: runs side by side on one machine, each on devices of its own."""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from planner.space.executor import Assignment
from planner.space.fingerprint_id import environment_id
from planner.space.runner_hints import FreesDevices, LeavesCore, Prepares
from planner.space.types import Measurement, Point, Proposal, StudyError
from runners import environment
from runners.device_pool import DevicePool, runtime_folder
from runners.devices import found_platform, use
from runners.worker_process import WorkerProcess

__all__ = ["LocalExecutor", "check_files", "placement"]


class LocalExecutor:
    """The executor `local`; see planner.space.executor.Executor for the contract.

    It holds the devices of its last run, and the engine on them, until a run needs another number of them, or another
    process waits. What the runner starts obeys the platform's variable or, on a CPU, this process's cores.
    """

    start = WorkerProcess

    def __init__(self, assignment: Assignment) -> None:
        self._assignment, self._runner = assignment, assignment.runner
        cpu_engine = assignment.kind.startswith("vllm") and environment.cpu_engine()
        self._platform = found_platform(assignment.workers, cpu_engine)
        self._all = environment.cores()
        if assignment.most > self._platform.accelerators:
            raise StudyError(f"--parallel: a point needs {assignment.most} accelerators and this machine gives "
                             f"{self._platform.accelerators}{self._shares()}; leave such points out by "
                             "space.constraints")
        if not self._platform.variable and getattr(assignment.settings, "omp_threads_bind", None):
            raise StudyError("runner.omp_threads_bind: names cores, and --parallel chooses them; remove one of the two")
        check_files(assignment, "{devices}")
        self._pool = DevicePool(self._platform.devices, [self._platform.lock_name(d) for d in self._platform.devices],
                                runtime_folder())

    @property
    def trajectory_axis(self) -> str | None:
        """As the runner's."""
        return self._runner.trajectory_axis

    def fingerprint(self) -> Mapping[str, str]:
        """As the runner's. On a CPU, with the number of cores that an accelerator is."""
        return dict(self._facts)

    @cached_property
    def _facts(self) -> Mapping[str, str]:
        """Asked for before this process is bound to some of the cores."""
        facts = self._runner.fingerprint()
        return facts if self._platform.variable else {**facts, "cores": f"{self._platform.share} for each accelerator"}

    def prepare_engine(self) -> None:
        """As the runner's: what it begins occupies no device, unless the cores are the devices."""
        if self._platform.variable and isinstance(self._runner, Prepares):
            self._runner.prepare_engine()

    def leaves_core(self, point: Point) -> bool:
        """As the runner's; and a core is left beside the engines of all workers."""
        return (isinstance(self._runner, LeavesCore) and self._runner.leaves_core(point)
                and environment.spare_core(self._assignment.workers * (self._assignment.most + 3)))

    def measure(self, proposal: Proposal) -> Measurement:
        """A run, on devices that nobody else has."""
        facts = environment_id(self._facts)
        self._hold(math.ceil(self._runner.accelerators(proposal.point)) * self._platform.share)
        began = time.time()
        measurement = self._runner.measure(proposal)
        found = placement(self._pool.mine, began, time.time())
        if self._pool.is_wanted():
            self._give_back()
        return replace(measurement, placement=found, environment=facts)

    def close(self) -> None:
        """End the engine, and give the devices back."""
        self._runner.close()
        self._pool.give_back()
        self._unpin()

    def _hold(self, count: int) -> None:
        """Hold just so many devices. Raises KeyboardInterrupt."""
        if len(self._pool.mine) == count and not self._pool.is_wanted():
            return
        self._give_back()
        if not self._pool.take(count, self._assignment.stop_requested):
            raise KeyboardInterrupt
        use(self._platform, self._pool.mine)

    def _give_back(self) -> None:
        if not self._pool.mine:
            return
        if isinstance(self._runner, FreesDevices):
            self._runner.free_devices()
        else:
            self._runner.close()
        self._pool.give_back()
        self._unpin()

    def _unpin(self) -> None:
        """Let this process itself, which plans and waits, run where it will."""
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, self._all)

    def _shares(self) -> str:
        share = self._platform.share
        return f" of {share} cores" if share > 1 else ""


def check_files(assignment: Assignment, *own: str) -> None:
    """Raise StudyError where workers would write their metrics to one file. own: placeholders that tell them apart."""
    text = getattr(assignment.settings, "metrics_file", None)
    if text is None or assignment.workers == 1:
        return
    if not all("{" + axis.name + "}" in text for axis in assignment.context.axes) and not any(
            name in text for name in own):
        what = own[0] if own else "the name of every axis"
        raise StudyError(f"runner.metrics_file: workers side by side would all write {text}; put {what} in its name, "
                         "and in the command's argument for it")


def placement(devices: tuple[str, ...], began: float, ended: float) -> dict[str, Any]:
    """Where and when a run was made (Measurement.placement). Containers of one machine have its boot in common."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        boot = ""
    return {"machine": boot or socket.gethostname(), "host": socket.gethostname(), "devices": list(devices),
            "began": round(began, 3), "ended": round(ended, 3)}
