"""When to stop: a stated accuracy that is surely reached, a budget, or nothing left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from planner.evaluation.estimate import Estimate
from planner.ledger.observations import Observations

__all__ = ["AccuracyRule", "Limits"]

# One look may be lucky; two in a row, each with its own fit, rarely are.
_LOOKS = 2


class AccuracyRule:
    """Says that the accuracy asked for is reached: the lower end of every target's estimate is there, on two
    looks in a row. The estimate's middle would stop half of all studies too early."""

    def __init__(self, accuracy: float, met: int = 0) -> None:
        """`met`: looks in a row that have met it before, where a stopped study is resumed."""
        self.accuracy = accuracy
        self._met = met

    def look(self, estimates: Mapping[str, Estimate | None]) -> bool:
        """Take in the estimates of one look, and say whether to stop."""
        there = [estimate is not None and estimate.low >= self.accuracy for estimate in estimates.values()]
        self._met = self._met + 1 if there and all(there) else 0
        return self._met >= _LOOKS


@dataclass(frozen=True, slots=True)
class Limits:
    """What a study may spend. None: no limit. `cost` in accelerator-seconds, `share` of the plain sweep's cost."""

    accuracy: float | None = None
    cost: float | None = None
    share: float | None = None
    trials: int | None = None

    def reached(self, seen: Observations, next_price: float, plain_cost: float | None) -> str | None:
        """Which limit ends the study before a run of `next_price` accelerator-seconds, if any."""
        if self.trials is not None and seen.finished >= self.trials:
            return "trials"
        ceiling = self.ceiling(plain_cost)
        if ceiling is not None and seen.spent + next_price > ceiling:
            return "cost"
        return None

    def ceiling(self, plain_cost: float | None) -> float | None:
        """Accelerator-seconds that may be spent; None where there is no limit, or it cannot be told yet."""
        if self.cost is not None:
            return self.cost
        return self.share * plain_cost if self.share is not None and plain_cost is not None else None
