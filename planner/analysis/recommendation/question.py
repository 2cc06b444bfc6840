"""The question of a recommendation, checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from planner.campaign.setup import StudySetup
from planner.space.baseline import baseline_of_option, resolved_baseline
from planner.space.question import Question
from planner.space.slo import parse_absolute_tier, parse_tier
from planner.space.types import Direction, StudyError

__all__ = ["question_of"]


def question_of(
    study: StudySetup, maximize: str | None, minimize: str | None, slo: Sequence[str] | None, confidence: float,
    per_accelerator: bool, tiers: Sequence[str] = (), share: float = 1.0, baseline: str | None = None,
) -> Question:
    """The question to a study. slo: conditions in place of the study's own. tiers: conditions whose highest loads are
    asked for; without any those of the study's boundary, else all conditions together.

    maximize or minimize: the objective; if neither is given, that of the study's decision, or else the first
    target of which more is better. Raises StudyError that names the option of `recommend`.
    """
    if maximize is not None and minimize is not None:
        raise StudyError("--minimize: stands beside --maximize; name one objective, and bound others by --slo")
    if not 0 < confidence < 1:
        raise StudyError(f"--confidence: {confidence:g} is not a probability between 0 and 1; 0.9 is usual")
    if not 0 < share <= 1:
        raise StudyError(f"--share: {share:g} is no share of the requests; write one above 0, up to 1")
    own = study.choice.question if study.choice else None
    objective = maximize or minimize or (own.objective if own else next(
        (metric.name for metric in study.metrics if metric.direction is Direction.MAXIMIZE), None))
    if objective is None:
        raise StudyError("--maximize: of no target it is said that more is better; name what to maximize or minimize")
    given = [(text, "--slo") for text in slo] if slo else [(text, f"slo[{i}]") for i, text in enumerate(study.spec.slo)]
    conditions = tuple(dict.fromkeys(one for text, key in given for one in parse_tier(text, key).conditions))
    asked = tuple(dict.fromkeys(parse_absolute_tier(text, "--tier") for text in tiers))
    if not asked:
        boundary = None if slo else study.boundary
        asked = boundary.tiers if boundary else ()
    least = minimize is not None or (maximize is None and own is not None and not own.maximise)
    base = study.baseline if baseline is None else resolved_baseline(
        baseline_of_option(baseline), study.grid, "--baseline")
    relative = next((condition for condition in conditions if condition.of_baseline), None)
    if relative is not None and not base:
        raise StudyError(f"--slo: '{relative}' needs a baseline; add --baseline axis=value, or `baseline:`")
    question = Question(objective, not least, conditions, confidence, per_accelerator, asked, share, base)
    return question if asked else replace(question, tiers=question.own_tier)
