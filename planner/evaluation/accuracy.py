"""Meta-metrics against truth: how accurate the predictions are, and how good the decisions that they lead to.

Notation
--------
N           grid points
u           the points that no run covered and whose truth is known
APE         |ŷ − y| / |y|
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.evaluation.settings import FEASIBLE
from planner.space.types import BoolArray, FloatArray, Metric

__all__ = ["Score", "balanced_accuracy", "score"]


@dataclass(frozen=True, slots=True)
class Score:
    """How good the predictions of one target are.

    accuracy: 1 − mean APE over u, with median, 95th percentile and maximum of APE; accuracy_all: over the whole
    grid, measured points with what was measured there; coverage90: share of u inside the 90 % interval;
    rank_correlation: Spearman's over u; top1_regret: how much worse than the best point the one is that the whole
    grid's predictions call best; unweighted: the accuracy with equal weights, where a workload gives points unequal
    ones. NaN where undefined.
    """

    points: int
    accuracy: float
    median_ape: float
    p95_ape: float
    max_ape: float
    accuracy_all: float
    coverage90: float
    rank_correlation: float
    top1_regret: float
    unweighted: float


def score(
    truth: FloatArray, value: FloatArray, interval: tuple[FloatArray, FloatArray], measured: FloatArray,
    known: BoolArray, metric: Metric, weights: FloatArray | None = None,
) -> Score:
    """The score of one target; all arrays (N,).

    truth: NaN where failed or unknown. value, interval: predictions. measured: medians of what the study measured,
    NaN elsewhere. known: covered by a run of the study, well or not. weights: how much each point counts in the
    accuracy; None where all count alike.
    """
    answer = np.where(np.isfinite(measured), measured, value)
    there = np.isfinite(truth) & ((truth != 0) | (not metric.is_relative))
    u = there & ~known
    unit = np.abs(truth) if metric.is_relative else np.ones(len(truth))
    ape = np.abs(value[u] - truth[u]) / unit[u]
    # One point without a prediction makes the accuracy undefined: without it, accuracy would seem better than it is.
    complete = len(ape) > 0 and bool(np.isfinite(ape).all())
    median, p95, largest = np.quantile(ape, [0.5, 0.95, 1.0]) if complete else (np.nan, np.nan, np.nan)
    plain = 1 - float(ape.mean()) if complete else np.nan
    ape_all = np.abs(answer[there] - truth[there]) / unit[there]
    low, high = interval
    bounded = u & np.isfinite(low) & np.isfinite(high)
    inside = (low[bounded] <= truth[bounded]) & (truth[bounded] <= high[bounded])
    return Score(
        int(u.sum()), 1 - _mean(ape, weights[u]) if weights is not None and complete else plain,
        float(median), float(p95), float(largest),
        1 - float(ape_all.mean()) if len(ape_all) else np.nan,
        float(inside.mean()) if bounded.any() else np.nan,
        _spearman(value[u], truth[u]) if complete else np.nan,
        _regret(truth[there], answer[there], metric), plain,
    )


def _mean(ape: FloatArray, weights: FloatArray) -> float:
    return float(np.average(ape, weights=weights)) if weights.any() else float("nan")


def balanced_accuracy(feasibility: FloatArray, failed: BoolArray, known: BoolArray) -> float:
    """Mean of the shares of failures and of successes predicted, over points that no run covered; NaN if one kind.

    feasibility: (N,) predicted probability that each point can run. failed: (N,) truth.
    """
    u = ~known
    kinds = [kind for kind in (failed & u, ~failed & u) if kind.any()]
    if len(kinds) < 2:
        return float("nan")
    return float((np.mean(feasibility[failed & u] < FEASIBLE) + np.mean(feasibility[~failed & u] >= FEASIBLE)) / 2)


def _spearman(a: FloatArray, b: FloatArray) -> float:
    """Spearman's rank correlation; NaN below three points or where one side is constant."""
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    from scipy.stats import spearmanr

    return float(spearmanr(a, b).statistic)


def _regret(truth: FloatArray, answer: FloatArray, metric: Metric) -> float:
    """Relative loss of the point that is best by `answer` against the best by truth; NaN if undefined."""
    if not len(truth) or not np.isfinite(answer).all() or metric.direction is None:
        return float("nan")
    chosen = truth[np.argmax(answer) if metric.higher_is_better else np.argmin(answer)]
    best = truth.max() if metric.higher_is_better else truth.min()
    return float(abs(chosen - best) / abs(best)) if best else float("nan")
