"""A simulation's record scored against the truth, after so many of its runs.

The truth is used here only, after the workers have ended. Where the machine changes in the simulation, the truth is
that of the machine as it is when the scored runs have ended.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from planner.evaluation.accuracy import score
from planner.evaluation.estimate import Estimate
from planner.ledger.observations import Observations
from planner.simulation.replay import Replay
from planner.simulation.workers import SharedRecord
from planner.space.metrics import time_power
from planner.strategies.strategy import Posterior, Strategy

__all__ = ["Scorer"]


@dataclass
class Scorer:
    """Scores of the first so many runs, by target. strategy: makes a new one, for its posterior. tells_time: whether an
    entry says when these runs had ended, and what starting engines cost."""

    replay: Replay
    record: SharedRecord
    strategy: Callable[[], Strategy]
    tells_time: bool = False
    _found: dict[int, dict[str, dict[str, Any]]] = field(default_factory=dict)

    def at(self, share: float, target: str) -> dict[str, Any]:
        """The entry of the last state whose cost was within this share of the full cost."""
        costs = np.cumsum([charge.cost for charge in self.record.charges])
        runs = int(np.searchsorted(costs, share * self.replay.full_cost * (1 + 1e-12), side="right"))
        return {"cost_fraction": share, "cost_actual": self._share(self.record.cost(runs)),
                **self._spent(runs), **self._scored(runs, target)}

    def stop(self, runs: int, posterior: Posterior | None, reason: str | None, target: str) -> dict[str, Any]:
        """The entry of a stop after so many runs. posterior: of these, if there is one."""
        found = self._scored(runs, target) if posterior is None else self._scores(posterior, runs)[target]
        return {"cost_fraction": self._share(self.record.cost(runs)), **self._spent(runs), **found, "reason": reason}

    def _scored(self, runs: int, target: str) -> dict[str, Any]:
        if runs not in self._found:
            observations = self.record.first(runs)
            any_measured = bool(observations.measured.any())
            self._found[runs] = (
                self._scores(self.strategy().posterior(observations), runs) if any_measured else {})
        return self._found[runs].get(target, {**_UNDEFINED, "measured": 0, "runs": runs})

    def _scores(self, posterior: Posterior, runs: int) -> dict[str, dict[str, Any]]:
        seen, speed = self.record.first(runs), self.record.last(runs).slowdown
        return {target: self._scores_of(target, posterior, seen, speed) for target in self.replay.targets}

    def _scores_of(self, target: str, posterior: Posterior, seen: Observations, speed: float) -> dict[str, Any]:
        truth = self.replay.recorded.truth(target) * speed ** time_power(seen.metric(target))
        prediction = posterior.prediction
        found = score(truth, prediction.value[target], (prediction.low[target], prediction.high[target]),
                      seen.column(target), seen.known, seen.metric(target), posterior.weights)
        return {
            "accuracy": found.accuracy, "median_ape": found.median_ape, "p95_ape": found.p95_ape,
            "accuracy_all": found.accuracy_all, "coverage90": found.coverage90,
            "rank_correlation": found.rank_correlation, "top1_regret": found.top1_regret,
            **({} if posterior.weights is None else {"unweighted_accuracy": found.unweighted}),
            **_estimated(posterior.accuracy.get(target)), "measured": int(seen.measured.sum()),
            "runs": len(seen.runs),
        }

    def _spent(self, runs: int) -> dict[str, float]:
        if not self.tells_time:
            return {}
        return {"wall_s": self.record.last(runs).ends_s if runs else 0.0,
                "starts_fraction": self._share(self.record.start_cost(runs))}

    def _share(self, cost: float) -> float:
        return cost / self.replay.full_cost


def _estimated(estimate: Estimate | None) -> dict[str, float | None]:
    return {
        "estimated_accuracy": estimate.estimated if estimate else None,
        "estimated_low": estimate.low if estimate else None, "estimated_high": estimate.high if estimate else None,
    }


_UNDEFINED = dict.fromkeys((
    "accuracy", "median_ape", "p95_ape", "accuracy_all", "coverage90", "rank_correlation", "top1_regret",
    "estimated_accuracy", "estimated_low", "estimated_high"))
