"""Whether a point can run at all: apart from what a run there would measure.

Notation: N grid points; known points are those measured or failed.
"""

from __future__ import annotations

import numpy as np

from planner.ledger.observations import Observations
from planner.models import settings
from planner.space.grid import Grid
from planner.space.types import Features, FloatArray

__all__ = ["probability_of_feasibility"]


def probability_of_feasibility(grid: Grid, observations: Observations) -> FloatArray:
    """Probability that a run at each point succeeds, (N,); ones until a run has failed.

    Known points have their outcome, 1 or 0. Elsewhere logistic regression on the encoded axes: memory limits are close
    to linear in log sizes, and a few failures must already keep the planner away from worse ones. A crash or a hang
    says nothing of other points, and of its own that it may be the point's fault.
    """
    probability = np.where(observations.broken > 0, settings.FEASIBILITY_BROKEN, 1.0) * _by_sizes(grid, observations)
    probability[observations.measured], probability[observations.failed] = 1.0, 0.0
    return probability


def _by_sizes(grid: Grid, observations: Observations) -> FloatArray:
    """The probability at each point, (N,), as failures for lasting reasons have it."""
    probability = np.ones(len(grid))
    chance = [row for row, kind in observations.kinds.items() if kind.is_transient]
    lasting = observations.failed.copy()
    lasting[chance] = False
    if not lasting.any():
        return probability
    if not observations.measured.any():
        return np.full(len(grid), settings.FEASIBILITY_UNKNOWN)
    from sklearn.linear_model import LogisticRegression

    rows = np.flatnonzero(observations.measured | lasting)
    model = LogisticRegression(C=settings.FEASIBILITY_C, max_iter=settings.FEASIBILITY_ITERATIONS)
    model.fit(_encoded(grid.features[rows]), observations.measured[rows])
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
