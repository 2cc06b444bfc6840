"""The strategies by name: ours and its rivals, all behind one protocol."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from scipy.stats import qmc

from planner.acquisition.adaptive import AdaptiveStrategy
from planner.acquisition.strategy import Belief, Strategy, StrategyContext, belief_of, sweeps
from planner.ledger.observations import Observations
from planner.space.expressions import suggestion
from planner.space.grid import Grid
from planner.space.types import Features, IntArray, Role, StudyError
from planner.surrogates.baselines import interpolate
from planner.surrogates.committee import Single
from planner.surrogates.cost import CostModel
from planner.surrogates.feasibility import probability_of_success
from planner.surrogates.forest import RandomForest
from planner.surrogates.model import GridModel, Prediction

__all__ = ["STRATEGIES", "make_strategy", "uses_trajectories"]

_LOOK_SHARE = 0.125


class FixedDesign:
    """Runs a list of rows in order, whatever they give, and predicts with `GridModel`."""

    def __init__(self, context: StrategyContext, rows: IntArray, model: GridModel) -> None:
        self.context = context
        self._rows = [int(row) for row in rows]
        self._next = 0
        self._model = model
        self._look_at = 0
        self._cost = CostModel(context.grid, context.accelerators)

    def propose(self, seen: Observations) -> int | None:
        """The first row of the list that is neither known nor pending."""
        while self._next < len(self._rows) and seen.known[self._rows[self._next]]:
            self._next += 1
        # A pending row is not passed for good: the process that has it may die.
        rest = (self._rows[i] for i in range(self._next, len(self._rows)))
        return next((row for row in rest if not seen.known[row] and row not in seen.pending), None)

    def believe(self, seen: Observations) -> Belief:
        """The model's prediction of the rest."""
        self._model.fit(seen)
        self._cost.fit(seen)
        return belief_of(self._model, self._cost, seen, self.context.trajectory)

    def is_due(self, seen: Observations) -> bool:
        """Once the runs have grown by an eighth since the last look."""
        due = seen.measured.any() and len(seen.runs) >= self._look_at
        if due:
            self._look_at = len(seen.runs) + max(1, math.ceil(_LOOK_SHARE * len(seen.runs)))
        return bool(due)

    def price(self, row: int, seen: Observations) -> float:
        """A fixed design does not look at prices."""
        return 0.0


class PowersOfTwo(FixedDesign):
    """FMwork's rule: the batch axis at powers of two, every other axis whole, straight lines in between."""

    def __init__(self, context: StrategyContext) -> None:
        self._axis = _batch_axis(context.grid)
        sizes = np.asarray(context.grid.column(self._axis), dtype=float)
        powers = np.log2(np.maximum(sizes, 1))
        rows = np.flatnonzero((sizes >= 1) & (powers == np.round(powers)))
        if context.trajectory:
            # With trajectories the longest run of each line measures the others.
            position = context.grid.position(context.trajectory)
            rows = rows[np.argsort(-context.grid.codes[rows, position], kind="stable")]
        order = np.argsort(context.grid.engine[rows], kind="stable")
        super().__init__(context, rows[order], GridModel(context.grid, context.trajectory))

    def is_due(self, seen: Observations) -> bool:
        """Never: this rule has no estimate of its accuracy."""
        return False

    def believe(self, seen: Observations) -> Belief:
        """Interpolations."""
        values = {target: interpolate(seen, target, self._axis) for target in self.context.targets}
        nothing = {target: np.full(len(seen.grid), np.nan) for target in values}
        self._cost.fit(seen)
        return Belief(
            Prediction(values, nothing, nothing, nothing), dict.fromkeys(values),
            probability_of_success(seen.grid, seen), *sweeps(self._cost, self.context.trajectory),
        )


def _random(context: StrategyContext) -> Strategy:
    return FixedDesign(context, _shuffled(context), GridModel(context.grid, context.trajectory))


def _random_forest(context: StrategyContext) -> Strategy:
    def make(features: Features) -> Single:
        return Single(features, RandomForest(seed=context.seed))

    model = GridModel(context.grid, context.trajectory, make)
    return FixedDesign(context, _shuffled(context), model)


def _full(context: StrategyContext) -> Strategy:
    """Every point, one start an engine; the longest runs first, since they measure the shorter points.

    Otherwise in random order, so that a machine that drifts over hours puts no slope along an axis.
    """
    grid = context.grid
    keys = [_shuffled(context), grid.engine]
    if context.trajectory:
        keys.insert(1, -grid.codes[:, grid.position(context.trajectory)])
    return FixedDesign(context, np.lexsort(keys), GridModel(grid, context.trajectory))


def _lhs(context: StrategyContext) -> Strategy:
    """Latin hypercube samples, each moved to the nearest grid point not yet taken; then the rest at random."""
    grid, rng = context.grid, np.random.default_rng(context.seed)
    sizes = np.array([len(axis.values) for axis in grid.axes])
    unit = (grid.codes + 0.5) / sizes
    count = min(len(grid), 512)
    design: dict[int, None] = {}
    for sample in qmc.LatinHypercube(d=len(sizes), rng=rng).random(count):
        design.setdefault(int(np.argmin(((unit - sample) ** 2).sum(axis=1))))
    rest = [row for row in rng.permutation(len(grid)) if int(row) not in design]
    rows = np.array([*design, *rest], dtype=np.int64)
    return FixedDesign(context, rows, GridModel(grid, context.trajectory))


def _shuffled(context: StrategyContext) -> IntArray:
    return np.random.default_rng(context.seed).permutation(len(context.grid)).astype(np.int64)


def _batch_axis(grid: Grid) -> str:
    for role in (Role.BATCH, Role.CONCURRENCY):
        axis = grid.by_role(role)
        if axis is not None:
            return axis.name
    raise StudyError("--strategies: powers_of_two needs a batch axis; give one `role: batch` or `role: concurrency`")


STRATEGIES: Final[Mapping[str, Callable[[StrategyContext], Strategy]]] = {
    "sweepwise": AdaptiveStrategy,
    "random": _random,
    "lhs": _lhs,
    "powers_of_two": PowersOfTwo,
    "powers_of_two_trajectories": PowersOfTwo,
    "random_forest": _random_forest,
    "full": _full,
}


def make_strategy(name: str, context: StrategyContext) -> Strategy:
    """The strategy called `name`. Raises StudyError."""
    if name not in STRATEGIES:
        raise StudyError(f"--strategy: unknown strategy '{name}'{suggestion(name, STRATEGIES)}")
    return STRATEGIES[name](context)


def uses_trajectories(name: str) -> bool:
    """Whether the strategy lets a run measure shorter points too."""
    return name != "powers_of_two"

