"""A random forest as a surrogate: the rival that needs no kernel and no care, and pays for it in points.

Notation
--------
n, m, T     data rows; rows to predict; trees
f_t         prediction of tree t: mean of the data in the leaf that a row falls into
v_t         variance of the data in that leaf
out-of-bag  of a row: the trees whose bootstrap sample does not hold it

Mean and variance by the law of total variance over trees: mean_t f_t, and var_t f_t + mean_t v_t
(Hutter, Xu, Hoos & Leyton-Brown, Artificial Intelligence 206, 2014). Variances of the mean, such as
the jackknife after bootstrap (Wager, Hastie & Efron, JMLR 15, 2014), tell only how the forest would vary with
the sample, not how far a step function is from the truth between measured points; so they are not used.
"""

from __future__ import annotations

import math
from typing import Self

import numpy as np
from sklearn.ensemble import RandomForestRegressor

from planner.space.types import Features, FloatArray

__all__ = ["RandomForest"]

# Trees that agree to the last digit have not learned that much: doubt is at least this share of y's spread.
_LEAST_DOUBT = 0.01
_LEAST_SCALE = 0.1


class RandomForest:
    """Random forest on numeric columns and one-hot categories (planner.space.types.Surrogate).

    `noise_` is what the out-of-bag residuals leave over once the forest's own doubt and the noise known
    beforehand are taken out, so that doubt and noise together match the errors seen on rows left out.
    """

    noise_: float

    def __init__(self, *, trees: int = 200, min_samples_leaf: int = 1, seed: int = 0) -> None:
        self.trees = trees
        self.min_samples_leaf = min_samples_leaf
        self.seed = seed

    def fit(self, features: Features, y: FloatArray, noise: FloatArray | None = None) -> Self:
        """Learn from n ≥ 1 rows; y and noise (n,) in the same units. Raises ValueError on unequal lengths."""
        y = np.asarray(y, dtype=np.float64)
        known = np.zeros_like(y) if noise is None else np.asarray(noise, dtype=np.float64)
        if not len(features) == len(y) == len(known) or not len(y):
            raise ValueError(f"features, y and noise must have the same n ≥ 1 rows, not "
                             f"{len(features)}, {len(y)}, {len(known)}")
        X = _columns(features)
        # leaf variances are differences of squares: they lose all digits where y is far from 0
        self.centre_ = float(np.mean(y))
        self.forest_ = RandomForestRegressor(
            self.trees, min_samples_leaf=self.min_samples_leaf, max_features=0.7, random_state=self.seed
        ).fit(X, y - self.centre_)
        # fewer than three values do not tell how much y can move: doubt everything by one unit (an e-fold)
        self.least_std_ = _LEAST_DOUBT * max(float(np.std(y, ddof=1)), _LEAST_SCALE) if len(y) > 2 else 1.0
        self._leaf_variance = [np.maximum(tree.tree_.impurity, 0.0) for tree in self.forest_.estimators_]
        self.noise_ = self._leftover_noise(X, y - self.centre_, known)
        return self

    def predict(self, features: Features) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation of the noise-free quantity, each (m,), in y's units."""
        means, variances = self._per_tree(_columns(features))
        mean: FloatArray = self.centre_ + means.mean(axis=0)
        std = np.sqrt(means.var(axis=0) + variances.mean(axis=0))
        return mean, np.maximum(std, self.least_std_)

    def _per_tree(self, X: FloatArray) -> tuple[FloatArray, FloatArray]:
        """f_t (of centred y) and v_t of each row, (T, m) each."""
        if not len(X):
            return np.empty((self.trees, 0)), np.empty((self.trees, 0))
        leaves = self.forest_.apply(X).T
        means = np.stack([tree.tree_.value[leaf, 0, 0] for tree, leaf in
                          zip(self.forest_.estimators_, leaves, strict=True)])
        variances = np.stack([v[leaf] for v, leaf in zip(self._leaf_variance, leaves, strict=True)])
        return means, variances

    def _leftover_noise(self, X: FloatArray, y: FloatArray, known: FloatArray) -> float:
        """Standard deviation of a reading, from rows that at least two trees have not seen; y centred."""
        outside = np.ones((self.trees, len(y)), dtype=bool)
        for t, drawn in enumerate(self.forest_.estimators_samples_):
            outside[t, drawn] = False
        seen = outside.sum(axis=0)
        rows = seen >= 2
        if not rows.any():
            return self.least_std_
        means, variances = self._per_tree(X[rows])
        weight = outside[:, rows] / seen[rows]
        mean = (weight * means).sum(axis=0)
        doubt = (weight * ((means - mean) ** 2 + variances)).sum(axis=0)
        leftover = float(np.mean((y[rows] - mean) ** 2 - doubt - known[rows] ** 2))
        return math.sqrt(max(leftover, self.least_std_**2))


def _columns(features: Features) -> FloatArray:
    """(n, d + Σ levels): numeric columns, then one-hot categories; a column of zeros where there is nothing."""
    parts = [features.numeric]
    for axis, levels in enumerate(features.levels):
        parts.append(np.equal.outer(features.category[:, axis], np.arange(levels)).astype(np.float64))
    X = np.hstack(parts)
    return X if X.shape[1] else np.zeros((len(features), 1))
