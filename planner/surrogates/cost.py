"""What a run will cost, learned from the runs made: seconds at each point, seconds of an engine start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from planner.ledger.observations import Observations
from planner.space.grid import Grid
from planner.space.types import Z90, BoolArray, Features, FloatArray, IntArray, Point
from planner.surrogates.committee import Committee, Learner
from planner.surrogates.physics import LatencyLaw

__all__ = ["CostModel", "Sweep"]

# Outside a 90 % interval, on one side.
_SURE = 0.05


@dataclass(frozen=True, slots=True)
class Sweep:
    """Wall seconds and accelerator-seconds of a sweep: predicted, and the ends of a 90 % interval.

    starts_s, starts_cost: the part of them that starting engines takes.
    """

    seconds: tuple[float, ...]
    cost: tuple[float, ...]
    starts_s: float = 0.0
    starts_cost: float = 0.0


class CostModel:
    """Plain cost of each point (a run of its own, engine start apart), and the price of starting each engine.

    Parameters
    ----------
    accelerators : devices that a run at a point occupies.
    make : what learns the logarithm of the seconds.
    """

    def __init__(
        self, grid: Grid, accelerators: Callable[[Point], float], make: Callable[[Features], Learner] = Committee
    ) -> None:
        self.grid = grid
        self._accelerators = accelerators
        self._learner = make(grid.features)
        self._able = make(grid.features)
        self._law = LatencyLaw(grid, "output", flat=False)

    @cached_property
    def devices(self) -> FloatArray:
        """Accelerators of each point, (N,)."""
        return np.array([self._accelerators(self.grid.point(row)) for row in range(len(self.grid))])

    def fit(self, seen: Observations) -> CostModel:
        """Learn from what runs have taken."""
        self._starts = {engine: float(np.median(seconds)) for engine, seconds in seen.engine_starts().items()}
        # Planning comes in bursts: what a run must bear of it is the mean, not the median.
        self._overhead = float(np.mean([run.planner_s for run in seen.runs])) if seen.runs else 0.0
        self._failure_s = float(np.median(seen.seconds[seen.failed])) if seen.failed.any() else 0.0
        known = np.isfinite(seen.seconds) & (seen.seconds > 0)
        self._seconds, self._could = np.ones(len(self.grid)), np.ones(len(self.grid))
        self._spread = np.zeros(len(self.grid))
        self.learned_ = bool(known.any())
        if self.learned_ and not known.all():
            self._seconds, self._spread = self._predict(self._learner, seen, known)
            self._could = self._seconds.copy()
            if (succeeded := known & seen.measured).any() and seen.failed.any():
                # How soon a run fails says nothing of how long one takes that goes through.
                self._could, self._spread = self._predict(self._able, seen, succeeded)
        self._spread[known] = 0.0
        self._seconds[known] = self._could[known] = seen.seconds[known]
        return self

    def _predict(self, learner: Learner, seen: Observations, known: BoolArray) -> tuple[FloatArray, FloatArray]:
        """Seconds at every point and the half-width of their logarithm's 90 % interval, (N,), from the `known` ones."""
        rows = np.flatnonzero(known)
        law = None if self._law.is_trivial else self._law.fit(rows, seen.seconds[known])
        y, runs = np.log(seen.seconds[known]), seen.run_of[rows]
        mean, std = learner.fit(rows, y, runs, share_luck=True, law=law).predict()
        return np.exp(mean), Z90 * std

    def seconds(self) -> FloatArray:
        """Seconds of a run of each point alone, (N,): measured where it was, else predicted; ones before any run."""
        return self._seconds

    def start_seconds(self) -> FloatArray:
        """Seconds of starting each point's engine, (N,): seen for that configuration, else the median of others."""
        usual = float(np.median(list(self._starts.values()))) if self._starts else 0.0
        engines = int(self.grid.engine.max()) + 1
        table = np.array([self._starts.get(engine, usual) for engine in range(engines)])
        return table[self.grid.engine]

    def sweep(self, rows: IntArray | None = None, success: FloatArray | None = None) -> Sweep:
        """What running every one of `rows` (default: the grid) by itself costs, engines started once each.

        success: probability that each point can run, (N,), ones where not given; one that cannot takes as long as those
        that failed, at the median. The runs that failed lie near the border of what fails, and do not say whether
        points beyond it fail as fast: the interval reaches to what a point would take if it could run. Where it is not
        sure whether one can, the ends take the cheaper and the dearer case. The errors of points count as fully
        correlated, which is wider than the truth.
        """
        rows = np.arange(len(self.grid)) if rows is None else rows
        first = rows[np.unique(self.grid.engine[rows], return_index=True)[1]]
        starts, devices = self.start_seconds(), self.devices
        if not self.learned_:
            return Sweep((float("nan"),) * 3, (float("nan"),) * 3)
        runs = np.ones(len(rows)) if success is None else np.where(self._spread[rows] > 0, success[rows], 1.0)
        could: list[FloatArray] = [self._could[rows] * np.exp(sign * self._spread[rows]) for sign in (0, -1, 1)]
        failing = np.full(len(rows), self._failure_s)
        cannot: list[FloatArray] = [failing, np.minimum(failing, could[1]), np.maximum(failing, could[2])]
        ends = [runs * able + (1 - runs) * unable for able, unable in zip(could, cannot, strict=True)]
        unsure = (runs > _SURE) & (runs < 1 - _SURE)
        for end in (1, 2):  # of what cannot run, they are the cheaper and the dearer case already
            ends[end] = np.where(unsure, cannot[end], ends[end])
        starts_s, starts_cost = float(starts[first].sum()), float((starts * devices)[first].sum())
        seconds = tuple(float(end.sum()) + starts_s for end in ends)
        cost = tuple(float((end * devices[rows]).sum()) + starts_cost for end in ends)
        return Sweep(seconds, cost, starts_s, starts_cost)

    def price(self, rows: IntArray) -> FloatArray:
        """Accelerator-seconds of a run at each of `rows`, engine start apart; what passes between two runs included."""
        price: FloatArray = ((self.seconds() + self._overhead) * self.devices)[rows]
        return price
