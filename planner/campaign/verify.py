"""Measuring the recommended point: the best of thousands of predictions tends to be predicted too well."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from planner.campaign.loop import Loop
from planner.campaign.observers import Observer
from planner.campaign.quality import Evaluating
from planner.campaign.settings import VERIFY_ROUNDS
from planner.campaign.setup import StudySetup
from planner.campaign.stopping import Limits
from planner.ledger.observations import Observations
from planner.ledger.patience import PatientLedger
from planner.space.types import Status
from planner.strategies.strategy import Posterior, Strategy, limit_of

__all__ = ["Answer", "Verification", "Verifier", "verify"]


class Answer(Protocol):
    """The part of a decision (planner.analysis.recommendation) that says what to measure."""

    @property
    def to_measure(self) -> tuple[int, ...]:
        """Rows of the grid to measure to be sure of the winner: its own, and its closest competitor's. Empty once
        the winner is measured, or where it is not worth a run."""
        ...


@dataclass(frozen=True, slots=True)
class Verification:
    """The cost of verifying: runs, and accelerator-seconds. interrupted: whether a run was stopped by hand, so that
    verifying is not finished."""

    runs: int
    cost_s: float
    interrupted: bool


def verify(
    study: StudySetup, observations: Observations, ask: Callable[[Posterior, Observations], Answer],
    observer: Observer | None = None,
) -> tuple[Observations, Verification]:
    """The study's observations with the winner measured, and the cost of that. The runs belong to the study.

    observations: those of the first answer; their targets are kept. ask: the answer to the question.
    Raises StudyError, RunnerError and RecordError as `planner.campaign.run` does.
    """
    ledger, watching = study.create_or_resume(), observer or Observer()
    record = PatientLedger(ledger, watching.waiting)
    now = ledger.observations(study.grid).with_targets(observations.targets)
    strategy = Verifier(lambda: study.strategy("sweepwise"), ask)
    try:
        runner = Evaluating(study.runner, study.context.quality, now)
        Loop(runner, strategy, record, now, Limits(), study.seed, watching, study.clock).run()
    finally:
        study.runner.close()
        record.leave()
    interrupted = now.runs[-1].measurement.status is Status.INTERRUPTED
    return now, Verification(len(now.runs) - len(observations.runs), now.spent - observations.spent, interrupted)


class Verifier:
    """A strategy for the loop: measures the winner and the runner-up, asks again, and ends once the winner is measured,
    after a few rounds, or when a run is stopped by hand.

    If no configuration meets the conditions with the requested probability, the most probable one takes the winner's
    place, provided its probability is at least a half.
    """

    def __init__(self, make: Callable[[], Strategy], ask: Callable[[Posterior, Observations], Answer]) -> None:
        self._make = make
        self._ask = ask
        self._pricing = make()
        self._rounds = VERIFY_ROUNDS
        self._queue: list[int] = []

    def propose(self, observations: Observations) -> int | None:
        """The next row to measure."""
        if observations.runs and observations.runs[-1].measurement.status is Status.INTERRUPTED:
            return None
        if not self._open(observations) and self._rounds:
            self._rounds -= 1
            self._queue = self._next(observations)
        ready = self._open(observations)
        return ready[0] if ready else None

    def posterior(self, observations: Observations) -> Posterior:
        """The posterior of a new strategy of the study: the same question later must get the same answer."""
        return self._make().posterior(observations)

    def is_due(self, observations: Observations) -> bool:
        """False: there are no checkpoints."""
        return False

    def price(self, row: int, observations: Observations) -> float:
        """The price according to the study's own strategy."""
        return self._pricing.price(row, observations)

    def limit_s(self, row: int, observations: Observations) -> float | None:
        """Seconds that no run at `row` takes, by the cost model that has priced it."""
        return limit_of(self._pricing, row, observations)

    def _open(self, observations: Observations) -> list[int]:
        return [row for row in self._queue if not observations.known[row] and row not in observations.pending]

    def _next(self, observations: Observations) -> list[int]:
        return list(self._ask(self.posterior(observations), observations).to_measure)
