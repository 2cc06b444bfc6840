"""A plain Gaussian process as a regressor: the baseline that any library gives, without what we know of benchmarks.

Matérn-5/2 with a lengthscale for each column, one level of noise, and marginal likelihood alone: no priors, no latency
model, no hierarchy of categories. From scikit-learn, with its defaults.
"""

from __future__ import annotations

import warnings
from typing import Self

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from planner.models import settings
from planner.models.regressor import ALL, check_readings, columns_of
from planner.space.types import Features, FloatArray, IntArray

__all__ = ["MaternRegressor"]


class MaternRegressor:
    """Regressor by scikit-learn's Gaussian process on numeric columns and one-hot categories, for a grid with these
    features.

    It ignores runs, known noise and the latency model, and has neither one-step-ahead forecasts nor a covariance.
    """

    noise_: float
    drift_ = None

    def __init__(self, features: Features, seed: int = 0) -> None:
        self.seed = seed
        self._X = columns_of(features)

    def fit(
        self, rows: IntArray, y: FloatArray, runs: IntArray, noise: FloatArray | None = None,
        run_effect: bool = False, latency_model: FloatArray | None = None, ages: FloatArray | None = None,
    ) -> Self:
        """Return self, fitted to y (n,) at `rows`; the rest as in the contract."""
        check_readings(len(self._X), rows, y, runs, noise, latency_model, ages)
        kernel = ConstantKernel() * Matern(np.ones(self._X.shape[1]), nu=2.5) + WhiteKernel()
        self._gp = GaussianProcessRegressor(kernel, normalize_y=True, random_state=self.seed)
        with warnings.catch_warnings():
            # A bound that is reached is what the defaults do with few readings, and no news.
            warnings.simplefilter("ignore", ConvergenceWarning)
            self._gp.fit(self._X[rows], y)
        scale = float(np.std(y)) or 1.0
        self.noise_ = max(scale * float(np.sqrt(self._gp.kernel_.k2.noise_level)), settings.TINY)
        return self

    def predict(self, rows: IntArray | slice = ALL) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation, each (n,), of one more reading at `rows`, noise included."""
        mean, std = self._gp.predict(self._X[rows], return_std=True)
        return np.asarray(mean), np.maximum(np.asarray(std), self.noise_)

    def one_step_ahead(self) -> None:
        """None: it would have to be fitted again for every run."""

    def covariance(self, rows: IntArray, others: IntArray) -> None:
        """None: its points are chosen beforehand."""
