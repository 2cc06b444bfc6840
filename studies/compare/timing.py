"""The planner's computing time: a refit and a batch of proposals, ours and BoTorch's, on the same runs.

    python studies/compare/timing.py --points 20000 --runs 200 --rounds 5

A synthetic latency over input, output and batch sizes, accelerators and models is measured at random points. *cold* is
a first checkpoint with no earlier fit; *warm* is the checkpoint after 12 % more runs, as in a campaign. A checkpoint
fits the target and the costs, predicts both for the whole grid, and chooses a batch. Each row is its
seconds on one core, the ratio to ours, and the share of each run. Absolute times mean little: compare ratios.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
from threadpoolctl import threadpool_limits

from planner.ledger.observations import Observations, Run
from planner.space.grid import Grid, full_grid
from planner.space.types import Axis, Cost, Measurement, Point, Reading, Role, Scale, Scope, Status
from planner.strategies.adaptive import AdaptiveStrategy
from planner.strategies.botorch_qnipv import BotorchQnipv
from planner.strategies.strategy import Strategy, StrategyContext

_GROWTH = 1.12


def _grid(points: int, models: int) -> Grid:
    """About `points` points of so many models of 1 to 70 billion parameters."""
    batches = tuple(range(1, max(2, round(points / (models * 3 * 10 * 8))) + 1))
    sizes = tuple(np.geomspace(1.0, 70.0, models).tolist())
    return full_grid([
        Axis("model", tuple(f"{size:.3g}B" for size in sizes), Scope.ENGINE, Scale.CATEGORY, (Role.MODEL,),
             {"params_b": sizes}),
        Axis("tensor_parallel_size", (1, 2, 4), Scope.ENGINE, Scale.LOG, (Role.ACCELERATORS,)),
        Axis("input_len", tuple(2**k for k in range(5, 15)), scale=Scale.LOG, roles=(Role.INPUT_TOKENS,)),
        Axis("output_len", tuple(2**k for k in range(3, 11)), scale=Scale.LOG, roles=(Role.OUTPUT_TOKENS,)),
        Axis("batch_size", batches, scale=Scale.LOG, roles=(Role.BATCH,)),
    ])


def _latency(point: Point, rng: np.random.Generator) -> float:
    """Seconds, with 5 % of noise."""
    size, devices = float(str(point["model"]).removesuffix("B")), float(point["tensor_parallel_size"])
    i, o, b = (float(point[name]) for name in ("input_len", "output_len", "batch_size"))
    prefill = 2e-5 * size * i * b / devices
    step = 0.003 + size * 0.002 / devices + 2e-7 * b * (i + o / 2) + 1e-5 * b * size / devices
    return (0.01 + prefill + o * step) * float(np.exp(0.05 * rng.standard_normal()))


def _measure(observations: Observations, rows: np.ndarray, rng: np.random.Generator) -> None:
    for row in rows:
        point = observations.grid.point(int(row))
        seconds = _latency(point, rng)
        reading = Reading(point, {"latency_s": (seconds,)}, seconds)
        observations.add(Run(len(observations.runs), point, Measurement(Status.OK, Cost(measure_s=seconds),
            (reading,))))


def _checkpoint(strategy: Strategy, observations: Observations) -> float:
    """Seconds of a refit, the prediction of the whole grid, and a new batch."""
    began = time.perf_counter()
    strategy.propose(observations)
    return time.perf_counter() - began


def _ours(context: StrategyContext) -> Strategy:
    return AdaptiveStrategy(context, initial=np.empty(0, dtype=np.int64))


def _botorch(context: StrategyContext) -> Strategy:
    strategy = BotorchQnipv(context)
    strategy._queue = []  # the initial design is not timed
    return strategy


def _round(make: Callable[[StrategyContext], Strategy], grid: Grid, runs: int, seed: int) -> tuple[float, float]:
    """Seconds of a cold and of a warm checkpoint."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(grid))[: round(runs * _GROWTH)]
    observations = Observations(grid, ("latency_s",))
    strategy = make(StrategyContext(grid, ("latency_s",), None, np.ones(len(grid)), seed))
    _measure(observations, rows[:runs], rng)
    cold = _checkpoint(strategy, observations)
    _measure(observations, rows[runs:], rng)
    if isinstance(strategy, AdaptiveStrategy | BotorchQnipv):
        strategy._queue = []  # a batch is done
    return cold, _checkpoint(strategy, observations)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--models", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ours-only", action="store_true", help="without BoTorch")
    asked = parser.parse_args()
    grid = _grid(asked.points, asked.models)
    batch = round(asked.runs * (_GROWTH - 1))
    makers = {"sweepwise": _ours} if asked.ours_only else {"sweepwise": _ours, "botorch_qnipv": _botorch}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in makers}
    with threadpool_limits(1):
        for seed in range(asked.rounds):
            for name, make in makers.items():  # in turn, so that a slow minute affects both
                times[name].append(_round(make, grid, asked.runs, seed))
    print(f"{len(grid):,} points of {asked.models} models, {asked.runs} runs, {asked.rounds} rounds; "
          "median [range], seconds")
    for i, checkpoint in enumerate(("cold", "warm")):
        for name, seconds in times.items():
            own = [s[i] for s in seconds]
            ratios = [s[i] / o[i] for s, o in zip(seconds, times["sweepwise"], strict=True)]
            print(f"{checkpoint}  {name:14s} {statistics.median(own):6.2f} [{min(own):.2f}-{max(own):.2f}]"
                  f"  × ours {statistics.median(ratios):5.1f} [{min(ratios):.1f}-{max(ratios):.1f}]"
                  f"  a run of the batch: {statistics.median(own) / batch:.3f}")


if __name__ == "__main__":
    main()
