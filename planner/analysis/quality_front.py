"""The quality of answers beside latency and cost: the third figure of a trade-off.

A faster engine (quantised weights, a shorter context) may answer worse. Where a study measures that, a configuration is
on the front if no other one is at least as good in all three.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from planner.analysis.pareto import Figure, nondominated
from planner.space.types import BoolArray, Direction, FloatArray, IntArray, Kind, Metric

__all__ = ["QualityFront", "quality_front", "quality_metric"]


@dataclass(frozen=True, eq=False)
class QualityFront:
    """A metric of quality, (N,), and the rows that no other one equals or beats in it, latency and cost together."""

    figure: Figure
    front: IntArray


def quality_metric(metrics: Iterable[Metric]) -> Metric | None:
    """The first metric with a direction that is neither a time nor a rate, one of configurations alone (as an
    evaluation of the model gives) before all others, then shares; None without any."""
    good = [metric for metric in metrics if metric.direction is not None and metric.kind in (Kind.SHARE, Kind.OTHER)]
    return min(good, key=lambda metric: (metric.depends_on is None, metric.kind is not Kind.SHARE), default=None)


def quality_front(metric: Metric, value: FloatArray, others: Sequence[Figure], among: BoolArray) -> QualityFront:
    """The quality in a metric that has a direction. value: (N,). others: latency and cost. among: rows that can run."""
    figure = Figure(metric.name, value, metric.direction is Direction.MAXIMIZE)
    return QualityFront(figure, nondominated([figure, *others], among))
