"""Kernel and posterior against scikit-learn's where its kernels can say the same, else against the formula in full."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, DotProduct, Kernel, Matern

from planner.models import gp as gp_module
from planner.models import settings
from planner.models.gp import GaussianProcess
from planner.models.kernels import HierarchicalKernel, Hyperparameters
from planner.space.types import Features, FloatArray, IntArray

EXACT = {"rtol": 1e-8, "atol": 1e-8}


def held(gp: GaussianProcess, h: Hyperparameters, centre: float, scale: float) -> GaussianProcess:
    """The fitted process with these hyper-parameters and units in place of those that it learned."""
    kernel = gp._kernel
    theta = np.zeros(len(kernel.active))
    for name, slot in kernel.slots.items():
        theta[slot] = np.log(np.where(kernel.active[slot], getattr(h, name), 1.0))
    gp._theta, gp.centre_, gp.scale_ = theta, centre, scale
    gp._factorise()
    return gp


def values(d: int, ways: int = 0, run_noise: float = 0.0, seed: int = 0) -> Hyperparameters:
    rng = np.random.default_rng(seed)
    return Hyperparameters(rng.uniform(0.5, 3, d), 0.6, 1.3, rng.uniform(0.2, 0.9, ways), rng.uniform(0.1, 0.5, ways),
                           rng.uniform(0.2, 0.8, ways), 0.07, run_noise)


def theirs(h: Hyperparameters) -> Kernel:
    return (ConstantKernel(settings.CONSTANT_VARIANCE) + ConstantKernel(h.linear**2) * DotProduct(0.0, "fixed")
            + ConstantKernel(h.matern**2) * Matern(h.lengthscales, nu=2.5))


@pytest.mark.parametrize("d", [1, 3, 6])
@pytest.mark.parametrize("known", [False, True])
def test_posterior_without_categories_is_scikit_learns(features: Callable[..., Features], d: int, known: bool) -> None:
    X, new, rng = features(40, d, ()), features(25, d, (), seed=9), np.random.default_rng(d)
    y = 5.0 + 2.0 * (X.numeric[:, 0] ** 2 + 0.3 * rng.standard_normal(40))
    noise = rng.uniform(0.05, 0.4, 40) if known else np.zeros(40)
    h, centre, scale = values(d), 4.5, 1.7
    ours = held(GaussianProcess().fit(X, y, noise), h, centre, scale)
    other = GaussianProcessRegressor(theirs(h), alpha=h.noise**2 + (noise / scale) ** 2, optimizer=None)
    other.fit(X.numeric, (y - centre) / scale)

    mean, std = ours.predict(new)
    their_mean, their_std = other.predict(new.numeric, return_std=True)
    np.testing.assert_allclose(mean, centre + scale * their_mean, **EXACT)
    np.testing.assert_allclose(std, scale * their_std, **EXACT)
    np.testing.assert_allclose(ours.covariance(new, new), scale**2 * other.predict(new.numeric, return_cov=True)[1],
                               **EXACT)
    pairs, z = ours._scaled(np.arange(40))
    likelihood, gradient = gp_module._log_likelihood(ours._kernel, ours._theta, pairs, z)
    assert likelihood == pytest.approx(other.log_marginal_likelihood_value_, rel=1e-8)
    _, their_gradient = other.log_marginal_likelihood(other.kernel_.theta, eval_gradient=True)
    by_name = {name: gradient[slot] for name, slot in ours._kernel.slots.items()}
    # Theirs are by logarithms of variances, ours by logarithms of standard deviations: hence the 2.
    np.testing.assert_allclose(by_name["lengthscales"], their_gradient[-d:], rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(by_name["matern"][0], 2 * their_gradient[-d - 1], rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(by_name["linear"][0], 2 * their_gradient[1], rtol=1e-6, atol=1e-8)


def dense(h: Hyperparameters, a: Features, b: Features, linear_only: tuple[int, ...] = ()) -> FloatArray:
    """k of the docstring of kernels.py, entry by entry."""
    rough = [j for j in range(a.numeric.shape[1]) if j not in linear_only]
    K = np.empty((len(a), len(b)))
    for i in range(len(a)):
        for j in range(len(b)):
            x, other = a.numeric[i], b.numeric[j]
            r = sum(((x[c] - other[c]) / length) ** 2 for c, length in zip(rough, h.lengthscales, strict=True)) ** 0.5
            matern = (1 + 5**0.5 * r + 5 / 3 * r**2) * np.exp(-(5**0.5) * r)
            inner = sum(x[c] * other[c] for c in range(len(x)))
            alike = [bool(p == q) for p, q in zip(a.category[i], b.category[j], strict=True)]
            alike += [all(alike)] if len(alike) > 1 else []
            K[i, j] = settings.CONSTANT_VARIANCE + h.linear**2 * inner + h.matern**2 * matern + sum(
                same * (offset**2 + slope**2 * inner + residual**2 * matern)
                for same, offset, slope, residual in zip(alike, h.offset, h.slope, h.residual, strict=True))
    return K


@pytest.mark.parametrize(("levels", "linear_only"), [((3,), ()), ((3, 2), ()), ((4, 2, 3), (1,))])
def test_kernel_with_categories_is_its_formula(
    features: Callable[..., Features], levels: tuple[int, ...], linear_only: tuple[int, ...]
) -> None:
    a, b = features(12, 3, levels), features(9, 3, levels, seed=5)
    kernel = HierarchicalKernel(3, len(levels), linear_only, ("offset", "slope", "residual"), False)
    h = values(3 - len(linear_only), kernel.ways)
    np.testing.assert_allclose(kernel.matrix(h, kernel.pairs(a, b)), dense(h, a, b, linear_only), rtol=1e-10)
    np.testing.assert_allclose(kernel.diagonal(h, a), np.diag(dense(h, a, a, linear_only)), rtol=1e-10)


@pytest.mark.parametrize("levels", [(3,), (3, 2)])
@pytest.mark.parametrize("shared", [False, True])
def test_posterior_with_categories_is_that_of_the_dense_formula(
    features: Callable[..., Features], levels: tuple[int, ...], shared: bool
) -> None:
    """With known noise and, where runs are shared, noise that the readings of one run have in common."""
    X, new, rng = features(30, 2, levels), features(11, 2, levels, seed=3), np.random.default_rng(1)
    y, noise = rng.standard_normal(30), rng.uniform(0, 0.3, 30)
    runs: IntArray = np.arange(30) // 3
    centre, scale = 0.2, 1.4
    gp = GaussianProcess().fit(X, y, noise, runs if shared else None)
    h = values(2, gp._kernel.ways, 0.25 if shared else 0.0)
    gp = held(gp, h, centre, scale)

    z = (y - centre) / scale
    K = dense(h, X, X) + np.diag(h.noise**2 + (noise / scale) ** 2)
    K += h.run_noise**2 * np.equal.outer(runs, runs)
    cross = dense(h, X, new)
    covariance = scale**2 * (dense(h, new, new) - cross.T @ np.linalg.inv(K) @ cross)
    mean, std = gp.predict(new)
    np.testing.assert_allclose(mean, centre + scale * cross.T @ np.linalg.inv(K) @ z, **EXACT)
    np.testing.assert_allclose(std, np.sqrt(np.diag(covariance)), **EXACT)
    np.testing.assert_allclose(gp.covariance(new, new), covariance, **EXACT)
    pairs, scaled = gp._scaled(np.arange(30))
    likelihood, _ = gp_module._log_likelihood(gp._kernel, gp._theta, pairs, scaled)
    expected = -0.5 * (z @ np.linalg.solve(K, z) + np.linalg.slogdet(K)[1] + 30 * np.log(2 * np.pi))
    assert likelihood == pytest.approx(expected, rel=1e-8)
    # One step ahead: run g by the readings of the runs before it alone, its own noise included.
    ahead_mean, ahead_std = gp.one_step_ahead(runs)
    for run in range(1, 10):
        own, before = np.flatnonzero(runs == run), np.flatnonzero(runs < run)
        weights = K[np.ix_(own, before)] @ np.linalg.inv(K[np.ix_(before, before)])
        np.testing.assert_allclose(ahead_mean[own], centre + scale * weights @ z[before], **EXACT)
        left = K[np.ix_(own, own)] - weights @ K[np.ix_(before, own)]
        np.testing.assert_allclose(ahead_std[own], scale * np.sqrt(np.diag(left)), **EXACT)
