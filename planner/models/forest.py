"""A random forest as a regressor: the baseline that needs no kernel and no care, and more points in return.

Notation
--------
N, n, T     grid points; readings; trees
f_t         (N,) prediction of tree t: mean of the data in the leaf that a point falls into
v_t         (N,) variance of the data in that leaf
out-of-bag  of a reading: the trees whose bootstrap sample does not hold it

Mean and variance by total variance over trees: mean_t f_t, and var_t f_t + mean_t v_t
(Hutter, Xu, Hoos & Leyton-Brown, Artificial Intelligence 206, 2014). Variances of the mean, such as
the jackknife after bootstrap (Wager, Hastie & Efron, JMLR 15, 2014), say only how the forest would vary with
the sample, not how far a step function is from the truth between measured points; so they are not used.
"""

from __future__ import annotations

import math
from typing import Self

import numpy as np
from sklearn.ensemble import RandomForestRegressor

from planner.models import settings
from planner.models.regressor import ALL, check_readings, columns_of
from planner.space.types import Features, FloatArray, IntArray

__all__ = ["ForestRegressor"]


class ForestRegressor:
    """Regressor by a random forest on numeric columns and one-hot categories, for a grid with these features.

    It ignores runs and the latency model, and has neither one-step-ahead forecasts nor a covariance. `noise_` is what
    the out-of-bag residuals leave once the forest's own variance and the noise known beforehand are taken out, so
    that both together match the errors at readings left out.
    """

    noise_: float
    drift_ = None

    def __init__(self, features: Features, *, trees: int = settings.TREES, min_samples_leaf: int = 1, seed: int = 0
                 ) -> None:
        self.trees = trees
        self.min_samples_leaf = min_samples_leaf
        self.seed = seed
        self._X = columns_of(features)

    def fit(
        self, rows: IntArray, y: FloatArray, runs: IntArray, noise: FloatArray | None = None,
        run_effect: bool = False, latency_model: FloatArray | None = None, ages: FloatArray | None = None,
    ) -> Self:
        """Return self, fitted to y (n,) at `rows`; the rest as in the contract."""
        check_readings(len(self._X), rows, y, runs, noise, latency_model, ages)
        X, known = self._X[rows], np.zeros_like(y) if noise is None else noise
        # leaf variances are differences of squares: they lose all digits where y is far from 0
        self._centre = float(np.mean(y))
        self._forest = RandomForestRegressor(
            self.trees, min_samples_leaf=self.min_samples_leaf, max_features=settings.FOREST_FEATURE_SHARE,
            random_state=self.seed,
        ).fit(X, y - self._centre)
        # fewer than three values do not show how much y can move: a standard deviation of one unit (an e-fold)
        self._least_std = (
            settings.FOREST_LEAST_STD * max(float(np.std(y, ddof=1)), settings.LEAST_SCALE) if len(y) > 2 else 1.0)
        self._leaf_variance = [np.maximum(tree.tree_.impurity, 0.0) for tree in self._forest.estimators_]
        self.noise_ = self._leftover_noise(X, y - self._centre, known)
        return self

    def predict(self, rows: IntArray | slice = ALL) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation, each (n,), of one more reading at `rows`, noise included."""
        means, variances = self._per_tree(self._X[rows])
        mean: FloatArray = self._centre + means.mean(axis=0)
        std = np.maximum(np.sqrt(means.var(axis=0) + variances.mean(axis=0)), self._least_std)
        return mean, np.hypot(std, self.noise_)

    def one_step_ahead(self) -> None:
        """None: a forest would have to be fitted again for every run."""

    def covariance(self, rows: IntArray, others: IntArray) -> None:
        """None: trees say nothing useful of how two points vary together."""

    def _per_tree(self, X: FloatArray) -> tuple[FloatArray, FloatArray]:
        """f_t (of centred y) and v_t at each row of X (m, ·), (T, m) each."""
        leaves = self._forest.apply(X).T
        means = np.stack([tree.tree_.value[leaf, 0, 0] for tree, leaf in
                          zip(self._forest.estimators_, leaves, strict=True)])
        variances = np.stack([v[leaf] for v, leaf in zip(self._leaf_variance, leaves, strict=True)])
        return means, variances

    def _leftover_noise(self, X: FloatArray, y: FloatArray, known: FloatArray) -> float:
        """Standard deviation of a reading, from those that at least two trees have not used; y centred."""
        outside = np.ones((self.trees, len(y)), dtype=bool)
        for t, drawn in enumerate(self._forest.estimators_samples_):
            outside[t, drawn] = False
        counts = outside.sum(axis=0)
        rows = counts >= 2
        if not rows.any():
            return self._least_std
        means, variances = self._per_tree(X[rows])
        weight = outside[:, rows] / counts[rows]
        mean = (weight * means).sum(axis=0)
        variance = (weight * ((means - mean) ** 2 + variances)).sum(axis=0)
        leftover = float(np.mean((y[rows] - mean) ** 2 - variance - known[rows] ** 2))
        return math.sqrt(max(leftover, self._least_std**2))
