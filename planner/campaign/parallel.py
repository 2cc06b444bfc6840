"""A campaign by several workers, each a process: this one starts them, shows what they do, and ends with them."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final

from threadpoolctl import threadpool_limits

from planner.campaign.crew import Crew, Event
from planner.campaign.execution import Execution
from planner.campaign.neighbour_check import NeighbourCheck
from planner.campaign.observers import Observer
from planner.campaign.run import RunResult, result
from planner.campaign.run import run as run_here
from planner.campaign.settings import EVENT_WAIT_S
from planner.campaign.setup import StudySetup
from planner.campaign.worker import WorkerArguments
from planner.ledger.ledger import Ledger
from planner.ledger.patience import PatientLedger
from planner.space.executor import Worker
from planner.space.plugins import executor_class
from planner.space.types import RecordError, RunnerError, StudyError
from planner.strategies.strategy import with_answers

__all__ = ["run", "run_parallel"]

_WORKER: Final = "planner.campaign.worker"
_ERRORS: Final[dict[str, type[Exception]]] = {
    error.__name__: error for error in (StudyError, RunnerError, RecordError)}


def run(
    study: StudySetup, path: Path, asked: tuple[int | None, str | None, str | None], strategy: str,
    observer: Observer | None, stop_requested: Callable[[], bool],
) -> RunResult:
    """The result of a campaign by this process, or by several. asked: how many runs at a time, executor, address."""
    execution = Execution.asked(*asked)
    if execution.workers > 1:
        return run_parallel(study, path, execution, strategy, observer, stop_requested)
    return run_here(study, strategy, observer, stop_requested, execution.executor_for(study, stop_requested))


def run_parallel(
    study: StudySetup, path: Path, execution: Execution, strategy: str = "sweepwise", observer: Observer | None = None,
    stop_requested: Callable[[], bool] = lambda: False,
) -> RunResult:
    """The result of the campaign, after all workers have ended. path: of the study file.

    stop_requested: once it is true, each worker ends after its run in hand. KeyboardInterrupt drops these runs. The
    first point is measured alone, before the second worker starts (neighbour_check). Raises as `run` does.
    """
    study.strategy(strategy)  # refused here, not by every worker
    executor = execution.executor_for(study, stop_requested)
    assert executor is not None
    try:
        ledger = study.create_or_resume(executor)
    finally:
        executor.close()

    def start(number: int, out: int) -> Worker:
        arguments = WorkerArguments(number, str(path.resolve()), study.storage, study.name, study.seed, strategy,
                                    execution.executor, execution.workers, execution.address)
        return executor_class(execution.executor).start(_WORKER, arguments.request(), out)

    campaign = _Campaign(study, ledger, execution.workers, strategy, observer or Observer(), Crew(start))
    with threadpool_limits(limits=1):  # as in the loop
        reason = campaign.run(stop_requested)
        return result(study, reason, campaign.observations, 0, strategy)


class _Campaign:
    """What goes on, as the record and the events of the workers tell it."""

    def __init__(self, study: StudySetup, ledger: Ledger, workers: int, strategy: str, observer: Observer, crew: Crew
                 ) -> None:
        self._study, self._ledger, self._workers, self._observer, self._crew = study, ledger, workers, observer, crew
        self._record = PatientLedger(ledger, observer.waiting)
        self._strategy = study.strategy(strategy)
        self.observations = ledger.observations(study.grid)
        self._check = NeighbourCheck(ledger.study, workers)
        self._allowed, self._deaths, self._is_stopping = 1, 0, False
        self._last: list[Event] = []

    def run(self, stop_requested: Callable[[], bool]) -> str:
        """The reason for the end."""
        self._observer.begun(self.observations)
        try:
            self._crew.start()
            while len(self._crew):
                try:
                    self._step(stop_requested())
                except KeyboardInterrupt:
                    self._is_stopping = True
                    self._crew.send(signal.SIGTERM)
        finally:
            self._crew.end()
        reason = self._reason()
        self._observer.ended(reason, self.observations)
        return reason

    def _step(self, stop: bool) -> None:
        if stop and not self._is_stopping:
            self._is_stopping = True
            self._crew.send(signal.SIGINT)
        for event in self._crew.events(EVENT_WAIT_S):
            getattr(self, f"_{event['event']}")(event)
        self._grow()

    def _grow(self) -> None:
        """Start the workers that may start now, and one for each that has died."""
        if self._allowed == 1 and self._check.lets_others_start:
            self._allowed = self._workers
        wanted = self._allowed + min(self._deaths, self._workers)
        while not self._is_stopping and not self._last and self._crew.started < wanted:
            self._crew.start()

    def _started(self, event: Event) -> None:
        if event["worker"] > 1:
            self._check.enqueue()
        self._record.refresh(self.observations)
        self._observer.started(event["point"], self.observations)

    def _finished(self, event: Event) -> None:
        self._record.refresh(self.observations)
        run = next((run for run in self.observations.runs if run.number == event["run"]), None)
        if run is None:  # discarded meanwhile
            return
        self._observer.finished(run, self.observations)
        self._check.finished(run)
        if said := self._check.outcome(self.observations, self._study.targets):
            self._observer.noted(said)
        self._checkpoint()

    def _checkpoint(self) -> None:
        seen = self.observations
        if seen.measured.any() and self._strategy.is_due(seen):
            found = self._strategy.posterior(seen)
            self._observer.checkpoint(with_answers(found, self._study.boundary, self._study.choice, seen), seen)

    def _waiting(self, event: Event) -> None:
        self._observer.waiting(f"worker {event['worker']}: {event['text']}")

    def _ended(self, event: Event) -> None:
        self._last.append(event)

    def _failed(self, event: Event) -> None:
        self._last.append(event)
        self._observer.noted(f"worker {event['worker']} has stopped: {event['text']}")

    def _died(self, event: Event) -> None:
        self._deaths += 1
        # What others ended for may hold no longer: their last point may have been this one's.
        self._last = [one for one in self._last if one["event"] == "failed"]
        self._record.refresh(self.observations)  # which gives its point back
        self._observer.noted(f"worker {event['worker']} {event['how']}; its run does not count and its point is free")

    def _reason(self) -> str:
        """The reason that a worker found. Raises the error of the first that failed if none has ended well."""
        self._record.refresh(self.observations)
        ended = [event["reason"] for event in self._last if event["event"] == "ended"]
        failed = [event for event in self._last if event["event"] == "failed"]
        if not ended and failed:
            raise _ERRORS.get(failed[0]["kind"], RuntimeError)(failed[0]["text"])
        if not ended and not self._is_stopping:
            raise RunnerError(f"every worker has died, {self._deaths} in all; often memory has run out: ask for fewer "
                              "by --parallel, then run the same command to go on")
        return self._ledger.stopped or (ended[-1] if ended else "interrupted")
