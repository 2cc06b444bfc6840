"""The least certain point for its price: what `choose_batch` would be if it looked at each candidate alone.

Notation as in planner.acquisition.information; gain(c) = Σ_q w_q(c) k_q(c, c) (uncertainty sampling, D. MacKay, Neural
Computation 4, 1992), where that module sums k_q(u, c)² over the unmeasured grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.acquisition.information import sample
from planner.ledger.observations import Observations
from planner.simulation.batches import Candidates, choose_greedily
from planner.space.types import FloatArray
from planner.surrogates.cost import CostModel
from planner.surrogates.model import GridModel

__all__ = ["choose_uncertain"]

_CANDIDATES = 600


@dataclass(eq=False)
class _Variance:
    """Posterior covariance (n, n) of one quantity, and its weight at each candidate (n,)."""

    covariance: FloatArray
    weights: FloatArray
    noise: float

    def of_each(self) -> FloatArray:
        worth: FloatArray = self.weights * np.maximum(np.diagonal(self.covariance), 0.0)
        return worth

    def choose(self, c: int) -> None:
        column = self.covariance[:, c]
        noisy = max(float(column[c]), 0.0) + self.noise**2 + 1e-12
        self.covariance = self.covariance - np.outer(column / noisy, column)


def choose_uncertain(
    model: GridModel, cost: CostModel, seen: Observations, success: FloatArray, size: int, rng: np.random.Generator
) -> list[int]:
    """A Chooser (planner.acquisition.information): up to `size` grid rows to run next; success: that each can, (N,)."""
    rows = sample(seen.open_rows, _CANDIDATES, rng)
    if not len(rows):
        return []
    weights, variances = model.weights(rows), []
    for name, learner in model.learners_.items():
        covariance = learner.covariance(rows, rows) if name in weights else None
        if covariance is not None:
            variances.append(_Variance(covariance, weights[name], learner.noise_))
    start = cost.start_seconds()[rows] * cost.devices[rows]
    candidates = Candidates(rows, model.grid.engine[rows], cost.price(rows), start, success[rows])
    return choose_greedily(candidates, variances, size, seen.current_engine)
