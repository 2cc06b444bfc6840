"""sweepwise's own strategy: a cheap spread-out start, then information per accelerator-second."""

from __future__ import annotations

import numpy as np

from planner.acquisition.initial_design import initial_design
from planner.acquisition.variance_reduction import Chooser, choose_batch
from planner.ledger.observations import Observations
from planner.models.cost import CostModel
from planner.models.feasibility import probability_of_feasibility
from planner.models.grid_model import GridModel
from planner.space.types import IntArray
from planner.strategies.settings import BATCH_SHARE, LARGEST_BATCH, SMALLEST_BATCH
from planner.strategies.strategy import Posterior, StrategyContext, posterior_of

__all__ = ["AdaptiveStrategy", "batch_size"]


class AdaptiveStrategy:
    """Chooses in small batches; what a batch measures is believed only once the batch is done.

    model, cost, initial (rows) and choose take the place of ours: a simulation asks what each part is worth.
    """

    def __init__(
        self, context: StrategyContext, *, model: GridModel | None = None, cost: CostModel | None = None,
        initial: IntArray | None = None, choose: Chooser = choose_batch,
    ) -> None:
        self.context = context
        first = initial_design(
            context.grid, context.trajectory, context.seed, context.prices) if initial is None else initial
        self._queue = [int(row) for row in first]
        self._is_initial = True
        self._model = model or GridModel(context.grid, context.trajectory)
        self._cost = cost or CostModel(context.grid, context.accelerators)
        self._choose = choose
        self._fitted: tuple[int, int] | None = None

    def propose(self, observations: Observations) -> int | None:
        """The next row of the initial design, then of the batch in hand, then of a new batch."""
        ready = self._ready(observations)
        if not ready:
            self._queue, self._is_initial = self._next_batch(observations), False
            ready = self._queue
        return ready[0] if ready else None

    def is_due(self, observations: Observations) -> bool:
        """Where a batch is done and the next one will be planned from a new fit."""
        return bool(observations.measured.any()) and not self._ready(observations)

    def posterior(self, observations: Observations) -> Posterior:
        """Predictions, estimated accuracy, and what the whole sweep would have cost."""
        self._fit(observations)
        return posterior_of(self._model, self._cost, observations, self.context.trajectory)

    def price(self, row: int, observations: Observations) -> float:
        """Learned price; 0 before anything is measured."""
        if not observations.measured.any():
            return 0.0
        if self._fitted is None:
            self._cost.fit(observations)
        return float(self._cost.price(np.array([row]))[0]) + self._starts(np.array([row]), observations)

    def _next_batch(self, observations: Observations) -> list[int]:
        rng = np.random.default_rng([self.context.seed, len(observations.runs)])
        if not observations.measured.any():
            # Nothing has told anything yet: any point will do.
            return [int(rng.choice(observations.open_rows))] if len(observations.open_rows) else []
        self._fit(observations)
        feasibility = probability_of_feasibility(self.context.grid, observations)
        return self._choose(self._model, self._cost, observations, feasibility, batch_size(observations), rng)

    def _fit(self, observations: Observations) -> None:
        state = (id(observations), len(observations.runs))
        if self._fitted != state:
            self._model.fit(observations)
            self._cost.fit(observations)
            self._fitted = state

    def _ready(self, observations: Observations) -> list[int]:
        """What of the queue may still run.

        The initial design spreads over engines before it can know what starting one takes. Where the starts that are
        left would cost more than the runs they are for, it is given up: a batch weighs starts against what they tell.
        """
        rows = [row for row in self._queue if not observations.known[row] and row not in observations.pending]
        if self._is_initial and rows and observations.engine_starts() and observations.measured.any():
            self._cost.fit(observations)
            if self._starts(np.array(rows), observations) > float(self._cost.price(np.array(rows)).sum()):
                return [row for row in rows if self.context.grid.engine[row] == observations.current_engine]
        return rows

    def _starts(self, rows: IntArray, observations: Observations) -> float:
        """Accelerator-seconds of the engine starts that running `rows` takes."""
        engines, first = np.unique(self.context.grid.engine[rows], return_index=True)
        one = rows[first[engines != (-1 if observations.current_engine is None else observations.current_engine)]]
        return float((self._cost.start_seconds()[one] * self._cost.devices[one]).sum())


def batch_size(observations: Observations) -> int:
    """How many runs to choose from one fit."""
    return int(np.clip(np.ceil(BATCH_SHARE * len(observations.runs)), SMALLEST_BATCH, LARGEST_BATCH))
