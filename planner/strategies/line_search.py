"""Baselines for a boundary: each line of the grid searched along its load alone, for one tier after the other.

bisection        halves the loads in question until neighbours differ: met at one, missed at the next.
aiperf_boundary  AIPerf's search, written from its description and source (ai-dynamo/aiperf, "smooth isotonic" planner):
                 the load doubles from the smallest until a condition is missed; three loads evenly within the bracket;
                 then the load at the root of a monotone interpolation (PCHIP) through the isotonic fit of each
                 condition's margin, until no load is left within the bracket.

Both measure at loads of the grid only, which is what is compared, and go through the engine configurations in order, so
that each starts once. What they say of a line that is not finished is the middle of what is left of it.

Notation: L loads of a line, ascending; a load is *met* if every condition holds there as measured.
"""

from __future__ import annotations

import math

import numpy as np

from planner.ledger.observations import Observations
from planner.space.load import load_lines
from planner.space.slo import Condition, Tier
from planner.space.types import FloatArray, IntArray, StudyError
from planner.strategies.fixed_designs import GridPosterior
from planner.strategies.strategy import StrategyContext

__all__ = ["AiperfBoundary", "Bisection", "LineSearch"]


class LineSearch(GridPosterior):
    """Searches line after line. Subclasses say which load comes next and where the boundary is."""

    name = ""

    def __init__(self, context: StrategyContext) -> None:
        super().__init__(context)
        lines = load_lines(context.grid)
        if context.boundary is None or not lines:
            raise StudyError(f"strategy {self.name}: needs `stop: {{boundary: …}}` and an axis that is a load")
        self.tiers = context.boundary.tiers
        self._size = np.ones(len(context.grid))
        for axis, rows in lines:
            self._size[rows] = context.grid.numbers(axis.name)[rows]
        self.lines = sorted((rows for _, rows in lines), key=lambda rows: int(context.grid.engine[rows[0]]))

    def propose(self, observations: Observations) -> int | None:
        """The next load of the first line that is not finished."""
        for rows in self.lines:
            for tier in self.tiers:
                found = self._next(rows, self._met(rows, tier, observations), tier, observations)
                if found is not None and rows[found] not in observations.pending:
                    return int(rows[found])
        return None

    def located(self, observations: Observations) -> FloatArray:
        """The boundary of each tier on each line as this search says it, in the order of `lines`, (T, lines): as a
        position among the line's loads, −1 below the first and L above the last, with fractions in between."""
        return np.array([[self._position(rows, self._met(rows, tier, observations), tier, observations)
                          for rows in self.lines] for tier in self.tiers])

    def _met(self, rows: IntArray, tier: Tier, observations: Observations) -> FloatArray:
        """1 where met, 0 where missed or failed, NaN where not measured, (L,)."""
        met = np.full(len(rows), np.nan)
        met[observations.failed[rows]] = 0.0
        values = {condition: observations.column(condition.metric)[rows] for condition in tier.conditions}
        measured = np.all([np.isfinite(value) for value in values.values()], axis=0)
        holds = np.all([value <= c.bound if c.is_upper else value >= c.bound for c, value in values.items()], axis=0)
        met[measured] = holds[measured]
        return met

    def _next(self, rows: IntArray, met: FloatArray, tier: Tier, observations: Observations) -> int | None:
        """The place of the next load among `rows`; None if the line is finished."""
        raise NotImplementedError

    def _position(self, rows: IntArray, met: FloatArray, tier: Tier, observations: Observations) -> float:
        low, high = bracket(met)
        return -1.0 if high == 0 else float(len(met)) if low == len(met) - 1 else (low + high) / 2


class Bisection(LineSearch):
    """Bisection over the loads of each line."""

    name = "bisection"

    def _next(self, rows: IntArray, met: FloatArray, tier: Tier, observations: Observations) -> int | None:
        low, high = bracket(met)
        return None if high - low <= 1 else (low + high) // 2


class AiperfBoundary(LineSearch):
    """Doubling, isotonic fit, PCHIP root."""

    name = "aiperf_boundary"

    def _next(self, rows: IntArray, met: FloatArray, tier: Tier, observations: Observations) -> int | None:
        low, high = bracket(met)
        size = self._size[rows]
        if high == len(met):  # nothing missed yet
            if low == len(met) - 1:
                return None
            return 0 if low < 0 else min(int(np.searchsorted(size, 2 * size[low])), len(met) - 1)
        if low < 0 or high - low <= 1:
            return None
        inside = np.isfinite(met[low + 1:high])
        for share in (0.25, 0.5, 0.75) if not inside.any() else ():
            place = int(np.argmin(np.abs(size - (size[low] + share * (size[high] - size[low])))))
            if low < place < high:
                return place
        root = self._root(rows, low, high, tier, observations)
        place = int(np.argmin(np.abs(size - root)))
        return min(max(place, low + 1), high - 1)

    def _position(self, rows: IntArray, met: FloatArray, tier: Tier, observations: Observations) -> float:
        low, high = bracket(met)
        if low < 0 or high == len(met):
            return super()._position(rows, met, tier, observations)
        root, size = self._root(rows, low, high, tier, observations), self._size[rows]
        return float(np.interp(math.log(root), np.log(size), np.arange(len(size))))

    def _root(self, rows: IntArray, low: int, high: int, tier: Tier, observations: Observations) -> float:
        """The load between those at `low` and `high` at which the first condition is missed."""
        roots = [self._root_of(rows, low, high, condition, observations) for condition in tier.conditions]
        return min(roots)

    def _root_of(
        self, rows: IntArray, low: int, high: int, condition: Condition, observations: Observations
    ) -> float:
        from scipy.interpolate import PchipInterpolator
        from scipy.optimize import brentq, isotonic_regression

        size, value = self._size[rows], observations.column(condition.metric)[rows]
        known = np.isfinite(value)
        margin = (value - condition.bound) * (1 if condition.is_upper else -1)
        fitted = isotonic_regression(margin[known]).x
        left, right = float(size[low]), float(size[high])
        if known.sum() < 2:
            return math.sqrt(left * right)
        curve = PchipInterpolator(size[known], fitted)
        if not curve(left) < 0 < curve(right):
            return right if curve(right) <= 0 else left
        return float(brentq(curve, left, right))


def bracket(met: FloatArray) -> tuple[int, int]:
    """Places of the largest load that is met below the smallest that is missed, −1 for none, and of the latter, L for
    none."""
    missed = np.flatnonzero(met == 0)
    high = int(missed[0]) if len(missed) else len(met)
    good = np.flatnonzero(met[:high] == 1)
    return (int(good[-1]) if len(good) else -1), high
