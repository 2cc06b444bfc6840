"""The question of a recommendation, checked."""

from __future__ import annotations

from collections.abc import Sequence

from planner.analysis.recommendation.recommend import Question
from planner.space.slo import parse_condition
from planner.space.types import Direction, Metric, StudyError

__all__ = ["question_of"]


def question_of(
    metrics: Sequence[Metric], maximize: str | None, minimize: str | None, slo: Sequence[str] | None,
    study_slo: Sequence[str], confidence: float, per_accelerator: bool,
) -> Question:
    """The question. metrics: the study's targets. slo: conditions in place of the study's own.

    maximize or minimize: the objective; if neither is given, the first target of which higher is better. Raises
    StudyError that names the option of `recommend`.
    """
    if maximize is not None and minimize is not None:
        raise StudyError("--minimize: stands beside --maximize; name one objective, and bound others by --slo")
    if not 0 < confidence < 1:
        raise StudyError(f"--confidence: {confidence:g} is not a probability between 0 and 1; 0.9 is usual")
    objective = maximize or minimize or next(
        (metric.name for metric in metrics if metric.direction is Direction.MAXIMIZE), None)
    if objective is None:
        raise StudyError("--maximize: of no target it is said that more is better; name what to maximize or minimize")
    given = [(text, "--slo") for text in slo] if slo else [(text, f"slo[{i}]") for i, text in enumerate(study_slo)]
    conditions = tuple(dict.fromkeys(parse_condition(text, key) for text, key in given))
    return Question(objective, minimize is None, conditions, confidence, per_accelerator)
