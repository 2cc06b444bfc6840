"""The points to measure next, as parameters of `vllm bench sweep serve`.

The sweep runs every entry of --serve-params with every entry of --bench-params. To measure the chosen points only, each
engine configuration has a pair of files: one entry of serve parameters, and its workloads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from planner.acquisition.variance_reduction import choose_batch
from planner.ledger.observations import Observations
from planner.models.cost import CostModel
from planner.models.feasibility import probability_of_feasibility
from planner.models.grid_model import GridModel
from planner.space.grid import Grid
from planner.space.types import Axis, IntArray, Point, Role, Scope, StudyError
from planner.strategies.strategy import StrategyContext

if TYPE_CHECKING:
    from planner.campaign.setup import StudySetup
    from planner.strategies.strategy import Strategy

__all__ = ["NextPoints", "SweepPair", "next_points", "next_points_of", "next_rows", "sweep_pairs"]

_BENCH: Final = {Role.INPUT_TOKENS: "random_input_len", Role.OUTPUT_TOKENS: "random_output_len",
                 Role.CONCURRENCY: "max_concurrency", Role.RATE: "request_rate"}
_SERVE: Final = {Role.ACCELERATORS: "tensor_parallel_size", Role.MODEL: "model"}


@dataclass(frozen=True, slots=True)
class SweepPair:
    """One engine configuration: its serve parameters, and the bench parameters of each point on it."""

    serve: Mapping[str, Any]
    bench: tuple[Mapping[str, Any], ...]


def next_rows(strategy: Strategy, context: StrategyContext, observations: Observations, most: int) -> list[int]:
    """Up to `most` grid rows to measure next, in order. They become pending in `observations`.

    The rest of the initial design comes first; then one batch, in which each point is chosen for the variance that it
    reduces beyond the others and the pending ones. Every point is a separate run: vLLM's benchmark reads no
    trajectories.
    """
    rows: list[int] = []
    while len(rows) < most and not strategy.is_due(observations):
        row = strategy.propose(observations)
        if row is None:
            return rows
        rows.append(row)
        observations.pending.add(row)
    rest = most - len(rows)
    if rest and observations.measured.any():
        model = GridModel(context.grid, context.trajectory).fit(observations)
        cost = CostModel(context.grid, context.accelerators).fit(observations)
        feasibility = probability_of_feasibility(context.grid, observations)
        rng = np.random.default_rng([context.seed, len(observations.runs)])
        chosen = choose_batch(model, cost, observations, feasibility, rest, rng)
        observations.pending.update(chosen)
        rows += chosen
    return rows


def sweep_pairs(grid: Grid, rows: list[int], names: Mapping[str, str]) -> list[SweepPair]:
    """The points at `rows`, a pair for each engine configuration. names: axis → option, as given by the user.

    Raises StudyError if vLLM's serving benchmark has no option for an axis.
    """
    options = {axis.name: names.get(axis.name) or _option(axis) for axis in grid.axes}
    engine = [axis.name for axis in grid.axes if axis.scope is Scope.ENGINE]
    engines: IntArray = grid.engine[rows]
    pairs = []
    for configuration in dict.fromkeys(engines.tolist()):
        points = [grid.point(row) for row, own in zip(rows, engines, strict=True) if own == configuration]
        pairs.append(SweepPair(
            {options[name]: points[0][name] for name in engine},
            tuple({options[name]: value for name, value in point.items() if name not in engine} for point in points)))
    return pairs


def _option(axis: Axis) -> str:
    table = _SERVE if axis.scope is Scope.ENGINE else _BENCH
    if axis.scope is Scope.WORKLOAD and Role.BATCH in axis.roles:
        raise StudyError(f"space.axes.{axis.name}: vllm bench serve sends requests to a server and has no static "
                         f"batches; say what stands for it with --map {axis.name}=max_concurrency, or use `run`")
    return next((table[role] for role in axis.roles if role in table), axis.name)


@dataclass(frozen=True, eq=False)
class NextPoints:
    """The next points: grid rows in order, their points, and the same as pairs of sweep parameters."""

    rows: tuple[int, ...]
    points: tuple[Point, ...]
    pairs: tuple[SweepPair, ...]


def next_points(
    strategy: Strategy, context: StrategyContext, observations: Observations, most: int, names: Mapping[str, str]
) -> NextPoints:
    """Up to `most` points to measure next; none if nothing is left. They become pending in `observations`.

    names: axis → vLLM's option, as given by the user. Raises StudyError if vLLM has no option for an axis.
    """
    grid = context.grid
    sweep_pairs(grid, [0], names)  # an axis that vLLM has no option for is refused before anything is fitted
    rows = next_rows(strategy, context, observations, most)
    return NextPoints(tuple(rows), tuple(grid.point(row) for row in rows), tuple(sweep_pairs(grid, rows, names)))


def next_points_of(study: StudySetup, observations: Observations, most: int, names: Mapping[str, str]) -> NextPoints:
    """The same by the study's own strategy. Raises StudyError if nothing is left to measure."""
    context = StrategyContext(study.grid, study.targets, None, study.accelerators, study.seed)
    found = next_points(study.strategy("sweepwise"), context, observations, most, names)
    if not found.rows:
        raise StudyError(f"study '{study.name}': nothing is left to measure; add values to an axis")
    return found
