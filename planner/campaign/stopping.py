"""When to stop: the stated accuracy is reached with confidence, a budget is spent, or nothing is left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from planner.campaign.settings import CHECKPOINTS_IN_A_ROW, DEFAULT_ACCURACY, NOTHING_WORKS
from planner.evaluation.attainment import Attainment
from planner.evaluation.choice import ChoiceQuestion
from planner.evaluation.estimate import Estimate
from planner.ledger.observations import Observations
from planner.space.slo import Boundary
from planner.space.spec import PriceSpec, StopSpec

__all__ = ["AccuracyRule", "Limits", "is_located", "limits_of"]


class AccuracyRule:
    """Stops when the requested accuracy is reached: every target's estimate says that it is likely, at two checkpoints
    in a row.

    Replayed on 22 recorded grids of 60 to 3,072 points with ten goals (studies/compare), this was true for
    95 % of stops, and more than two points short for 1 %, at 2.0 times the cost of a stop that knows the truth. With
    three checkpoints: 97 %, at 2.7 times.

    If noise rules out the requested accuracy, it stops with that reason once little but noise is left to remove.
    """

    def __init__(self, accuracy: float, reached: bool = False) -> None:
        """reached: the study was stopped by this rule before and is resumed; then one checkpoint is enough."""
        self.accuracy = accuracy
        self._met = CHECKPOINTS_IN_A_ROW - 1 if reached else 0

    def checkpoint(self, estimates: Mapping[str, Estimate | None]) -> Literal["accuracy", "noise"] | None:
        """The reason to stop after a checkpoint with these estimates; None to go on."""
        known = [estimate for estimate in estimates.values() if estimate is not None]
        there = bool(known) and len(known) == len(estimates) and all(map(self._is_done, known))
        self._met = self._met + 1 if there else 0
        if self._met < CHECKPOINTS_IN_A_ROW:
            return None
        return "accuracy" if all(estimate.is_likely(self.accuracy) for estimate in known) else "noise"

    def _is_done(self, estimate: Estimate) -> bool:
        hopeless = estimate.forbids(self.accuracy) and estimate.is_at_ceiling
        return estimate.is_likely(self.accuracy) or hopeless


def is_located(attainment: Attainment | None) -> bool:
    """Whether the boundary is found: no load of any line is undecided for any tier."""
    return attainment is not None and attainment.open_count == 0


@dataclass(frozen=True, slots=True)
class Limits:
    """What a study may spend. None: no limit. `cost` in accelerator-seconds, `share` of the plain sweep's cost;
    `failures`: runs that fail while none has ever succeeded. `boundary`, `choice`: what ends the study once
    it is found, or decided."""

    accuracy: float | None = None
    cost: float | None = None
    share: float | None = None
    trials: int | None = None
    failures: int | None = None
    boundary: Boundary | None = None
    choice: ChoiceQuestion | None = None

    def reached(
        self, observations: Observations, next_price: float, plain_cost: float | None, others: Sequence[float] = ()
    ) -> str | None:
        """The limit that ends the study before a run of `next_price` accelerator-seconds; None if none does. others:
        predicted prices of the runs that other workers are making: what they will have spent is spent."""
        if self.trials is not None and observations.finished + len(others) >= self.trials:
            return "trials"
        ceiling = self.ceiling(plain_cost)
        if ceiling is not None and observations.spent + sum(others) + next_price > ceiling:
            return "cost"
        return None

    def ceiling(self, plain_cost: float | None) -> float | None:
        """Accelerator-seconds that may be spent; None without a limit, or if it is not known yet."""
        if self.cost is not None:
            return self.cost
        return self.share * plain_cost if self.share is not None and plain_cost is not None else None


def limits_of(stop: StopSpec, price: PriceSpec | None, boundary: Boundary | None,
              choice: ChoiceQuestion | None) -> Limits:
    """The limits that a study file gives. Where it names nothing that ends a study, the usual accuracy does."""
    accuracy = stop.accuracy
    others = (stop.cost, stop.trials, stop.boundary, stop.difference, stop.decision)
    if accuracy is None and all(other is None for other in others):
        accuracy = DEFAULT_ACCURACY
    budget = stop.cost_limit
    cost = share = None
    if budget is not None and budget.kind == "share":
        share = budget.amount
    elif budget is not None:
        cost = budget.amount
        if budget.kind == "money" and price is not None:
            cost = budget.amount / price.per_accelerator_hour * 3600
    return Limits(accuracy, cost, share, stop.trials, NOTHING_WORKS, boundary, choice)
