"""Release to release: the fewest accelerator-seconds that say where a new version differs from an old one.

A few cheap runs that spread out first, then batches where it is least decided what has changed; a finding is confirmed
by more runs before it counts. It ends by itself. What it predicts is what our own strategy predicts from these runs.
"""

from __future__ import annotations

import numpy as np

from planner.acquisition.change_search import confirmation, search_batch
from planner.acquisition.controls import control_row
from planner.evaluation.change import Change, change_models, change_of
from planner.evaluation.change_model import ChangeModel
from planner.ledger.observations import Observations
from planner.models.cost import CostModel
from planner.models.feasibility import probability_of_feasibility
from planner.strategies.adaptive import AdaptiveStrategy, batch_size, first_runs
from planner.strategies.strategy import Posterior, StrategyContext

__all__ = ["DifferenceStrategy"]


class DifferenceStrategy:
    """Strategy of a study that asks for a difference. The context has a prior and a question. cost: replaces our own,
    for simulations."""

    def __init__(self, context: StrategyContext, cost: CostModel | None = None) -> None:
        assert context.difference is not None
        self.context, self._question = context, context.difference
        self._inner = AdaptiveStrategy(context)
        self._cost = cost or CostModel(context.grid, context.accelerators, priors=context.priors)
        self._first = [int(row) for row in first_runs(context)]
        self._queue: list[int] = []
        self._counts = np.zeros(len(context.grid), dtype=np.int64)  # runs of each point when the queue was planned
        self._fitted: tuple[object, int] | None = None
        self._models: dict[str, ChangeModel] = {}
        self._answer: Change | None = None

    def propose(self, observations: Observations) -> int | None:
        """The next row; None once it is known what has changed."""
        begin = [row for row in self._first if not observations.known[row] and not observations.broken[row]
                 and row not in observations.pending]
        if begin:
            return begin[0]
        if (row := self._control(observations)) is not None:
            return row
        rows = self._ready(observations)
        if not rows:
            rows = self._queue = self._plan(observations)
            self._counts = observations.run_counts.copy()
        return rows[0] if rows else None

    def conclusion(self, observations: Observations) -> str | None:
        """"difference" once it is known what has changed, or more runs would not tell more."""
        return None if self.change(observations) is None else "difference"

    def change(self, observations: Observations) -> Change | None:
        """What may be said from the observations; None before anything is measured."""
        if self._fitted != observations.version:
            self._models = change_models(self.context.priors, observations, self.context.trajectory, self._question)
            self._answer = change_of(self._models, observations, self._question, probability_of_feasibility(
                self.context.grid, observations)) if self._models else None
            self._cost.fit(observations)
            self._fitted = observations.version
        return self._answer

    def is_due(self, observations: Observations) -> bool:
        """Whether the present batch is finished."""
        return bool(observations.measured.any()) and not self._ready(observations)

    def posterior(self, observations: Observations) -> Posterior:
        """As our own strategy has it."""
        return self._inner.posterior(observations)

    def price(self, row: int, observations: Observations) -> float:
        """Predicted accelerator-seconds of a run at `row`, engine start included; 0 before anything is measured."""
        if not self._models:
            return 0.0
        start = 0.0 if self.context.grid.engine[row] == observations.current_engine else float(
            self._cost.start_seconds()[row] * self._cost.devices[row])
        return float(self._cost.price(np.array([row]))[0]) + start

    def limit_s(self, row: int, observations: Observations) -> float | None:
        """Seconds that no run at `row` takes, by the cost model of the last fit; None while too little is known."""
        return self._cost.limit_s(row) if self._models else None

    def _plan(self, observations: Observations) -> list[int]:
        change = self.change(observations)
        if change is None:
            rng = np.random.default_rng([self.context.seed, len(observations.runs)])
            left = observations.fresh_rows
            return [int(rng.choice(left))] if len(observations.open_rows) else []
        if (row := confirmation(change, self._cost, observations)) is not None:
            return [row]
        if change.is_known:
            return []
        rng = np.random.default_rng([self.context.seed, len(observations.runs)])
        feasibility = probability_of_feasibility(self.context.grid, observations)
        size = 1 if observations.pending else batch_size(observations)
        return search_batch(self._models, change, self._cost, observations, feasibility, size, rng)

    def _ready(self, observations: Observations) -> list[int]:
        """The rows of the queue that have not run since it was planned."""
        return [row for row in self._queue if observations.run_counts[row] == self._counts[row]
                and row not in observations.pending and not observations.failed[row]]

    def _control(self, observations: Observations) -> int | None:
        """A row to measure again, if the machine may have changed."""
        if not self._models:
            return None
        drift = max(model.drift_scale for model in self._models.values())
        return control_row(observations, drift, self._question.log)
