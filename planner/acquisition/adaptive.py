"""sweepwise's own strategy: a cheap spread-out start, then information per accelerator-second."""

from __future__ import annotations

import numpy as np

from planner.acquisition.information import Chooser, choose_batch
from planner.acquisition.initial import initial_design
from planner.acquisition.strategy import Belief, StrategyContext, belief_of
from planner.ledger.observations import Observations
from planner.space.types import IntArray
from planner.surrogates.cost import CostModel
from planner.surrogates.feasibility import probability_of_success
from planner.surrogates.model import GridModel

__all__ = ["AdaptiveStrategy", "batch_size"]

# A refit waits until the data has grown by this share: each run then changes little, and planning costs time.
_BATCH_SHARE = 0.12
_SMALLEST_BATCH, _LARGEST_BATCH = 4, 20


class AdaptiveStrategy:
    """Chooses in small batches; what a batch measures is believed only once the batch is done.

    model, cost, initial (rows) and choose take the place of ours: a simulation asks what each part is worth.
    """

    def __init__(
        self, context: StrategyContext, *, model: GridModel | None = None, cost: CostModel | None = None,
        initial: IntArray | None = None, choose: Chooser = choose_batch,
    ) -> None:
        self.context = context
        first = initial_design(context.grid, context.trajectory, context.seed) if initial is None else initial
        self._queue = [int(row) for row in first]
        self._is_initial = True
        self._model = model or GridModel(context.grid, context.trajectory)
        self._cost = cost or CostModel(context.grid, context.accelerators)
        self._choose = choose
        self._fitted: tuple[int, int] | None = None

    def propose(self, seen: Observations) -> int | None:
        """The next row of the initial design, then of the batch in hand, then of a new batch."""
        ready = self._ready(seen)
        if not ready:
            self._queue, self._is_initial = self._next_batch(seen), False
            ready = self._queue
        return ready[0] if ready else None

    def is_due(self, seen: Observations) -> bool:
        """Where a batch is done and the next one will be planned from a new fit."""
        return bool(seen.measured.any()) and not self._ready(seen)

    def believe(self, seen: Observations) -> Belief:
        """Predictions, estimated accuracy, and what the whole sweep would have cost."""
        self._fit(seen)
        return belief_of(self._model, self._cost, seen, self.context.trajectory)

    def price(self, row: int, seen: Observations) -> float:
        """Learned price; 0 before anything is measured."""
        if not seen.measured.any():
            return 0.0
        if self._fitted is None:
            self._cost.fit(seen)
        return float(self._cost.price(np.array([row]))[0]) + self._starts(np.array([row]), seen)

    def _next_batch(self, seen: Observations) -> list[int]:
        rng = np.random.default_rng([self.context.seed, len(seen.runs)])
        if not seen.measured.any():
            # Nothing has told anything yet: any point will do.
            return [int(rng.choice(seen.open_rows))] if len(seen.open_rows) else []
        self._fit(seen)
        success = probability_of_success(self.context.grid, seen)
        return self._choose(self._model, self._cost, seen, success, batch_size(seen), rng)

    def _fit(self, seen: Observations) -> None:
        state = (id(seen), len(seen.runs))
        if self._fitted != state:
            self._model.fit(seen)
            self._cost.fit(seen)
            self._fitted = state

    def _ready(self, seen: Observations) -> list[int]:
        """What of the queue may still run.

        The initial design spreads over engines before it can know what starting one takes. Where the starts that are
        left would cost more than the runs they are for, it is given up: a batch weighs starts against what they tell.
        """
        rows = [row for row in self._queue if not seen.known[row] and row not in seen.pending]
        if self._is_initial and rows and seen.engine_starts() and seen.measured.any():
            self._cost.fit(seen)
            if self._starts(np.array(rows), seen) > float(self._cost.price(np.array(rows)).sum()):
                return [row for row in rows if self.context.grid.engine[row] == seen.current_engine]
        return rows

    def _starts(self, rows: IntArray, seen: Observations) -> float:
        """Accelerator-seconds of the engine starts that running `rows` takes."""
        engines, first = np.unique(self.context.grid.engine[rows], return_index=True)
        one = rows[first[engines != (-1 if seen.current_engine is None else seen.current_engine)]]
        return float((self._cost.start_seconds()[one] * self._cost.devices[one]).sum())


def batch_size(seen: Observations) -> int:
    """How many runs to choose from one fit."""
    return int(np.clip(np.ceil(_BATCH_SHARE * len(seen.runs)), _SMALLEST_BATCH, _LARGEST_BATCH))
