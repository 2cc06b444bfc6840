"""How sure it is that the configurations named in an answer are the best ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from planner.analysis.choice_status import CaseStatus
from planner.analysis.recommendation.recommend import Recommendation
from planner.evaluation.choice import ChoiceQuestion, Named, choice_of
from planner.evaluation.settings import MOST_CASES
from planner.ledger.observations import Observations
from planner.space.question import Question
from planner.space.types import FloatArray
from planner.strategies.strategy import Posterior

__all__ = ["how_sure"]


def how_sure(
    question: Question, cases: Sequence[Recommendation], posterior: Posterior, observations: Observations,
    accelerators: FloatArray,
) -> tuple[tuple[Recommendation, ...], tuple[CaseStatus, ...]]:
    """The cases with joint draws of what they show, and with what noise hides the winner's lead over. For each, the
    probability that its winner meets every condition and is within 2 % of the best that does. Cases that are too many
    stay as they are, and nothing is said of them. accelerators: of a run of each point, (N,)."""
    if len(cases) > MOST_CASES:
        return tuple(cases), ()
    asked = ChoiceQuestion(question, tuple(case.candidates.mix for case in cases), accelerators, question.confidence)
    shown = [(case.winner, case.second, case.candidates.baseline) for case in cases]
    named = [Named(case.candidates, winner, tuple(row for row in others if row is not None))
             for case, (winner, *others) in zip(cases, shown, strict=True)]
    found = choice_of(asked, posterior.prediction, posterior.feasibility, posterior.errors, observations, named,
                      observations.targets)
    drawn = (
        replace(case, draws=found.draws, tied_with=one.runner_up if one.state == "tied" and len(case.best) else None)
        for case, one in zip(cases, found.cases, strict=True))
    return tuple(drawn), tuple(map(CaseStatus.of_case, found.cases))
