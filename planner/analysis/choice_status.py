"""What is known of the choice that a study is asked for, case by case."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from planner.evaluation.choice import Case, Choice
from planner.evaluation.choice_case import CaseState
from planner.evaluation.settings import CHOICE_TOLERANCE
from planner.space.text import point_json
from planner.space.types import Point

__all__ = ["TOLERANCE", "CaseStatus", "ChoiceStatus"]

TOLERANCE: Final = CHOICE_TOLERANCE
"""The share of the objective by which the best may be better."""


@dataclass(frozen=True, slots=True)
class CaseStatus:
    """One case. given: its given values, empty for a workload of several parts. chosen, runner_up: chosen values; None
    where there is none. among: those of which one is as good as the best, with the probability asked for. The others:
    as in planner.evaluation.choice."""

    given: Point
    chosen: Point | None
    runner_up: Point | None
    none: bool
    probability: float
    regret: float
    ahead: tuple[float, float, float]
    runs: int | None
    state: CaseState
    among: tuple[Point, ...] = ()

    @classmethod
    def of_case(cls, case: Case) -> CaseStatus:
        """That of a case."""
        parts, grid = case.mix.given, case.mix.grid
        return cls(
            parts[0] if len(parts) == 1 else {}, None if case.chosen is None else grid.point(case.chosen),
            None if case.runner_up is None else grid.point(case.runner_up), case.none, case.probability, case.regret,
            case.ahead, case.runs, case.state, tuple(grid.point(one) for one in case.among.tolist()))

    def to_json(self) -> dict[str, Any]:
        """Its form in JSON; shares, not percentages."""
        middle, low, high = self.ahead
        return {
            "given": point_json(self.given), "chosen": None if self.chosen is None else point_json(self.chosen),
            "probability": self.probability, "none_meets": self.none, "regret": self.regret, "state": self.state,
            "runner_up": None if self.runner_up is None else {
                "point": point_json(self.runner_up), "ahead": middle, "low": low, "high": high},
            "runs_to_tell": self.runs, "among": [point_json(point) for point in self.among]}


@dataclass(frozen=True, slots=True)
class ChoiceStatus:
    """asked: the probability with which each case is to be decided. cases: in the order of the axes."""

    asked: float
    cases: tuple[CaseStatus, ...]

    @classmethod
    def of_choice(cls, choice: Choice) -> ChoiceStatus:
        """That of a choice."""
        return cls(choice.question.probability, tuple(map(CaseStatus.of_case, choice.cases)))

    def count(self, state: str) -> int:
        """Number of cases in a state."""
        return sum(case.state == state for case in self.cases)

    def to_json(self) -> dict[str, Any]:
        """The form of `status --json`."""
        counts = {state: self.count(state) for state in ("decided", "narrowed", "tied")}
        return {"probability": self.asked, "tolerance": TOLERANCE, **counts, "of": len(self.cases),
                "cases": [case.to_json() for case in self.cases]}
