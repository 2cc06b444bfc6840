"""What the recording says of a choice: how much better its best configuration is than the chosen one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from planner.evaluation.choice import Case, Choice, ChoiceQuestion
from planner.evaluation.mix import Mix, together
from planner.evaluation.settings import CHOICE_TOLERANCE
from planner.space.text import point_json
from planner.space.types import FloatArray, Metric
from planner.tables.recorded_grid import RecordedGrid

__all__ = ["ChoiceTruth"]


class ChoiceTruth:
    """The recorded objective of each candidate of each case, maximised: `value`, (C,) a case; -inf where it cannot run,
    or misses a condition."""

    def __init__(self, asked: ChoiceQuestion, recorded: RecordedGrid, metrics: Sequence[Metric]) -> None:
        self._asked, self._recorded = asked, recorded
        self._metrics = {metric.name: metric for metric in metrics}
        self.value = [self._of(mix) for mix in asked.mixes]

    def regret(self, case: int, chosen: int | None) -> float:
        """By what share of the best candidate's objective the chosen one is worse; 1 where it misses a condition. None
        is the choice of none at all, which is right where none serves."""
        value = self.value[case]
        best = float(value.max())
        if not np.isfinite(best):
            return 0.0 if chosen is None else 1.0
        if chosen is None or not np.isfinite(value[chosen]):
            return 1.0
        return (best - float(value[chosen])) / abs(best)

    def to_json(self, choice: Choice) -> dict[str, Any]:
        """The choice beside the truth: the form of `decision` in `simulate --json`."""
        cases = [self._case(i, case) for i, case in enumerate(choice.cases)]
        return {"probability": choice.question.probability, "decided": choice.decided_count,
                **{state: sum(case.state == state for case in choice.cases) for state in ("narrowed", "tied")},
                "right": sum(case["right"] for case in cases), "of": len(cases), "cases": cases}

    def _case(self, number: int, case: Case) -> dict[str, Any]:
        grid, parts = case.mix.grid, case.mix.given
        named = None if case.none else case.chosen
        regret = self.regret(number, named)
        return {
            "given": point_json(parts[0]) if len(parts) == 1 else {},
            "chosen": None if named is None else point_json(grid.point(named)),
            "runner_up": None if case.runner_up is None else point_json(grid.point(case.runner_up)),
            "state": case.state, "probability": case.probability, "regret": regret,
            "right": regret <= CHOICE_TOLERANCE,
            "among": [point_json(grid.point(one)) for one in case.among.tolist()],
            "among_right": any(self.regret(number, one) <= CHOICE_TOLERANCE for one in [named, *case.among.tolist()])}

    def _of(self, mix: Mix) -> FloatArray:
        question = self._asked.question
        rows = np.maximum(mix.rows, 0)
        parts = {name: self._recorded.truth(name)[rows].T for name in question.metrics}
        value = together(mix, self._metrics[question.objective], parts[question.objective])
        served = np.ones(parts[question.objective].shape, dtype=bool)
        for condition in question.conditions:
            x = parts[condition.metric]
            served &= (x <= condition.bound if condition.is_upper else x >= condition.bound) | np.isnan(x)
        there = mix.is_whole & np.isfinite(value) & (mix.weights @ served >= question.share - 1e-9)
        return np.where(there, value if question.maximise else -value, -np.inf)
