"""The question of a recommendation, checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from planner.campaign.setup import StudySetup
from planner.space.question import Question, usual_objective
from planner.space.slo import parse_tier
from planner.space.types import Direction, StudyError

__all__ = ["question_of"]


def question_of(
    study: StudySetup, maximize: str | None, minimize: str | None, slo: Sequence[str] | None, confidence: float,
    per_accelerator: bool, tiers: Sequence[str] = (), share: float = 1.0,
) -> Question:
    """The question to a study. slo: conditions in place of the study's own. tiers: conditions whose highest loads are
    asked for; without any those of the study's boundary, else all conditions together.

    maximize or minimize: the objective; if neither is given, the first target of which more is better, or else the
    first of which less is. Raises StudyError that names the option of `recommend`.
    """
    if maximize is not None and minimize is not None:
        raise StudyError("--minimize: stands beside --maximize; name one objective, and bound others by --slo")
    if not 0 < confidence < 1:
        raise StudyError(f"--confidence: {confidence:g} is not a probability between 0 and 1; 0.9 is usual")
    if not 0 < share <= 1:
        raise StudyError(f"--share: {share:g} is no share of the requests; write one above 0, up to 1")
    usual = usual_objective(study.metrics)
    objective = maximize or minimize or (usual.name if usual else None)
    if objective is None:
        raise StudyError("--maximize: of no target it is said that more is better; name what to maximize or minimize")
    given = [(text, "--slo") for text in slo] if slo else [(text, f"slo[{i}]") for i, text in enumerate(study.spec.slo)]
    conditions = tuple(dict.fromkeys(one for text, key in given for one in parse_tier(text, key).conditions))
    asked = tuple(dict.fromkeys(parse_tier(text, "--tier") for text in tiers))
    if not asked:
        boundary = None if slo else study.boundary
        asked = boundary.tiers if boundary else ()
    least = minimize is not None or (maximize is None and usual is not None and usual.direction is Direction.MINIMIZE)
    question = Question(objective, not least, conditions, confidence, per_accelerator, asked, share)
    return question if asked else replace(question, tiers=question.own_tier)
