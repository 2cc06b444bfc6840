"""Baselines whose runs are fixed beforehand: random, Latin hypercube, powers of two, all points."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

import numpy as np
from scipy.stats import qmc

from planner.acquisition.initial_design import spread_out
from planner.ledger.observations import Observations
from planner.models.cost import CostModel
from planner.models.feasibility import probability_of_feasibility
from planner.models.forest import ForestRegressor
from planner.models.grid_model import GridModel, Prediction
from planner.models.interpolation import interpolate
from planner.models.matern import MaternRegressor
from planner.space.grid import Grid
from planner.space.types import FloatArray, IntArray, Role, StudyError
from planner.strategies.settings import CHECKPOINT_SHARE, LHS_POINTS
from planner.strategies.strategy import Posterior, StrategyContext, posterior_of, sweeps

__all__ = ["FixedDesign", "GridPosterior", "PowersOfTwo", "RuleOfThumb", "forest_model", "full_design",
           "latin_hypercube", "lhs_design", "maxmin_matern_design", "random_design", "random_forest_design", "shuffled"]


class GridPosterior:
    """The predicting half of a strategy, with `GridModel` and `CostModel`; subclasses propose."""

    def __init__(self, context: StrategyContext, model: GridModel | None = None) -> None:
        self.context = context
        self._model = model or GridModel(context.grid, context.trajectory)
        self._cost = CostModel(context.grid, context.accelerators)
        self._runs_at_checkpoint = 0

    def posterior(self, observations: Observations) -> Posterior:
        """The model's posterior."""
        self._runs_at_checkpoint = len(observations.runs)
        self._model.fit(observations)
        self._cost.fit(observations)
        return posterior_of(self._model, self._cost, observations, self.context.trajectory,
                            self.context.weights_left(observations))

    def is_due(self, observations: Observations) -> bool:
        """Whether the runs have grown by an eighth since the last posterior."""
        last = self._runs_at_checkpoint
        grown = not last or len(observations.runs) >= last + max(1, math.ceil(CHECKPOINT_SHARE * last))
        return grown and bool(observations.measured.any())

    def price(self, row: int, observations: Observations) -> float:
        """0: baselines that choose without prices do not learn them."""
        return 0.0

    def limit_s(self, row: int, observations: Observations) -> float | None:
        """Seconds that no run at `row` takes, by the cost model of the last posterior; None while too little is
        known."""
        return self._cost.limit_s(row)


class FixedDesign(GridPosterior):
    """Runs a list of rows in order."""

    def __init__(self, context: StrategyContext, rows: IntArray, model: GridModel | None = None) -> None:
        super().__init__(context, model)
        self._rows = rows.tolist()
        self._next = 0

    def propose(self, observations: Observations) -> int | None:
        """The first row of the list that is neither known nor pending, those last at which a run has crashed."""
        known = observations.known
        while self._next < len(self._rows) and known[self._rows[self._next]]:
            self._next += 1
        # A pending row is skipped only for now: the process that measures it may die.
        rest = (self._rows[i] for i in range(self._next, len(self._rows)))
        ready = (row for row in rest if not known[row] and row not in observations.pending)
        broken = observations.broken
        first = next(ready, None)
        return first if first is None or not broken[first] else next((row for row in ready if not broken[row]), first)


class RuleOfThumb(FixedDesign):
    """Runs a list of rows in order, and predicts by a rule that gives values alone."""

    def is_due(self, observations: Observations) -> bool:
        """False: such a rule has no estimate of its accuracy."""
        return False

    def _bare(self, values: Mapping[str, FloatArray], observations: Observations) -> Posterior:
        """The posterior with these values of each target, (N,), without intervals or an estimated accuracy."""
        nothing = {target: np.full(len(observations.grid), np.nan) for target in values}
        self._cost.fit(observations)
        return Posterior(
            Prediction(values, nothing, nothing, nothing), dict.fromkeys(values),
            probability_of_feasibility(observations.grid, observations), *sweeps(self._cost, self.context.trajectory),
            weights=self.context.weights_left(observations))


class PowersOfTwo(RuleOfThumb):
    """FMwork's rule: the batch axis at powers of two, all values of every other axis, linear interpolation between."""

    def __init__(self, context: StrategyContext) -> None:
        self._axis = _batch_axis(context.grid)
        sizes = context.grid.numbers(self._axis)
        powers = np.log2(np.maximum(sizes, 1))
        rows = np.flatnonzero((sizes >= 1) & (powers == np.round(powers)))
        if context.trajectory:
            # With trajectories the longest run of each line measures the others.
            position = context.grid.position(context.trajectory)
            rows = rows[np.argsort(-context.grid.codes[rows, position], kind="stable")]
        order = np.argsort(context.grid.engine[rows], kind="stable")
        super().__init__(context, rows[order])

    def posterior(self, observations: Observations) -> Posterior:
        """Interpolations, without intervals or an estimated accuracy."""
        values = {target: interpolate(observations, target, self._axis) for target in self.context.targets}
        return self._bare(values, observations)


def random_design(context: StrategyContext) -> FixedDesign:
    """Every point once, in random order."""
    return FixedDesign(context, shuffled(context))


def random_forest_design(context: StrategyContext) -> FixedDesign:
    """Random points, predicted by a forest."""
    return FixedDesign(context, shuffled(context), forest_model(context))


def maxmin_matern_design(context: StrategyContext) -> FixedDesign:
    """Points each as far as can be from those before, the first at random, predicted by a plain Gaussian process."""
    grid = context.grid
    rows = spread_out(grid.features, int(np.random.default_rng(context.seed).integers(len(grid))), len(grid))
    return FixedDesign(context, rows, GridModel(grid, context.trajectory, partial(MaternRegressor, seed=context.seed)))


def forest_model(context: StrategyContext) -> GridModel:
    """A grid model whose regressors are forests."""
    return GridModel(context.grid, context.trajectory, partial(ForestRegressor, seed=context.seed))


def full_design(context: StrategyContext) -> FixedDesign:
    """Every point, one start for each engine; the longest runs first, since they measure the shorter points.

    Otherwise in random order, so that a machine that drifts over hours puts no slope along an axis.
    """
    grid = context.grid
    keys = [shuffled(context), grid.engine]
    if context.trajectory:
        keys.insert(1, -grid.codes[:, grid.position(context.trajectory)])
    return FixedDesign(context, np.lexsort(keys))


def lhs_design(context: StrategyContext) -> FixedDesign:
    """A Latin hypercube, then the rest at random."""
    rng = np.random.default_rng(context.seed)
    design = latin_hypercube(context.grid, LHS_POINTS, rng)
    rest = rng.permutation(len(context.grid))
    return FixedDesign(context, np.concatenate([design, rest[~np.isin(rest, design)]]))


def latin_hypercube(grid: Grid, count: int, rng: np.random.Generator) -> IntArray:
    """Up to `count` distinct rows: Latin hypercube samples, each moved to the nearest grid point."""
    sizes = np.array([len(axis.values) for axis in grid.axes])
    unit = (grid.codes + 0.5) / sizes
    design: dict[int, None] = {}
    for sample in qmc.LatinHypercube(d=len(sizes), rng=rng).random(min(len(grid), count)):
        design.setdefault(int(np.argmin(((unit - sample) ** 2).sum(axis=1))))
    return np.array(list(design), dtype=np.int64)


def shuffled(context: StrategyContext) -> IntArray:
    """Every row once, in random order, (N,)."""
    return np.random.default_rng(context.seed).permutation(len(context.grid)).astype(np.int64)


def _batch_axis(grid: Grid) -> str:
    for role in (Role.BATCH, Role.CONCURRENCY):
        axis = grid.by_role(role)
        if axis is not None:
            return axis.name
    raise StudyError("strategy powers_of_two: needs a batch axis; give one `role: batch` or `role: concurrency`")
