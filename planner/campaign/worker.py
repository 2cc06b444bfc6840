"""A worker: a process that makes runs for a study, and tells the process that started it of each event.

It reads one JSON object, the arguments, and writes one for each event, a line each. The first SIGINT lets the run in
hand end, SIGTERM drops it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from planner.campaign.execution import Execution
from planner.campaign.observers import Observer
from planner.ledger.observations import Observations, Run
from planner.space.types import Point, RecordError, RunnerError, StudyError

__all__ = ["WorkerArguments", "main"]


@dataclass(frozen=True, slots=True)
class WorkerArguments:
    """What a worker must know; storage may hold a password, and is shown nowhere."""

    number: int
    path: str
    storage: str
    name: str
    seed: int
    strategy: str
    executor: str
    workers: int
    address: str | None

    def request(self) -> bytes:
        """As a worker reads it."""
        return json.dumps(asdict(self)).encode()


class _Stop:
    """Whether the campaign shall stop after the run in hand."""

    def __init__(self) -> None:
        self.asked = False
        signal.signal(signal.SIGINT, self._after_the_run)
        signal.signal(signal.SIGTERM, self._now)

    def requested(self) -> bool:
        return self.asked

    def _after_the_run(self, *_: object) -> None:
        self.asked = True

    def _now(self, *_: object) -> None:
        self.asked = True
        raise KeyboardInterrupt


class _Reports(Observer):
    """Tells of every event."""

    def __init__(self, number: int, out: IO[str]) -> None:
        self._number, self._out = number, out

    def tell(self, event: str, **more: Any) -> None:
        """One line. That nobody reads it any more is for the guard of this process to notice."""
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps({"worker": self._number, "event": event, **more}), file=self._out, flush=True)

    def started(self, point: Point, observations: Observations) -> None:
        """A run begins."""
        self.tell("started", point=dict(point))

    def finished(self, run: Run, observations: Observations) -> None:
        """A run ended, and is in the record."""
        self.tell("finished", run=run.number)

    def waiting(self, problem: str) -> None:
        """The record cannot be written now."""
        self.tell("waiting", text=problem)


def main() -> None:
    """Work until there is a reason to end. Exit codes: those of the command line."""
    stop = _Stop()
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is no event
    reports = _Reports(0, out)
    try:
        arguments = WorkerArguments(**json.loads(sys.stdin.buffer.read()))
        reports = _Reports(arguments.number, out)
        reports.tell("ended", reason=_work(arguments, stop, reports))
    except (StudyError, RunnerError, RecordError) as error:
        reports.tell("failed", kind=type(error).__name__, text=str(error))
    except KeyboardInterrupt:
        reports.tell("ended", reason="interrupted")
    except Exception:
        reports.tell("failed", kind="Exception", text=traceback.format_exc())


def _work(arguments: WorkerArguments, stop: _Stop, reports: _Reports) -> str:
    from planner.campaign.run import campaign
    from planner.campaign.setup import open_setup

    study = open_setup(Path(arguments.path), arguments.storage, arguments.name, arguments.seed)
    execution = Execution(arguments.executor, arguments.workers, arguments.address)
    executor = execution.executor_for(study, stop.requested)
    return campaign(study, arguments.strategy, reports, stop.requested, executor)[0]
