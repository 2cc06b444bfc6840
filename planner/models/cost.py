"""What a run will cost, learned from the runs made: seconds at each point, seconds of an engine start.

Notation: N grid points. Seconds are of wall time; a cost or price is seconds × accelerators.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Self

import numpy as np

from planner.ledger.observations import Observations
from planner.models import settings
from planner.models.ensemble import Ensemble
from planner.models.latency_models import latency_model_of
from planner.models.prior import Prior
from planner.models.prior_regressor import with_priors
from planner.models.regressor import ALL, Regressor
from planner.models.sampled import is_large, sampled_rows, used_readings
from planner.space.grid import Grid
from planner.space.types import Z90, BoolArray, Features, FloatArray, IntArray
from planner.tables.recorded_grid import Sweep

__all__ = ["CostModel"]


@dataclass(frozen=True, eq=False)
class _Expected:
    """Seconds of a run at some points, of one that succeeds, and the half-width of the logarithm's 90 % interval; (n,)
    each."""

    seconds: FloatArray
    if_feasible: FloatArray
    spread: FloatArray

    def __getitem__(self, rows: IntArray | slice) -> _Expected:
        return _Expected(self.seconds[rows], self.if_feasible[rows], self.spread[rows])


@dataclass(frozen=True, eq=False)
class _Evaluations:
    """Seconds of evaluating the quality of a configuration, the median, 0 if none was; the combination of axes that
    each point shares one with, and whether it has been evaluated, (N,) each."""

    seconds: float
    combination: IntArray
    known: BoolArray

    @classmethod
    def of(cls, observations: Observations) -> _Evaluations:
        spent = [s for run in observations.runs if (s := run.measurement.cost.evaluation_s) > 0]
        metric = next((name for name in observations.targets if observations.metric(name).depends_on is not None), None)
        if metric is None:
            every = np.zeros(len(observations.grid), dtype=np.int64)
            return cls(0.0, every, every == 0)
        combination = observations.combination(metric)
        evaluated = [row for row, _ in observations.readings(metric)]
        known = np.isin(combination, combination[evaluated]) if evaluated else np.zeros(len(combination), dtype=bool)
        return cls(float(np.median(spent)) if spent else 0.0, combination, known)


class CostModel:
    """Cost of a run of each point by itself, engine start apart, and of starting each engine.

    Parameters
    ----------
    accelerators : devices that a run of each point occupies, (N,).
    make : builds the regressor of the logarithm of the seconds; our own where None.
    priors : what old studies say of the grid.
    """

    def __init__(
        self, grid: Grid, accelerators: FloatArray, make: Callable[[Features], Regressor] | None = None,
        priors: Sequence[Prior] = (),
    ) -> None:
        self.grid = grid
        self.devices = accelerators
        make = partial(Ensemble, steady=is_large(grid)) if make is None else make
        known = [prior.seconds for prior in priors if prior.seconds is not None]
        self._regressor = with_priors(make(grid.features), grid.features, known)
        self._feasible_regressor = with_priors(make(grid.features), grid.features, known)
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
        self._evaluations = _Evaluations.of(observations)
        self._starts = {engine: float(np.median(seconds)) for engine, seconds in observations.engine_starts().items()}
        self._import_s = observations.import_s
        # Planning comes in bursts: a run bears its mean, not its median.
        self._overhead = float(np.mean([run.planner_s for run in observations.runs])) if observations.runs else 0.0
        self._share = _share_of_plain(observations)
        self._succeeded, self._broken = observations.finished - observations.failures, observations.broken
        took = observations.seconds[observations.failed & np.isfinite(observations.seconds)]
        self._failure_s = float(np.median(took)) if len(took) else 0.0
        known = np.isfinite(observations.seconds) & (observations.seconds > 0)
        self._measured = np.where(known, observations.seconds, np.nan)
        self.learned_ = bool(known.any())
        self._fitted: list[Regressor] = []
        if self.learned_ and not known.all():
            self._fitted.append(self._learn(self._regressor, observations, known))
            if (succeeded := known & observations.measured).any() and observations.failed.any():
                # How soon a run fails says nothing about how long a run takes that succeeds.
                self._fitted.append(self._learn(self._feasible_regressor, observations, succeeded))
        self._whole = None if is_large(self.grid) else self._expected(ALL)
        return self

    def _expected(self, rows: IntArray | slice) -> _Expected:
        measured = self._measured[rows]
        if self._fitted:
            found = [regressor.predict(rows) for regressor in self._fitted]
            seconds, (if_feasible, spread) = np.exp(found[0][0]), (np.exp(found[-1][0]), Z90 * found[-1][1])
        else:
            seconds, if_feasible, spread = np.ones(len(measured)), np.ones(len(measured)), np.zeros(len(measured))
        known = np.isfinite(measured)
        spread[known] = 0.0
        seconds[known] = if_feasible[known] = measured[known]
        return _Expected(seconds, if_feasible, spread)

    def _at(self, rows: IntArray | slice) -> _Expected:
        return self._expected(rows) if self._whole is None else self._whole[rows]

    def _learn(self, regressor: Regressor, observations: Observations, known: BoolArray) -> Regressor:
        """The regressor, fitted to the logarithm of the seconds of the `known` points."""
        rows = np.flatnonzero(known)
        if is_large(self.grid):
            rows = rows[used_readings(self.grid, rows, observations.run_of[rows], settings.COST_POINTS)]
        seconds = observations.seconds[rows]
        latency_model = None if self._latency_model.is_trivial else self._latency_model.fit(rows, seconds)
        y, runs = np.log(seconds), observations.run_of[rows]
        return regressor.fit(rows, y, runs, run_effect=True, latency_model=latency_model)

    def seconds(self, rows: IntArray | slice = ALL) -> FloatArray:
        """Seconds of a run of each of `rows` alone, by default of every point: measured where it was, else predicted;
        ones before any run."""
        return self._at(rows).seconds

    def log_seconds(self, rows: IntArray) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation of the logarithm of the seconds of a run that succeeds, (n,) each."""
        expected = self._at(rows)
        return np.log(expected.if_feasible), expected.spread / Z90

    def start_seconds(self) -> FloatArray:
        """Seconds of starting each point's engine, (N,): measured for that configuration, else the others' median; and
        of evaluating its quality, where that is still to be done."""
        return self._engine_seconds() + self._evaluations.seconds * ~self._evaluations.known

    def _engine_seconds(self) -> FloatArray:
        usual = float(np.median(list(self._starts.values()))) if self._starts else 0.0
        engines = int(self.grid.engine.max()) + 1
        table = np.array([self._starts.get(engine, usual) for engine in range(engines)])
        return table[self.grid.engine]

    def sweep(self, rows: IntArray | None = None, feasibility: FloatArray | None = None) -> Sweep:
        """Seconds and cost, each (value, low, high) of a 90 % interval, of running each of `rows` (default: the grid).

        Engines start once each, after imports that all of them share, and the quality of each configuration is
        evaluated once, if at all. feasibility: probability that each point can
        run, (N,), ones where not given. A point that cannot run takes the median time of the failed runs. These lie
        near the border of what fails, and do not show whether points beyond it fail as fast, so the interval reaches
        to the time of a point that can run. Where it is uncertain whether a point can run, the ends take the cheaper
        and the more expensive case. Errors of points count as fully correlated, which is wider than the truth. NaN
        before any run has taken a known time. On a large grid the runs are those of a sample, in proportion.
        """
        rows = np.arange(len(self.grid)) if rows is None else rows
        first = _first_of_each(self.grid.engine, rows)
        starts, devices, evaluations = self._engine_seconds(), self.devices, self._evaluations
        if not self.learned_:
            return Sweep((float("nan"),) * 3, (float("nan"),) * 3)
        taken = sampled_rows(self.grid, rows)
        assert not isinstance(taken, slice)
        expected = self._at(taken)
        runs = np.ones(len(taken)) if feasibility is None else np.where(expected.spread > 0, feasibility[taken], 1.0)
        succeeding: list[FloatArray] = [expected.if_feasible * np.exp(sign * expected.spread) for sign in (0, -1, 1)]
        failing = np.full(len(taken), self._failure_s)
        unable: list[FloatArray] = [failing, np.minimum(failing, succeeding[1]), np.maximum(failing, succeeding[2])]
        ends = [runs * good + (1 - runs) * bad for good, bad in zip(succeeding, unable, strict=True)]
        uncertain = (runs > settings.SURE) & (runs < 1 - settings.SURE)
        for end in (1, 2):  # these ends of `unable` already are the cheaper and the more expensive case
            ends[end] = np.where(uncertain, unable[end], ends[end])
        starts_s = float(starts[first].sum()) + self._import_s
        starts_cost = float((starts * devices)[first].sum()) + self._import_s * float(devices[rows[:1]].sum())
        if evaluations.seconds:
            each = _first_of_each(evaluations.combination, rows)
            starts_s += evaluations.seconds * len(each)
            starts_cost += evaluations.seconds * float(devices[each].sum())
        share = len(taken) / len(rows)
        seconds = tuple(float(end.sum()) / share + starts_s for end in ends)
        cost = tuple(float((end * devices[taken]).sum()) / share + starts_cost for end in ends)
        return Sweep(seconds, cost, starts_s, starts_cost)

    def price(self, rows: IntArray) -> FloatArray:
        """Accelerator-seconds of a run at each of `rows`, engine start apart, planning between runs included. A run
        may make fewer repeats than the plain sweep."""
        price: FloatArray = (self.seconds(rows) * self._share + self._overhead) * self.devices[rows]
        return price

    def high_price(self, rows: IntArray, deviations: float) -> FloatArray:
        """The price of each of `rows` if its seconds are so many standard deviations above what is expected, (n,)."""
        high: FloatArray = self.price(rows) * np.exp(deviations / Z90 * self._at(rows).spread)
        return high

    def limit_s(self, row: int) -> float | None:
        """Seconds, engine start apart, after which a run at `row` must have hung; None while too little is known. Where
        one has been ended already, the next gets more: what was predicted may have been wrong."""
        if self._succeeded < settings.HANG_LEAST_RUNS:
            return None
        expected = self._at(np.array([row]))
        limit_s = settings.HANG_FLOOR_S + settings.HANG_FACTOR * float(
            expected.if_feasible[0] * np.exp(expected.spread[0]))
        return limit_s * settings.HANG_FACTOR if self._broken[row] else limit_s


def _first_of_each(engine: IntArray, rows: IntArray) -> IntArray:
    """The first of the rows of each engine, in order of engines."""
    first = np.full(int(engine.max()) + 1, -1)
    first[engine[rows[::-1]]] = rows[::-1]  # the last one that is assigned stays
    return first[first >= 0]


def _share_of_plain(observations: Observations) -> float:
    """What a run takes of the seconds that the plain sweep would spend at its point: the median of the last runs."""
    shares = []
    for run in observations.runs[-settings.SHARE_RUNS:]:
        plain = [reading.seconds for reading in run.measurement.readings if reading.point == run.point]
        if plain and plain[0] > 0:
            shares.append(run.measurement.cost.run_s / plain[0])
    return float(np.median(shares)) if shares else 1.0
