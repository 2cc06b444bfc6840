"""Where a campaign makes its runs, and how many at a time: what `--executor`, `--parallel` and `--address` say."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from planner.campaign.setup import StudySetup
from planner.space.executor import Assignment, Executor
from planner.space.plugins import executor_class
from planner.space.types import StudyError

__all__ = ["Execution"]

_LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Execution:
    """executor: its name; empty for the runner itself, which then takes the devices that it finds. workers: runs at a
    time. address: of the executor's cluster."""

    executor: str = ""
    workers: int = 1
    address: str | None = None

    @classmethod
    def asked(cls, parallel: int | None, executor: str | None, address: str | None) -> Execution:
        """What was asked for. Raises StudyError."""
        if parallel is not None and parallel < 1:
            raise StudyError(f"--parallel: must be at least 1, not {parallel}")
        if address is not None and executor in {None, _LOCAL}:
            raise StudyError("--address: is that of a cluster; add --executor ray")
        return cls(executor or (_LOCAL if parallel is not None else ""), parallel or 1, address)

    def executor_for(self, study: StudySetup, stop_requested: Callable[[], bool] = lambda: False) -> Executor | None:
        """A new executor; None for the runner itself. Raises StudyError and RunnerError."""
        if not self.executor:
            return None
        return executor_class(self.executor)(Assignment(
            study.spec.runner.kind, study.settings, study.context, study.runner,
            math.ceil(study.accelerators.min()), math.ceil(study.accelerators.max()), self.workers, self.address,
            stop_requested))
