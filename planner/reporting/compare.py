"""Two studies of the same grid: where they differ by more than their intervals allow.

Notation: n compared points; δ = log(B/A) at each; σ its standard deviation, from both sides' calibrated intervals,
taken as independent (the two share the habits of one model, which makes the difference less wrong than that, not more).

What a point says. A measured value stands as it was measured, a predicted one at its median. The σ of a measured value
is what the model expects of one more reading there: what differs from run to run does not show in the repeats of one.
Where many points were measured on both sides, the scatter of their δ shows it, and is used instead where it is smaller
(the model takes for noise what it cannot explain): the median absolute deviation, which a change in fewer than half of
the points hardly moves. σ is never smaller than the repeats say. A machine that is slower today than yesterday looks
like a change of what runs on it; nothing here can tell the two apart.

The tails. Replayed over three recorded grids, one predicted point in a thousand was 4 to 7.6 σ off where a normal
distribution has 3.3. So p-values are Student's with 4 degrees of freedom, scaled to agree about the 90 % interval.

A mean over points. Errors of neighbouring points are not independent, and σ/√n would be far too narrow; σ itself, the
bound for errors that are all one, is ten times too wide over a whole grid. So, for each side, the larger of two: (1) a
point shares, wholly, the error of the run that measured it or, unmeasured, of the nearest run, and errors of different
runs are independent: √Σ_runs (Σ_points σ)² / n. (2) mean σ / √r, r the runs that measured a point of the set: a
configuration where nothing ran is not known better for what ran elsewhere. Of the true means over 180 slices of six
replayed studies, 2 % lay outside the 90 % interval so made, and 11 % outside that of (1) alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.spatial import cKDTree
from scipy.stats import false_discovery_control, norm, t

from planner.acquisition.strategy import Belief
from planner.ledger.observations import Observations
from planner.reporting.known import known_of
from planner.space.grid import Grid
from planner.space.metrics import is_gain
from planner.space.types import BoolArray, FloatArray, IntArray, Point, Scope, StudyError

__all__ = ["At", "Comparison", "Mean", "Ratios", "Side", "Slice", "common_rows", "compare", "tail",
           "with_scatter"]

_Z90 = 1.6448536269514722
_TAIL_FREEDOM = 4
_TAIL_SCALE = float(t.ppf(0.95, _TAIL_FREEDOM)) / _Z90
_LEAST_SIGMA = 1e-9
# A point that will rather fail than run has nothing to compare.
_LIKELY = 0.5
# Fewer runs that both sides made say too little about how runs scatter; a scatter known from few is made wider.
_LEAST_PAIRS = 10
_FEW_RUNS_WIDTH = 5.0
_NORMAL_MAD = 1.4826


def tail(z: FloatArray) -> FloatArray:
    """Probability that an error exceeds z σ, one side."""
    probability: FloatArray = t.sf(z * _TAIL_SCALE, _TAIL_FREEDOM)
    return probability


@dataclass(frozen=True, eq=False)
class Side:
    """One of the two studies."""

    name: str
    seen: Observations
    belief: Belief
    fingerprint: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Mean:
    """A geometric mean of ratios with its interval; std is that of its logarithm."""

    points: int
    log: float
    std: float
    confidence: float

    @property
    def ratio(self) -> tuple[float, float, float]:
        """Ratio, low, high."""
        half = float(norm.ppf((1 + self.confidence) / 2)) * self.std
        return float(np.exp(self.log)), float(np.exp(self.log - half)), float(np.exp(self.log + half))


@dataclass(frozen=True, slots=True)
class Slice:
    """The points of one engine configuration, or with one value of an axis; better and worse as in Ratios."""

    point: Point
    mean: Mean
    better: int
    worse: int


@dataclass(frozen=True, eq=False)
class Ratios:
    """B/A of one target at the compared points, arrays (n,). rows: A's grid rows."""

    target: str
    grid: Grid
    rows: IntArray
    sides: tuple[At, At]
    confidence: float

    @cached_property
    def log(self) -> FloatArray:
        """δ."""
        found: FloatArray = self.sides[1].log - self.sides[0].log
        return found

    @cached_property
    def sigma(self) -> FloatArray:
        """σ of δ."""
        sigma: FloatArray = np.maximum(np.hypot(self.sides[0].sigma, self.sides[1].sigma), _LEAST_SIGMA)
        return sigma

    @property
    def measured(self) -> BoolArray:
        """Where both sides measured."""
        both: BoolArray = self.sides[0].own & self.sides[1].own
        return both

    @property
    def more_is_better(self) -> bool:
        """Whether a ratio above 1 is an improvement."""
        return is_gain(self.target)

    @cached_property
    def interval(self) -> tuple[FloatArray, FloatArray]:
        """Ends of the ratio's interval at each point by itself."""
        half = float(t.ppf((1 + self.confidence) / 2, _TAIL_FREEDOM)) / _TAIL_SCALE * self.sigma
        return np.exp(self.log - half), np.exp(self.log + half)

    @cached_property
    def outside(self) -> BoolArray:
        """Where 1 lies outside the point's own interval: a share 1 − confidence of all does so by chance."""
        low, high = self.interval
        return (low > 1) | (high < 1)

    @cached_property
    def differs(self) -> BoolArray:
        """Where the two differ, of which a share of 1 − confidence at most is expected to be chance
        (Benjamini and Hochberg, 1995)."""
        p = 2 * tail(np.abs(self.log) / self.sigma)
        found: BoolArray = false_discovery_control(p) <= 1 - self.confidence
        return found

    @cached_property
    def better(self) -> BoolArray:
        """Where B is better, chance controlled."""
        found: BoolArray = self.differs & ((self.log > 0) == self.more_is_better)
        return found

    @cached_property
    def worse(self) -> BoolArray:
        """Where B is worse, chance controlled."""
        found: BoolArray = self.differs & ~self.better
        return found

    def mean(self, mask: BoolArray | None = None) -> Mean:
        """Geometric mean over the points of `mask` (n,), all by default."""
        chosen = np.ones(len(self.rows), dtype=bool) if mask is None else mask
        std = math.hypot(*(side.of_mean(chosen) for side in self.sides))
        return Mean(int(chosen.sum()), float(self.log[chosen].mean()), std, self.confidence)

    def slices(self) -> list[Slice]:
        """Each engine configuration, then each value of each axis that has several."""
        codes = self.grid.codes[self.rows]
        several = [i for i, axis in enumerate(self.grid.axes) if len(axis.values) > 1]
        engine = [i for i in several if self.grid.axes[i].scope is Scope.ENGINE]
        groups = [engine] if len(engine) > 1 else []
        groups += [[i] for i in several]
        found = []
        for axes in groups:
            keys, of_key = np.unique(codes[:, axes], axis=0, return_inverse=True)
            for number, key in enumerate(keys):
                mask = of_key.ravel() == number
                fixed = [(self.grid.axes[i], code) for i, code in zip(axes, key, strict=True)]
                point = {axis.name: axis.values[code] for axis, code in fixed}
                found.append(Slice(point, self.mean(mask), int((self.better & mask).sum()),
                                   int((self.worse & mask).sum())))
        return found

    def extremes(self, mask: BoolArray, count: int) -> IntArray:
        """Positions of the points of `mask` that differ most for sure: by the end of the interval nearest to 1."""
        low, high = self.interval
        sure = np.where(self.log > 0, np.log(low), -np.log(high))
        positions = np.flatnonzero(mask)
        return positions[np.argsort(-sure[positions], kind="stable")[:count]]


@dataclass(frozen=True, eq=False)
class At:
    """One side at some points: logarithm of the value, its σ, the run whose error each point shares, whether that run
    measured it, and the σ that its repeats show, 0 where there are none; arrays (n,)."""

    log: FloatArray
    sigma: FloatArray
    runs: IntArray
    own: BoolArray
    repeated: FloatArray

    def __getitem__(self, rows: IntArray) -> At:
        return At(self.log[rows], self.sigma[rows], self.runs[rows], self.own[rows], self.repeated[rows])

    def of_mean(self, mask: BoolArray) -> float:
        """σ of the mean over the points of `mask`: the larger of the two bounds (see the module)."""
        sigma, n = self.sigma[mask], int(mask.sum())
        shared = float(np.sqrt(np.sum(np.bincount(self.runs[mask], sigma) ** 2))) / n
        runs = len(np.unique(self.runs[mask & self.own]))
        return max(shared, float(sigma.mean()) / math.sqrt(max(runs, 1)))


@dataclass(frozen=True, eq=False)
class Comparison:
    """A against B. only_a, only_b: points of one grid alone. unlikely: common points that would rather fail on a side.
    fails_now: A's rows that ran in A and failed in B; runs_now: the reverse; both measured, not predicted."""

    a: Side
    b: Side
    common: int
    only_a: int
    only_b: int
    unlikely: int
    fails_now: IntArray
    runs_now: IntArray
    ratios: Mapping[str, Ratios]


def common_rows(a: Grid, b: Grid) -> tuple[IntArray, IntArray]:
    """Rows of the points that both grids have, by the values on the axes. Raises StudyError where there are none."""
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


def compare(a: Side, b: Side, targets: Sequence[str], confidence: float = 0.9) -> Comparison:
    """The ratio B/A of each target at every point that both grids have and that is likely to run on both sides.

    Raises StudyError where the grids have nothing in common, or a target has no positive values to compare.
    """
    rows_a, rows_b = common_rows(a.seen.grid, b.seen.grid)
    likely = _likely(a)[rows_a] & _likely(b)[rows_b]
    ran_a, ran_b = a.seen.measured[rows_a], b.seen.measured[rows_b]
    ratios = {}
    for target in targets:
        one, other = _all_points(a, target)[rows_a], _all_points(b, target)[rows_b]
        told = np.flatnonzero(likely & np.isfinite(one.log + one.sigma + other.log + other.sigma))
        if not len(told):
            raise StudyError(f"--target: '{target}' has no common point with a positive value on both sides; "
                             "compare another metric")
        ratios[target] = Ratios(
            target, a.seen.grid, rows_a[told], with_scatter(one[told], other[told]), confidence)
    return Comparison(
        a, b, len(rows_a), len(a.seen.grid) - len(rows_a), len(b.seen.grid) - len(rows_b), int((~likely).sum()),
        rows_a[ran_a & b.seen.failed[rows_b]], rows_a[a.seen.failed[rows_a] & ran_b], ratios)


def with_scatter(a: At, b: At) -> tuple[At, At]:
    """The two sides with the σ of what both measured made as small as the scatter of their differences allows."""
    both = a.own & b.own
    runs = min(len(np.unique(side.runs[both])) for side in (a, b))
    if runs < _LEAST_PAIRS:
        return a, b
    difference = (b.log - a.log)[both]
    spread = float(_NORMAL_MAD * np.median(np.abs(difference - np.median(difference))))
    each = spread * (1 + _FEW_RUNS_WIDTH / runs) / math.sqrt(2)

    def narrowed(side: At) -> At:
        sigma = np.where(both, np.minimum(side.sigma, np.maximum(each, side.repeated)), side.sigma)
        return replace(side, sigma=sigma)

    return narrowed(a), narrowed(b)


def _likely(side: Side) -> BoolArray:
    likely: BoolArray = ~side.seen.failed & (side.seen.measured | (side.belief.success >= _LIKELY))
    return likely


def _all_points(side: Side, target: str) -> At:
    """A side at each of its own points (N,); NaN where the target is not positive, or undefined."""
    known = known_of(target, side.belief, side.seen)
    low, high = side.belief.prediction.low[target], side.belief.prediction.high[target]
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.where(known.value > 0, np.log(known.value), np.nan)
        sigma = np.where(low > 0, np.log(high) - np.log(low), np.nan) / (2 * _Z90)
    repeated = np.zeros(len(value))
    several = np.array([row for row, given in side.seen.repeats(target).items() if len(given) > 1], dtype=np.int64)
    if known.log:
        repeated[several] = known.std[several]
    return At(value, np.maximum(sigma, repeated), _nearest_runs(side.seen), known.measured, repeated)


def _nearest_runs(seen: Observations) -> IntArray:
    """The position of the run that measured each point or, unmeasured, of one that measured the nearest point, (N,)."""
    features = seen.grid.features
    columns = [features.numeric]
    columns += [features.category[:, [i]] == np.arange(levels) for i, levels in enumerate(features.levels)]
    places = np.column_stack([np.zeros(len(features)), *columns]).astype(float)  # a grid of one point has no features
    measured = np.flatnonzero(seen.measured)
    nearest = measured[cKDTree(places[measured]).query(places)[1]]
    runs: IntArray = seen.run_of[np.where(seen.measured, np.arange(len(places)), nearest)]
    return runs
