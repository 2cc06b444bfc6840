"""Optuna's distributions of an axis: of its present values, and joined with those already recorded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    check_distribution_compatibility,
)

from planner.space.types import Axis, Scale, Value

__all__ = ["Recorded", "are_compatible", "distribution_of", "joined"]


@dataclass(frozen=True, slots=True)
class Recorded:
    """Distributions and values of one parameter in the trials of a study, each once, oldest first."""

    distributions: tuple[BaseDistribution, ...]
    values: tuple[Value, ...]


def distribution_of(axis: Axis) -> BaseDistribution:
    """The distribution of an axis that has never been recorded."""
    # Optuna has no infinite range: an axis with an infinite rate is kept as a category.
    if axis.scale is Scale.CATEGORY or math.inf in axis.values:
        return CategoricalDistribution(axis.values)
    low, high = float(min(axis.values)), float(max(axis.values))
    return _numeric(low, high, axis.scale is Scale.LOG, all(isinstance(value, int) for value in axis.values))


def joined(axis: Axis, recorded: Recorded | None) -> BaseDistribution:
    """The distribution of new trials: it holds every value of the axis. Optuna accepts it beside the recorded ones once
    those that `are_compatible` rejects are rewritten to it.

    Recorded choices keep their places and new ones follow, so that recorded indices stay valid. A numeric axis keeps
    its own range if only the range differs, which Optuna allows. If the kind changed, the more general one is used:
    floats for integers, linear for logarithmic, categories for numbers.
    """
    present = distribution_of(axis)
    if recorded is None:
        return present
    both = (*recorded.distributions, present)
    if all(isinstance(one, IntDistribution | FloatDistribution) for one in both):
        if all(are_compatible(one, present) for one in recorded.distributions):
            return present
        return _covering(both)
    choices: list[Any] = []
    for one in recorded.distributions:
        if isinstance(one, CategoricalDistribution):
            choices += [choice for choice in one.choices if choice not in choices]
    for value in (*recorded.values, *axis.values):
        choices += [value] if value not in choices else []
    return CategoricalDistribution(choices)


def are_compatible(recorded: BaseDistribution, present: BaseDistribution) -> bool:
    """Whether Optuna accepts both for one parameter in one study."""
    try:
        check_distribution_compatibility(recorded, present)
    except ValueError:
        return False
    return True


def _covering(numeric: Sequence[BaseDistribution]) -> BaseDistribution:
    ranges = [one for one in numeric if isinstance(one, IntDistribution | FloatDistribution)]
    return _numeric(float(min(one.low for one in ranges)), float(max(one.high for one in ranges)),
                    all(one.log for one in ranges), all(isinstance(one, IntDistribution) for one in ranges))


def _numeric(low: float, high: float, log: bool, integers: bool) -> BaseDistribution:
    if integers:
        return IntDistribution(int(low), int(high), log=log and low >= 1)
    return FloatDistribution(low, high, log=log and low > 0)
