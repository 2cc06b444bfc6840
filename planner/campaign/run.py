"""Create or resume a study, and measure until a reason to stop."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from planner.campaign.loop import Loop
from planner.campaign.observers import Observer, Observers
from planner.campaign.quality import Evaluating
from planner.campaign.settings import AWAIT_S
from planner.campaign.setup import StudySetup
from planner.campaign.stopping import Limits
from planner.ledger.ledger import Ledger
from planner.ledger.observations import Observations
from planner.ledger.patience import PatientLedger
from planner.ledger.stop_reason import record_stop, under_way_again
from planner.space.executor import Executor
from planner.space.runner_hints import LeavesCore, Prepares, repeats_of
from planner.space.types import Point, Runner, Status
from planner.strategies.strategy import Posterior

__all__ = ["RunResult", "campaign", "nothing_measured", "result", "run"]

_FULL = "full"


@dataclass(frozen=True, eq=False)
class RunResult:
    """The result of a campaign.

    reason: "accuracy", "noise", "boundary", "decision", "shortlist", "tie", "difference", "cost", "trials", "grid",
    "failures" or "interrupted" (planner.campaign.loop).
    observations: every run of the study, those of earlier campaigns included. posterior: None if no run succeeded.
    underway: runs of other workers that go on; the reason then holds for this worker, and for the study once they end.
    """

    reason: str
    observations: Observations
    posterior: Posterior | None
    underway: int = 0

    @property
    def succeeded(self) -> bool:
        """Whether any run gave a reading of the grid."""
        return bool(self.observations.measured.any())

    @property
    def last_reason(self) -> str | None:
        """The reason of the last run that did not succeed; None if there is none."""
        said = [run.measurement.reason for run in self.observations.runs if run.measurement.reason]
        return said[-1] if said else None


def run(
    study: StudySetup, strategy: str = "sweepwise", observer: Observer | None = None,
    stop_requested: Callable[[], bool] = lambda: False, executor: Executor | None = None,
) -> RunResult:
    """The result of the campaign, after it has ended. The record is created, or resumed.

    strategy: any name of the registry; "full" measures the whole grid, without limits. stop_requested: called before
    each run. Ctrl-C in the middle of a run drops that run and ends the campaign as "interrupted". executor: makes the
    runs, if not the runner itself; it is closed.
    Raises StudyError if the record does not fit the study file, RunnerError if nothing can be measured here,
    RecordError if the record can no longer be written; nothing that it has is lost, and the campaign can go on later.
    """
    return result(study, *campaign(study, strategy, observer, stop_requested, executor), strategy)


def campaign(
    study: StudySetup, strategy: str, observer: Observer | None = None,
    stop_requested: Callable[[], bool] = lambda: False, executor: Executor | None = None,
) -> tuple[str, Observations, int]:
    """As `run`: the reason for the end, what was observed, and how many runs of others must end before it holds."""
    chosen, measurer, watching = study.strategy(strategy), executor or study.runner, observer or Observer()
    record: PatientLedger | None = None
    try:
        ledger = study.create_or_resume(measurer)
        record = kept = PatientLedger(ledger, watching.waiting)
        limits = Limits() if strategy == _FULL else study.limits()
        if isinstance(measurer, Prepares):
            measurer.prepare_engine()
        observations = ledger.observations(study.grid)
        reached = ledger.stopped in {"accuracy", "noise"}
        starting = _FirstRun(lambda: kept.again(lambda: under_way_again(ledger.study)))
        evaluating = Evaluating(measurer, study.context.quality, observations)
        loop = Loop(evaluating, chosen, kept, observations, limits, study.seed, Observers(starting, watching),
                    study.clock, stop_requested, reached, _repeats(study, strategy), _may_plan(measurer),
                    await_others=lambda: _awaits(ledger))
        reason = loop.run()
    finally:
        measurer.close()
        if record is not None:
            record.leave()
    if not loop.is_provisional:
        kept.again(lambda: record_stop(ledger.study, reason))
    return reason, observations, len(observations.underway) if loop.is_provisional else 0


def result(study: StudySetup, reason: str, observations: Observations, underway: int, strategy: str) -> RunResult:
    """The result of a campaign that has ended, with the posterior of all its runs."""
    return RunResult(reason, observations, _last_posterior(study, observations, strategy), underway)


def nothing_measured(observations: Observations, study_file: Path) -> str:
    """Message: why the study has no measurement, and what to do."""
    failed = [run.measurement for run in observations.runs if run.measurement.status is Status.FAILED]
    if not failed:
        return f"has measured nothing yet; `sweepwise run {study_file}` first"
    return (f"none of its {len(observations.runs)} runs succeeded; the last said: {failed[-1].reason or 'nothing'}; "
            f"correct that, then start anew with `sweepwise run {study_file} --name NEW`")


class _FirstRun(Observer):
    """Calls `act` when the first run begins."""

    def __init__(self, act: Callable[[], None]) -> None:
        self._act = act
        self._begun = False

    def started(self, point: Point, observations: Observations) -> None:
        """A run begins."""
        if not self._begun:
            self._act()
        self._begun = True


def _awaits(ledger: Ledger) -> bool:
    """Whether it was worth to wait for a moment: a point may be free soon that a dead worker has."""
    if ledger.has_doubtful:
        time.sleep(AWAIT_S)
    return ledger.has_doubtful


def _repeats(study: StudySetup, strategy: str) -> int | None:
    """Repeats that the study asks for, where fewer will do. A full sweep makes all."""
    return repeats_of(study.runner) if strategy != _FULL else None


def _may_plan(runner: Runner | Executor) -> Callable[[Point], bool]:
    return runner.leaves_core if isinstance(runner, LeavesCore) else lambda _: False


def _last_posterior(study: StudySetup, observations: Observations, strategy: str) -> Posterior | None:
    """The posterior of all runs so far; None if none succeeded."""
    if not observations.measured.any():
        return None
    # A full sweep has no model of the points not reached yet: ours is used.
    return study.posterior(observations, "sweepwise" if strategy == _FULL else strategy)
