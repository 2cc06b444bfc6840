"""Service levels of the study file as Optuna constraints, so that a trial that misses one is shown as infeasible."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from planner.space.slo import Condition, parse_condition
from planner.space.spec import parse_spec
from planner.space.types import StudyError

__all__ = ["conditions_of", "violations"]


def conditions_of(study_file: str) -> tuple[Condition, ...]:
    """The service levels in the text of a study file; empty if the text is no longer valid."""
    try:
        return tuple(condition for text in parse_spec(study_file).slo
                     if not (condition := parse_condition(text, "slo")).of_baseline)
    except StudyError:
        return ()


def violations(conditions: Sequence[Condition], metrics: Mapping[str, tuple[float, ...]]) -> list[float]:
    """The violation of each condition in the metric's unit: above 0 if missed, 0 or less if met. Conditions on metrics
    that the run did not give are left out."""
    missed = []
    for condition in conditions:
        if repeats := metrics.get(condition.metric):
            excess = statistics.median(repeats) - condition.bound
            missed.append(excess if condition.is_upper else -excess)
    return missed
