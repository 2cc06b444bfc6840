"""How often a run repeats what it measures: until another repeat tells less, for its seconds, than the next point.

Notation
--------
σ       standard deviation of the logarithm of a repeat, of the target where it is largest
g       typical error of the logarithm at a point not measured, as the last estimate of accuracy has it
r, w    seconds of a repeat, and seconds that a run takes besides its repeats
k       repeats of a run

What a run of k repeats tells of the points around it grows as 1/(g² + σ²/k), its seconds as w + k·r. The first per the
second is most at k = (σ/g) √(w/r), which is one or less wherever repeats agree better than predictions do.

Warm-ups are left out once they have shown themselves to be like the repeats after them, but not in the first run of an
engine. The first runs of a study, and every twentieth after that, make all warm-ups and repeats, so that both stay
known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from planner.acquisition import settings
from planner.ledger.observations import Observations, Run
from planner.space.types import Status

__all__ = ["Repetition", "repetition"]


@dataclass(frozen=True, slots=True)
class Repetition:
    """How a run is to be repeated. repeats: None for all that the study asks for. warmup: whether to warm up."""

    repeats: int | None = None
    warmup: bool = True


def repetition(observations: Observations, most: int, error: float | None) -> Repetition:
    """How to repeat the next run.

    most: repeats that the study asks for. error: g, as a share; None before the first estimate of accuracy.
    """
    full = _full_runs(observations, most)
    if len(observations.runs) % settings.FULL_EVERY == 0 or len(full) < settings.LEAST_FULL_RUNS:
        return Repetition()
    noise = max((observations.repeat_noise(target) for target in observations.targets), default=math.nan)
    if not math.isfinite(noise):
        return Repetition()
    warmup = _warmup_differs(full)
    if error is None or error <= 0:
        return Repetition(1, warmup)
    best = noise / error * math.sqrt(_besides(full, warmup))
    return Repetition(int(np.clip(round(best), 1, most)), warmup)


def _full_runs(observations: Observations, most: int) -> list[Run]:
    """Runs that made all repeats."""
    return [run for run in observations.runs if run.measurement.status is Status.OK and run.measurement.readings
            and max(map(len, run.measurement.readings[0].metrics.values()), default=0) >= most]


def _warmup_differs(full: list[Run]) -> bool:
    """Whether warm-ups may take another time than the repeats after them: their median ratio, and twice its error."""
    ratios = [math.log(ratio) for run in full if (ratio := run.measurement.warmup_ratio) is not None]
    if len(ratios) < settings.LEAST_FULL_RUNS:
        return True
    middle = float(np.median(ratios))
    spread = 1.4826 * float(np.median(np.abs(np.array(ratios) - middle)))
    return abs(middle) + 2 * math.sqrt(math.pi / 2 / len(ratios)) * spread > settings.SAME_WARMUP


def _besides(full: list[Run], warmup: bool) -> float:
    """w/r, the median of these runs."""
    found = []
    for run in full:
        cost, repeats = run.measurement.cost, max(map(len, run.measurement.readings[0].metrics.values()))
        if cost.measure_s > 0:
            besides = run.planner_s + (cost.warmup_s if warmup else 0.0)
            found.append(besides / (cost.measure_s / repeats))
    return float(np.median(found)) if found else 0.0
