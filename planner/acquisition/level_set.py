"""The next runs for a boundary: where it is least certain whether the conditions are met, for each accelerator-second.

Notation
--------
c           candidate; an undecided point (planner.evaluation.attainment)
a(c)        |Φ⁻¹(P)|: distance from the boundary in standard deviations, as the probability P of meeting a tier has it;
            the smallest over the tiers that are undecided at c
R(c)        share of σ² at c that the runs chosen so far will remove, those under way included:
            Σ_q s_q(c)² (k_q(c, c) before − after) / v(c)
q, k_q, s_q a quantity that a surrogate learns, its posterior covariance, its share in the metric's logarithm
v(c)        Σ_q s_q(c)² (k_q(c, c) + noise_q²), before the first run is chosen

The utility of a run at c is 1.96 √(1 − R) − a where that is positive: the straddle heuristic (Bryan, Nichol, Genovese,
Schneider, Miller & Wasserman, NIPS 2005) in units of σ, which is the learning function U of Echard, Gayton & Lemaire
(Struct. Saf. 33, 2011) with the deviation left after the runs chosen before. R spreads a batch over the boundary. It
does not depend on values not measured yet, so runs under way count as measured.

What was tried in its place: the expected number of misclassified points over the grid after a run (stepwise uncertainty
reduction: Bect, Ginsbourger, Li, Picheny & Vazquez, Stat. Comput. 22, 2012), and the targeted mean square error of
Picheny, Ginsbourger, Roustant, Haftka & Kim (J. Mech. Des. 132, 2010). Both predict what a run tells of other points,
by hyper-parameters that a few runs settle poorly, and found the boundary later (studies/compare/results.md).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtri

from planner.acquisition import settings
from planner.acquisition.batch_selection import BatchSelection
from planner.acquisition.initial_design import by_engine
from planner.acquisition.underway import given_readings, rows_underway
from planner.acquisition.variance_reduction import choose_batch, sample
from planner.evaluation.attainment import Attainment, attainment_of
from planner.ledger.observations import Observations
from planner.models.cost import CostModel
from planner.models.grid_model import GridModel
from planner.models.settings import TINY
from planner.space.slo import Boundary
from planner.space.types import BoolArray, FloatArray, IntArray

__all__ = ["LevelSetChooser"]


@dataclass(frozen=True, slots=True)
class LevelSetChooser:
    """A Chooser (planner.acquisition.variance_reduction) of runs that settle where `boundary` lies."""

    boundary: Boundary

    def __call__(
        self, model: GridModel, cost: CostModel, observations: Observations, feasibility: FloatArray, size: int,
        rng: np.random.Generator,
    ) -> list[int]:
        """Up to `size` grid rows to run next, engines in an order that starts each at most once. A row may be measured
        already: its noise leaves it undecided. feasibility: probability that each point can run, (N,)."""
        attainment = attainment_of(self.boundary, model.predict(), feasibility, observations)
        rows = sample(_candidates(attainment, observations), settings.CANDIDATES, rng, model.grid)
        if not len(rows):
            # Other processes measure all that is undecided: meanwhile any run that tells something of the grid will do.
            others = attainment.open_count > 0
            return choose_batch(model, cost, observations, feasibility, size, rng) if others else []
        engines = model.grid.engine[rows]
        selection = BatchSelection(
            [_straddle(model, attainment, observations, rows)],
            # A run that fails settles the point where it fails, unless it has only crashed there.
            np.where(observations.broken[rows] > 0, feasibility[rows], 1.0), cost.price(rows),
            cost.start_seconds()[rows] * cost.devices[rows], engines, observations.current_engine)
        chosen: list[int] = []
        while len(chosen) < min(size, len(rows)):
            chosen += selection.select(size - len(chosen))
        return by_engine(rows[chosen], engines[chosen], observations.current_engine)


@dataclass(frozen=True, eq=False)
class _Covariance:
    """One quantity among candidates, (n, n). share: s² of each candidate, (n,), 0 where its metric does not depend on
    the quantity. observes: whether a run at each measures it, (n,)."""

    among: FloatArray
    share: FloatArray
    noise: float
    observes: BoolArray

    @property
    def variance(self) -> FloatArray:
        """What the quantity adds to the variance of each candidate's metric, without noise, (n,)."""
        variance: FloatArray = self.share * np.maximum(np.diagonal(self.among), 0.0)
        return variance

    def part(self, candidates: IntArray) -> _Covariance:
        """The same for some of the candidates only."""
        return replace(self, among=self.among[np.ix_(candidates, candidates)], share=self.share[candidates],
                       observes=self.observes[candidates])

    def given(self, c: int) -> _Covariance:
        """After a noisy reading at candidate c, where it gives one."""
        if not self.observes[c]:
            return self
        return replace(self, among=given_readings(self.among, [c], self.noise))


@dataclass(eq=False)
class _Straddle:
    """A Field (planner.acquisition.batch_selection). total: v, distance: a, removed: R, (n,) each."""

    covariances: list[_Covariance]
    total: FloatArray
    distance: FloatArray
    removed: FloatArray

    def utility(self) -> FloatArray:
        """The utility of each candidate, (n,), at least a little: the best of several is chosen in any case."""
        ambiguity = settings.STRADDLE * np.sqrt(1 - self.removed) - self.distance
        return np.maximum(ambiguity, settings.LEAST_AMBIGUITY)

    def part(self, candidates: IntArray) -> _Straddle:
        """The same for some of the candidates only."""
        return _Straddle([one.part(candidates) for one in self.covariances], self.total[candidates],
                         self.distance[candidates], self.removed[candidates])

    def observe(self, c: int) -> None:
        """Count candidate c as measured."""
        before = sum(one.variance for one in self.covariances)
        self.covariances = [one.given(c) for one in self.covariances]
        lost = (before - sum(one.variance for one in self.covariances)) / self.total
        self.removed = np.clip(self.removed + lost, 0.0, 1.0)


def _candidates(attainment: Attainment, observations: Observations) -> IntArray:
    """Rows that are undecided for any tier and may be run, ascending."""
    undecided: BoolArray = np.any(attainment.undecided, axis=0)
    again: BoolArray = np.any(attainment.undecided & attainment.repeatable, axis=0)
    may_run = undecided & (~observations.known | again)
    may_run[list(observations.pending)] = False
    return np.flatnonzero(may_run)


def _straddle(model: GridModel, attainment: Attainment, observations: Observations, rows: IntArray) -> _Straddle:
    """The field before anything is chosen, the runs under way counted as measured."""
    names, distance = _nearest(attainment, rows)
    underway, n = rows_underway(model, observations), len(rows)
    points = np.concatenate([rows, underway])
    covariances, total, removed = [], np.full(n, TINY), np.zeros(n)
    for quantity in model.quantities:
        regressor = model.regressors_.get(quantity.name)
        among = regressor.covariance(points, points) if regressor else None
        if regressor is None or among is None:
            continue
        share = _shares(model, quantity.name, names, rows)
        observes = model.observes(quantity)[points]
        after = given_readings(among, [c for c in range(n, len(points)) if observes[c]], regressor.noise_)
        total += share * (np.maximum(np.diagonal(among)[:n], 0.0) + regressor.noise_**2)
        removed += share * np.diagonal(among - after)[:n]
        covariances.append(_Covariance(after[:n, :n], share, regressor.noise_, observes[:n]))
    return _Straddle(covariances, total, distance, np.clip(removed / total, 0.0, 1.0))


def _nearest(attainment: Attainment, rows: IntArray) -> tuple[list[str], FloatArray]:
    """a, (n,), and in the tier that it is of, the metric that is most likely to miss its bound."""
    best, names = np.full(len(rows), np.inf), [""] * len(rows)
    for t, tier in enumerate(attainment.boundary.tiers):
        z = np.array([attainment.margins[c][rows] / np.maximum(attainment.metrics[c.metric].std[rows], TINY)
                      for c in tier.conditions])
        worst = np.argmin(np.where(np.isfinite(z), z, np.inf), axis=0)
        distance = np.abs(ndtri(np.clip(attainment.probability[t, rows], TINY, 1 - TINY)))
        nearer = attainment.undecided[t, rows] & (distance < best)
        best[nearer] = distance[nearer]
        for i in np.flatnonzero(nearer):
            names[i] = tier.conditions[worst[i]].metric
    return names, best


def _shares(model: GridModel, quantity: str, names: list[str], rows: IntArray) -> FloatArray:
    """s² of a quantity at each candidate, (n,)."""
    share = np.zeros(len(rows))
    for target in model.targets_:
        here = np.array([name == target.name for name in names])
        found = model.shares(target, rows[here])
        if quantity in found:
            share[here] = found[quantity] ** 2
    return share
