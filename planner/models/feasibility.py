"""Whether a point can run at all: apart from what a run there would measure.

Three things can prevent it, each with a probability of its own:

- memory: has a limit, beyond which nothing runs (planner.models.memory_limit);
- another lasting reason, such as a wrong configuration or a saturated server: logistic regression on the encoded axes;
- chance, such as a crash: says nothing of other points. That every try fails is the rate of such runs to the power of
  the tries; where one has failed so already, it may be the point's own fault.

Notation: N grid points; known points are those measured or failed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from planner.ledger.observations import Observations
from planner.models import settings
from planner.models.memory_limit import must_lack, probability_of_fitting
from planner.space.failure import TRIES, FailureKind
from planner.space.grid import Grid
from planner.space.types import Features, FloatArray, IntArray

__all__ = ["probability_of_feasibility", "rows_beyond_memory"]


def probability_of_feasibility(grid: Grid, observations: Observations) -> FloatArray:
    """Probability that each point can run, (N,); ones until a run has failed. Known points have their outcome, 1 or
    0."""
    probability = np.ones(len(grid))
    if not observations.kinds and not observations.failed.any():
        return probability
    memory, other = _lasting(observations)
    ran = np.flatnonzero(observations.measured)
    if len(memory):
        probability *= probability_of_fitting(grid, ran, memory)
    if len(other):
        probability *= _probability_by_axes(grid, ran, other)
    rate = observations.broken.sum() / (observations.finished + settings.CHANCE_WEIGHT)
    probability *= 1 - rate**TRIES
    probability[observations.broken > 0] *= settings.FEASIBILITY_BROKEN
    probability[observations.measured], probability[observations.failed] = 1.0, 0.0
    return probability


def rows_beyond_memory(grid: Grid, observations: Observations, rows: Sequence[int]) -> list[int]:
    """Those of the rows that need no less memory than a point that had too little, in their order."""
    if not observations.kinds or not rows:
        return []
    memory, asked = _lasting(observations)[0], np.array(rows, dtype=np.int64)
    return [int(row) for row in asked[must_lack(grid, asked, np.flatnonzero(observations.measured), memory)]]


def _lasting(observations: Observations) -> tuple[IntArray, IntArray]:
    """The rows that failed for lack of memory, and those that failed for another reason that lasts."""
    failed = np.flatnonzero(observations.failed)
    kinds = [observations.kinds.get(int(row), FailureKind.OTHER) for row in failed]
    memory = np.array([kind is FailureKind.OUT_OF_MEMORY for kind in kinds], dtype=bool)
    chance = np.array([kind.is_transient for kind in kinds], dtype=bool)
    return failed[memory], failed[~memory & ~chance]


def _probability_by_axes(grid: Grid, ran: IntArray, failed: IntArray) -> FloatArray:
    """The probability of running at each point, (N,), by logistic regression on the encoded axes."""
    if not len(ran):
        return np.full(len(grid), settings.FEASIBILITY_UNKNOWN)
    from sklearn.linear_model import LogisticRegression

    rows = np.concatenate([ran, failed])
    model = LogisticRegression(C=settings.FEASIBILITY_C, max_iter=settings.FEASIBILITY_ITERATIONS)
    model.fit(_encoded(grid.features[rows]), np.arange(len(rows)) < len(ran))
    probability = np.empty(len(grid))
    for start in range(0, len(grid), settings.FEASIBILITY_CHUNK):
        part = slice(start, start + settings.FEASIBILITY_CHUNK)
        probability[part] = model.predict_proba(_encoded(grid.features[part]))[:, 1]
    return probability


def _encoded(features: Features) -> FloatArray:
    """Numeric columns, and a column of ones and zeros for each value of a category, (n, d + all levels)."""
    columns = [features.numeric]
    for position, levels in enumerate(features.levels):
        columns.append(np.eye(levels)[features.category[:, position]])
    return np.hstack(columns)
