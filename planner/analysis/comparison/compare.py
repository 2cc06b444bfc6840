"""Two studies of the same grid: where they differ by more than their intervals allow.

Notation: n compared points; δ = log(B/A) at each; σ its standard deviation, from both sides' calibrated intervals,
taken as independent (both sides share the errors of one model, so the true error of the difference is smaller).

Values: a measured value as measured, a predicted one at its median. The σ of a measured value is the model's for one
more reading there, since repeats of one run do not show differences between runs. If many points were measured on both
sides, the scatter of their δ (median absolute deviation, which a change in fewer than half of the points hardly moves)
is used instead if it is smaller: the model counts as noise what it cannot explain. σ is never smaller than that of the
repeats. A slower machine cannot be distinguished from slower software. The error of a mean over points: ratios.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial import cKDTree

from planner.analysis import settings
from planner.analysis.comparison.gate import Answer, Gate, Judgement, judge
from planner.analysis.comparison.ratios import At, Ratios
from planner.evaluation.metric_posterior import metric_posterior
from planner.ledger.fingerprint import differences
from planner.ledger.observations import Observations
from planner.models.calibration import small_sample_inflation
from planner.space.grid import Grid
from planner.space.types import Z90, BoolArray, IntArray, StudyError, Transform
from planner.strategies.strategy import Posterior

__all__ = ["Comparison", "Side", "common_rows", "compare", "with_scatter"]


@dataclass(frozen=True, eq=False)
class Side:
    """One of the two studies."""

    name: str
    observations: Observations
    posterior: Posterior
    fingerprint: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class Comparison:
    """B against A. only_a, only_b: points of one grid alone. unlikely: common points that are likely to fail on a side.
    fails_now: A's rows that ran in A and failed in B; runs_now: the reverse; both measured, not predicted.
    ratios: B/A of each target. confidence: of their intervals. judgements: answers to the given conditions.
    """

    a: Side
    b: Side
    common: int
    only_a: int
    only_b: int
    unlikely: int
    fails_now: IntArray
    runs_now: IntArray
    ratios: Mapping[str, Ratios]
    confidence: float
    judgements: tuple[Judgement, ...] = ()

    @property
    def changed(self) -> list[str]:
        """How B's fingerprint differs from A's, a line for each difference."""
        return differences(self.a.fingerprint, self.b.fingerprint)

    @property
    def held(self) -> list[Judgement]:
        """The judgements whose condition holds."""
        return [judgement for judgement in self.judgements if judgement.answer is Answer.HOLDS]


def common_rows(a: Grid, b: Grid) -> tuple[IntArray, IntArray]:
    """Rows of the points that both grids have, by the values on the axes. Raises StudyError if there are none."""
    names_a, names_b = {axis.name for axis in a.axes}, {axis.name for axis in b.axes}
    if names_a != names_b:
        missing = ", ".join(sorted(names_a ^ names_b))
        raise StudyError(f"compare: only one of the two studies has the axis {missing}; compare studies of equal axes")
    keys_a, keys_b = np.zeros(len(a), dtype=np.int64), np.zeros(len(b), dtype=np.int64)
    inside = np.ones(len(b), dtype=bool)
    for i, axis in enumerate(a.axes):
        j = b.position(axis.name)
        code_of = {value: code for code, value in enumerate(axis.values)}
        translated = np.array([code_of.get(value, -1) for value in b.axes[j].values], dtype=np.int64)
        if (translated < 0).all():
            raise StudyError(f"compare: the two studies share no value of '{axis.name}'; nothing can be compared")
        codes = translated[b.codes[:, j]]
        inside &= codes >= 0
        keys_a, keys_b = keys_a * len(axis.values) + a.codes[:, i], keys_b * len(axis.values) + codes
    rows = np.flatnonzero(inside)
    _, rows_a, found = np.intersect1d(keys_a, keys_b[rows], assume_unique=True, return_indices=True)
    if not len(rows_a):
        raise StudyError("compare: the two grids have no point in common; compare studies of the same points")
    order = np.argsort(rows_a)
    return rows_a[order].astype(np.int64), rows[found[order]].astype(np.int64)


def compare(
    a: Side, b: Side, targets: Sequence[str], confidence: float = 0.9, gates: Sequence[Gate] = ()
) -> Comparison:
    """The ratio B/A of each target at every point that both grids have and that is likely to run on both sides.

    gates: conditions on some of the targets, to be judged. Raises StudyError if the grids have no point in common, or a
    target has no positive values to compare.
    """
    rows_a, rows_b = common_rows(a.observations.grid, b.observations.grid)
    likely = _likely(a)[rows_a] & _likely(b)[rows_b]
    ran_a, ran_b = a.observations.measured[rows_a], b.observations.measured[rows_b]
    ratios = {}
    for target in targets:
        one, other = _all_points(a, target)[rows_a], _all_points(b, target)[rows_b]
        known = np.flatnonzero(likely & np.isfinite(one.log + one.sigma + other.log + other.sigma))
        if not len(known):
            raise StudyError(f"--target: '{target}' has no common point with a positive value on both sides; "
                             "compare another metric")
        ratios[target] = Ratios(
            a.observations.metric(target), a.observations.grid, rows_a[known],
            with_scatter(one[known], other[known]), confidence)
    return Comparison(
        a, b, len(rows_a), len(a.observations.grid) - len(rows_a), len(b.observations.grid) - len(rows_b),
        int((~likely).sum()),
        rows_a[ran_a & b.observations.failed[rows_b]], rows_a[a.observations.failed[rows_a] & ran_b], ratios,
        confidence, tuple(judge(gate, ratios[gate.metric]) for gate in gates))


def with_scatter(a: At, b: At) -> tuple[At, At]:
    """The two sides, with the σ of points measured on both reduced to the scatter of their differences."""
    both = a.own & b.own
    runs = min(len(np.unique(side.runs[both])) for side in (a, b))
    if runs < settings.LEAST_PAIRS:
        return a, b
    difference = (b.log - a.log)[both]
    spread = float(settings.NORMAL_MAD * np.median(np.abs(difference - np.median(difference))))
    if not spread:  # half of the readings are equal: one recorded grid, or a metric in coarse steps
        return a, b
    each = spread * small_sample_inflation(runs) / math.sqrt(2)

    def narrowed(side: At) -> At:
        sigma = np.where(both, np.minimum(side.sigma, np.maximum(each, side.repeated)), side.sigma)
        return replace(side, sigma=sigma)

    return narrowed(a), narrowed(b)


def _likely(side: Side) -> BoolArray:
    likely: BoolArray = ~side.observations.failed & (side.observations.measured
                                                     | (side.posterior.feasibility >= settings.LIKELY))
    return likely


def _all_points(side: Side, target: str) -> At:
    """A side at each of its own points (N,); NaN where the target is not positive, or undefined."""
    known = metric_posterior(target, side.posterior.prediction, side.observations)
    low, high = side.posterior.prediction.low[target], side.posterior.prediction.high[target]
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.where(known.value > 0, np.log(known.value), np.nan)
        sigma = np.where(low > 0, np.log(high) - np.log(low), np.nan) / (2 * Z90)
    repeated = np.zeros(len(value))
    several = np.array([row for row, given in side.observations.repeats(target).items() if len(given) > 1],
                       dtype=np.int64)
    if known.transform is Transform.LOG:
        repeated[several] = known.std[several]
    return At(value, np.maximum(sigma, repeated), _nearest_runs(side.observations), known.measured, repeated)


def _nearest_runs(observations: Observations) -> IntArray:
    """The position of the run that measured each point or, if unmeasured, the nearest measured point, (N,)."""
    features = observations.grid.features
    columns = [features.numeric]
    columns += [features.category[:, [i]] == np.arange(levels) for i, levels in enumerate(features.levels)]
    places = np.column_stack([np.zeros(len(features)), *columns]).astype(float)  # a grid of one point has no features
    measured = np.flatnonzero(observations.measured)
    nearest = measured[cKDTree(places[measured]).query(places)[1]]
    runs: IntArray = observations.run_of[np.where(observations.measured, np.arange(len(places)), nearest)]
    return runs
