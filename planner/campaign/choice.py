"""What a study must decide: its study file's service levels, objective and workload as a question."""

from __future__ import annotations

from typing import TYPE_CHECKING

from planner.evaluation.choice import ChoiceQuestion
from planner.evaluation.mix import mixes
from planner.space.question import Question, usual_objective
from planner.space.slo import parse_tier
from planner.space.types import Direction, StudyError

if TYPE_CHECKING:
    from planner.campaign.setup import StudySetup

__all__ = ["choice_asked"]


def choice_asked(study: StudySetup) -> ChoiceQuestion | None:
    """The question of `stop.decision`; None without it. Raises StudyError."""
    probability = study.spec.stop.decision
    if probability is None:
        return None
    objective = usual_objective(study.metrics)
    if objective is None:
        raise StudyError("stop.decision: of no target it is said whether more is better; give one a `direction`, as in "
                         "{metric: score, direction: maximize}")
    conditions = tuple(dict.fromkeys(
        one for i, text in enumerate(study.spec.slo) for one in parse_tier(text, f"slo[{i}]").conditions))
    question = Question(objective.name, objective.direction is Direction.MAXIMIZE, conditions)
    for metric in question.metrics:
        if metric not in study.targets:
            raise StudyError(f"stop.decision: '{metric}' of `slo` is no target; add it to `targets`")
    return ChoiceQuestion(question, mixes(study.grid, study.workload), study.accelerators, probability)
