"""Ablations of our own strategy: each changes one thing of it, so that a simulation shows what that thing is worth.

no_latency_model    no latency model, neither for the targets nor for the costs
latency_model_only  only the Gaussian process that knows most, with latency model and category embedding
no_embedding        no category embedding: every model is as different from every other
no_prior            no prior: nothing is known before the first run
no_weights          every point counts alike for what is measured, whatever the workload; scores count as it says
no_cost             variance reduction alone: it is not divided by prices or engine starts
no_starts           a batch is chosen as if an engine start took no time; it is charged all the same
no_descriptors      a model is a name: its numbers (parameter count …) are in no feature and no initial design
max_variance        the least certain point for its price, in place of the largest variance reduction over the grid
random_start        as many first runs, drawn at random
forest              our points, predicted by a random forest
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Final

import numpy as np

from planner.acquisition.initial_design import by_engine, initial_size
from planner.acquisition.variance_reduction import choose_batch
from planner.ledger.observations import Observations
from planner.models.cost import CostModel
from planner.models.ensemble import Ensemble
from planner.models.grid_model import GridModel
from planner.space.types import FloatArray, IntArray
from planner.strategies.adaptive import AdaptiveStrategy
from planner.strategies.fixed_designs import GridPosterior, forest_model
from planner.strategies.max_variance import choose_uncertain
from planner.strategies.strategy import Posterior, Strategy, StrategyContext
from planner.strategies.unit_cube import without_descriptors

__all__ = ["ABLATIONS"]


class _FreeStarts(CostModel):
    """The prices of another cost model, with free engine starts. Used for predictions, never fitted."""

    def __init__(self, real: CostModel) -> None:
        super().__init__(real.grid, real.devices)
        self._real = real

    def price(self, rows: IntArray) -> FloatArray:
        return self._real.price(rows)

    def high_price(self, rows: IntArray, deviations: float) -> FloatArray:
        return self._real.high_price(rows, deviations)

    def start_seconds(self) -> FloatArray:
        return np.zeros(len(self.grid))


class _EqualCost(_FreeStarts):
    """The same price for every run, and free engine starts."""

    def price(self, rows: IntArray) -> FloatArray:
        return np.ones(len(rows))

    def high_price(self, rows: IntArray, deviations: float) -> FloatArray:
        return self.price(rows)


class _Split:
    """Proposes as one strategy does, and predicts as another does."""

    def __init__(self, points: Strategy, posterior: GridPosterior) -> None:
        self._points = points
        self._posterior = posterior

    def propose(self, observations: Observations) -> int | None:
        return self._points.propose(observations)

    def posterior(self, observations: Observations) -> Posterior:
        return self._posterior.posterior(observations)

    def is_due(self, observations: Observations) -> bool:
        return self._points.is_due(observations)

    def price(self, row: int, observations: Observations) -> float:
        return self._points.price(row, observations)


def _with_ensemble(make: Callable[..., Ensemble]) -> Callable[[StrategyContext], Strategy]:
    """Ours with other ensembles."""

    def strategy(context: StrategyContext) -> Strategy:
        targets = partial(make, heavy_tails=context.grid.is_served)
        return AdaptiveStrategy(context, model=GridModel(context.grid, context.trajectory, targets),
                                cost=CostModel(context.grid, context.accelerators, make))

    return strategy


def _with_costs(costs: Callable[[CostModel], CostModel]) -> Callable[[StrategyContext], Strategy]:
    """Our strategy with other costs in batch selection only: limits and reports use the real ones."""

    def choose(
        model: GridModel, cost: CostModel, observations: Observations, feasibility: FloatArray, size: int,
        rng: np.random.Generator,
    ) -> list[int]:
        return choose_batch(model, costs(cost), observations, feasibility, size, rng)

    return partial(AdaptiveStrategy, choose=choose)


def _no_descriptors(context: StrategyContext) -> Strategy:
    return AdaptiveStrategy(replace(context, grid=without_descriptors(context.grid)))


def _no_prior(context: StrategyContext) -> Strategy:
    return AdaptiveStrategy(replace(context, priors=()))


def _random_start(context: StrategyContext) -> Strategy:
    grid, rng = context.grid, np.random.default_rng(context.seed)
    rows = rng.permutation(len(grid))[:initial_size(grid, context.trajectory)]
    return AdaptiveStrategy(context, initial=np.array(by_engine(rows, grid.engine[rows])))


def _forest(context: StrategyContext) -> Strategy:
    return _Split(AdaptiveStrategy(context), GridPosterior(context, forest_model(context)))


ABLATIONS: Final[Mapping[str, Callable[[StrategyContext], Strategy]]] = {
    "no_latency_model": _with_ensemble(partial(Ensemble, only=0)),
    "latency_model_only": _with_ensemble(partial(Ensemble, only=-1)),
    "no_embedding": _with_ensemble(partial(Ensemble, embedding=False)),
    "no_cost": _with_costs(_EqualCost),
    "no_starts": _with_costs(_FreeStarts),
    "no_descriptors": _no_descriptors,
    "no_prior": _no_prior,
    "no_weights": partial(AdaptiveStrategy, choose=choose_batch),
    "max_variance": partial(AdaptiveStrategy, choose=choose_uncertain),
    "random_start": _random_start,
    "forest": _forest,
}
