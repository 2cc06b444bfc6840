"""The remaining cost of a running study: from its budget, or from the trend of its error."""

from __future__ import annotations

import math

from planner.analysis import settings
from planner.campaign.stopping import Limits
from planner.ledger.observations import Observations
from planner.strategies.strategy import Posterior

__all__ = ["Outlook"]


class Outlook:
    """Estimates the remaining cost of a running study from its checkpoints, given in order.

    limits: the study's limits, with the requested accuracy. grid_points: N.
    """

    def __init__(self, limits: Limits, grid_points: int) -> None:
        self.limits = limits
        self.grid_points = grid_points
        self._plain_cost: float | None = None
        self._errors: list[tuple[float, float]] = []

    def checkpoint(self, posterior: Posterior, observations: Observations) -> None:
        """Add a checkpoint."""
        self._plain_cost = posterior.plain.cost[0]
        known = [estimate for estimate in posterior.accuracy.values() if estimate is not None]
        if known:
            self._errors.append((observations.spent, 1 - min(known, key=lambda e: e.low).low))

    @property
    def ceiling(self) -> float | None:
        """Accelerator-seconds that may be spent; None without a limit, or if it is not known yet."""
        return self.limits.ceiling(self._plain_cost)

    def left(self, observations: Observations) -> float | None:
        """Accelerator-seconds until the study ends; None if unknown."""
        if observations.spent <= 0:
            return None
        known = [cost for cost in (self._to_budget(observations), self._to_accuracy(observations)) if cost is not None]
        return max(0.0, min(known)) if known else None

    def _to_budget(self, observations: Observations) -> float | None:
        left = [] if self.ceiling is None else [self.ceiling - observations.spent]
        if self.limits.trials and observations.finished:
            left.append((self.limits.trials - observations.finished) * observations.spent / observations.finished)
        return min(left) if left else None

    def _to_accuracy(self, observations: Observations) -> float | None:
        """Until the lower end of the worst estimate reaches the accuracy, if its error continues as cost^−α."""
        goal = self.limits.accuracy
        if goal is None or len(self._errors) < 2:
            return None
        (cost0, error0) = self._errors[max(0, len(self._errors) - settings.LOOK_BACK)]
        (cost1, error1) = self._errors[-1]
        if error1 <= 1 - goal:
            return 0.0
        if cost1 <= cost0 or error1 >= error0:
            return None
        slope = math.log(error0 / error1) / math.log(cost1 / cost0)
        return float(cost1 * (error1 / (1 - goal)) ** (1 / slope) - observations.spent)
