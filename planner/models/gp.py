"""An exact Gaussian process with learned hyper-parameters under informative priors.

Notation
--------
n, m        data rows; rows to predict
y           (n,) the quantity as given (sweepwise: the logarithm of a metric), in its own units
z           (n,) (y − centre)/scale; hyper-parameters live in these units
N           (n, n) noise: s_noise² + known² on the diagonal, s_run² between readings of one run, and the drift
K           (n, n) covariance of z, k(X, X) + N
L, α        lower Cholesky factor of K; K⁻¹z
θ           logarithms of the hyper-parameters (kernels.py)

Hyper-parameters maximise log p(z | X, θ) + log p(θ) (maximum a posteriori), by L-BFGS-B with analytic
gradients. With few points the priors decide: plain maximum likelihood overfits.

Sources: Rasmussen & Williams (2006), algorithm 2.1 and eq. 5.9; one-step-ahead (prequential) forecasts: Dawid,
J. R. Statist. Soc. A 147 (1984).
"""

from __future__ import annotations

import copy
import math
from typing import Self

import numpy as np
from scipy.linalg import cho_solve, solve_triangular
from scipy.optimize import Bounds, minimize
from scipy.stats import norm

from planner.models import settings
from planner.models.kernels import (
    ALL_TERMS,
    CategoryTerm,
    HierarchicalKernel,
    Hyperparameters,
    Pairs,
    Priors,
    inverse_of_factor,
    safe_cholesky,
)
from planner.models.regressor import DriftEstimate
from planner.models.representative import representative_rows
from planner.space.types import Features, FloatArray, IntArray

__all__ = ["GaussianProcess"]


class GaussianProcess:
    """Exact Gaussian process on feature rows, in the manner of scikit-learn.

    Parameters
    ----------
    priors : of the hyper-parameters.
    linear_only : numeric columns that enter the linear parts alone (a latency model, for example).
    category_terms : what a category may have of its own: "offset", "slope", "residual".
    warm_start : a second `fit` starts from what the first learned. Use one object for one quantity.
    refit_growth : with `warm_start`, hyper-parameters are learned again only once the data has grown by this
        share, or y has visibly moved; in between a `fit` only factorises.
    starts : optimisations of a cold fit, the first from the priors' medians.
    max_hyper_points : hyper-parameters are learned on at most so many rows.
    max_points : predictions use at most so many rows.
    seed : of the random half of a subset, and of starts beyond the second.
    unit : of y; the standard deviation of the data where None.

    Rows beyond a maximum are dropped in favour of a subset, half farthest-point, half uniform at random: the
    first half leaves no region out, the second keeps close neighbours, which tell noise from roughness.
    A subset ignores data but invents none, so its intervals stay valid.

    Learned: `hyperparameters_` (scaled units), `noise_` and `scale_`, `centre_` (y's units), `log_posterior_`
    of the rows in use, `rows_` their indices.
    """

    noise_: float
    hyperparameters_: Hyperparameters
    log_posterior_: float
    centre_: float
    scale_: float
    rows_: IntArray
    _kernel: HierarchicalKernel
    _theta: FloatArray
    _learned_rows: int
    _cold_rows: int

    def __init__(
        self,
        *,
        priors: Priors | None = None,
        linear_only: tuple[int, ...] = (),
        category_terms: tuple[CategoryTerm, ...] = ALL_TERMS,
        warm_start: bool = True,
        refit_growth: float = settings.REFIT_GROWTH,
        starts: int = settings.STARTS,
        max_hyper_points: int = settings.MAX_HYPER_POINTS,
        max_points: int = settings.MAX_POINTS,
        seed: int = 0,
        unit: float | None = None,
    ) -> None:
        self.priors = priors
        self.linear_only = linear_only
        self.category_terms = category_terms
        self.warm_start = warm_start
        self.refit_growth = refit_growth
        self.starts = starts
        self.max_hyper_points = max_hyper_points
        self.max_points = max_points
        self.seed = seed
        self.unit = unit

    def fit(
        self, features: Features, y: FloatArray, noise: FloatArray | None = None, groups: IntArray | None = None,
        ages: FloatArray | None = None,
    ) -> Self:
        """Return self, fitted to n ≥ 1 rows. groups: (n,) equal where readings share a run, and with it some noise.
        ages: (n,) from 0, the newest, to 1, the oldest, where the machine may drift.

        y and `noise` (known standard deviations, 0 where unknown) are (n,) in the same units. Raises
        ValueError for shapes that disagree and for values that are not finite.
        """
        y, noise = _checked(features, y, noise, groups)
        kernel = HierarchicalKernel(
            features.numeric.shape[1], features.category.shape[1], self.linear_only, self.category_terms,
            groups is not None, ages is not None,
        )
        warm = self.warm_start and hasattr(self, "_theta") and self._kernel.shape == kernel.shape
        self._kernel, self._features, self._y, self._noise = kernel, features, y, noise
        self._groups, self._ages = None if groups is None else np.asarray(groups), ages
        if not (warm and self._still_good(y)):
            fresh = not warm or len(y) >= settings.RESTART_GROWTH * self._cold_rows
            self.centre_, self.scale_ = float(np.mean(y)), self.unit or _scale(y)
            self._theta = self._learn(self._theta if warm else None, fresh)
            self._learned_rows = len(y)
            self._cold_rows = len(y) if fresh else self._cold_rows
        self._factorise()
        return self

    def predict(self, features: Features) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation of the noise-free quantity, each (m,), in y's units."""
        mean, variance = np.empty(len(features)), np.empty(len(features))
        step = max(1, settings.CHUNK_ENTRIES // len(self.rows_))
        for start in range(0, len(features), step):
            part = slice(start, start + step)
            mean[part], variance[part] = self._posterior(features[part])
        return self.centre_ + self.scale_ * mean, self.scale_ * np.sqrt(variance)

    def covariance(self, a: Features, b: Features) -> FloatArray:
        """Posterior covariance of the noise-free quantity, (n_a, n_b), in y's units squared."""
        prior = self._kernel.matrix(self.hyperparameters_, self._kernel.pairs(a, b))
        posterior: FloatArray = self.scale_**2 * (prior - self._cross(a)[1].T @ self._cross(b)[1])
        return posterior

    def given(self, rows: IntArray) -> Self:
        """A copy fitted to `rows` of the data alone, one or more, with the same hyper-parameters."""
        other = copy.copy(self)
        other._features, other._y, other._noise = self._features[rows], self._y[rows], self._noise[rows]
        other._groups = None if self._groups is None else self._groups[rows]
        other._ages = None if self._ages is None else self._ages[rows]
        other._factorise()
        return other

    def one_step_ahead(self, runs: IntArray, features: Features | None = None) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation of each row's noisy y, from the rows of earlier runs alone; each (n,), y's units.

        The hyper-parameters are those of all rows. NaN for rows beyond the maximum of points. The deviation includes
        the row's own noise. runs: (n,) run of each row given to `fit`, numbers ascending in time. features: n rows in
        place of those given to `fit`.

        With rows in order of time, z is L u for independent standard normal u (Rasmussen & Williams, eq. A.12): earlier
        runs predict z_g − L_gg u_g for block g, with covariance L_gg L_gg'. One factorisation gives all forecasts: that
        of `fit`, where the rows were given in order of time.
        """
        order = self.rows_[np.argsort(runs[self.rows_], kind="stable")]
        if features is None and np.array_equal(order, self.rows_):
            L, z = self._L, (self._y[order] - self.centre_) / self.scale_  # the same matrix, factorised by `fit`
        else:
            pairs, z = self._scaled(order, features)
            L = safe_cholesky(self._kernel.matrix(self.hyperparameters_, pairs))
        u = solve_triangular(L, z, lower=True, check_finite=False)
        same = np.tril(np.equal.outer(runs[order], runs[order]))
        mean, std = np.full(len(runs), np.nan), np.full(len(runs), np.nan)
        own = np.where(same, L, 0.0)
        mean[order] = self.centre_ + self.scale_ * (z - own @ u)
        std[order] = self.scale_ * np.sqrt(np.maximum((own**2).sum(axis=1), settings.TINY))
        return mean, std

    @property
    def drift_(self) -> DriftEstimate | None:
        """How the machine has changed from the oldest reading to the newest, in y's units; None without ages."""
        if self._ages is None:
            return None
        scale = self.scale_ * self.hyperparameters_.drift
        # A reading of age t has s²·min(t, 1) in common with the oldest.
        common = self.hyperparameters_.drift**2 * self._ages[self.rows_]
        whitened = solve_triangular(self._L, common, lower=True, check_finite=False)
        variance = self.hyperparameters_.drift**2 - float(whitened @ whitened)
        return DriftEstimate(scale, -self.scale_ * float(common @ self._alpha),
                             self.scale_ * math.sqrt(max(variance, settings.TINY)))

    def _still_good(self, y: FloatArray) -> bool:
        """Whether hyper-parameters may be kept: little new data, and y where it was."""
        grown = not self._learned_rows <= len(y) < (1 + self.refit_growth) * self._learned_rows
        moved = abs(float(np.mean(y)) - self.centre_) > settings.MOVED_MEAN * self.scale_
        unit = self.unit or _scale(y)
        return not (grown or moved or not 1 / settings.MOVED_SCALE < unit / self.scale_ < settings.MOVED_SCALE)

    def _learn(self, previous: FloatArray | None, fresh: bool) -> FloatArray:
        """θ of the highest posterior among the starts."""
        kernel, active = self._kernel, self._kernel.active
        mean, sd = kernel.prior(self.priors or Priors())
        rows = representative_rows(self._features, self.max_hyper_points, self.seed)
        pairs, z = self._scaled(rows)
        starts = [] if previous is None else [previous]
        starts += kernel.starts(self.priors or Priors(), self.starts, self.seed) if fresh else []
        starts = [kernel.with_drift(start) for start in starts]

        def objective(free: FloatArray) -> tuple[float, FloatArray]:
            theta = mean.copy()
            theta[active] = free
            value, gradient = _log_likelihood(kernel, theta, pairs, z)
            away = (free - mean[active]) / sd[active]
            return 0.5 * float(away @ away) - value, away / sd[active] - gradient[active]

        reach = settings.BOUND_WIDTHS * sd[active]
        bounds = Bounds(mean[active] - reach, mean[active] + reach)
        found = [minimize(objective, start[active], jac=True, method="L-BFGS-B", bounds=bounds,
                          options=settings.LBFGS_OPTIONS) for start in starts]
        best = min(found, key=lambda result: float(result.fun))
        theta = mean.copy()
        theta[active] = best.x
        return theta

    def _scaled(self, rows: IntArray, features: Features | None = None) -> tuple[Pairs, FloatArray]:
        """The kernel's pairs of data rows, noise included, and their z."""
        features = self._features if features is None else features
        runs = None if self._groups is None else self._groups[rows]
        ages = None if self._ages is None else self._ages[rows]
        pairs = self._kernel.data_pairs(features[rows], (self._noise[rows] / self.scale_) ** 2, runs, ages)
        return pairs, (self._y[rows] - self.centre_) / self.scale_

    def _factorise(self) -> None:
        """Compute what prediction needs, from θ and the data."""
        kernel, h = self._kernel, self._kernel.unpack(self._theta)
        self.hyperparameters_ = h
        self.rows_ = representative_rows(self._features, self.max_points, self.seed)
        self._data = self._features[self.rows_]
        pairs, z = self._scaled(self.rows_)
        self._L = safe_cholesky(kernel.matrix(h, pairs))
        self._alpha: FloatArray = cho_solve((self._L, True), z)
        usual = float(np.sqrt(np.mean(self._noise**2)))
        self.noise_ = math.hypot(self.scale_ * h.noise, self.scale_ * h.run_noise, usual)
        mean, sd = (moment[kernel.active] for moment in kernel.prior(self.priors or Priors()))
        log_prior = float(norm.logpdf(self._theta[kernel.active], mean, sd).sum())
        self.log_posterior_ = _gaussian_log_density(self._L, self._alpha, z) + log_prior

    def _cross(self, features: Features) -> tuple[FloatArray, FloatArray]:
        """k(X, features) and L⁻¹ k(X, features), (n, m) each."""
        cross = self._kernel.matrix(self.hyperparameters_, self._kernel.pairs(self._data, features))
        return cross, solve_triangular(self._L, cross, lower=True, check_finite=False)

    def _posterior(self, features: Features) -> tuple[FloatArray, FloatArray]:
        """Mean and variance (m,), in scaled units."""
        cross, whitened = self._cross(features)
        prior = self._kernel.diagonal(self.hyperparameters_, features)
        variance = prior - np.einsum("ij,ij->j", whitened, whitened)
        return self._alpha @ cross, np.maximum(variance, settings.TINY)


def _checked(
    features: Features, y: FloatArray, noise: FloatArray | None, groups: IntArray | None
) -> tuple[FloatArray, FloatArray]:
    """y and noise as finite float arrays of shape (n,), n ≥ 1."""
    y = np.asarray(y, dtype=np.float64)
    noise = np.zeros_like(y) if noise is None else np.asarray(noise, dtype=np.float64)
    shapes = {y.shape, noise.shape, (len(features),)} | ({np.shape(groups)} if groups is not None else set())
    if len(shapes) > 1 or not len(y):
        raise ValueError(f"features, y, noise and groups must have the same n ≥ 1 rows, not {shapes}")
    if not (np.isfinite(y).all() and np.isfinite(noise).all() and np.isfinite(features.numeric).all()):
        raise ValueError("features, y and noise must be finite")
    return y, noise


def _scale(y: FloatArray) -> float:
    """The unit of y: its standard deviation; 1 with fewer than three values, which show too little of it."""
    return max(float(np.std(y, ddof=1)), settings.LEAST_SCALE) if len(y) > 2 else 1.0


def _gaussian_log_density(L: FloatArray, alpha: FloatArray, z: FloatArray) -> float:
    return float(-0.5 * z @ alpha - np.log(np.diag(L)).sum() - 0.5 * len(z) * math.log(2 * math.pi))


def _log_likelihood(
    kernel: HierarchicalKernel, theta: FloatArray, pairs: Pairs, z: FloatArray
) -> tuple[float, FloatArray]:
    """log p(z | X, θ) and its gradient by θ, (p,) (Rasmussen & Williams, eq. 5.9)."""
    h = kernel.unpack(theta)
    K, matern, slope = kernel.matrix_and_slope(h, pairs)
    L = safe_cholesky(K)
    alpha = cho_solve((L, True), z, check_finite=False)
    W = np.outer(alpha, alpha) - inverse_of_factor(L)
    return _gaussian_log_density(L, alpha, z), 0.5 * kernel.contract(h, pairs, matern, slope, W)
