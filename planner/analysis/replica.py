"""What one replica bears: for each configuration the probability that it serves a rate of requests as asked.

How it is known depends on how the load was measured:

open loop       Arrivals came at a rate, at random. That is what a replica sees that gets a random share of a Poisson
                stream: its latencies include all waiting. Between two rates of the grid, means of the metrics are
                interpolated on logarithmic scales (latency curves bend upwards, so the chord lies above them), with the
                larger σ. A saturated rate has no latency: nothing is borne from there, nor between it and the rate
                below.
closed loop     So many requests were in flight, a new one as soon as one ended: nobody waited for a slot. A replica
                that holds back what exceeds this number (the slots) serves each request no later than measured, after
                a wait for a slot (planner.evaluation.waiting). Conditions on times to the first token and of whole
                requests must hold with that wait added, its mean to a mean and its quantile to a quantile; the sum of
                two quantiles is rarely too small.
static batch    The throughput of one batch after the other. Nobody arrives, so nobody waits: an upper bound.

More load meets fewer conditions, so probabilities are made to fall along the load as those of a boundary are
(planner.evaluation.attainment): what was measured at a higher load tells of the lower ones that were not.

Notation: C candidates; K rates or places of one replica; P parts of the workload; σ of a metric on its transform.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
from scipy.special import ndtri

from planner.analysis import settings
from planner.evaluation.attainment import falling
from planner.evaluation.metric_posterior import MetricPosterior
from planner.evaluation.mix import Candidates
from planner.evaluation.parts import probability_of_parts
from planner.evaluation.settings import UNMEASURED_WIDENING
from planner.evaluation.waiting import waiting
from planner.models.transforms import back
from planner.space.grid import Grid
from planner.space.load import ascending_lines
from planner.space.metrics import quantile_of, unit_wanted
from planner.space.question import Question
from planner.space.slo import Condition
from planner.space.types import (
    Axis,
    BoolArray,
    FloatArray,
    IntArray,
    Kind,
    Metric,
    Point,
    Role,
    Scale,
    StudyError,
    Transform,
)

__all__ = ["Loop", "Replica", "replicas_of", "throughput_metric"]

Loop: TypeAlias = Literal["open loop", "closed loop", "static batch"]
_Parts: TypeAlias = Mapping[str, Sequence[MetricPosterior]]

_SECONDS = {"ms": 1e3, "s": 1.0}
_POWER = "mean_power_w"


@dataclass(frozen=True, eq=False)
class Replica:
    """One configuration. rates: (K,) requests per second, ascending. probability: that every condition holds at each
    rate, (K,), falling. slots: requests in flight at most, or of a batch; None in an open loop. capacity: requests per
    second with all slots busy, None in an open loop. watts: mean power at each rate, (K,), None if unknown."""

    point: Point
    loop: Loop
    slots: float | None
    accelerators: float
    rates: FloatArray
    probability: FloatArray
    capacity: float | None = None
    watts: FloatArray | None = None

    def bears(self, confidence: float) -> float:
        """The highest rate that is served as asked with this probability; 0 if none is."""
        held = np.flatnonzero(self.probability >= confidence)
        return float(self.rates[held[-1]]) if len(held) else 0.0

    def at(self, rate: float) -> int:
        """The place of the next rate that is as high; the last, if none is."""
        return min(int(np.searchsorted(self.rates, rate * (1 - 1e-9))), len(self.rates) - 1)

    def is_cut_off(self, confidence: float) -> bool:
        """Whether the highest rate of the grid is still served as asked: more may be borne."""
        return self.loop == "open loop" and bool(self.probability[-1] >= confidence)


def replicas_of(question: Question, candidates: Candidates, metrics: Mapping[str, Metric]) -> list[Replica]:
    """A replica for each line of rates, each number of slots, and each batch. An engine configuration that was driven
    in open loop is known by that alone. metrics: by name. Raises StudyError if no chosen axis is a load."""
    grid = candidates.grid
    rate, slots = _numbers(grid, Role.RATE), _numbers(grid, Role.CONCURRENCY) or _numbers(grid, Role.BATCH)
    if rate is None and slots is None:
        raise StudyError("space.axes: no axis is a load, so it is not known what a replica bears; measure it at "
                         "several values of request_rate, max_concurrency or batch_size")
    found: list[Replica] = []
    paced = np.zeros(len(grid), dtype=bool)
    if rate is not None:
        paced = np.isfinite(grid.column(rate.name))
        found += _open_loops(question, candidates, rate, paced)
    if slots is not None:
        engine = _without(grid, [axis.name for axis in (rate, slots) if axis is not None])
        found += _by_slots(question, candidates, metrics, slots, ~np.isin(engine, engine[paced]))
    return found


def _numbers(grid: Grid, role: Role) -> Axis | None:
    axis = grid.by_role(role)
    return None if axis is None or axis.scale is Scale.CATEGORY else axis


def throughput_metric(measured: Sequence[str]) -> str | None:
    """The metric from which requests per second are read."""
    return next((name for name in ("request_throughput", "output_throughput") if name in measured), None)


def _without(grid: Grid, names: Sequence[str]) -> IntArray:
    """A number for each combination of values of the other axes, (C,)."""
    kept = [i for i, axis in enumerate(grid.axes) if axis.name not in names]
    if not kept:
        return np.zeros(len(grid), dtype=np.int64)
    numbers: IntArray = np.unique(grid.codes[:, kept], axis=0, return_inverse=True)[1].ravel()
    return numbers


# ----------------------------------------------------------------------------------------------------------- open loop


def _open_loops(question: Question, candidates: Candidates, axis: Axis, paced: BoolArray) -> Iterator[Replica]:
    grid = candidates.grid
    for rows in ascending_lines(grid, axis, paced):
        nodes = grid.numbers(axis.name)[rows]
        left, right, share = _places(len(rows))
        rates = nodes[left] * (nodes[right] / nodes[left]) ** share
        parts = {name: [_between(one, rows[left], rows[right], share) for one in candidates.parts[name]]
                 for name in question.metrics}
        able = np.minimum(candidates.feasibility[rows[left]], candidates.feasibility[rows[right]])
        able = np.where(share == 0, candidates.feasibility[rows[left]], able)
        watts = candidates.known.get(_POWER)
        yield Replica(
            _point(grid, int(rows[0]), axis), "open loop", None, float(candidates.accelerators[rows].max()), rates,
            falling(_met(question, candidates, parts, able)),
            watts=None if watts is None else np.interp(rates, nodes, watts.value[rows]))


def _places(nodes: int) -> tuple[IntArray, IntArray, FloatArray]:
    """Nodes and places between them: the nodes on the left and on the right, and the share of the way, (K,) each."""
    steps = settings.RATES_BETWEEN
    place = np.arange((nodes - 1) * steps + 1)
    left = place // steps
    return left, np.minimum(left + 1, nodes - 1), (place % steps) / steps


def _between(one: MetricPosterior, left: IntArray, right: IntArray, share: FloatArray) -> MetricPosterior:
    """The metric between two rows, (K,): where one of them has none, neither has what lies between."""
    inside = share > 0

    def straight(array: FloatArray) -> FloatArray:
        return np.where(inside, (1 - share) * array[left] + share * array[right], array[left])

    std = np.where(inside, np.maximum(one.std[left], one.std[right]), one.std[left])
    return replace(one, value=straight(one.value), mean=straight(one.mean), std=std,
                   measured=one.measured[left] & ~inside)


# -------------------------------------------------------------------------------------------- closed loop, static batch


def _by_slots(
    question: Question, candidates: Candidates, metrics: Mapping[str, Metric], axis: Axis, free: BoolArray
) -> Iterator[Replica]:
    """A replica for each value of the axis."""
    loop: Loop = "static batch" if Role.BATCH in axis.roles else "closed loop"
    waits = {} if loop == "static batch" else {
        condition: _Wait.of(metrics[condition.metric]) for condition in question.conditions
        if metrics[condition.metric].kind in {Kind.FIRST, Kind.WHOLE}}
    own = _met(question, candidates, candidates.parts, candidates.feasibility)
    for rows in ascending_lines(candidates.grid, axis, free):
        for row, probability in zip(rows.tolist(), falling(own[rows]).tolist(), strict=True):
            if probability < 1 - settings.DECIDED or own[row] <= 0:
                continue  # nothing is borne, not even at the far end of the interval
            if found := _replica(question, candidates, (row, axis, loop), probability / own[row], waits):
                yield found


def _replica(
    question: Question, candidates: Candidates, at: tuple[int, Axis, Loop], factor: float,
    waits: Mapping[Condition, _Wait],
) -> Replica | None:
    """The replica of one row; None if its throughput is unknown. factor: on probabilities, so that they fall."""
    row, axis, loop = at
    grid = candidates.grid
    capacity = _requests(candidates, row)
    if not np.isfinite(capacity).all():
        return None
    slots, middle = float(grid.numbers(axis.name)[row]), float(np.median(capacity))
    rates = middle * 1.2 * np.arange(1, settings.RATES_UP_TO_CAPACITY + 1) / settings.RATES_UP_TO_CAPACITY
    rate, full = np.repeat(rates, len(capacity)), np.tile(capacity, len(rates))
    places = np.full(len(rate), row)
    parts = {name: [_at(one, places) for one in candidates.parts[name]] for name in question.metrics}
    served = _met(question, candidates, parts, np.where(rate < full, candidates.feasibility[row], 0.0),
                  {condition: wait.added(rate, slots, full) for condition, wait in waits.items()})
    probability = factor * served.reshape(len(rates), -1).mean(axis=1)
    watts = candidates.known.get(_POWER)
    return Replica(_point(grid, row, axis), loop, slots, float(candidates.accelerators[row]), rates,
                   np.minimum.accumulate(np.minimum(probability, 1.0)), middle,
                   None if watts is None else np.full(len(rates), watts.value[row]))


def _requests(candidates: Candidates, row: int) -> FloatArray:
    """Equally probable values of the requests per second with all slots busy, (THROUGHPUT_NODES,). Raises StudyError if
    no metric tells them."""
    name = throughput_metric(list(candidates.known))
    tokens = 1.0 if name == "request_throughput" else candidates.mix.tokens_a_request(Role.OUTPUT_TOKENS)
    if name is None or tokens is None:
        raise StudyError("targets: requests per second are not known; measure request_throughput, or output_throughput "
                         "with an axis output_len")
    one = candidates.known[name]
    std = one.std[row] * (1.0 if one.measured[row] else UNMEASURED_WIDENING)
    count = settings.THROUGHPUT_NODES
    return back(one.transform, one.mean[row] + std * ndtri((np.arange(count) + 0.5) / count)) / tokens


@dataclass(frozen=True, slots=True)
class _Wait:
    """What waiting adds to a metric. quantile: of the wait, None for its mean. unit: of the metric, in a second."""

    quantile: float | None
    unit: float

    @classmethod
    def of(cls, metric: Metric) -> _Wait:
        if metric.name.startswith("std_"):
            raise StudyError(f"--slo: what waiting adds to {metric.name} is not known; bound a mean or a percentile")
        unit = unit_wanted(metric)
        if unit not in _SECONDS:
            raise StudyError(f"targets: waiting must be added to {metric.name}, whose unit is not known; write "
                             f"{{metric: {metric.name}, unit: ms}}, or s")
        return cls(quantile_of(metric.name), _SECONDS[unit])

    def added(self, rate: FloatArray, slots: float, capacity: FloatArray) -> FloatArray:
        return waiting(rate, slots, capacity, self.quantile) * self.unit


# ---------------------------------------------------------------------------------------------------------------- both


def _met(
    question: Question, candidates: Candidates, parts: _Parts, able: FloatArray,
    waits: Mapping[Condition, FloatArray] | None = None,
) -> FloatArray:
    """Probability that every condition holds at each of K places, with the waits added, (K,): of several conditions the
    product, as in a recommendation. able: that it can run."""
    each = np.ones((len(candidates.mix.weights), len(able)))
    for condition in question.conditions:
        there = candidates.defined[condition.metric]
        for part in np.flatnonzero(there).tolist():
            one = parts[condition.metric][part]
            if waits and condition in waits:
                one = _later(one, condition, waits[condition])
            each[part] *= one.probability(condition)
    return able * probability_of_parts(each, candidates.mix.weights, question.share)


def _later(one: MetricPosterior, condition: Condition, wait: FloatArray) -> MetricPosterior:
    """The metric so shifted that it meets the bound just where it did with the wait added. Without end: never."""
    if one.transform is not Transform.LOG:
        return replace(one, mean=one.mean + wait)
    with np.errstate(divide="ignore", invalid="ignore"):
        left = np.where(wait < condition.bound, condition.bound - wait, np.nan)
        return replace(one, mean=one.mean + np.log(condition.bound / left))


def _at(one: MetricPosterior, rows: IntArray) -> MetricPosterior:
    return replace(one, value=one.value[rows], mean=one.mean[rows], std=one.std[rows], measured=one.measured[rows])


def _point(grid: Grid, row: int, load: Axis) -> Point:
    """The chosen values other than the load."""
    return {name: value for name, value in grid.point(row).items() if name != load.name}
