"""The contract of a strategy: it chooses the next run and predicts the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from planner.evaluation.estimate import Estimate, estimate_accuracy
from planner.ledger.observations import Observations
from planner.space.grid import Grid
from planner.space.types import FloatArray, IntArray, Point
from planner.surrogates.cost import CostModel, Sweep
from planner.surrogates.feasibility import probability_of_success
from planner.surrogates.model import GridModel, Prediction

__all__ = ["Belief", "Strategy", "StrategyContext", "belief_of", "cover", "sweeps"]


@dataclass(frozen=True, eq=False)
class StrategyContext:
    """What a strategy may know before anything is measured.

    trajectory: the axis along which a run also measures every smaller value, or None.
    accelerators: devices that a run at a point occupies.
    """

    grid: Grid
    targets: tuple[str, ...]
    trajectory: str | None
    accelerators: Callable[[Point], float]
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Belief:
    """What a strategy makes of what was measured.

    accuracy: estimated accuracy by target, None where it cannot be told.
    success: probability that each point can run, (N,).
    plain: the plain sweep, every point a run of its own; longest: the smartest full sweep, where a run measures
    every shorter point too, None where runs do not.
    """

    prediction: Prediction
    accuracy: Mapping[str, Estimate | None]
    success: FloatArray
    plain: Sweep
    longest: Sweep | None = None


class Strategy(Protocol):
    """Chooses points and predicts the others.

    Contract: `propose` returns the grid row to run next, one that is neither known nor pending, or None where
    its design is finished or nothing is left; it may be asked again after a failure. `believe` needs at least one
    measured point and changes nothing that `propose` decides. Both see the truth only through `seen`, and give
    the same answers for the same seed and the same runs.
    """

    def propose(self, seen: Observations) -> int | None:
        """The next row."""
        ...

    def believe(self, seen: Observations) -> Belief:
        """Predictions for the whole grid."""
        ...

    def is_due(self, seen: Observations) -> bool:
        """Whether `believe` is worth its time now: the strategy is about to learn anew, or has seen much more."""
        ...

    def price(self, row: int, seen: Observations) -> float:
        """Accelerator-seconds that a run at `row` is expected to cost, engine start included; 0 where unknown."""
        ...


def cover(grid: Grid, trajectory: str | None, row: int, seen: Observations) -> IntArray:
    """The rows that a run at `row` measures: itself and, along the trajectory, every smaller one not yet known."""
    if trajectory is None:
        return np.array([row])
    smaller = grid.shorter(trajectory, row)
    return np.append(smaller[~seen.known[smaller]], row)


def belief_of(model: GridModel, cost: CostModel, seen: Observations, trajectory: str | None) -> Belief:
    """What a model and a cost model, both fitted to `seen`, make of it."""
    success = probability_of_success(seen.grid, seen)
    accuracy = estimate_accuracy(model, ~seen.known, success)
    return Belief(model.predict(), accuracy, success, *sweeps(cost, trajectory, success))


def sweeps(
    cost: CostModel, trajectory: str | None, success: FloatArray | None = None
) -> tuple[Sweep, Sweep | None]:
    """The plain sweep, and the sweep of the longest runs alone where there are trajectories.

    success: probability that each point can run, (N,); every one does where it is not given."""
    grid = cost.grid
    if trajectory is None:
        return cost.sweep(success=success), None
    codes, lines = grid.codes[:, grid.position(trajectory)], grid.lines(trajectory)
    order = np.lexsort((-codes, lines))
    longest = order[np.unique(lines[order], return_index=True)[1]]
    return cost.sweep(success=success), cost.sweep(longest, success)
