"""The next runs for a boundary: those that leave the fewest loads misclassified for each accelerator-second.

Notation
--------
c, u        candidate; a reference, an undecided pair of a point and a tier (planner.evaluation.attainment)
a           |m|/σ of the reference: distance of the metric nearest to its bound from that bound, over its deviation
R           share of σ² that the runs chosen so far will remove
r(u, c)     share that a run at c will remove beyond that: Σ_q s_q(u)² k_q(u, c)² / (k_q(c, c) + noise_q²) / v(u)
q, k_q, s_q a quantity that a surrogate learns, its posterior covariance, its share in the metric's logarithm
v(u)        Σ_q s_q(u)² (k_q(u, u) + noise_q²), before the first run is chosen
M(a, R)     expected probability of a wrong answer once so much of σ² is removed, (1)

(1)         M(a, R) = E Φ(−|a + √R ξ| / √(1 − R)),   ξ standard normal;  M(a, 0) = Φ(−a), M(a, 1) = 0

A run moves the mean of the reference by √r σ ξ and leaves the rest of σ². So M is the expected smaller one of P and
1 − P, and the utility of c is Σ_u M(a, R) − M(a, R + r(u, c)): stepwise uncertainty reduction (Bect, Ginsbourger, Li,
Picheny & Vazquez, Stat. Comput. 22, 2012). As with variances, nothing depends on the values that will be measured, so a
batch is chosen greedily, and runs under way count as measured. A run at the reference itself settles it; a further one
where the noise leaves it undecided removes its part of the noise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from scipy.special import ndtr, ndtri

from planner.acquisition import settings
from planner.acquisition.batch_selection import BatchSelection
from planner.acquisition.initial_design import by_engine
from planner.acquisition.underway import given_readings, rows_underway
from planner.acquisition.variance_reduction import sample
from planner.evaluation.attainment import Attainment, attainment_of
from planner.ledger.observations import Observations
from planner.models.cost import CostModel
from planner.models.grid_model import GridModel
from planner.models.quantities import Quantity, Target
from planner.models.settings import TINY
from planner.space.slo import Boundary
from planner.space.types import BoolArray, FloatArray, IntArray

__all__ = ["LevelSetChooser", "misclassified"]


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
        rows = _candidates(attainment, observations, rng)
        references = _references(attainment, rng)
        if not len(rows) or not len(references.rows):
            return []
        engines = model.grid.engine[rows]
        selection = BatchSelection(
            [_misclassification(model, observations, rows, references)],
            # A run that fails settles the point where it fails.
            np.ones(len(rows)), cost.price(rows), cost.start_seconds()[rows] * cost.devices[rows], engines,
            observations.current_engine)
        chosen: list[int] = []
        while len(chosen) < min(size, len(rows)):
            chosen += selection.select(size - len(chosen))
        return by_engine(rows[chosen], engines[chosen], observations.current_engine)


@dataclass(frozen=True, eq=False)
class _References:
    """rows (m,) of the grid, the metric nearest to its bound, and a, (m,) each."""

    rows: IntArray
    metrics: list[str]
    distance: FloatArray


@dataclass(frozen=True, eq=False)
class _Covariance:
    """One quantity: candidates with references, (n, m), and among candidates, (n, n). share: s² (m,), 0 where the
    reference does not depend on it. observes: whether a run at each candidate measures it, (n,)."""

    to_references: FloatArray
    among: FloatArray
    share: FloatArray
    noise: float
    observes: BoolArray

    def removed(self) -> FloatArray:
        """Variance that a run at each candidate removes from each reference, (n, m)."""
        noisy = np.maximum(np.diagonal(self.among), 0.0) + self.noise**2 + TINY
        removed: FloatArray = self.share * self.to_references**2 * (self.observes / noisy)[:, None]
        return removed

    def part(self, candidates: IntArray) -> _Covariance:
        return replace(self, to_references=self.to_references[candidates],
                       among=self.among[np.ix_(candidates, candidates)], observes=self.observes[candidates])

    def given(self, c: int) -> _Covariance:
        """After a noisy reading at candidate c, where it gives one."""
        if not self.observes[c]:
            return self
        column = self.among[:, c].copy()
        step = column / (max(self.among[c, c], 0.0) + self.noise**2 + TINY)
        return replace(self, to_references=self.to_references - np.outer(step, self.to_references[c]),
                       among=self.among - np.outer(step, column))


@dataclass(eq=False)
class _Misclassification:
    """A Field (planner.acquisition.batch_selection): how many references fewer are expected to be misclassified.

    variance: v, distance: a, removed: R, (m,) each. own: (n, m) share of v that a run at a candidate removes because it
    is a reading of the reference itself, 0 elsewhere.
    """

    covariances: list[_Covariance]
    variance: FloatArray
    distance: FloatArray
    removed: FloatArray
    own: FloatArray

    def utility(self) -> FloatArray:
        """The utility of each candidate, (n,)."""
        now = misclassified(self.distance, self.removed)
        fewer: FloatArray = (now - misclassified(self.distance, self._after(slice(None)))).sum(axis=1)
        return fewer

    def part(self, candidates: IntArray) -> _Misclassification:
        """The same for some of the candidates only."""
        return replace(self, covariances=[one.part(candidates) for one in self.covariances], own=self.own[candidates])

    def observe(self, c: int) -> None:
        """Count candidate c as measured."""
        self.removed = self._after(slice(c, c + 1))[0]
        self.covariances = [one.given(c) for one in self.covariances]

    def _after(self, candidates: slice) -> FloatArray:
        """R after a run at each of the candidates, (n, m)."""
        removed = np.sum([one.removed()[candidates] for one in self.covariances], axis=0) / self.variance
        own = self.own[candidates] * (1 - self.removed)
        after: FloatArray = np.minimum(self.removed + np.maximum(removed, own), 1.0)
        return after


def misclassified(distance: FloatArray, removed: FloatArray) -> FloatArray:
    """M(a, R), of the shapes of its arguments broadcast; interpolated in a table, to about 0.001."""
    table = _table()
    rows, columns = table.shape[0] - 1, table.shape[1] - 1
    x = np.clip(distance / settings.FARTHEST, 0, 1) * rows
    y = np.sqrt(1 - np.clip(removed, 0, 1)) * columns
    i, j = np.minimum(x.astype(int), rows - 1), np.minimum(y.astype(int), columns - 1)
    u, w = x - i, y - j
    found: FloatArray = ((1 - u) * ((1 - w) * table[i, j] + w * table[i, j + 1])
                         + u * ((1 - w) * table[i + 1, j] + w * table[i + 1, j + 1]))
    return found


@cache
def _table() -> FloatArray:
    """M on a grid of a (rows, 0 to FARTHEST) and √(1 − R), in which it is smooth (columns, 0 to 1); by the midpoint
    rule over ξ."""
    a = np.linspace(0, settings.FARTHEST, settings.TABLE_ROWS)[:, None, None]
    left = np.linspace(0, 1, settings.TABLE_COLUMNS)[None, :, None]
    quantiles = (np.arange(settings.TABLE_NODES) + 0.5) / settings.TABLE_NODES
    moved = np.abs(a + np.sqrt(1 - left**2) * ndtri(quantiles)[None, None, :])
    table: FloatArray = ndtr(-moved / np.maximum(left, TINY)).mean(axis=2)
    return table


def _candidates(attainment: Attainment, observations: Observations, rng: np.random.Generator) -> IntArray:
    """Rows that may be run next, ascending: undecided ones first, where there are too many."""
    undecided: BoolArray = np.any(attainment.undecided, axis=0)
    again: BoolArray = np.any(attainment.undecided & attainment.repeatable, axis=0)
    pending = np.isin(np.arange(len(undecided)), list(observations.pending))
    first = np.flatnonzero(undecided & (~observations.known | again) & ~pending)
    others = np.flatnonzero(~undecided & ~observations.known & ~pending)
    first = sample(first, settings.CANDIDATES, rng)
    return np.sort(np.concatenate([first, sample(others, settings.CANDIDATES - len(first), rng)]))


def _references(attainment: Attainment, rng: np.random.Generator) -> _References:
    """The undecided pairs, a random part where there are many."""
    tiers, rows = np.nonzero(attainment.undecided)
    kept = sample(np.arange(len(rows)), settings.REFERENCES, rng)
    names, distances = [], []
    for t, row in zip(tiers[kept], rows[kept], strict=True):
        found = []
        for condition in attainment.boundary.tiers[t].conditions:
            metric = attainment.metrics[condition.metric]
            found.append((float(attainment.margins[condition][row] / max(metric.std[row], TINY)), condition.metric))
        z, name = min(found, key=lambda pair: pair[0] if np.isfinite(pair[0]) else np.inf)
        names.append(name)
        distances.append(abs(z) if np.isfinite(z) else 0.0)
    return _References(rows[kept], names, np.array(distances))


def _misclassification(
    model: GridModel, observations: Observations, rows: IntArray, references: _References
) -> _Misclassification:
    """The field before anything is chosen, the runs under way counted as measured."""
    targets = {target.name: target for target in model.targets_}
    underway = rows_underway(model, observations)
    points, n = np.concatenate([rows, underway]), len(rows)
    covariances, variance = [], np.full(len(references.rows), TINY)
    for quantity in model.quantities:
        regressor = model.regressors_.get(quantity.name)
        both = regressor.covariance(points, np.concatenate([points, references.rows])) if regressor else None
        own = regressor.covariance(references.rows, references.rows) if regressor else None
        if regressor is None or both is None or own is None:
            continue
        share = _shares(model, targets, quantity, references)
        observes = model.observes(quantity)[points]
        both = given_readings(both, [c for c in range(n, len(points)) if observes[c]], regressor.noise_)
        covariances.append(_Covariance(both[:n, len(points):], both[:n, :n], share, regressor.noise_, observes[:n]))
        variance += share * (np.maximum(np.diagonal(own), 0.0) + regressor.noise_**2)
    same = rows[:, None] == references.rows[None, :]
    # Of k readings of equal noise, one more removes 1 / (k + 1) of their mean's variance.
    part = np.where(observations.known[rows], 1 / (observations.run_counts[rows] + 1), 1.0)
    return _Misclassification(covariances, variance, references.distance, np.zeros(len(references.rows)),
                              same * part[:, None])


def _shares(
    model: GridModel, targets: dict[str, Target], quantity: Quantity, references: _References
) -> FloatArray:
    """s² of a quantity at each reference, (m,)."""
    share = np.zeros(len(references.rows))
    for name in set(references.metrics):
        here = np.array([metric == name for metric in references.metrics])
        found = model.shares(targets[name], references.rows[here])
        share[here] = found.get(quantity.name, np.zeros(int(here.sum()))) ** 2
    return share
