"""sweepwise's own strategy: an initial design that is cheap and spread out, then variance reduction for each
accelerator-second, chosen batch by batch."""

from __future__ import annotations

import copy
from functools import partial

import numpy as np

from planner.acquisition.choice_search import ChoiceChooser
from planner.acquisition.controls import control_row
from planner.acquisition.initial_design import by_engine, initial_design, spread_further
from planner.acquisition.level_set import LevelSetChooser
from planner.acquisition.variance_reduction import Chooser, choose_batch
from planner.ledger.observations import Observations
from planner.models.cost import CostModel
from planner.models.feasibility import probability_of_feasibility, rows_beyond_memory
from planner.models.grid_model import GridModel
from planner.models.prior import prior_prices, priors_suffice
from planner.space.types import IntArray, Status
from planner.strategies.settings import BATCH_SHARE, LARGEST_BATCH, PRIOR_RUNS, SMALLEST_BATCH, SUFFICIENT_SPREAD
from planner.strategies.strategy import Posterior, StrategyContext, posterior_of

__all__ = ["AdaptiveStrategy", "batch_size", "first_runs"]


class AdaptiveStrategy:
    """Plans a batch of runs at each checkpoint, from models fitted there.

    Several workers on one study plan independently, and none sees another's batch. So a batch is kept only while no
    other worker measures. Otherwise each run is chosen just before it starts, conditioned on every run that is pending
    or has ended since the fit; the models are fitted again, and a checkpoint is due, once as many runs of all workers
    have ended as a batch has.

    The objective is the study's: variance of the whole grid or, where a boundary is asked for, how many of its loads
    are misclassified, or which configuration is best. model, cost, initial (rows) and choose replace our own, for
    ablations.
    """

    def __init__(
        self, context: StrategyContext, *, model: GridModel | None = None, cost: CostModel | None = None,
        initial: IntArray | None = None, choose: Chooser | None = None,
    ) -> None:
        self.context = context
        first = first_runs(context) if initial is None else initial
        self._queue = [int(row) for row in first]
        # Rows of the queue that were measured when it was planned, and by how many runs: they are to be run again.
        self._again: dict[int, int] = {}
        # How many runs had broken at each row of the queue then, where any had: it waits for a later plan if more do.
        self._broken: dict[int, int] = {}
        self._is_initial = True
        # The number of runs that had ended when the present batch was planned, and the size of that batch.
        self._planned_at, self._size = 0, len(self._queue)
        self._model = model or GridModel(context.grid, context.trajectory, priors=context.priors)
        self._cost = cost or CostModel(context.grid, context.accelerators, priors=context.priors)
        self._choose = choose or _chooser(context)
        self._fitted: tuple[object, int] | None = None
        # Rows of controls; the drift, and the error of forecasts, when the present batch was planned.
        self._controls: set[int] = set()
        self._seen_drift = (0.0, 0.0)
        self._first_cost: tuple[tuple[object, int], CostModel] | None = None

    def propose(self, observations: Observations) -> int | None:
        """The next row of the initial design, of the present batch, or of a new batch; None if no point is left."""
        if (row := self._control(observations)) is not None:
            return row
        if self._weighs_starts(observations):
            self._cost = self._cost_at(observations)
        if self._awaits_results(observations):
            rows = self._further(observations)
        elif self._is_finished(observations):
            rows = self._plan(observations)
        elif self._is_initial or not self._is_shared(observations):
            rows = self._ready(observations)
        else:
            rows = self._chosen(observations, 1)
        return rows[0] if rows else None

    def is_due(self, observations: Observations) -> bool:
        """Whether the present batch is finished, so that the next one will be planned from a new fit."""
        return bool(observations.measured.any()) and self._is_finished(observations)

    def posterior(self, observations: Observations) -> Posterior:
        """Predictions, estimated accuracy, and the cost of the whole sweep."""
        self._fit(observations)
        return posterior_of(self._model, self._cost, observations, self.context.trajectory,
                            self.context.weights_left(observations))

    def _control(self, observations: Observations) -> int | None:
        """The row to measure again, if the machine may have changed."""
        row = control_row(observations, *self._seen_drift)
        if row is not None:
            self._controls.add(row)
        return row

    def price(self, row: int, observations: Observations) -> float:
        """Predicted accelerator-seconds of a run at `row`, engine start included; 0 before anything is measured."""
        if not observations.measured.any():
            return 0.0
        if self._fitted is None:
            self._cost = self._cost_at(observations)
        return float(self._cost.price(np.array([row]))[0]) + self._starts(self._cost, np.array([row]), observations)

    def limit_s(self, row: int, observations: Observations) -> float | None:
        """Seconds that no run at `row` takes, by the cost model of the last fit; None while too little is known."""
        return self._cost.limit_s(row)

    def _plan(self, observations: Observations) -> list[int]:
        self._is_initial, self._planned_at, self._size = False, len(observations.runs), batch_size(observations)
        if observations.measured.any():
            self._fit(observations)
            errors = [float(np.mean(found.ape)) for found in self._model.forecasts_.values() if len(found.ape)]
            self._seen_drift = (max((found.scale for _, found in self._model.drifts), default=0.0),
                                max(errors, default=0.0))
            self._queue = self._chosen(observations, 1 if observations.pending else self._size)
        else:
            # No run has succeeded yet: any point will do.
            rng = np.random.default_rng([self.context.seed, len(observations.runs)])
            self._queue = [int(rng.choice(observations.fresh_rows))] if len(observations.open_rows) else []
        self._again = {row: int(observations.run_counts[row]) for row in self._queue if observations.known[row]}
        self._broken = {row: int(observations.broken[row]) for row in self._queue if observations.broken[row]}
        return self._queue

    def _chosen(self, observations: Observations, size: int) -> list[int]:
        rng = np.random.default_rng([self.context.seed, len(observations.runs)])
        feasibility = probability_of_feasibility(self.context.grid, observations)
        return self._choose(self._model, self._cost, observations, feasibility, size, rng)

    def _fit(self, observations: Observations) -> None:
        if self._fitted != observations.version:
            self._model.fit(observations)
            self._cost.fit(observations)
            self._fitted = observations.version

    def _awaits_results(self, observations: Observations) -> bool:
        """Whether other workers have all that is left of the initial design, and too few of its runs have ended to
        learn from."""
        few = len(observations.runs) < self._size
        return self._is_initial and few and bool(observations.underway) and not self._ready(observations)

    def _further(self, observations: Observations) -> list[int]:
        """A point beyond the initial design, on the engine that is running here where starts take time."""
        left, grid = observations.open_rows, self.context.grid
        here = left[grid.engine[left] == observations.current_engine] if observations.engine_starts() else left
        if not len(left):
            return []
        taken = np.array([*np.flatnonzero(observations.known), *observations.pending])
        return [spread_further(grid, self.context.trajectory, taken, here if len(here) else left,
                               self.context.prices)]

    def _is_finished(self, observations: Observations) -> bool:
        if self._awaits_results(observations):
            return False
        if self._is_initial or not self._is_shared(observations):
            return not self._ready(observations)
        return self._fitted is None or len(observations.runs) >= self._planned_at + self._size

    def _is_shared(self, observations: Observations) -> bool:
        """Whether others measure, or have measured since the present batch was planned."""
        own = set(self._queue) | self._controls
        return bool(observations.pending) or any(
            run.measurement.status is not Status.INTERRUPTED and observations.grid.find(run.point) not in own
            for run in observations.runs[self._planned_at:])

    def _ready(self, observations: Observations) -> list[int]:
        """The rows of the queue that may still run.

        The initial design spreads over engines before the cost of a start is known. If the remaining starts would cost
        more than their runs, the design is dropped: a batch weighs starts against the variance that they reduce. On a
        served grid its order is that of spreading until a start has proved to take time.
        """
        rows = self._open(observations)
        if self._is_initial and self._knows_enough(observations):
            return []
        if self._is_initial and self.context.grid.is_served and observations.engine_starts():
            rows = by_engine(np.array(rows, dtype=np.int64), self.context.grid.engine[rows],
                             observations.current_engine)
        if rows and self._weighs_starts(observations):
            cost = self._cost_at(observations)
            if self._starts(cost, np.array(rows), observations) > float(cost.price(np.array(rows)).sum()):
                return [row for row in rows if self.context.grid.engine[row] == observations.current_engine]
        return rows

    def _knows_enough(self, observations: Observations) -> bool:
        """Whether priors make the rest of the initial design needless."""
        return (bool(self.context.priors) and len(observations.runs) >= PRIOR_RUNS
                and priors_suffice(self.context.priors, observations, SUFFICIENT_SPREAD))

    def _open(self, observations: Observations) -> list[int]:
        """The rows of the queue that have not run since it was planned, without those that will fail as others did."""
        known, counts, broken = observations.known, observations.run_counts, observations.broken
        left = [row for row in self._queue if row not in observations.pending and (
            counts[row] == self._again[row] if row in self._again
            else not known[row] and broken[row] == self._broken.get(row, 0))]
        hopeless = set(rows_beyond_memory(self.context.grid, observations, left))
        return [row for row in left if row not in hopeless]

    def _weighs_starts(self, observations: Observations) -> bool:
        return (self._is_initial and bool(observations.engine_starts()) and bool(observations.measured.any())
                and bool(self._open(observations)))

    def _cost_at(self, observations: Observations) -> CostModel:
        """A cost model fitted to `observations`, starting from our own, which stays unchanged: a question must not
        change later answers. The last one is cached."""
        if self._first_cost is None or self._first_cost[0] != observations.version:
            self._first_cost = observations.version, copy.copy(self._cost).fit(observations)
        return self._first_cost[1]

    def _starts(self, cost: CostModel, rows: IntArray, observations: Observations) -> float:
        """Accelerator-seconds of the engine starts needed to run `rows`."""
        engines, first = np.unique(self.context.grid.engine[rows], return_index=True)
        one = rows[first[engines != (-1 if observations.current_engine is None else observations.current_engine)]]
        return float((cost.start_seconds()[one] * cost.devices[one]).sum())


def _chooser(context: StrategyContext) -> Chooser:
    """Ours, for what the study asks for."""
    if context.choice is not None:
        return ChoiceChooser(context.choice)
    if context.boundary is not None:
        return LevelSetChooser(context.boundary)
    return partial(choose_batch, weights=context.weights)


def first_runs(context: StrategyContext) -> IntArray:
    """The rows to begin with: those of the baseline, if there is one, then the initial design; with priors, before it a
    few points that show how the new surface differs."""
    parts = [] if context.first is None else [context.first]
    prices = context.prices
    if context.priors:
        known = prior_prices(context.priors, context.accelerators)
        prices = prices if known is None else known
        parts.append(initial_design(context.grid, context.trajectory, context.seed, prices, PRIOR_RUNS))
    parts.append(initial_design(context.grid, context.trajectory, context.seed, prices))
    return np.array(list(dict.fromkeys(np.concatenate(parts).tolist())), dtype=np.int64)


def batch_size(observations: Observations) -> int:
    """Number of runs to choose from one fit."""
    return int(np.clip(np.ceil(BATCH_SHARE * len(observations.runs)), SMALLEST_BATCH, LARGEST_BATCH))
