"""The covariance: positive, symmetric, right in its gradient, and hierarchical in what it says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import LinAlgError

from planner.models.gp import _log_likelihood
from planner.models.kernels import (
    ALL_TERMS,
    HierarchicalKernel,
    Priors,
    inverse_of_factor,
    safe_cholesky,
)
from planner.models.representative import representative_rows
from planner.space.types import Features

SHAPES = [(3, (4,)), (2, ()), (0, (3,)), (2, (3, 2)), (1, (2, 2, 2))]


def drawn(kernel: HierarchicalKernel, rng: np.random.Generator) -> np.ndarray:
    mean, sd = kernel.prior(Priors())
    return mean + 0.5 * sd * rng.standard_normal(len(mean))


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize(("d", "levels"), SHAPES)
def test_gradient_matches_finite_differences(features, d, levels, grouped):
    rng = np.random.default_rng(7)
    X, y = features(25, d, levels), rng.standard_normal(25)
    kernel = HierarchicalKernel(d, len(levels), (d - 1,) if d > 1 else (), ALL_TERMS, grouped, grouped)
    theta = drawn(kernel, rng)
    theta[kernel.slots["noise"]] = np.log(0.2)  # well conditioned, so that differences mean something
    runs, ages = (rng.integers(0, 6, 25), rng.random(25)) if grouped else (None, None)
    pairs = kernel.data_pairs(X, 0.01 * rng.random(25), runs, ages)
    _, gradient = _log_likelihood(kernel, theta, pairs, y)
    for p, step in enumerate(1e-5 * np.eye(len(theta))):
        up, down = (_log_likelihood(kernel, theta + s * step, pairs, y)[0] for s in (1, -1))
        assert gradient[p] == pytest.approx((up - down) / 2e-5, rel=1e-5, abs=1e-5)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**31), st.sampled_from(SHAPES), st.integers(1, 30))
def test_covariance_is_symmetric_and_positive(seed, shape, n):
    d, levels = shape
    rng = np.random.default_rng(seed)
    category = np.stack([rng.integers(0, k, n) for k in levels], axis=1) if levels else np.zeros((n, 0), np.int64)
    X = Features(np.round(rng.standard_normal((n, d)), 1), category.astype(np.int64), levels)
    kernel = HierarchicalKernel(d, len(levels), (), ALL_TERMS, False)
    h = kernel.unpack(drawn(kernel, rng))
    K = kernel.matrix(h, kernel.pairs(X, X))
    np.testing.assert_allclose(K, K.T, atol=1e-12)
    np.testing.assert_allclose(np.diag(K), kernel.diagonal(h, X), rtol=1e-6)
    assert np.linalg.eigvalsh(K).min() > -1e-8 * np.trace(K)


def test_a_row_resembles_its_own_category_more():
    kernel = HierarchicalKernel(2, 2, (), ALL_TERMS, False)
    h = kernel.unpack(kernel.prior(Priors())[0])
    x = np.zeros((4, 2))
    X = Features(x, np.array([[0, 0], [0, 0], [0, 1], [1, 1]]), (2, 2))
    both, one, none = kernel.matrix(h, kernel.pairs(X, X))[0, 1:]
    assert both > one > none > 0


def test_switched_off_terms_are_zero_and_unknown_ones_refused():
    kernel = HierarchicalKernel(2, 1, (1,), ("offset",), False)
    h = kernel.unpack(kernel.prior(Priors())[0])
    assert h.offset[0] > 0 and h.slope[0] == h.residual[0] == h.run_noise == 0
    assert h.lengthscales.shape == (1,)
    with pytest.raises(ValueError, match="wobble"):
        HierarchicalKernel(2, 1, (), ("wobble",), False)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="out of 2"):
        HierarchicalKernel(2, 1, (2,), ALL_TERMS, False)


def test_lengthscales_grow_with_the_dimension():
    few, many = (HierarchicalKernel(d, 0, (), ALL_TERMS, False).prior(Priors())[0][0] for d in (1, 9))
    assert many - few == pytest.approx(np.log(3.0))


def test_cholesky_survives_a_singular_matrix_and_refuses_nonsense():
    ones = np.ones((5, 5))
    L = safe_cholesky(ones)
    np.testing.assert_allclose(L @ L.T, ones, atol=1e-6)
    A = np.eye(4) + 0.3
    np.testing.assert_allclose(inverse_of_factor(safe_cholesky(A)), np.linalg.inv(A), atol=1e-12)
    with pytest.raises(LinAlgError):
        safe_cholesky(-np.eye(3))


def test_representative_rows(features):
    X = features(300)
    assert list(representative_rows(X, 300, 0)) == list(range(300))
    rows = representative_rows(X, 50, 0)
    assert len(np.unique(rows)) == 50 and np.all(np.diff(rows) > 0)
    assert np.array_equal(rows, representative_rows(X, 50, 0))
    extremes = [int(np.argmax(X.numeric[:, 0])), int(np.argmin(X.numeric[:, 1]))]
    assert set(extremes) <= set(rows)


def test_representative_rows_of_equal_rows():
    X = Features(np.zeros((40, 1)), np.zeros((40, 0), dtype=np.int64), ())
    assert len(np.unique(representative_rows(X, 11, 3))) == 11
