"""sweepwise's own strategy: a cheap spread-out start, then information per accelerator-second."""

from __future__ import annotations

import numpy as np

from planner.acquisition.information import choose_batch
from planner.acquisition.initial import initial_design
from planner.acquisition.strategy import Belief, StrategyContext, belief_of
from planner.ledger.observations import Observations
from planner.surrogates.cost import CostModel
from planner.surrogates.feasibility import probability_of_success
from planner.surrogates.model import GridModel

__all__ = ["AdaptiveStrategy"]

# A refit waits until the data has grown by this share: each run then changes little, and planning costs time.
_BATCH_SHARE = 0.12
_SMALLEST_BATCH, _LARGEST_BATCH = 4, 20


class AdaptiveStrategy:
    """Chooses in small batches; what a batch measures is believed only once the batch is done."""

    def __init__(self, context: StrategyContext) -> None:
        self.context = context
        self._queue = [int(row) for row in initial_design(context.grid, context.trajectory, context.seed)]
        self._model = GridModel(context.grid, context.trajectory)
        self._cost = CostModel(context.grid, context.accelerators)
        self._fitted: tuple[int, int] | None = None

    def propose(self, seen: Observations) -> int | None:
        """The next row of the initial design, then of the batch in hand, then of a new batch."""
        ready = self._ready(seen)
        if not ready:
            ready = self._next_batch(seen)
            self._queue = ready + self._open_rows(seen)
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
        starts = self.context.grid.engine[row] != seen.current_engine
        start = float(self._cost.start_seconds()[row] * self._cost.devices[row]) if starts else 0.0
        return float(self._cost.price(np.array([row]))[0]) + start

    def _next_batch(self, seen: Observations) -> list[int]:
        grid = self.context.grid
        rng = np.random.default_rng([self.context.seed, len(seen.runs)])
        if not seen.measured.any():
            # Nothing has told anything yet: any point will do.
            open_rows = np.setdiff1d(np.flatnonzero(~seen.known), list(seen.pending))
            return [int(rng.choice(open_rows))] if len(open_rows) else []
        self._fit(seen)
        size = int(np.clip(np.ceil(_BATCH_SHARE * len(seen.runs)), _SMALLEST_BATCH, _LARGEST_BATCH))
        success = probability_of_success(grid, seen)
        return choose_batch(self._model, self._cost, seen, success, size, rng, self._kept_engine(seen))

    def _fit(self, seen: Observations) -> None:
        state = (id(seen), len(seen.runs))
        if self._fitted != state:
            self._model.fit(seen)
            self._cost.fit(seen)
            self._fitted = state

    def _ready(self, seen: Observations) -> list[int]:
        """What of the queue may run now: only the running engine's, until its start has paid off."""
        kept = self._kept_engine(seen)
        rows = self._open_rows(seen)
        return rows if kept is None else [row for row in rows if self.context.grid.engine[row] == kept]

    def _kept_engine(self, seen: Observations) -> int | None:
        """The running engine, while fewer seconds were measured on it than its start took and it has points left.

        The ski-rental rule: leaving earlier may mean paying the start again; whatever comes later, staying as long as
        the start took costs at most twice what the best plan would have paid.
        """
        engine = seen.current_engine
        if engine is None or not seen.measured.any():
            return None
        used = 0.0
        for run in reversed(seen.runs):
            cost = run.measurement.cost
            used += cost.seconds - cost.start_s + run.planner_s
            if cost.start_s > 0:
                left = (self.context.grid.engine == engine) & ~seen.known
                left[list(seen.pending)] = False
                return engine if used < cost.start_s and left.any() else None
        return None

    def _open_rows(self, seen: Observations) -> list[int]:
        return [row for row in self._queue if not seen.known[row] and row not in seen.pending]
