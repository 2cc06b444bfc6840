"""The accuracy that other strategies would have reached at the same cost, against truth.

Accuracy is that of the least accurate target, on the points that the strategy had not measured. A curve's costs are
shares of the plain sweep's.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from threadpoolctl import threadpool_limits

from planner.analysis import settings
from planner.analysis.checkpoints import Checkpoint
from planner.analysis.spending import cost_after
from planner.campaign.loop import Loop
from planner.campaign.stopping import Limits
from planner.evaluation.accuracy import score
from planner.ledger.observations import Observations
from planner.simulation.simulate import Memory, Replay, stage
from planner.space.types import FloatArray, StudyError
from planner.strategies.registry import make_strategy
from planner.strategies.strategy import Posterior

__all__ = ["BASELINES", "Curve", "curve_of", "play", "worst_accuracy"]

BASELINES: Final[Mapping[str, str]] = {
    "powers_of_two": "powers of two (FMwork's rule)", "random": "random points", "lhs": "Latin hypercube"}


@dataclass(frozen=True, slots=True)
class Curve:
    """One strategy with one seed: accelerator-seconds, and the true accuracy of its least accurate target there (None
    if undefined, since some point has no prediction)."""

    strategy: str
    seed: int
    cost: tuple[float, ...]
    accuracy: tuple[float | None, ...]


def worst_accuracy(posterior: Posterior, observations: Observations, truth: Mapping[str, FloatArray]) -> float | None:
    """True accuracy of the least accurate target; None where one is undefined."""
    found = []
    for target, values in truth.items():
        prediction = posterior.prediction
        result = score(values, prediction.value[target], (prediction.low[target], prediction.high[target]),
                       observations.column(target), observations.known, observations.metric(target))
        found.append(result.accuracy)
    return float(min(found)) if found and all(np.isfinite(found)) else None


def curve_of(checkpoints: Sequence[Checkpoint], truth: Mapping[str, FloatArray]) -> Curve:
    """Our own curve against truth."""
    return Curve("sweepwise", 0, tuple(checkpoint.cost for checkpoint in checkpoints),
                 tuple(worst_accuracy(checkpoint.posterior, checkpoint.observations,
                                      truth) for checkpoint in checkpoints))


def play(replay: Replay, spent: float, truth: Mapping[str, FloatArray]) -> tuple[list[Curve], list[str]]:
    """Curves of the baselines on the study's recorded grid, up to the study's own cost (a fixed set of points: to its
    end), and a line for each that is missing."""
    began, curves, notes = time.monotonic(), [], []
    for name in BASELINES:
        seeds = range(1 if name == "powers_of_two" else settings.BASELINE_SEEDS)
        for seed in seeds:
            if time.monotonic() - began > settings.BASELINE_PATIENCE_S:
                notes.append(f"{BASELINES[name]}, seed {seed}: left out, the baselines before it took "
                             f"{settings.BASELINE_PATIENCE_S:.0f} s")
                continue
            try:
                curves.append(_played(replay, name, seed, spent, truth))
            except StudyError as error:
                notes.append(f"{BASELINES[name]}: left out ({error})")
    for curve in curves:
        if all(accuracy is None for accuracy in curve.accuracy):
            notes.append(f"{BASELINES[curve.strategy]}, seed {curve.seed}: not shown; it measures every point, or has "
                         "no prediction for some, so its accuracy is undefined")
    return curves, notes


def _played(replay: Replay, name: str, seed: int, spent: float, truth: Mapping[str, FloatArray]) -> Curve:
    runner, context = stage(replay, name, seed)
    observations, whole = Observations(replay.recorded.grid, replay.metrics), name == "powers_of_two"
    strategy = make_strategy(name, context)
    Loop(runner, strategy, Memory(), observations, Limits(cost=None if whole else spent), seed, clock=None).run()
    costs = cost_after(observations)
    # Interpolation between measured neighbours is undefined until the whole set is measured.
    at = [float(costs[-1])] if whole else np.geomspace(
        settings.BASELINE_EARLIEST * spent, spent, settings.BASELINE_CHECKPOINTS).tolist()
    states = sorted({int(np.searchsorted(costs, cost * (1 + 1e-12), side="right")) for cost in at} - {0})
    accuracy = []
    for state in states:
        early = observations.prefix(state)
        with threadpool_limits(limits=1):
            posterior = make_strategy(name, context).posterior(early) if early.measured.any() else None
        accuracy.append(worst_accuracy(posterior, early, truth) if posterior else None)
    return Curve(name, seed, tuple(float(costs[state - 1]) for state in states), tuple(accuracy))
