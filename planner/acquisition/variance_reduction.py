"""The next runs: those that reduce the variance of the whole unmeasured grid most for each accelerator-second.

Notation
--------
c, u        candidate; unmeasured reference point
q           a quantity that a surrogate learns; all are measured by one run
w_q(u)      what the variance of q adds to the summed variance of the targets at u
k_q(·,·)    posterior covariance given everything measured, everything under way, and everything chosen for this batch
Δ(c)        Σ_q Σ_u w_q(u) k_q(u, c)² / (k_q(c, c) + noise²): how much the summed variance of log targets falls
price(c)    expected accelerator-seconds of the run
engine batch   runs that follow one engine start; its utility is Σ Δ / (start + Σ price), at the length where that is
            largest

Integrated posterior variance (Sacks et al. 1989; BoTorch's qNegIntegratedPosteriorVariance) does not depend on the
values that will be measured, so a batch is chosen greedily with rank-one updates of k. For the same reason runs of
other workers, whose values are not known yet, count as measured. On a running engine the next run is the one of most
Δ / price; another engine is started where an engine batch on it, start paid, has a higher utility than that, and what
is left on the present one is not worth coming back for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from planner.acquisition.initial_design import by_engine
from planner.acquisition.settings import CANDIDATES, REFERENCES, RETURN_SHARE
from planner.acquisition.underway import given_readings, rows_underway
from planner.ledger.observations import Observations
from planner.models.cost import CostModel
from planner.models.grid_model import GridModel
from planner.space.types import BoolArray, FloatArray, IntArray

__all__ = ["Chooser", "choose_batch", "open_sample", "sample"]

Chooser: TypeAlias = Callable[
    [GridModel, CostModel, Observations, FloatArray, int, np.random.Generator], list[int]]
"""What `choose_batch` is: from the same arguments, rows to run next."""


@dataclass(eq=False)
class _Field:
    """Posterior covariance of one quantity: candidates with references, (n, m), and among candidates, (n, n).

    weights: (m,) of the references. noise: standard deviation of a reading. observes: whether a run at each candidate
    measures the quantity at all, (n,)."""

    to_references: FloatArray
    among: FloatArray
    weights: FloatArray
    noise: float
    observes: BoolArray

    def variance_reduction(self) -> FloatArray:
        """Δ of each candidate, (n,), for this quantity."""
        noisy = np.maximum(np.diagonal(self.among), 0.0) + self.noise**2 + 1e-12
        variance_reduction: FloatArray = self.observes * (self.to_references**2 @ self.weights) / noisy
        return variance_reduction

    def part(self, candidates: IntArray) -> _Field:
        """The same for some of the candidates only."""
        return _Field(
            self.to_references[candidates], self.among[np.ix_(candidates, candidates)], self.weights, self.noise,
            self.observes[candidates])

    def observe(self, c: int) -> None:
        """Condition on a noisy reading at candidate c, where it gives one."""
        if not self.observes[c]:
            return
        noisy = max(self.among[c, c], 0.0) + self.noise**2 + 1e-12
        column = self.among[:, c].copy()
        self.to_references = self.to_references - np.outer(column / noisy, self.to_references[c])
        self.among = self.among - np.outer(column / noisy, column)


def choose_batch(
    model: GridModel, cost: CostModel, observations: Observations, feasibility: FloatArray, size: int,
    rng: np.random.Generator,
) -> list[int]:
    """Up to `size` grid rows to run next, engines in an order that starts each at most once.

    feasibility: probability that each point can run, (N,); a run that fails tells nothing about the targets.

    Runs that are pending, and those that ended after `model` was fitted, count as measured: several workers that are
    asked one after the other choose what one batch for all of them would hold.
    """
    candidates = open_sample(observations, CANDIDATES, rng)
    if not len(candidates):
        return []
    references = sample(observations.unmeasured_rows, REFERENCES, rng)
    engines = model.grid.engine[candidates]
    selection = _BatchSelection(
        _fields(model, candidates, references, rows_underway(model, observations), feasibility),
        feasibility[candidates], cost.price(candidates), cost.start_seconds()[candidates] * cost.devices[candidates],
        engines, observations.current_engine)
    chosen: list[int] = []
    while len(chosen) < min(size, len(candidates)):
        chosen += selection.select(size - len(chosen))
    return by_engine(candidates[chosen], engines[chosen], observations.current_engine)


class _BatchSelection:
    """The candidates that are left, with their prices and variance reductions. All arrays (n,) over candidates."""

    def __init__(
        self, fields: list[_Field], feasibility: FloatArray, price: FloatArray, start: FloatArray, engines: IntArray,
        current: int | None,
    ) -> None:
        self._fields, self._feasibility, self._price, self._start = fields, feasibility, price, start
        self._engines, self._current = engines, current
        self._running = (engines == current) | (start <= 0)
        self._open = np.ones(len(price), dtype=bool)
        # Utility of an engine batch when it was last computed: it only falls as more is known.
        self._utility = {int(engine): np.inf for engine in np.unique(engines[~self._running])}

    def select(self, most: int) -> list[int]:
        """The next run on a running engine, or the first `most` runs of an engine batch on another."""
        score = np.where(self._running & self._open, self._variance_reduction() / self._price, -np.inf)
        best = int(np.argmax(score))
        while self._utility and max(self._utility.values()) > score[best]:
            engine = max(self._utility, key=lambda e: self._utility[e])
            engine_batch, utility = self._engine_batch(engine)
            # Where no run reduces any variance, no start is worth its price.
            if utility > score[best] and utility >= max(self._others(engine), default=-np.inf):
                if self._utility_of_returning() > RETURN_SHARE * utility:
                    return self._take([best])
                del self._utility[engine]
                self._running |= self._engines == engine
                self._current = engine
                return self._take(engine_batch[:most])
            self._utility[engine] = utility
        return self._take([best])

    def _utility_of_returning(self) -> float:
        """Utility of the best engine batch left on the current engine, if it had to be started again."""
        left = self._current is not None and bool(((self._engines == self._current) & self._open).any())
        return self._engine_batch(self._current)[1] if self._current is not None and left else 0.0

    def _others(self, engine: int) -> list[float]:
        return [utility for other, utility in self._utility.items() if other != engine]

    def _engine_batch(self, engine: int) -> tuple[list[int], float]:
        """The engine batch of the highest utility on an engine, and that utility."""
        members = np.flatnonzero((self._engines == engine) & self._open)
        fields = [field.part(members) for field in self._fields]
        price, left = self._price[members], np.ones(len(members), dtype=bool)
        engine_batch: list[int] = []
        reduced, paid, utility = 0.0, float(self._start[members[0]]), 0.0
        while left.any():
            variance_reduction = np.sum([field.variance_reduction() for field in fields],
                                        axis=0) * self._feasibility[members]
            c = int(np.argmax(np.where(left, variance_reduction / price, -np.inf)))
            if (reduced + variance_reduction[c]) / (paid + price[c]) <= utility:
                break
            reduced, paid = reduced + float(variance_reduction[c]), paid + float(price[c])
            utility = reduced / paid
            engine_batch.append(int(members[c]))
            left[c] = False
            for field in fields:
                field.observe(c)
        return engine_batch or [int(members[0])], utility

    def _variance_reduction(self) -> FloatArray:
        variance_reduction: FloatArray = np.sum([field.variance_reduction() for field in self._fields],
                                                axis=0) * self._feasibility
        return variance_reduction

    def _take(self, chosen: list[int]) -> list[int]:
        for c in chosen:
            self._open[c] = False
            for field in self._fields:
                field.observe(c)
        return chosen


def _fields(
    model: GridModel, candidates: IntArray, references: IntArray, underway: IntArray, feasibility: FloatArray
) -> list[_Field]:
    """What each quantity's posterior will be once the runs under way have ended, (k,) rows."""
    weights = model.weights(references)
    n, readings = len(candidates), range(len(candidates), len(candidates) + len(underway))
    points = np.concatenate([candidates, underway])
    fields = []
    for quantity in model.quantities:
        regressor = model.regressors_.get(quantity.name)
        both = regressor.covariance(points, np.concatenate([points, references])) if regressor else None
        if regressor is None or both is None:
            continue
        observes = model.observes(quantity)[points]
        both = given_readings(both, [c for c in readings if observes[c]], regressor.noise_)
        fields.append(_Field(both[:n, len(points):], both[:n, :n], weights[quantity.name] * feasibility[references],
                             regressor.noise_, observes[:n]))
    return fields


def open_sample(observations: Observations, most: int, rng: np.random.Generator) -> IntArray:
    """At most `most` of the rows that may be run next, ascending. Workers that draw with the same seed draw the same
    rows, but for those that are pending."""
    rows = sample(observations.unmeasured_rows, most, rng)
    if observations.pending:
        rows = rows[~np.isin(rows, list(observations.pending))]
    return rows if len(rows) else sample(observations.open_rows, most, rng)


def sample(rows: IntArray, most: int, rng: np.random.Generator) -> IntArray:
    """At most `most` of the rows, ascending, drawn at random where there are more."""
    return rows if len(rows) <= most else np.sort(rng.choice(rows, most, replace=False))
