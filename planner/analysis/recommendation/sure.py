"""How sure it is that the configurations named in an answer are the best ones."""

from __future__ import annotations

from collections.abc import Sequence

from planner.analysis.choice_status import CaseStatus
from planner.analysis.recommendation.recommend import Recommendation
from planner.evaluation.choice import ChoiceQuestion, choice_of
from planner.evaluation.settings import MOST_CASES
from planner.ledger.observations import Observations
from planner.space.question import Question
from planner.space.types import FloatArray
from planner.strategies.strategy import Posterior

__all__ = ["how_sure"]


def how_sure(
    question: Question, cases: Sequence[Recommendation], posterior: Posterior, observations: Observations,
    accelerators: FloatArray,
) -> tuple[CaseStatus, ...]:
    """For each case: the probability that its winner meets every condition and is within 2 % of the best that does, and
    its closest competitor. Empty where the cases are too many. accelerators: of a run of each point, (N,)."""
    if len(cases) > MOST_CASES:
        return ()
    asked = ChoiceQuestion(question, tuple(case.candidates.mix for case in cases), accelerators, question.confidence)
    found = choice_of(asked, posterior.prediction, posterior.feasibility, posterior.errors, observations,
                      [(case.candidates, case.winner) for case in cases])
    return tuple(map(CaseStatus.of_case, found.cases))
