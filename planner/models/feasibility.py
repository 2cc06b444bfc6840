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

# Points encoded at once: a column for each value of a category makes many columns.


def probability_of_feasibility(grid: Grid, observations: Observations) -> FloatArray:
    """Probability that a run at each point succeeds, (N,); ones until a run has failed.

    Known points have their outcome, 1 or 0. Elsewhere logistic regression on the encoded axes: memory limits are close
    to linear in log sizes, and a few failures must already keep the planner away from worse ones.
    """
    probability = np.ones(len(grid))
    if not observations.failed.any():
        return probability
    if not observations.measured.any():
        return np.where(observations.failed, 0.0, settings.FEASIBILITY_UNKNOWN)
    from sklearn.linear_model import LogisticRegression

    rows = np.flatnonzero(observations.known)
    model = LogisticRegression(C=settings.FEASIBILITY_C, max_iter=settings.FEASIBILITY_ITERATIONS)
    model.fit(_encoded(grid.features[rows]), observations.measured[rows])
    for start in range(0, len(grid), settings.FEASIBILITY_CHUNK):
        part = slice(start, start + settings.FEASIBILITY_CHUNK)
        probability[part] = model.predict_proba(_encoded(grid.features[part]))[:, 1]
    probability[observations.measured], probability[observations.failed] = 1.0, 0.0
    return probability


def _encoded(features: Features) -> FloatArray:
    """Numeric columns, and a column of ones and zeros for each value of a category, (n, d + all levels)."""
    columns = [features.numeric]
    for position, levels in enumerate(features.levels):
        columns.append(np.eye(levels)[features.category[:, position]])
    return np.hstack(columns)
