"""Configurations under a workload: each metric of the mix, and the probability that every part is served as asked.

Notation
--------
C, P        configurations (combinations of chosen values); parts of the workload
w           (P,) shares of the requests, sum 1
x, m, σ     a metric at a part; its mean and standard deviation on the scale of its transform
ρ           correlation of the errors of two parts of one configuration

Each part is measured by itself, as if all requests were of its kind. A server that is given the mix spends on each part
the time that its requests take, so a throughput of the mix is the harmonic mean weighted by work: tokens (or requests)
of a part over its throughput. Every other metric is the mean over requests. Whether a mix of long and short requests
disturbs itself more than its parts do alone is not known from such runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from planner.evaluation import settings
from planner.evaluation.metric_posterior import MetricPosterior
from planner.models.transforms import back, forward
from planner.space.grid import Grid
from planner.space.slo import Condition
from planner.space.types import BoolArray, FloatArray, IntArray, Kind, Metric, Point, Role, Scale, Transform
from planner.tables.workload import PlacedWorkload, given_axes

__all__ = ["Candidates", "Mix", "candidates_of", "every_point", "excess_over", "mixed", "mixes", "part_shares",
           "together"]



@dataclass(frozen=True, eq=False)
class Mix:
    """The configurations of a grid under one workload.

    grid: of the chosen axes, C points. rows: (C, P) rows of the study's grid, -1 where it has no such point. weights:
    (P,). given: the given values of each part. tokens: input and output tokens of a request of each part, (P,) by
    role, where axes say so.
    """

    grid: Grid
    rows: IntArray
    weights: FloatArray
    given: tuple[Point, ...] = ({},)
    tokens: Mapping[Role, FloatArray] = field(default_factory=dict)

    @property
    def is_whole(self) -> BoolArray:
        """Whether the grid has every part of each configuration, (C,)."""
        whole: BoolArray = np.all(self.rows >= 0, axis=1)
        return whole

    def tokens_a_request(self, role: Role) -> float | None:
        """Mean input or output tokens of a request; None where no axis says."""
        return float(self.tokens[role] @ self.weights) if role in self.tokens else None


@dataclass(frozen=True, eq=False)
class Candidates:
    """What can be chosen, C candidates, and what is known of each.

    known: metrics of the mix. parts: the same at each part, (C,) arrays. feasibility: probability that every part can
    run, (C,); 0 where the grid lacks one. accelerators: the most that a part occupies, (C,). defined: whether each part
    defines a metric, (P,) by name; one part alone always does. baseline: the candidate that others are compared with.
    alike: correlation of each candidate's error with the baseline's at each part, (P, C) by metric; none where it is
    not known.
    """

    mix: Mix
    known: Mapping[str, MetricPosterior]
    parts: Mapping[str, tuple[MetricPosterior, ...]]
    feasibility: FloatArray
    accelerators: FloatArray
    defined: Mapping[str, BoolArray]
    baseline: int | None = None
    alike: Mapping[str, FloatArray] = field(default_factory=dict)

    @property
    def grid(self) -> Grid:
        """The chosen axes."""
        return self.mix.grid

    def margin(self, condition: Condition) -> FloatArray:
        """Expected distance inside the bound at the worst part, (C,), on the scale of the metric's transform."""
        worst: FloatArray = np.min([one.margin(bound) for _, one, bound in self._absolute(condition)], axis=0)
        return worst

    def probability(self, condition: Condition) -> FloatArray:
        """Probability that the condition holds at each part, (P, C); 1 at a part that does not define the metric: a
        time between tokens needs two tokens."""
        probability = np.ones((len(self.mix.weights), len(self.feasibility)))
        for part, one, bound in self._absolute(condition):
            probability[part] = one.probability(bound)
        return probability

    def bounds(self, condition: Condition, base: FloatArray | None = None) -> Iterator[tuple[int, FloatArray]]:
        """Each part that defines the metric, and the bound there. base: what the baseline has at each part, (P, …), for
        bounds relative to it; what is expected of it by default. NaN, which nothing meets, where it is not known."""
        slack = settings.EQUAL if condition.is_upper else -settings.EQUAL
        for part in np.flatnonzero(self.defined[condition.metric]).tolist():
            one = self.parts[condition.metric][part]
            factor = np.ones(1)
            if condition.of_baseline and self.baseline is None:
                factor = np.full(1, np.nan)
            elif condition.of_baseline:
                factor = back(one.transform, one.mean)[self.baseline] if base is None else base[part]
            yield part, condition.bound * factor * (1 + slack)

    def _absolute(self, condition: Condition) -> Iterator[tuple[int, MetricPosterior, Condition]]:
        """Each part that defines the metric, with the metric and a condition on it whose bound is a number: of a bound
        relative to the baseline, what the metric has more than that bound must have, on the scale of its transform."""
        # What is equal meets the bound: the baseline itself does where the factor is 1.
        slack = settings.EQUAL if condition.is_upper else -settings.EQUAL
        for part in np.flatnonzero(self.defined[condition.metric]).tolist():
            one = self.parts[condition.metric][part]
            if not condition.of_baseline:
                yield part, one, condition
                continue
            if self.baseline is None:
                yield part, _unknown(one), condition
                continue
            alike = self.alike[condition.metric][part] if condition.metric in self.alike else None
            yield (part, excess_over(one, self.baseline, condition.bound, alike),
                   replace(condition, bound=slack, of_baseline=False))


def _unknown(one: MetricPosterior) -> MetricPosterior:
    nothing = np.full(len(one.mean), np.nan)
    return replace(one, value=nothing, mean=nothing, measured=np.zeros(len(nothing), dtype=bool))


def every_point(grid: Grid) -> Mix:
    """Each grid point as a configuration of its own."""
    return Mix(grid, np.arange(len(grid))[:, None], np.ones(1))


def mixes(grid: Grid, workload: PlacedWorkload | None) -> tuple[Mix, ...]:
    """The configurations under the workload. Without one, a mix for each combination of given values, in the order of
    the axes: they are never ranked among each other."""
    if workload is not None:
        return (_mix(grid, workload),)
    names = tuple(axis.name for axis in given_axes(grid))
    if not names:
        return (every_point(grid),)
    codes = np.unique(grid.codes[:, [grid.position(name) for name in names]], axis=0)
    return tuple(_mix(grid, PlacedWorkload(names, row[None], np.ones(1))) for row in codes)


def _mix(grid: Grid, workload: PlacedWorkload) -> Mix:
    part = workload.parts_of(grid)
    here = np.flatnonzero(part >= 0)
    chosen = [i for i, axis in enumerate(grid.axes) if axis.name not in workload.axes]
    axes = tuple(grid.axes[i] for i in chosen)
    codes, number = np.zeros((1, 0), dtype=np.int64), np.zeros(len(here), dtype=np.int64)
    if chosen:
        codes, number = np.unique(grid.codes[here][:, chosen], axis=0, return_inverse=True)
    rows = np.full((len(codes), len(workload.weights)), -1, dtype=np.int64)
    rows[number.ravel(), part[here]] = here
    return Mix(Grid(axes, codes), rows, workload.weights, tuple(workload.points(grid)), _tokens(grid, workload))


def _tokens(grid: Grid, workload: PlacedWorkload) -> dict[Role, FloatArray]:
    """Tokens of a request of each part, by role: of an axis that the workload sets, or that has one value."""
    found = {}
    for role in (Role.INPUT_TOKENS, Role.OUTPUT_TOKENS):
        axis = grid.by_role(role)
        if axis is None or axis.scale is Scale.CATEGORY:
            continue
        values = np.array(axis.values, dtype=np.float64)
        if axis.name in workload.axes:
            found[role] = values[workload.codes[:, workload.axes.index(axis.name)]]
        elif len(values) == 1:
            found[role] = np.repeat(values, len(workload.weights))
    return found


def candidates_of(
    mix: Mix, known: Mapping[str, MetricPosterior], metrics: Mapping[str, Metric], feasibility: FloatArray,
    accelerators: FloatArray,
) -> Candidates:
    """The candidates. known, feasibility, accelerators: of each point of the study's grid, (N,). metrics: by name."""
    rows = np.maximum(mix.rows, 0)  # what is not there is masked below
    there = mix.is_whole
    able = np.where(there, np.min(feasibility[rows], axis=1), 0.0)
    devices = np.max(accelerators[rows], axis=1)
    parts = {name: tuple(_at(one, column, there) for column in rows.T) for name, one in known.items()}
    defined = {name: _defined(mix, metrics[name]) for name in known}
    whole = {name: found[0] if len(found) == 1 else _mixed(mix, metrics[name], found)
             for name, found in parts.items()}
    return Candidates(mix, whole, parts, able, devices, defined)


def _defined(mix: Mix, metric: Metric) -> BoolArray:
    every = np.ones(len(mix.weights), dtype=bool)
    if metric.kind is not Kind.STEP or Role.OUTPUT_TOKENS not in mix.tokens:
        return every
    several: BoolArray = mix.tokens[Role.OUTPUT_TOKENS] > 1
    return several if several.any() else every


def _mixed(mix: Mix, metric: Metric, parts: Sequence[MetricPosterior]) -> MetricPosterior:
    weights = part_shares(mix, metric)
    here = np.flatnonzero(weights > 0)
    return mixed([parts[i] for i in here.tolist()], weights[here], metric.kind is Kind.THROUGHPUT)


def part_shares(mix: Mix, metric: Metric) -> FloatArray:
    """Weight of each part in the metric of the mix, (P,), sum 1; 0 where the part does not define it."""
    weights = np.where(_defined(mix, metric), _shares_of_work(mix, metric), 0.0)
    shares: FloatArray = weights / weights.sum()
    return shares


def together(mix: Mix, metric: Metric, x: FloatArray) -> FloatArray:
    """The metric of the mix from its values at the parts, (P, …) to (…)."""
    if len(x) == 1:
        return np.asarray(x[0])
    weights = part_shares(mix, metric)
    here = np.flatnonzero(weights > 0)
    flat = _mean(x[here].reshape(len(here), -1), weights[here], metric.kind is Kind.THROUGHPUT)
    return flat.reshape(x.shape[1:])


def _at(known: MetricPosterior, rows: IntArray, there: BoolArray) -> MetricPosterior:
    value, mean, std = (np.where(there, array[rows], np.nan) for array in (known.value, known.mean, known.std))
    return replace(known, value=value, mean=mean, std=std, measured=known.measured[rows] & there)


def _shares_of_work(mix: Mix, metric: Metric) -> FloatArray:
    """Weight of each part in the metric of the mix, (P,), sum 1: of a token throughput tokens, else requests."""
    weights = mix.weights
    if metric.kind is Kind.THROUGHPUT and not metric.name.startswith("request_"):
        roles = (Role.OUTPUT_TOKENS,) if metric.name != "total_token_throughput" else tuple(mix.tokens)
        if sizes := [mix.tokens[role] for role in roles if role in mix.tokens]:
            weights = weights * np.sum(sizes, axis=0)
    shares: FloatArray = weights / weights.sum()
    return shares


def mixed(parts: Sequence[MetricPosterior], weights: FloatArray, harmonic: bool) -> MetricPosterior:
    """The weighted mean of a metric over parts, harmonic or arithmetic; its σ by the first order of the errors, which
    are correlated by ρ. measured: where every part is."""
    x = np.array([one.value for one in parts])
    middle = np.array([_centre(one) for one in parts])
    value, mean = _mean(x, weights, harmonic), _mean(middle, weights, harmonic)
    transform = parts[0].transform
    step = np.array([one.std for one in parts])
    with np.errstate(invalid="ignore", divide="ignore"):
        pull = weights[:, None] * _slope(transform, middle) * step
        if harmonic:
            pull = pull * mean**2 / middle**2
        pull = pull / _slope(transform, mean)
    common = settings.PART_CORRELATION
    std = np.sqrt(common * pull.sum(axis=0) ** 2 + (1 - common) * (pull**2).sum(axis=0))
    return MetricPosterior(parts[0].name, value, forward(transform, mean), std, transform,
                           np.all([one.measured for one in parts], axis=0))


def _centre(known: MetricPosterior) -> FloatArray:
    return back(known.transform, known.mean)


def _mean(x: FloatArray, weights: FloatArray, harmonic: bool) -> FloatArray:
    with np.errstate(divide="ignore", invalid="ignore"):
        mean: FloatArray = 1 / (weights @ (1 / x)) if harmonic else weights @ x
    return mean


def excess_over(known: MetricPosterior, row: int, factor: float, alike: FloatArray | None = None) -> MetricPosterior:
    """What a metric has more at each candidate than `factor` times the metric at `row`, on the scale of its transform.
    alike: correlation of each candidate's error with that of `row`, (C,); independent by default. A candidate has no
    error against itself."""
    there = back(known.transform, known.mean[row:row + 1])
    bound = forward(known.transform, factor * there)
    pull = factor * _slope(known.transform, there) / _slope(known.transform, factor * there)
    own, base = known.std, pull * known.std[row]
    std = np.sqrt(np.maximum(own**2 + base**2 - 2 * (0.0 if alike is None else alike) * own * base, 0.0))
    std[row] = 0.0
    mean = known.mean - bound
    return MetricPosterior(known.name, mean, mean, std, Transform.LINEAR, known.measured & known.measured[row])


def _slope(transform: Transform, x: FloatArray) -> FloatArray:
    """dx / dz of the transform, of x's shape."""
    match transform:
        case Transform.LOG:
            return x
        case Transform.LOGIT:
            share: FloatArray = x * (1 - x)
            return share
        case Transform.LINEAR:
            return np.ones_like(x)
