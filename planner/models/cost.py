"""What a run will cost, learned from the runs made: seconds at each point, seconds of an engine start.

Notation: N grid points. Seconds are of wall time; a cost or price is seconds × accelerators.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Self

import numpy as np

from planner.ledger.observations import Observations
from planner.models import settings
from planner.models.ensemble import Ensemble
from planner.models.latency_models import latency_model_of
from planner.models.regressor import Regressor
from planner.space.grid import Grid
from planner.space.types import Z90, BoolArray, Features, FloatArray, IntArray
from planner.tables.recorded_grid import Sweep

__all__ = ["CostModel"]


class CostModel:
    """Cost of a run of each point by itself, engine start apart, and of starting each engine.

    Parameters
    ----------
    accelerators : devices that a run of each point occupies, (N,).
    make : builds the regressor of the logarithm of the seconds.
    """

    def __init__(
        self, grid: Grid, accelerators: FloatArray, make: Callable[[Features], Regressor] = Ensemble
    ) -> None:
        self.grid = grid
        self.devices = accelerators
        self._regressor = make(grid.features)
        self._feasible_regressor = make(grid.features)
        self._latency_model = latency_model_of(grid, "output")
        self._succeeded = 0
        self._broken: IntArray = np.zeros(len(grid), dtype=np.int64)

    def __copy__(self) -> Self:
        """One that has learned the same and can be fitted by itself."""
        other = object.__new__(type(self))
        vars(other).update(vars(self))
        other._regressor = copy.copy(self._regressor)
        other._feasible_regressor = copy.copy(self._feasible_regressor)
        return other

    def fit(self, observations: Observations) -> CostModel:
        """Return self, fitted to what runs have taken; `learned_` says whether any has taken a known time."""
        self._starts = {engine: float(np.median(seconds)) for engine, seconds in observations.engine_starts().items()}
        self._import_s = observations.import_s
        # Planning comes in bursts: a run bears its mean, not its median.
        self._overhead = float(np.mean([run.planner_s for run in observations.runs])) if observations.runs else 0.0
        self._share = _share_of_plain(observations)
        self._succeeded, self._broken = observations.finished - observations.failures, observations.broken
        took = observations.seconds[observations.failed & np.isfinite(observations.seconds)]
        self._failure_s = float(np.median(took)) if len(took) else 0.0
        known = np.isfinite(observations.seconds) & (observations.seconds > 0)
        self._seconds, self._if_feasible = np.ones(len(self.grid)), np.ones(len(self.grid))
        self._spread = np.zeros(len(self.grid))
        self.learned_ = bool(known.any())
        if self.learned_ and not known.all():
            self._seconds, self._spread = self._predict(self._regressor, observations, known)
            self._if_feasible = self._seconds.copy()
            if (succeeded := known & observations.measured).any() and observations.failed.any():
                # How soon a run fails says nothing about how long a run takes that succeeds.
                self._if_feasible, self._spread = self._predict(self._feasible_regressor, observations, succeeded)
        self._spread[known] = 0.0
        self._seconds[known] = self._if_feasible[known] = observations.seconds[known]
        return self

    def _predict(
        self, regressor: Regressor, observations: Observations, known: BoolArray
    ) -> tuple[FloatArray, FloatArray]:
        """Seconds at every point and the half-width of their logarithm's 90 % interval, (N,), from the `known` ones."""
        rows = np.flatnonzero(known)
        latency_model = None if self._latency_model.is_trivial else self._latency_model.fit(rows,
            observations.seconds[known])
        y, runs = np.log(observations.seconds[known]), observations.run_of[rows]
        mean, std = regressor.fit(rows, y, runs, run_effect=True, latency_model=latency_model).predict()
        return np.exp(mean), Z90 * std

    def seconds(self) -> FloatArray:
        """Seconds of a run of each point alone, (N,): measured where it was, else predicted; ones before any run."""
        return self._seconds

    def start_seconds(self) -> FloatArray:
        """Seconds of starting each point's engine, (N,): measured for that configuration, else the others' median."""
        usual = float(np.median(list(self._starts.values()))) if self._starts else 0.0
        engines = int(self.grid.engine.max()) + 1
        table = np.array([self._starts.get(engine, usual) for engine in range(engines)])
        return table[self.grid.engine]

    def sweep(self, rows: IntArray | None = None, feasibility: FloatArray | None = None) -> Sweep:
        """Seconds and cost, each (value, low, high) of a 90 % interval, of running each of `rows` (default: the grid).

        Engines start once each, after imports that all of them share. feasibility: probability that each point can
        run, (N,), ones where not given. A point that cannot run takes the median time of the failed runs. These lie
        near the border of what fails, and do not show whether points beyond it fail as fast, so the interval reaches
        to the time of a point that can run. Where it is uncertain whether a point can run, the ends take the cheaper
        and the more expensive case. Errors of points count as fully correlated, which is wider than the truth. NaN
        before any run has taken a known time.
        """
        rows = np.arange(len(self.grid)) if rows is None else rows
        first = rows[np.unique(self.grid.engine[rows], return_index=True)[1]]
        starts, devices = self.start_seconds(), self.devices
        if not self.learned_:
            return Sweep((float("nan"),) * 3, (float("nan"),) * 3)
        runs = np.ones(len(rows)) if feasibility is None else np.where(self._spread[rows] > 0, feasibility[rows], 1.0)
        succeeding: list[FloatArray] = [
            self._if_feasible[rows] * np.exp(sign * self._spread[rows]) for sign in (0, -1, 1)]
        failing = np.full(len(rows), self._failure_s)
        unable: list[FloatArray] = [failing, np.minimum(failing, succeeding[1]), np.maximum(failing, succeeding[2])]
        ends = [runs * good + (1 - runs) * bad for good, bad in zip(succeeding, unable, strict=True)]
        uncertain = (runs > settings.SURE) & (runs < 1 - settings.SURE)
        for end in (1, 2):  # these ends of `unable` already are the cheaper and the more expensive case
            ends[end] = np.where(uncertain, unable[end], ends[end])
        starts_s = float(starts[first].sum()) + self._import_s
        starts_cost = float((starts * devices)[first].sum()) + self._import_s * float(devices[rows[:1]].sum())
        seconds = tuple(float(end.sum()) + starts_s for end in ends)
        cost = tuple(float((end * devices[rows]).sum()) + starts_cost for end in ends)
        return Sweep(seconds, cost, starts_s, starts_cost)

    def price(self, rows: IntArray) -> FloatArray:
        """Accelerator-seconds of a run at each of `rows`, engine start apart, planning between runs included. A run
        may make fewer repeats than the plain sweep."""
        price: FloatArray = ((self.seconds() * self._share + self._overhead) * self.devices)[rows]
        return price

    def limit_s(self, row: int) -> float | None:
        """Seconds, engine start apart, after which a run at `row` must have hung; None while too little is known. Where
        one has been ended already, the next gets more: what was predicted may have been wrong."""
        if self._succeeded < settings.HANG_LEAST_RUNS:
            return None
        longest = float(self._if_feasible[row] * np.exp(self._spread[row]))
        limit_s = settings.HANG_FLOOR_S + settings.HANG_FACTOR * longest
        return limit_s * settings.HANG_FACTOR if self._broken[row] else limit_s


def _share_of_plain(observations: Observations) -> float:
    """What a run takes of the seconds that the plain sweep would spend at its point: the median of the last runs."""
    shares = []
    for run in observations.runs[-settings.SHARE_RUNS:]:
        plain = [reading.seconds for reading in run.measurement.readings if reading.point == run.point]
        if plain and plain[0] > 0:
            shares.append(run.measurement.cost.run_s / plain[0])
    return float(np.median(shares)) if shares else 1.0
