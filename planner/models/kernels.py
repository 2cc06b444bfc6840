"""The covariance function of the Gaussian process: hierarchical over categories, smooth over sizes.

Notation
--------
n, m        rows of the left and of the right feature set
d           numeric columns; D of them ("rough" columns) enter the Matérn parts, all enter the linear parts
A           ways to be alike: one for each category axis and, with two axes or more, one for all axes together
G           (n, m) inner products x·x' of the numeric columns
S_a         (n, m) 1 where both rows have the same value on axis a, else 0
M           (n, m) Matérn-5/2 correlation, (1 + √5 r + 5/3 r²) exp(−√5 r), r² = Σ_j (x_j − x'_j)² / ℓ_j²
B           (n, n) 1 where both rows are readings of the same run, else 0
t           (n,) age of each reading: 0 for the newest, 1 for the oldest
θ           logarithms of the hyper-parameters, in the order of `Hyperparameters`
W           (n, n) symmetric weights, αα' − K⁻¹ in a marginal likelihood

The noise-free covariance, every s a standard deviation in units of the scaled y:

    k = s_const² + s_lin² G + s_mat² M + Σ_a S_a ∘ (s_off,a² + s_slope,a² G + s_res,a² M)

What all categories share is learned from all of them. What belongs to one (its offset, slopes, shape) is a
departure whose size is learned. Categories are exchangeable: a category never run is predicted by what is
shared, with the spread between categories as its uncertainty. The residual Matérn shares its lengthscales with the
common one. Readings add s_noise² on the diagonal and s_run² B. If the machine may drift, they add
s_drift² min(t_i, t_j): a random walk of the logarithm of its speed, counted back from the newest reading, of which
predictions then speak.

Sources: Rasmussen & Williams, Gaussian Processes for Machine Learning (2006), eq. 4.17 and 5.9; lengthscale
prior with a median that grows as √D: Hvarfner, Hellsten & Nardi, arXiv 2402.02229.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
from scipy.linalg import LinAlgError, cholesky, lapack

from planner.models import settings
from planner.space.types import Features, FloatArray, IntArray

__all__ = [
    "ALL_TERMS", "CategoryTerm", "HierarchicalKernel", "Hyperparameters", "Pairs", "Priors",
    "diagonal_of_inverse", "inverse_of_factor", "safe_cholesky",
]

CategoryTerm: TypeAlias = Literal["offset", "slope", "residual"]
ALL_TERMS: tuple[CategoryTerm, ...] = ("offset", "slope", "residual")


@dataclass(frozen=True)
class Priors:
    """Log-normal priors, each (median, standard deviation of the logarithm).

    Standard deviations are in units of the scaled y (1 = the spread of the data), the lengthscale in units of
    a standardised column and before the factor √D.
    """

    lengthscale: tuple[float, float] = settings.LENGTHSCALE_PRIOR
    linear: tuple[float, float] = settings.LINEAR_PRIOR
    matern: tuple[float, float] = settings.MATERN_PRIOR
    offset: tuple[float, float] = settings.OFFSET_PRIOR
    slope: tuple[float, float] = settings.SLOPE_PRIOR
    residual: tuple[float, float] = settings.RESIDUAL_PRIOR
    noise: tuple[float, float] = settings.NOISE_PRIOR
    run_noise: tuple[float, float] = settings.RUN_NOISE_PRIOR
    drift: tuple[float, float] = settings.DRIFT_PRIOR


@dataclass(frozen=True)
class Hyperparameters:
    """What a fit learns. A term that is switched off is 0. All but lengthscales in units of the scaled y."""

    lengthscales: FloatArray
    """(D,) one for each rough column, in units of the standardised column."""
    linear: float
    matern: float
    offset: FloatArray
    """(A,) spread of the category offsets; likewise `slope` and `residual`."""
    slope: FloatArray
    residual: FloatArray
    noise: float
    run_noise: float
    drift: float = 0.0
    """Standard deviation of the drift over the whole study so far."""


@dataclass(frozen=True)
class Pairs:
    """What stays the same between two feature sets while hyper-parameters change."""

    left: FloatArray
    """(n, D) rough columns; `right` is (m, D)."""
    right: FloatArray
    inner: FloatArray
    """(n, m) G."""
    same_category: tuple[FloatArray, ...]
    """A matrices S_a, each (n, m)."""
    known: FloatArray | None = None
    """(n,) known noise variance of each row, in scaled units: for a set of data with itself."""
    same_run: FloatArray | None = None
    """(n, n) B, likewise; None where no runs are given."""
    drift: FloatArray | None = None
    """(n, n) min(t_i, t_j), likewise; None where no ages are given."""


class HierarchicalKernel:
    """Evaluates k and its gradient, for one shape of features.

    d: numeric columns. axes: category axes. linear_only: columns left out of the Matérn parts. terms: what a
    category may have of its own. grouped: whether readings of one run share noise. drifting: they have ages.
    """

    def __init__(
        self, d: int, axes: int, linear_only: tuple[int, ...], terms: tuple[CategoryTerm, ...], grouped: bool,
        drifting: bool = False,
    ) -> None:
        unknown = set(terms) - set(ALL_TERMS)
        if unknown or any(not 0 <= column < d for column in linear_only):
            raise ValueError(f"unknown category terms {sorted(unknown)} or a column in {linear_only} out of {d}")
        self.rough = np.array([j for j in range(d) if j not in linear_only], dtype=np.int64)
        self.shape = (d, axes, linear_only, terms, grouped, drifting)
        self.ways = axes + (axes > 1)
        D, A = len(self.rough), self.ways
        sizes = {"lengthscales": D, "linear": 1, "matern": 1, "offset": A, "slope": A, "residual": A, "noise": 1,
                 "run_noise": 1, "drift": 1}
        ends = np.cumsum(list(sizes.values()))
        self.slots = {name: slice(int(end - size), int(end)) for (name, size), end in
                      zip(sizes.items(), ends, strict=True)}
        self.active = np.ones(int(ends[-1]), dtype=bool)
        for name in set(ALL_TERMS) - set(terms):
            self.active[self.slots[name]] = False
        self.active[self.slots["linear"]] = d > 0
        self.active[self.slots["run_noise"]] = grouped
        self.active[self.slots["drift"]] = drifting

    def prior(self, priors: Priors) -> tuple[FloatArray, FloatArray]:
        """Prior mean and standard deviation of θ, each (p,)."""
        mean, sd = np.empty(len(self.active)), np.empty(len(self.active))
        for name, slot in self.slots.items():
            median, width = getattr(priors, name.removesuffix("s") if name == "lengthscales" else name)
            mean[slot], sd[slot] = np.log(median), width
        mean[self.slots["lengthscales"]] += 0.5 * np.log(max(len(self.rough), 1))
        return mean, sd

    def unpack(self, theta: FloatArray) -> Hyperparameters:
        """Named values of θ (p,); what is switched off is 0."""
        values = np.where(self.active, np.exp(theta), 0.0)
        part = {name: values[slot] for name, slot in self.slots.items()}
        return Hyperparameters(
            part["lengthscales"], float(part["linear"][0]), float(part["matern"][0]), part["offset"],
            part["slope"], part["residual"], float(part["noise"][0]), float(part["run_noise"][0]),
            float(part["drift"][0]),
        )

    def starts(self, priors: Priors, count: int, seed: int) -> list[FloatArray]:
        """`count` values of θ to start a search from: medians; a rougher, noisier one; draws from the priors."""
        mean, sd = self.prior(priors)
        rough = mean.copy()
        rough[self.slots["lengthscales"]] -= settings.ROUGH_START
        rough[self.slots["noise"]] += settings.ROUGH_START
        draws = np.random.default_rng(seed).standard_normal((max(count - 2, 0), len(mean)))
        return [mean, rough, *(mean + sd * draw for draw in draws)][:max(count, 1)]

    def with_drift(self, theta: FloatArray) -> FloatArray:
        """θ with a drift that a search can see: near 0 nothing changes with it, and the search would stay there."""
        slot = np.arange(len(theta)) == self.slots["drift"].start
        return np.where(slot, np.maximum(theta, np.log(settings.DRIFT_START)), theta)

    def pairs(self, a: Features, b: Features) -> Pairs:
        """What `matrix` needs for (n rows of a) × (m rows of b), without noise."""
        same_category = [_same(a.category[:, i], b.category[:, i]) for i in range(a.category.shape[1])]
        if len(same_category) > 1:
            same_category.append(np.prod(same_category, axis=0))
        return Pairs(a.numeric[:, self.rough], b.numeric[:, self.rough], a.numeric @ b.numeric.T, tuple(same_category))

    def data_pairs(
        self, a: Features, known: FloatArray, runs: IntArray | None, ages: FloatArray | None = None
    ) -> Pairs:
        """The same for data with itself. known: (n,) scaled noise variances; runs: of the rows; ages: t."""
        return replace(self.pairs(a, a), known=known, same_run=None if runs is None else _same(runs, runs),
                       drift=None if ages is None else np.minimum.outer(ages, ages))

    def matrix(self, h: Hyperparameters, pairs: Pairs) -> FloatArray:
        """Covariance, (n, m), with noise where `pairs` has any."""
        matern = _matern(_squared_distance(pairs.left / h.lengthscales, pairs.right / h.lengthscales))[0]
        return self._assemble(h, pairs, matern)

    def diagonal(self, h: Hyperparameters, a: Features) -> FloatArray:
        """Noise-free variance of each row, (n,)."""
        own = h.matern**2 + settings.CONSTANT_VARIANCE + float(h.offset @ h.offset + h.residual @ h.residual)
        steepness = h.linear**2 + float(h.slope @ h.slope)
        diagonal: FloatArray = own + steepness * np.einsum("ij,ij->i", a.numeric, a.numeric)
        return diagonal

    def matrix_and_slope(self, h: Hyperparameters, pairs: Pairs) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Covariance, M, and −2 ∂M/∂r², each (n, m): what `contract` needs."""
        r2 = _squared_distance(pairs.left / h.lengthscales, pairs.right / h.lengthscales)
        matern, slope = _matern(r2)
        return self._assemble(h, pairs, matern), matern, slope

    def contract(
        self, h: Hyperparameters, pairs: Pairs, matern: FloatArray, slope: FloatArray, W: FloatArray
    ) -> FloatArray:
        """Σ_ij W_ij ∂K_ij/∂θ for every θ, (p,), of data with itself."""
        gradient = np.zeros(len(self.active))
        WM, WG = W * matern, W * pairs.inner
        amplitude: FloatArray | float = h.matern**2
        gradient[self.slots["linear"]] = 2 * h.linear**2 * WG.sum()
        gradient[self.slots["matern"]] = 2 * h.matern**2 * WM.sum()
        for a, S in enumerate(pairs.same_category):
            gradient[self.slots["offset"].start + a] = 2 * h.offset[a] ** 2 * np.vdot(W, S)
            gradient[self.slots["slope"].start + a] = 2 * h.slope[a] ** 2 * np.vdot(WG, S)
            gradient[self.slots["residual"].start + a] = 2 * h.residual[a] ** 2 * np.vdot(WM, S)
            amplitude = amplitude + h.residual[a] ** 2 * S
        # ∂M/∂log ℓ_j = slope · (x_j − x'_j)²/ℓ_j², and Σ P (x − x')² = 2 Σ_i x_i² P_i· − 2 x'Px: no (n, n, D) array
        P = W * slope * amplitude
        Z = pairs.left / h.lengthscales
        gradient[self.slots["lengthscales"]] = 2 * (P.sum(axis=1) @ Z**2 - np.einsum("ij,ij->j", Z, P @ Z))
        gradient[self.slots["noise"]] = 2 * h.noise**2 * np.trace(W)
        for name, size, shared in (("run_noise", h.run_noise, pairs.same_run), ("drift", h.drift, pairs.drift)):
            if shared is not None:
                gradient[self.slots[name]] = 2 * size**2 * np.vdot(W, shared)
        return gradient

    @staticmethod
    def _assemble(h: Hyperparameters, pairs: Pairs, matern: FloatArray) -> FloatArray:
        K = pairs.inner * h.linear**2
        K += settings.CONSTANT_VARIANCE
        K += h.matern**2 * matern
        for a, S in enumerate(pairs.same_category):
            own = matern * h.residual[a] ** 2
            own += h.offset[a] ** 2
            if h.slope[a] > 0:
                own += h.slope[a] ** 2 * pairs.inner
            own *= S
            K += own
        if pairs.known is not None:
            K[np.diag_indices_from(K)] += h.noise**2 + pairs.known
        for size, shared in ((h.run_noise, pairs.same_run), (h.drift, pairs.drift)):
            if shared is not None:
                K += size**2 * shared
        return K


def safe_cholesky(K: FloatArray) -> FloatArray:
    """Lower Cholesky factor of K, with the smallest jitter for which there is one. LinAlgError beyond 1e-2."""
    # Powers of ten of the mean variance: rounding needs 1e-10; what needs more than 1e-2 is no covariance.
    for exponent in (None, -10, -8, -6, -4, -2):
        if exponent is not None:
            K = K + 10.0**exponent * float(np.mean(np.diag(K))) * np.eye(len(K))
        try:
            factor: FloatArray = cholesky(K, lower=True, check_finite=False)
        except LinAlgError:
            continue
        if np.isfinite(factor).all():
            return factor
    raise LinAlgError("the covariance of the data is not positive definite, even with jitter")


def inverse_of_factor(L: FloatArray) -> FloatArray:
    """K⁻¹ from its lower Cholesky factor, symmetric."""
    lower = np.tril(lapack.dpotri(L, lower=1)[0])
    inverse: FloatArray = lower + np.tril(lower, -1).T
    return inverse


def diagonal_of_inverse(L: FloatArray) -> FloatArray:
    """The diagonal of K⁻¹, (n,)."""
    diagonal: FloatArray = np.diag(lapack.dpotri(L, lower=1)[0])
    return diagonal


def _same(left: IntArray, right: IntArray) -> FloatArray:
    """(n, m) 1 where the codes (n,) and (m,) are equal, else 0."""
    same: FloatArray = np.equal.outer(left, right).astype(np.float64)
    return same


def _squared_distance(left: FloatArray, right: FloatArray) -> FloatArray:
    """(n, m) squared Euclidean distances between rows (n, D) and (m, D), never negative."""
    r2: FloatArray = left @ right.T
    r2 *= -2.0
    r2 += np.einsum("ij,ij->i", left, left)[:, None]
    r2 += np.einsum("ij,ij->i", right, right)[None, :]
    return np.maximum(r2, 0.0, out=r2)


def _matern(r2: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Matérn-5/2 correlation and −2 times its derivative by r², from squared distances; destroys r2."""
    third = r2 * (5.0 / 3.0)
    t = np.sqrt(r2, out=r2)
    t *= 5.0**0.5
    decay = np.exp(-t)
    t += 1.0
    third += t
    third *= decay
    t *= decay
    t *= 5.0 / 3.0
    return third, t
