"""How often a run repeats what it measures: until another repeat tells less, for its seconds, than the next point.

Notation
--------
v_k     variance of the logarithm of the median of k repeats, of the target where it is largest
g       typical error of the logarithm at a point not measured, as the last estimate of accuracy has it
r, w    seconds of a repeat, and seconds that a run takes besides its repeats
k       repeats of a run

What a run of k repeats tells of the points around it grows as 1/(g² + v_k), its seconds as w + k·r. The first per the
second is most where (g² + v_k)(w/r + k) is least: at one repeat wherever repeats agree better than predictions do. One
or two repeats have a wild one in full; the median of three or more leaves it out, and has the noise of usual ones.

Warm-ups are left out once they have shown themselves to be like the repeats after them, but not in the first run of an
engine. The first runs of a study, and every twentieth after that, make all warm-ups and repeats, so that both stay
known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2

from planner.acquisition import settings
from planner.ledger.observations import Observations, Run
from planner.models.quantities import variance_of_median
from planner.space.types import FloatArray, Status

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
    variance = np.max([_variances(observations, target, most) for target in observations.targets], axis=0)
    if not np.isfinite(variance).all():
        return Repetition()
    warmup = _warmup_differs(full)
    if error is None or error <= 0:
        return Repetition(1, warmup)
    price = (error**2 + variance) * (_besides(full, warmup) + np.arange(1, most + 1))
    return Repetition(int(np.argmin(price)) + 1, warmup)


def _variances(observations: Observations, target: str, most: int) -> FloatArray:
    """v_k of a target for k from 1 to `most`, (most,); NaN where no point has two repeats."""
    squares, freedom = observations.repeat_squares(target)
    if not len(freedom):
        return np.full(most, np.nan)
    pooled = float(squares.sum() / freedom.sum())
    usual = min(pooled, float(np.median(squares / chi2.median(freedom))))
    k = np.arange(1, most + 1, dtype=np.float64)
    variances: FloatArray = variance_of_median(k) * np.where(k > 2, usual, pooled)
    return variances


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
