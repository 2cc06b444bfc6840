"""What is asked of a recommendation, checked."""

from __future__ import annotations

from collections.abc import Sequence

from planner.analysis.recommendation.recommend import Question
from planner.space.metrics import higher_is_better
from planner.space.slo import parse_condition
from planner.space.types import StudyError

__all__ = ["question_of"]


def question_of(
    targets: Sequence[str], maximize: str | None, minimize: str | None, slo: Sequence[str] | None,
    study_slo: Sequence[str], confidence: float, per_accelerator: bool,
) -> Question:
    """The question. maximize or minimize: the objective; the first target of which more is better where neither is
    given. slo: conditions in place of the study's own. Raises StudyError, which names the option of `recommend`."""
    if maximize is not None and minimize is not None:
        raise StudyError("--minimize: stands beside --maximize; name one objective, and bound others by --slo")
    if not 0 < confidence < 1:
        raise StudyError(f"--confidence: {confidence:g} is no probability between 0 and 1; 0.9 is usual")
    objective = maximize or minimize or next((target for target in targets if higher_is_better(target)), None)
    if objective is None:
        raise StudyError("--maximize: the study has no throughput among its targets; name what to maximize or minimize")
    given = [(text, "--slo") for text in slo] if slo else [(text, f"slo[{i}]") for i, text in enumerate(study_slo)]
    conditions = tuple(dict.fromkeys(parse_condition(text, key) for text, key in given))
    return Question(objective, minimize is None, conditions, confidence, per_accelerator)
