"""Where runs are made: on this machine's devices beside others, or on those of a cluster. Contract, and what it needs.

The planner finds an executor's class by the entry point group "sweepwise.executors".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from planner.space.types import Measurement, Proposal, Runner, RunnerContext

__all__ = ["Assignment", "Executor", "Worker"]


@dataclass(frozen=True)
class Assignment:
    """What an executor must know of a study.

    kind, settings, context: what a runner is built from, elsewhere too. runner: that of this process. fewest, most:
    devices that the smallest and the largest run needs. workers: of this study, under this command. address: of the
    cluster, None for the usual one. stop_requested: whether to wait no longer.
    """

    kind: str
    settings: Any
    context: RunnerContext
    runner: Runner
    fewest: int
    most: int
    workers: int = 1
    address: str | None = None
    stop_requested: Callable[[], bool] = lambda: False


class Worker(Protocol):
    """A process that works on a study, started by an executor. It ends when we do."""

    @property
    def pid(self) -> int:
        """Its number."""

    def poll(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""

    def send(self, number: int) -> None:
        """Send it a signal; does nothing once it has ended."""

    def end(self, grace_s: float = 0.0) -> None:
        """Return when nothing of it runs any more. grace_s: seconds between SIGTERM and SIGKILL."""


class Executor(Protocol):
    """Makes runs where there is room for them.

    Contract
    --------
    - Building one checks that the largest run fits (StudyError) and takes no device.
    - `measure` waits for devices, then keeps the contract of Runner.measure. The measurement has a placement. A run
      that was lost through no fault of its own ends INTERRUPTED, with its cost. Raises KeyboardInterrupt when
      `stop_requested` says so while it waits, and RunnerError as a runner does.
    - No two executors, of any processes, use a device at one time. One that holds devices after its run gives them
      back where others wait for more than is free.
    - `fingerprint` is that of the runs, as Runner's. `close` frees everything, and may be called twice.
    - `start` starts a worker process that writes to the descriptor `out`; it reads `request` from standard input.
    """

    def __init__(self, assignment: Assignment) -> None: ...

    @property
    def trajectory_axis(self) -> str | None:
        """As the runner's."""
        ...

    def fingerprint(self) -> Mapping[str, str]:
        """As the runner's, where the runs are made."""
        ...

    def measure(self, proposal: Proposal) -> Measurement:
        """Execute one run."""
        ...

    def close(self) -> None:
        """Give everything back."""
        ...

    @staticmethod
    def start(module: str, request: bytes, out: int) -> Worker:
        """A process that runs a module's `main`. Raises RunnerError."""
        ...
