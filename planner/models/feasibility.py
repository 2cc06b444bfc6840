"""Whether a point can run at all, kept apart from what it would measure."""

from __future__ import annotations

import numpy as np

from planner.ledger.observations import Observations
from planner.space.grid import Grid
from planner.space.types import FloatArray

__all__ = ["probability_of_feasibility"]


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

    columns = [grid.features.numeric]
    for position, levels in enumerate(grid.features.levels):
        columns.append(np.eye(levels)[grid.features.category[:, position]])
    X = np.hstack(columns)
    rows = np.flatnonzero(observations.known)
    model = LogisticRegression(C=10.0, max_iter=500).fit(X[rows], observations.measured[rows])
    probability = np.asarray(model.predict_proba(X)[:, 1], dtype=float)
    probability[observations.measured], probability[observations.failed] = 1.0, 0.0
    return probability
