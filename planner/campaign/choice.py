"""What a study must decide: its service levels, objective and workload as a question."""

from __future__ import annotations

from planner.evaluation.choice import ChoiceQuestion
from planner.evaluation.mix import mixes
from planner.evaluation.settings import MOST_CASES
from planner.space.grid import Grid
from planner.space.question import Question, usual_objective
from planner.space.slo import parse_tier
from planner.space.spec import StudySpec
from planner.space.types import Direction, FloatArray, StudyError
from planner.tables.workload import PlacedWorkload

__all__ = ["choice_asked"]


def choice_asked(
    spec: StudySpec, grid: Grid, workload: PlacedWorkload | None, accelerators: FloatArray
) -> ChoiceQuestion | None:
    """The question of `stop.decision`; None without it. accelerators: of a run of each point, (N,). Raises StudyError.
    """
    probability = spec.stop.decision
    if probability is None:
        return None
    objective = usual_objective(spec.metrics)
    if objective is None:
        raise StudyError("stop.decision: of no target it is said whether more is better; give one a `direction`, as in "
                         "{metric: score, direction: maximize}")
    conditions = tuple(dict.fromkeys(
        one for i, text in enumerate(spec.slo) for one in parse_tier(text, f"slo[{i}]").conditions))
    relative = next((condition for condition in conditions if condition.of_baseline), None)
    if relative is not None:
        raise StudyError(f"stop.decision: '{relative}' of `slo` is relative to the baseline; write a number")
    question = Question(objective.name, objective.direction is Direction.MAXIMIZE, conditions)
    targets = [metric.name for metric in spec.metrics]
    for name in question.metrics:
        if name not in targets:
            raise StudyError(f"stop.decision: '{name}' of `slo` is no target; add it to `targets`")
    cases = mixes(grid, workload)
    if len(cases) > MOST_CASES:
        raise StudyError(f"stop.decision: the grid has {len(cases):,} combinations of given values, and {MOST_CASES} "
                         "are decided at most; say by `workload` which requests count")
    return ChoiceQuestion(question, cases, accelerators, probability, spec.stop.shortlist)
