"""What separates the winner of a decision from another candidate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from planner.analysis.recommendation.fronts import TOKENS
from planner.analysis.recommendation.recommend import Recommendation
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
    """settings: the chosen axes on which they differ, with the other's values. gaps: the objective's, that
    of cost where accelerators differ, and those of all other metrics."""

    settings: Mapping[str, Value]
    gaps: tuple[Gap, ...]


def separation(answer: Recommendation, winner: int, other: int) -> Separation:
    """What separates `other` from `winner`, in every metric that both have. Intervals are those of
    planner.evaluation.apart."""
    here, there = answer.grid.point(winner), answer.grid.point(other)
    names = dict.fromkeys((*answer.question.metrics, *answer.known))
    both = (name for name in names if np.isfinite(answer.known[name].mean[[winner, other]]).all())
    gaps = [_gap(answer, name, winner, other) for name in both]
    return Separation({name: value for name, value in there.items() if value != here[name]},
                      (gaps[0], *_economy(answer, winner, other), *gaps[1:]))


def _economy(answer: Recommendation, winner: int, other: int) -> Iterator[Gap]:
    """What tokens cost, or what an accelerator gives, where the two occupy different numbers of accelerators: else that
    is the throughput's gap once more."""
    devices = float(answer.accelerators[other] / answer.accelerators[winner])
    found = answer.ratio(TOKENS, other, winner) if TOKENS in answer.known else None
    if found is None or devices == 1:
        return
    value, low, high = (end / devices for end in found)
    if answer.price is None:
        yield Gap("tokens/s per accelerator", value - 1, low - 1, high - 1)
    else:
        yield Gap("cost of a million output tokens", 1 / value - 1, 1 / high - 1, 1 / low - 1)


def _gap(answer: Recommendation, metric: str, winner: int, other: int) -> Gap:
    ratio = answer.ratio(metric, other, winner)
    if ratio is None:
        return Gap(metric, *answer.difference(metric, other, winner), is_share=False)
    middle, low, high = ratio
    return Gap(metric, middle - 1, low - 1, high - 1)
