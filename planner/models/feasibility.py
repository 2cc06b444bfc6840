"""The probability that a point can run at all, kept apart from what it would measure."""

from __future__ import annotations

import numpy as np

from planner.ledger.observations import Observations
from planner.space.grid import Grid
from planner.space.types import Features, FloatArray

__all__ = ["probability_of_feasibility"]

# Points encoded at once: a column for each value of a category makes many columns.
_CHUNK = 100_000


def probability_of_feasibility(grid: Grid, observations: Observations) -> FloatArray:
    """Probability that a run at each point succeeds, (N,); ones until a run has failed.

    Logistic regression on the encoded axes: memory limits are close to linear in log sizes, and a few failures
    must already keep the planner away from worse ones. Known points have their outcome.
    """
    probability = np.ones(len(grid))
    if not observations.failed.any():
        return probability
    if not observations.measured.any():
        # Nothing has ever worked: all that can be said is that it is as likely as not elsewhere.
        return np.where(observations.failed, 0.0, 0.5)
    from sklearn.linear_model import LogisticRegression

    rows = np.flatnonzero(observations.known)
    model = LogisticRegression(C=10.0, max_iter=500).fit(_encoded(grid.features[rows]), observations.measured[rows])
    for start in range(0, len(grid), _CHUNK):
        part = slice(start, start + _CHUNK)
        probability[part] = model.predict_proba(_encoded(grid.features[part]))[:, 1]
    probability[observations.measured], probability[observations.failed] = 1.0, 0.0
    return probability


def _encoded(features: Features) -> FloatArray:
    """Numeric columns, and a column of ones and zeros for each value of a category, (n, d + all levels)."""
    columns = [features.numeric]
    for position, levels in enumerate(features.levels):
        columns.append(np.eye(levels)[features.category[:, position]])
    return np.hstack(columns)
