"""What separates the winner of a decision from another candidate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from planner.analysis.recommendation.recommend import Recommendation
from planner.evaluation.metric_posterior import MetricPosterior
from planner.space.types import Value

__all__ = ["Gap", "Separation", "separation"]


@dataclass(frozen=True, slots=True)
class Gap:
    """How much more (less, where negative) of a metric the other candidate has than the winner, with the ends of the
    90 % interval: as a share of the winner's or, of a metric that has no ratio, as a difference."""

    metric: str
    more: float
    low: float
    high: float
    is_share: bool = True

    @property
    def is_sure(self) -> bool:
        """Whether the interval excludes that both are equal."""
        return not self.low <= 0 <= self.high


@dataclass(frozen=True, slots=True)
class Separation:
    """settings: the chosen axes on which they differ, with the other's values. gaps: of each metric, the
    objective first."""

    settings: Mapping[str, Value]
    gaps: tuple[Gap, ...]


def separation(answer: Recommendation, winner: int, other: int) -> Separation:
    """What separates `other` from `winner`. Errors of the two count as independent, so that intervals are rather too
    wide."""
    here, there = answer.grid.point(winner), answer.grid.point(other)
    names = dict.fromkeys((*answer.question.metrics, *answer.known))
    return Separation({name: value for name, value in there.items() if value != here[name]},
                      tuple(_gap(answer, name, winner, other) for name in names))


def _gap(answer: Recommendation, metric: str, winner: int, other: int) -> Gap:
    ratio = answer.ratio(metric, other, winner)
    if ratio is not None:
        return Gap(metric, *(end - 1 for end in ratio))
    value, low, high = _triple(answer.known[metric], other)
    own, own_low, own_high = _triple(answer.known[metric], winner)
    middle = value - own
    return Gap(metric, middle, middle - math.hypot(value - low, own_high - own),
               middle + math.hypot(high - value, own - own_low), is_share=False)


def _triple(known: MetricPosterior, row: int) -> tuple[float, float, float]:
    low, high = known.interval
    return float(known.value[row]), float(low[row]), float(high[row])
