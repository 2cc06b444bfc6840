"""The conformance suite of planner.models.regressor.Regressor.

    def test_my_regressor_keeps_the_contract():
        check_regressor(MyRegressor)
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from planner.models.regressor import Regressor
from planner.space.types import Features, FloatArray, IntArray

__all__ = ["check_regressor"]

_POINTS: Final = 24
_SHAPES: Final = ((2, (3,)), (1, ()), (0, (3,)), (0, ()))
"""Numeric columns, and the levels of the categories."""


def check_regressor(make: Callable[[Features], Regressor]) -> None:
    """Assert the contract of `planner.models.regressor.Regressor`.

    make: builds a new regressor for a grid with these features. Raises AssertionError that says what is broken.
    """
    for columns, levels in _SHAPES:
        features = _features(columns, levels)
        for count in (1, 2, 12):
            rows, y, runs = _readings(features, count)
            _check_fit(make, features, rows, y, runs)
    features = _features(*_SHAPES[0])
    _check_odd_data(make, features)
    _check_again(make, features)
    _check_refusals(make, features)


def _features(columns: int, levels: tuple[int, ...]) -> Features:
    rng = np.random.default_rng(columns + 10 * len(levels))
    category = [rng.integers(0, level, _POINTS) for level in levels]
    return Features(rng.standard_normal((_POINTS, columns)),
                    np.stack(category, axis=1) if category else np.zeros((_POINTS, 0), np.int64), levels)


def _readings(features: Features, count: int) -> tuple[IntArray, FloatArray, IntArray]:
    """Readings of a smooth quantity with a little noise: rows, y, and runs of two readings each."""
    rng = np.random.default_rng(count)
    rows = rng.permutation(len(features))[:count].astype(np.int64)
    y = features.numeric[rows].sum(axis=1) + features.category[rows].sum(axis=1) + 0.05 * rng.standard_normal(count)
    return rows, y, np.arange(count, dtype=np.int64) // 2


def _check_fit(
    make: Callable[[Features], Regressor], features: Features, rows: IntArray, y: FloatArray, runs: IntArray,
    **more: Any,
) -> Regressor:
    """A regressor fitted to these readings, checked against the contract."""
    regressor = make(features)
    arguments = [rows, y, runs, features.numeric, features.category, *more.values()]
    before = [np.array(part) for part in arguments]
    fitted = regressor.fit(rows, y, runs, **more)
    assert fitted is regressor, "fit must return self"
    _check_answers(regressor, len(features), rows, runs)
    for part, copy in zip(arguments, before, strict=True):
        assert np.array_equal(part, copy), "fit, predict, one_step_ahead and covariance must not change their arguments"
    return regressor


def _check_answers(regressor: Regressor, points: int, rows: IntArray, runs: IntArray) -> None:
    noise = regressor.noise_
    assert np.ndim(noise) == 0 and np.isfinite(noise) and noise > 0, f"noise_ must be above 0 and finite, not {noise!r}"
    mean, std = regressor.predict()
    for name, found in (("mean", mean), ("standard deviation", std)):
        assert np.shape(found) == (points,), f"predict: {name} must have the shape ({points},), not {np.shape(found)}"
        assert np.isfinite(found).all(), f"predict: {name} must be finite"
    assert (std > 0).all(), "predict: standard deviations must be above 0"
    mean_before, std_before = mean.copy(), std.copy()
    mean += 1e6  # the caller may do so
    std += 1e6
    again = regressor.predict()
    assert np.array_equal(again[0], mean_before) and np.array_equal(again[1], std_before), (
        "predict: asked again it gives other numbers; arrays that it gives away belong to the caller")
    for whole, part in zip((mean_before, std_before), regressor.predict(np.array([3, 0])), strict=True):
        assert np.shape(part) == (2,) and np.allclose(part, whole[[3, 0]], rtol=1e-6, atol=1e-9), (
            "predict: of some rows it gives other numbers than of all")
    _check_forecasts(regressor, runs)
    _check_covariance(regressor, rows)
    assert np.array_equal(regressor.predict()[0], mean_before), "one_step_ahead or covariance changes what is predicted"
    assert regressor.noise_ == noise, "predict, one_step_ahead or covariance changes noise_"


def _check_forecasts(regressor: Regressor, runs: IntArray) -> None:
    found, again = regressor.one_step_ahead(), regressor.one_step_ahead()
    assert (found is None) == (again is None), "one_step_ahead: asked again it gives another answer"
    if found is None or again is None:
        return
    (mean, std), shape, distinct = found, (len(runs),), np.unique(runs)
    assert np.shape(mean) == np.shape(std) == shape, f"one_step_ahead must have the shape {shape}, not {np.shape(mean)}"
    early = runs < distinct[len(distinct) // 2]
    assert np.isnan(mean[early]).all(), "one_step_ahead must be NaN for the earlier half of the runs"
    assert np.array_equal(np.isnan(mean), np.isnan(std)), "one_step_ahead: mean and standard deviation are NaN together"
    assert not np.isinf(mean).any() and not np.isinf(std).any(), "one_step_ahead must be finite or NaN"
    assert (std[~np.isnan(std)] > 0).all(), "one_step_ahead: standard deviations must be above 0"
    for one, two in zip(found, again, strict=True):
        assert np.array_equal(one, two, equal_nan=True), "one_step_ahead: asked again it gives other numbers"


def _check_covariance(regressor: Regressor, rows: IntArray) -> None:
    others = np.arange(3, dtype=np.int64)
    found = regressor.covariance(rows, others)
    square = regressor.covariance(others, others)
    assert (found is None) == (square is None), "covariance: None for some rows, and not for others"
    if found is None or square is None:
        return
    assert np.shape(found) == (len(rows), 3), f"covariance must have the shape ({len(rows)}, 3), not {np.shape(found)}"
    assert np.isfinite(found).all(), "covariance must be finite"
    scale = max(float(np.abs(square).max()), 1e-12)
    assert np.allclose(square, square.T, atol=1e-6 * scale), "covariance must be symmetric"
    assert np.linalg.eigvalsh((square + square.T) / 2).min() >= -1e-6 * scale, "covariance must not be negative"


def _check_odd_data(make: Callable[[Features], Regressor], features: Features) -> None:
    rows, y, runs = _readings(features, 12)
    for odd in (np.zeros(12), np.full(12, 1e6), np.full(12, -1e-9), np.array([0.0] * 11 + [20.0])):
        _check_fit(make, features, rows, odd, runs)
    twice = np.concatenate([rows, rows])
    later = np.concatenate([runs, runs + 100])
    _check_fit(make, features, twice, np.concatenate([y, y + 0.5]), later)
    _check_fit(make, features, np.repeat(rows[:1], 6), y[:6], np.arange(6, dtype=np.int64))
    _check_fit(make, features, rows, y, runs, noise=np.full(12, 0.1), latency_model=np.linspace(0.0, 1.0, _POINTS))
    _check_fit(make, features, rows, y, np.zeros(12, dtype=np.int64), run_effect=True, latency_model=np.ones(_POINTS))


def _check_again(make: Callable[[Features], Regressor], features: Features) -> None:
    """A second fit predicts the new readings. Equal histories give equal numbers, whatever the global random state."""
    rows, y, runs = _readings(features, 12)
    answers = []
    state = np.random.get_state(), random.getstate()
    try:
        for seed in (1, 2):
            random.seed(seed)
            np.random.seed(seed)
            regressor = _check_fit(make, features, rows[:6], y[:6], runs[:6])
            before, _ = regressor.predict()
            assert regressor.fit(rows, y + 50, runs) is regressor, "fit must return self, the second time too"
            _check_answers(regressor, len(features), rows, runs)
            after, std = regressor.predict()
            answers += [before, after, std]
    finally:
        np.random.set_state(state[0])
        random.setstate(state[1])
    assert np.abs(answers[1] - answers[0]).mean() > 25, "a second fit must learn from its own readings: y is 50 higher"
    for one, two in zip(answers[:3], answers[3:], strict=True):
        assert np.array_equal(one, two), "equal readings and fits give other numbers: seed what is random when built"


def _check_refusals(make: Callable[[Features], Regressor], features: Features) -> None:
    rows, y, runs = _readings(features, 6)
    nothing = rows[:0]
    cases: dict[str, tuple[IntArray, FloatArray, IntArray]] = {
        "no reading": (nothing, y[:0], nothing), "shapes that disagree": (rows, y[:5], runs),
        "a row outside the grid": (np.append(rows[:5], _POINTS), y, runs),
        "a row below 0": (np.append(rows[:5], -1), y, runs), "NaN": (rows, np.append(y[:5], np.nan), runs),
        "infinity": (rows, np.append(y[:5], np.inf), runs),
    }
    for what, arguments in cases.items():
        try:
            make(features).fit(*arguments)
        except ValueError:
            continue
        except Exception as error:
            raise AssertionError(f"fit must raise ValueError for {what}, not {type(error).__name__}") from error
        raise AssertionError(f"fit must raise ValueError for {what}, and takes it")
