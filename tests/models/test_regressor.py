"""Every regressor keeps the contract on ordinary and on odd input."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.models.ensemble import Ensemble
from planner.models.forest import ForestRegressor
from planner.models.matern import MaternRegressor
from planner.models.regressor import Regressor
from planner.space.types import Features, FloatArray, IntArray

MAKERS: dict[str, Callable[[Features], Regressor]] = {
    "ensemble": Ensemble, "gp": partial(Ensemble, only=0, embedding=False),
    "heavy_tails": partial(Ensemble, heavy_tails=True), "forest": partial(ForestRegressor, trees=10),
    "matern": MaternRegressor}


def check(regressor: Regressor, points: int, rows: IntArray, y: FloatArray, noise: FloatArray | None) -> None:
    runs = np.arange(len(rows)) // 2
    given = [part.copy() for part in (rows, y, runs)]
    assert regressor.fit(rows, y, runs, noise) is regressor
    for before, after in zip(given, (rows, y, runs), strict=True):
        np.testing.assert_array_equal(before, after)
    assert np.isfinite(regressor.noise_) and regressor.noise_ > 0
    mean, std = regressor.predict()
    assert mean.shape == std.shape == (points,)
    assert np.isfinite(mean).all() and np.isfinite(std).all() and (std >= regressor.noise_ * (1 - 1e-9)).all()


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize(("d", "levels"), [(3, (4,)), (2, ()), (0, (3,)), (2, (3, 2)), (0, ())])
@pytest.mark.parametrize("n", [1, 2, 3, 25])
def test_every_shape_and_size(features, name, d, levels, n):
    y = np.random.default_rng(n).standard_normal(n)
    regressor = MAKERS[name](features(32, d, levels))
    check(regressor, 32, np.arange(n), y, None)
    check(regressor, 32, np.arange(n), 10.0 * y, np.full(n, 0.1))


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("y", [np.zeros(12), np.full(12, 1e9), np.full(12, -1e-9), np.array([0.0] * 11 + [20.0])])
def test_constant_and_nearly_constant(features, name, y):
    check(MAKERS[name](features(17)), 17, np.arange(12), y, None)


@pytest.mark.parametrize("name", MAKERS)
def test_constant_readings_are_predicted_with_a_narrow_interval(features, name):
    rows = np.arange(40)
    mean, std = MAKERS[name](features(60)).fit(rows, np.full(40, 3.0), rows).predict()
    np.testing.assert_allclose(mean, 3.0, atol=0.05)
    assert np.all(std < 0.2)


@pytest.mark.parametrize("name", MAKERS)
def test_duplicates_that_disagree_are_noise(features, name):
    X = features(10)
    rows = np.tile(np.arange(10), 5)
    clean = X.numeric @ np.array([1.0, -1.0])
    y = clean[rows] + 0.3 * np.random.default_rng(0).standard_normal(50)
    regressor = MAKERS[name](X).fit(rows, y, np.arange(50))
    assert regressor.noise_ > 0.15 or name == "forest"  # copies of a row are in other trees' bags: it cannot tell
    assert np.abs(regressor.predict()[0] - clean).mean() < 0.3


@pytest.mark.parametrize("name", MAKERS)
@settings(deadline=None, max_examples=20)
@given(st.integers(1, 15), st.integers(0, 2**31), st.floats(1e-6, 1e6))
def test_rounded_random_data_of_any_scale(name, n, seed, scale):
    rng = np.random.default_rng(seed)
    X = Features(np.round(rng.standard_normal((n, 2))), rng.integers(0, 2, (n, 1)), (2,))
    check(MAKERS[name](X), n, np.arange(n), scale * np.round(rng.standard_normal(n), 1), None)


@pytest.mark.parametrize("name", MAKERS)
def test_same_data_same_answer(features, name):
    X, rows = features(30), np.arange(30)
    y = X.numeric[:, 0] ** 2
    first, second = (MAKERS[name](X).fit(rows, y, rows).predict() for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize(("change", "says"), [
    ({"y": np.zeros(4)}, "readings"), ({"runs": np.arange(4)}, "readings"), ({"noise": np.zeros(4)}, "readings"),
    ({"rows": np.arange(0), "y": np.zeros(0), "runs": np.arange(0)}, "readings"),
    ({"rows": np.arange(5) + 4}, "0 to 7, not 4 to 8"), ({"rows": np.arange(5) - 1}, "0 to 7, not -1 to 3"),
    ({"latency_model": np.zeros(5)}, r"shape \(8,\), not \(5,\)"),
    ({"y": np.array([0, 1, np.nan, 2, 3])}, "y must be finite"), ({"noise": np.full(5, np.inf)}, "noise must be"),
    ({"latency_model": np.full(8, -np.inf)}, "latency_model must be finite"),
])
def test_readings_that_make_no_sense_are_refused(features, name, change, says):
    good = {"rows": np.arange(5), "y": np.zeros(5), "runs": np.arange(5)}
    with pytest.raises(ValueError, match=says):
        MAKERS[name](features(8)).fit(**{**good, **change})
