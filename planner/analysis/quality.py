"""The quality of answers beside latency and cost: the third figure of a trade-off.

A faster engine (quantised weights, a shorter context) may answer worse. Where a study measures that, a configuration is
on the front if no other one is at least as good in all three.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from planner.analysis.pareto import Figure, nondominated
from planner.space.types import BoolArray, Direction, FloatArray, IntArray, Kind, Metric

__all__ = ["Quality", "quality_metric", "quality_of"]


@dataclass(frozen=True, eq=False)
class Quality:
    """A metric of quality, (N,), and the rows that no other one equals or beats in it, latency and cost together."""

    figure: Figure
    front: IntArray


def quality_metric(metrics: Iterable[Metric]) -> Metric | None:
    """The first share with a direction, else the first other metric with one that is neither a time nor a rate; None
    without any."""
    directed = [metric for metric in metrics if metric.direction is not None]
    return next((metric for kind in (Kind.SHARE, Kind.OTHER) for metric in directed if metric.kind is kind), None)


def quality_of(metric: Metric, value: FloatArray, others: Sequence[Figure], among: BoolArray) -> Quality:
    """The quality in a metric that has a direction. value: (N,). others: latency and cost. among: rows that can run."""
    figure = Figure(metric.name, value, metric.direction is Direction.MAXIMIZE)
    return Quality(figure, nondominated([figure, *others], among))
