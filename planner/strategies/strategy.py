"""The contract of a strategy: it chooses the next run and predicts the rest."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

import numpy as np

from planner.evaluation.attainment import Attainment, attainment_of
from planner.evaluation.change import ChangeQuestion
from planner.evaluation.choice import Choice, ChoiceQuestion, choice_of
from planner.evaluation.estimate import Estimate, estimate_accuracy
from planner.evaluation.machine_drift import MachineDrift, machine_drift
from planner.evaluation.prior_use import PriorUse, judges_of, prior_uses
from planner.ledger.observations import Observations
from planner.models.cost import CostModel
from planner.models.feasibility import probability_of_feasibility
from planner.models.grid_model import GridModel, Prediction
from planner.models.joint_errors import JointErrors
from planner.models.prior import Prior
from planner.space.grid import Grid
from planner.space.slo import Boundary
from planner.space.types import FloatArray, IntArray
from planner.tables.recorded_grid import Sweep
from planner.tables.workload import PointWeights

__all__ = ["Concludes", "KnowsSeconds", "Posterior", "Strategy", "StrategyContext", "conclusion_of", "cover",
           "limit_of", "posterior_of", "sweeps", "with_answers", "with_attainment"]


@dataclass(frozen=True, eq=False)
class StrategyContext:
    """What a strategy may know before anything is measured.

    trajectory: the axis along which a run also measures every smaller value, or None.
    accelerators: devices that a run of each point occupies, (N,).
    prices: accelerator-seconds of a run of each point as the runner estimates them, (N,); None without an estimate.
    boundary: what the study must find along the load; None if it is to be accurate everywhere.
    priors: what old studies and tables say of the grid.
    difference: by how much a point must differ from the first prior; None if that is not asked for.
    weights: how much each point counts for the workload; None where all count alike.
    first: rows to run before all others; None if there are none.
    choice: what the study must decide; None if that is not asked for.
    """

    grid: Grid
    targets: tuple[str, ...]
    trajectory: str | None
    accelerators: FloatArray
    seed: int = 0
    prices: FloatArray | None = None
    boundary: Boundary | None = None
    priors: tuple[Prior, ...] = ()
    difference: ChangeQuestion | None = None
    weights: PointWeights | None = None
    first: IntArray | None = None
    choice: ChoiceQuestion | None = None

    def weights_left(self, observations: Observations) -> FloatArray | None:
        """How much each point that is not known yet counts, (N,); None where all count alike."""
        return None if self.weights is None else self.weights.left(observations.known)


@dataclass(frozen=True, eq=False)
class Posterior:
    """A strategy's predictions and estimates from the observations.

    accuracy: estimated accuracy by target; None if it cannot be estimated.
    feasibility: probability that each point can run, (N,).
    plain: cost of the plain sweep, a separate run of each point; longest: cost of the sweep of longest runs only, each
    of which also measures every shorter point; None without trajectories.
    attainment: of the study's boundary; set by `with_attainment`, not by strategies.
    drift: how the machine has changed; predictions are of the machine as it is at the last run. None if unknown.
    priors: how each prior is used. judges: by target, how many runs judge its accuracy. weights: how much each point
    counts in `accuracy`, (N,); None where all count alike. unweighted: the accuracy with equal weights, where there are
    weights. errors: how the errors of predictions go together; None if unknown.
    choice: of what the study must decide; set by `with_answers`, not by strategies.
    """

    prediction: Prediction
    accuracy: Mapping[str, Estimate | None]
    feasibility: FloatArray
    plain: Sweep
    longest: Sweep | None = None
    attainment: Attainment | None = None
    drift: MachineDrift | None = None
    priors: tuple[PriorUse, ...] = ()
    judges: Mapping[str, int] = field(default_factory=dict)
    weights: FloatArray | None = None
    unweighted: Mapping[str, Estimate | None] = field(default_factory=dict)
    errors: JointErrors | None = None
    choice: Choice | None = None


@runtime_checkable
class Strategy(Protocol):
    """Chooses points and predicts the others. Other packages register theirs in the group "sweepwise.strategies".

    Contract: `propose` returns the grid row to run next, one that is neither known nor pending, or None if its
    design is finished or nothing is left; it may be called again after a failure. It may also return a measured row, to
    be measured again: near a boundary, or to see whether the machine has changed. `posterior` needs at least one
    measured point and changes nothing that `propose` decides. Both see the truth only through `observations`, and give
    the same answers for the same seed and the same runs.
    """

    def propose(self, observations: Observations) -> int | None:
        """The next row."""
        ...

    def posterior(self, observations: Observations) -> Posterior:
        """Predictions for the whole grid."""
        ...

    def is_due(self, observations: Observations) -> bool:
        """Whether a checkpoint is due: the strategy will be fitted again, or has many new observations."""
        ...

    def price(self, row: int, observations: Observations) -> float:
        """Expected accelerator-seconds of a run at `row`, engine start included; 0 if unknown."""
        ...


@runtime_checkable
class KnowsSeconds(Protocol):
    """A strategy that can tell when a run must have hung."""

    def limit_s(self, row: int, observations: Observations) -> float | None:
        """Seconds, engine start apart, that no run at `row` takes; None if that is not known."""
        ...


@runtime_checkable
class Concludes(Protocol):
    """A strategy that ends a study by itself, because it has its answer."""

    def conclusion(self, observations: Observations) -> str | None:
        """The reason why it has no more to propose; None if points have run out."""
        ...


def conclusion_of(strategy: Strategy, observations: Observations) -> str | None:
    """The answer for which the strategy ends the study; None for a strategy that has none."""
    return strategy.conclusion(observations) if isinstance(strategy, Concludes) else None


def limit_of(strategy: Strategy, row: int, observations: Observations) -> float | None:
    """Seconds after which a run at `row` must have hung; None where the strategy does not know."""
    return strategy.limit_s(row, observations) if isinstance(strategy, KnowsSeconds) else None


def cover(grid: Grid, trajectory: str | None, row: int, observations: Observations) -> IntArray:
    """The rows that a run at `row` measures: itself and, along the trajectory, every smaller one not yet known."""
    if trajectory is None:
        return np.array([row])
    smaller = grid.shorter(trajectory, row)
    return np.append(smaller[~observations.known[smaller]], row)


def posterior_of(
    model: GridModel, cost: CostModel, observations: Observations, trajectory: str | None,
    left: FloatArray | None = None,
) -> Posterior:
    """The posterior of a model and a cost model, both fitted to `observations`. left: how much each point
    counts, (N,)."""
    feasibility = probability_of_feasibility(observations.grid, observations)
    unweighted = estimate_accuracy(model, ~observations.known, feasibility)
    accuracy = unweighted if left is None else estimate_accuracy(model, ~observations.known, feasibility * left)
    return Posterior(model.predict(), accuracy, feasibility, *sweeps(cost, trajectory, feasibility),
                     drift=machine_drift(model), priors=prior_uses(model), judges=judges_of(model), weights=left,
                     unweighted={} if left is None else unweighted, errors=JointErrors(model))


def with_attainment(posterior: Posterior, boundary: Boundary | None, observations: Observations) -> Posterior:
    """The posterior with the attainment of the boundary, if one is asked for and its metrics are predicted."""
    if boundary is None or not set(boundary.metrics) <= set(posterior.prediction.value):
        return posterior
    return replace(posterior, attainment=attainment_of(
        boundary, posterior.prediction, posterior.feasibility, observations))


def with_answers(
    posterior: Posterior, boundary: Boundary | None, choice: ChoiceQuestion | None, observations: Observations
) -> Posterior:
    """The posterior with what is known of the boundary and of the choice that are asked for."""
    found = with_attainment(posterior, boundary, observations)
    if choice is None or not set(choice.question.metrics) <= set(posterior.prediction.value):
        return found
    return replace(found, choice=choice_of(
        choice, posterior.prediction, posterior.feasibility, posterior.errors, observations))


def sweeps(
    cost: CostModel, trajectory: str | None, feasibility: FloatArray | None = None
) -> tuple[Sweep, Sweep | None]:
    """The plain sweep, and the sweep of the longest runs alone (None without trajectories).

    feasibility: probability that each point can run, (N,); all 1 by default."""
    if trajectory is None:
        return cost.sweep(feasibility=feasibility), None
    return cost.sweep(feasibility=feasibility), cost.sweep(_longest(cost.grid, trajectory), feasibility)


@functools.lru_cache(maxsize=1)
def _longest(grid: Grid, trajectory: str) -> IntArray:
    """The rows of the longest run of each line. Of the last grid it is kept: a large one takes a second to sort."""
    codes, lines = grid.codes[:, grid.position(trajectory)], grid.lines(trajectory)
    order = np.lexsort((-codes, lines))
    longest: IntArray = order[np.unique(lines[order], return_index=True)[1]]
    return longest
