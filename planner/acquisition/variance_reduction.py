"""The next runs: those that reduce the variance of the whole unmeasured grid most for each accelerator-second.

Notation
--------
c, u        candidate; unmeasured reference point
q           a quantity that a surrogate learns; all are measured by one run
w_q(u)      what the variance of q adds to the summed variance of the targets at u
k_q(·,·)    posterior covariance given everything measured, everything under way, and everything chosen for this batch
Δ(c)        Σ_q Σ_u w_q(u) k_q(u, c)² / (k_q(c, c) + noise²): how much the summed variance of log targets falls
            (its utility in planner.acquisition.batch_selection)

Integrated posterior variance (Sacks et al. 1989; BoTorch's qNegIntegratedPosteriorVariance) does not depend on the
values that will be measured, so a batch is chosen greedily with rank-one updates of k. For the same reason runs of
other workers, whose values are not known yet, count as measured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from planner.acquisition.batch_selection import BatchSelection
from planner.acquisition.initial_design import by_engine
from planner.acquisition.settings import CANDIDATES, REFERENCES
from planner.acquisition.underway import given_readings, of_known_price, prices, rows_underway
from planner.ledger.observations import Observations
from planner.models.cost import CostModel
from planner.models.grid_model import GridModel
from planner.models.sampled import is_large
from planner.space.grid import Grid
from planner.space.sampling import spread_rows
from planner.space.types import BoolArray, FloatArray, IntArray
from planner.tables.workload import PointWeights

__all__ = ["Chooser", "VarianceField", "choose_batch", "open_sample", "sample"]

Chooser: TypeAlias = Callable[
    [GridModel, CostModel, Observations, FloatArray, int, np.random.Generator], list[int]]
"""What `choose_batch` is: from the same arguments, rows to run next."""


@dataclass(eq=False)
class VarianceField:
    """Posterior covariance of one quantity: candidates with references, (n, m), and among candidates, (n, n).

    weights: (m,) of the references. noise: standard deviation of a reading. observes: whether a run at each candidate
    measures the quantity at all, (n,)."""

    to_references: FloatArray
    among: FloatArray
    weights: FloatArray
    noise: float
    observes: BoolArray

    def utility(self) -> FloatArray:
        """Δ of each candidate, (n,), for this quantity."""
        noisy = np.maximum(np.diagonal(self.among), 0.0) + self.noise**2 + 1e-12
        variance_reduction: FloatArray = self.observes * (self.to_references**2 @ self.weights) / noisy
        return variance_reduction

    def part(self, candidates: IntArray) -> VarianceField:
        """The same for some of the candidates only."""
        return VarianceField(
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
    rng: np.random.Generator, weights: PointWeights | None = None,
) -> list[int]:
    """Up to `size` grid rows to run next, engines in an order that starts each at most once.

    feasibility: probability that each point can run, (N,); a run that fails tells nothing about the targets. weights:
    how much the variance of each point counts; None where all count alike.

    Runs that are pending, and those that ended after `model` was fitted, count as measured: several workers that are
    asked one after the other choose what one batch for all of them would hold.
    """
    left = None if weights is None else weights.left(observations.known)
    if left is not None and not left[observations.unmeasured_rows].any():
        left = None  # all that the workload asks for is known: the rest is as good as any
    candidates = of_known_price(open_sample(observations, CANDIDATES, rng, left), observations)
    if not len(candidates):
        return []
    references, counts = _references(observations.unmeasured_rows, rng, model.grid, feasibility, left)
    engines = model.grid.engine[candidates]
    selection = BatchSelection(
        _fields(model, candidates, references, rows_underway(model, observations), counts),
        feasibility[candidates], prices(cost, candidates, observations),
        cost.start_seconds()[candidates] * cost.devices[candidates], engines, observations.current_engine)
    chosen: list[int] = []
    while len(chosen) < min(size, len(candidates)):
        chosen += selection.select(size - len(chosen))
    return by_engine(candidates[chosen], engines[chosen], observations.current_engine)


def _fields(
    model: GridModel, candidates: IntArray, references: IntArray, underway: IntArray, counts: FloatArray
) -> list[VarianceField]:
    """What each quantity's posterior will be once the runs under way have ended, (k,) rows. counts: how much each
    reference counts."""
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
        fields.append(VarianceField(
            both[:n, len(points):], both[:n, :n], weights[quantity.name] * counts, regressor.noise_,
            observes[:n]))
    return fields


def _references(
    rows: IntArray, rng: np.random.Generator, grid: Grid, feasibility: FloatArray, weights: FloatArray | None
) -> tuple[IntArray, FloatArray]:
    """Points whose variance counts, and how much each does: where not all of them can be taken, a sample that has more
    of what weighs more, in which each counts by its weight over its chance to be in it."""
    if weights is None:
        found = sample(rows, REFERENCES, rng, grid)
        return found, feasibility[found]
    found = _weighted_sample(rows, REFERENCES, rng, weights[rows])
    chance = np.minimum(1.0, REFERENCES * weights[found] / weights[rows].sum())
    return found, feasibility[found] * weights[found] / chance


def _weighted_sample(rows: IntArray, most: int, rng: np.random.Generator, weights: FloatArray) -> IntArray:
    if len(rows) <= most:
        return rows
    return np.sort(rng.choice(rows, most, replace=False, p=weights / weights.sum()))


def open_sample(
    observations: Observations, most: int, rng: np.random.Generator, weights: FloatArray | None = None
) -> IntArray:
    """At most `most` of the rows that may be run next, ascending; with `weights` (N,), half of them are drawn by these.
    Workers that draw with the same seed draw the same rows, but for those that are pending."""
    if weights is None:
        rows = sample(observations.unmeasured_rows, most, rng, observations.grid)
    else:
        left = observations.unmeasured_rows
        rows = _weighted_sample(left, most, rng, weights[left] + weights[left].mean() if len(left) else weights[left])
    if observations.pending:
        rows = rows[~np.isin(rows, list(observations.pending))]
    return rows if len(rows) else sample(observations.open_rows, most, rng, observations.grid)


def sample(rows: IntArray, most: int, rng: np.random.Generator, grid: Grid) -> IntArray:
    """At most `most` of the rows, ascending, drawn at random where there are more; of a large grid, some of every
    engine, which may be a few more."""
    if len(rows) <= most:
        return rows
    return spread_rows(rows, grid.engine, most, rng) if is_large(grid) else np.sort(
        rng.choice(rows, most, replace=False))
