"""Selection by largest variance per price: `choose_batch` if it considered each candidate alone.

Notation as in planner.acquisition.variance_reduction; the utility is Σ_q w_q(c) k_q(c, c) (uncertainty sampling,
D. MacKay, Neural Computation 4, 1992), where that module sums k_q(u, c)² over the unmeasured grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.acquisition.settings import CANDIDATES
from planner.acquisition.underway import given_readings, rows_underway
from planner.acquisition.variance_reduction import open_sample
from planner.ledger.observations import Observations
from planner.models.cost import CostModel
from planner.models.grid_model import GridModel
from planner.models.settings import TINY
from planner.space.types import FloatArray
from planner.strategies.greedy_batch import Candidates, choose_greedily

__all__ = ["choose_uncertain"]


@dataclass(eq=False)
class _Variance:
    """Posterior covariance (n, n) of one quantity, and its weight at each candidate (n,)."""

    covariance: FloatArray
    weights: FloatArray
    noise: float

    def of_each(self) -> FloatArray:
        utility: FloatArray = self.weights * np.maximum(np.diagonal(self.covariance), 0.0)
        return utility

    def choose(self, c: int) -> None:
        column = self.covariance[:, c]
        noisy = max(float(column[c]), 0.0) + self.noise**2 + TINY
        self.covariance = self.covariance - np.outer(column / noisy, column)


def choose_uncertain(
    model: GridModel, cost: CostModel, observations: Observations, feasibility: FloatArray, size: int,
    rng: np.random.Generator,
) -> list[int]:
    """Up to `size` grid rows to run next: a Chooser (planner.acquisition.variance_reduction).

    feasibility: probability that each point can run, (N,).
    """
    rows = open_sample(observations, CANDIDATES, rng)
    if not len(rows):
        return []
    weights, variances = model.weights(rows), []
    points, n = np.concatenate([rows, rows_underway(model, observations)]), len(rows)
    for name, regressor in model.regressors_.items():
        covariance = regressor.covariance(points, points) if name in weights else None
        if covariance is not None:
            covariance = given_readings(covariance, range(n, len(points)), regressor.noise_)[:n, :n]
            variances.append(_Variance(covariance, weights[name], regressor.noise_))
    start = cost.start_seconds()[rows] * cost.devices[rows]
    candidates = Candidates(rows, model.grid.engine[rows], cost.price(rows), start, feasibility[rows])
    return choose_greedily(candidates, variances, size, observations.current_engine)
