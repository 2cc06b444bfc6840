"""How the errors of a target at several grid points go together: neighbours err alike.

Notation: n rows; q a quantity; s_q what an error of q does to the target; k_q posterior covariance of q.
"""

from __future__ import annotations

import numpy as np

from planner.models.grid_model import GridModel
from planner.space.types import FloatArray, IntArray

__all__ = ["JointErrors"]


class JointErrors:
    """Covariances of one fit of a model, which may be fitted again meanwhile."""

    def __init__(self, model: GridModel) -> None:
        self._model = model.frozen()

    def covariance(self, metric: str, rows: IntArray) -> FloatArray | None:
        """Σ_q s_q s_q' k_q of the target without noise, (n, n), on the scale of its transform; None where the model
        has none, so that nothing is known of how errors go together."""
        total, found = np.zeros((len(rows), len(rows))), False
        for quantity, share in self._shares(metric, rows).items():
            regressor = self._model.regressors_.get(quantity)
            covariance = regressor.covariance(rows, rows) if regressor else None
            if covariance is not None:
                total, found = total + share[:, None] * share * covariance, True
        return total if found else None

    def noise(self, metric: str, rows: IntArray) -> FloatArray:
        """Standard deviation of one reading of the target whose own noise is not known, (n,): what the surface leaves
        unexplained, noise and roughness together."""
        total = np.zeros(len(rows))
        for quantity, share in self._shares(metric, rows).items():
            if (regressor := self._model.regressors_.get(quantity)) is not None:
                total += (share * regressor.noise_) ** 2
        noise: FloatArray = np.sqrt(total)
        return noise

    def _shares(self, metric: str, rows: IntArray) -> dict[str, FloatArray]:
        target = next((one for one in self._model.targets_ if one.name == metric), None)
        return {} if target is None else self._model.shares(target, rows)
