"""Both surrogates keep the protocol on ordinary and on odd input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.models.forest import RandomForest
from planner.models.gp import GaussianProcess
from planner.space.types import Features, Surrogate

MAKERS = {"gp": GaussianProcess, "forest": lambda: RandomForest(trees=10)}


def check(surrogate: Surrogate, X: Features, y: np.ndarray, noise: np.ndarray | None, new: Features) -> None:
    assert surrogate.fit(X, y, noise) is surrogate
    assert np.isfinite(surrogate.noise_) and surrogate.noise_ > 0
    for rows in (X, new, new[:1], new[:0]):
        mean, std = surrogate.predict(rows)
        assert mean.shape == std.shape == (len(rows),)
        assert np.isfinite(mean).all() and np.isfinite(std).all() and (std > 0).all()


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize(("d", "levels"), [(3, (4,)), (2, ()), (0, (3,)), (2, (3, 2)), (0, ())])
@pytest.mark.parametrize("n", [1, 2, 3, 25])
def test_every_shape_and_size(features, name, d, levels, n):
    X, y = features(n, d, levels), np.random.default_rng(n).standard_normal(n)
    surrogate = MAKERS[name]()
    check(surrogate, X, y, None, features(7, d, levels, seed=4))
    check(surrogate, X, 10.0 * y, np.full(n, 0.1), features(7, d, levels, seed=4))


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("y", [np.zeros(12), np.full(12, 1e9), np.full(12, -1e-9), np.array([0.0] * 11 + [20.0])])
def test_constant_and_nearly_constant(features, name, y):
    check(MAKERS[name](), features(12), y, None, features(5, seed=1))


@pytest.mark.parametrize("name", MAKERS)
def test_constant_readings_are_predicted_with_little_doubt(features, name):
    mean, std = MAKERS[name]().fit(features(40), np.full(40, 3.0)).predict(features(20, seed=1))
    np.testing.assert_allclose(mean, 3.0, atol=0.05)
    assert np.all(std < 0.2)


@pytest.mark.parametrize("name", MAKERS)
def test_duplicates_that_disagree_are_noise(features, name):
    X = features(10)
    rows = np.tile(np.arange(10), 5)
    clean = X.numeric @ np.array([1.0, -1.0])
    y = clean[rows] + 0.3 * np.random.default_rng(0).standard_normal(50)
    surrogate = MAKERS[name]()
    check(surrogate, X[rows], y, None, X)
    assert surrogate.noise_ > 0.15 or name == "forest"  # copies of a row are in other trees' bags: it cannot tell
    assert np.abs(surrogate.predict(X)[0] - clean).mean() < 0.3


@pytest.mark.parametrize("name", MAKERS)
@settings(deadline=None, max_examples=20)
@given(st.integers(1, 15), st.integers(0, 2**31), st.floats(1e-6, 1e6))
def test_rounded_random_data_of_any_scale(name, n, seed, scale):
    rng = np.random.default_rng(seed)
    X = Features(np.round(rng.standard_normal((n, 2))), rng.integers(0, 2, (n, 1)), (2,))
    check(MAKERS[name](), X, scale * np.round(rng.standard_normal(n), 1), None, X)


@pytest.mark.parametrize("name", MAKERS)
def test_same_data_same_answer(features, name):
    X = features(30)
    y = X.numeric[:, 0] ** 2
    first, second = (MAKERS[name]().fit(X, y).predict(X) for _ in range(2))
    np.testing.assert_array_equal(first, second)
