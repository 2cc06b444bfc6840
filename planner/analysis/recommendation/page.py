"""The content of the page that shows a decision: page, Markdown, picture and JSON are forms of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from planner.analysis.recommendation.decision import Decision
from planner.analysis.recommendation.recommend import Recommendation
from planner.analysis.recommendation.separation import Separation, separation
from planner.analysis.recommendation.tradeoff import Tradeoff, tradeoff_of
from planner.campaign.setup import StudySetup
from planner.ledger.observations import Observations

__all__ = ["DecisionPage", "Surer", "decision_page"]


@dataclass(frozen=True, slots=True)
class Surer:
    """The expected cost of measuring the winner and its closest competitor: runs, accelerator-seconds, money where a
    price is known."""

    runs: int
    cost_s: float
    money: float | None


@dataclass(frozen=True, eq=False)
class DecisionPage:
    """A decision, and what a page says besides. surer: None where no run is worth it."""

    decision: Decision
    study: StudySetup
    observations: Observations
    surer: Surer | None

    @property
    def answer(self) -> Recommendation | None:
        """The one case that has a winner; None if there are several, or nothing can be said."""
        only = self.decision.only
        return None if only is None or only.winner is None else only

    @cached_property
    def tradeoff(self) -> Tradeoff | None:
        """Cost against interactivity; None without one answer, or two figures to draw."""
        answer = self.answer
        if answer is None:
            return None
        return tradeoff_of(answer, {name: self.observations.metric(name) for name in answer.known})

    @property
    def marked(self) -> dict[str, int]:
        """What the page shows of the one answer: name → row, each row once. The first is the best one; where none meets
        every condition, the most probable one."""
        answer = self.answer
        if answer is None:
            return {}
        first = "best" if len(answer.best) else "most probable"
        rows = {first: answer.winner, "runner-up": answer.second, "baseline": answer.candidates.baseline}
        named: dict[str, int] = {}
        for name, row in rows.items():
            if row is not None and row not in named.values():
                named[name] = row
        return named

    def separation(self, name: str) -> Separation | None:
        """What separates one of `marked` from the best; None where it is not marked."""
        if self.answer is None or self.answer.winner is None or name not in self.marked:
            return None
        return separation(self.answer, self.answer.winner, self.marked[name])


def decision_page(study: StudySetup, decision: Decision, observations: Observations) -> DecisionPage:
    """The page of a decision. observations: of the metrics that the decision knows."""
    return DecisionPage(decision, study, observations, _surer(study, decision, observations))


def _surer(study: StudySetup, decision: Decision, observations: Observations) -> Surer | None:
    rows = decision.to_measure
    if not rows:
        return None
    strategy = study.strategy("sweepwise")
    seconds = sum(strategy.price(row, observations) for row in rows)
    price = study.spec.hourly_price
    return Surer(len(rows), seconds, None if price is None else seconds / 3600 * price)
