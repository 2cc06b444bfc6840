"""Outliers are set aside, and what several readings agree on is not."""

from __future__ import annotations

import numpy as np
import pytest

from planner.models import settings
from planner.models.gp import GaussianProcess
from planner.models.heavy_tails import HeavyTailedProcess
from planner.space.types import Features, FloatArray

RNG = np.random.default_rng(0)
X = Features(np.column_stack([RNG.uniform(-1.7, 1.7, 40), RNG.uniform(-1.7, 1.7, 40)]), np.empty((40, 0), np.int64), ())
TRUTH = X.numeric[:, 0] + 0.5 * np.sin(2 * X.numeric[:, 1])
Y = TRUTH + 0.02 * RNG.standard_normal(40)
OUT = np.array([5, 17])


def spoilt() -> FloatArray:
    y = Y.copy()
    y[OUT] += 4.0
    return y


def test_without_outliers_it_is_the_plain_process() -> None:
    plain, heavy = GaussianProcess().fit(X, TRUTH), HeavyTailedProcess().fit(X, TRUTH + 0.0)
    if not np.array_equal(heavy.known_noise_, heavy._noise):
        pytest.skip("a reading of this draw is an outlier")
    np.testing.assert_array_equal(plain.predict(X), heavy.predict(X))


def test_an_outlier_moves_neither_its_neighbours_nor_the_noise() -> None:
    rest = np.setdiff1d(np.arange(40), OUT)
    errors = {kind: np.abs(kind().fit(X, spoilt()).predict(X)[0] - TRUTH)
              for kind in (GaussianProcess, HeavyTailedProcess)}
    assert errors[HeavyTailedProcess][rest].mean() < 0.3 * errors[GaussianProcess][rest].mean()
    assert errors[HeavyTailedProcess][OUT].max() < 0.5
    heavy = HeavyTailedProcess().fit(X, spoilt())
    assert heavy.noise_ < 0.2 < GaussianProcess().fit(X, spoilt()).noise_


def test_what_many_readings_agree_on_stays() -> None:
    y = Y + np.where(X.numeric[:, 0] > 0, 3.0, 0.0)
    mean, _ = HeavyTailedProcess().fit(X, y).predict(X)
    assert np.abs(mean - y)[np.abs(X.numeric[:, 0]) > 0.5].max() < 1.0


def test_a_forecast_of_an_outlier_is_no_surer_of_it_than_of_others() -> None:
    """Its error counts in full: noise added because of it would hide how often readings are far off."""
    heavy = HeavyTailedProcess().fit(X, spoilt())
    mean, std = heavy.one_step_ahead(np.arange(40))
    assert np.abs((mean - spoilt()) / std)[17] > 5
    assert std[17] < 3 * np.median(std[10:])


def test_few_readings_have_no_outliers() -> None:
    y = np.array([0.0, 0.1, 9.0, 0.2])
    heavy = HeavyTailedProcess().fit(X[np.arange(4)], y)
    assert np.array_equal(heavy._noise, np.zeros(4))


def test_on_a_static_grid_outliers_are_set_aside_only_where_that_helps_all_others_much() -> None:
    """Two wild readings in forty spoil the other predictions; a reading a little off in normal noise does not."""
    plain, careful = GaussianProcess().fit(X, Y), HeavyTailedProcess(least_gain=settings.OUTLIERS_LEAST_GAIN).fit(X, Y)
    np.testing.assert_array_equal(plain.predict(X), careful.predict(X))
    spoilt_plain = GaussianProcess().fit(X, spoilt()).predict(X)[0]
    spoilt_careful = HeavyTailedProcess(least_gain=settings.OUTLIERS_LEAST_GAIN).fit(X, spoilt()).predict(X)[0]
    np.testing.assert_array_equal(spoilt_careful, HeavyTailedProcess().fit(X, spoilt()).predict(X)[0])
    assert np.abs(spoilt_careful - TRUTH).mean() < 0.3 * np.abs(spoilt_plain - TRUTH).mean()


@pytest.mark.parametrize("least_gain, outlier", [(2.0, 0.0), (0.0, 0.3)])
@pytest.mark.parametrize("factor", [3.0, 10.0, 0.1])
@pytest.mark.parametrize("wild", [3, 11, 24])
def test_one_wild_run_moves_no_prediction_by_more_than_its_interval(
    wild: int, factor: float, least_gain: float, outlier: float,
) -> None:
    """Every run has four readings along a trajectory, and all of one run are off by the factor. The others of that run
    expect each of them: where a reading of another run is found to be an outlier, the wild run must stay set aside."""
    rng = np.random.default_rng(1)
    runs, lengths = np.repeat(np.arange(30), 4), np.tile(np.linspace(-1.5, 1.5, 4), 30)
    numeric = np.column_stack([np.repeat(rng.uniform(-1.7, 1.7, 30), 4), lengths])
    features = Features(numeric, np.empty((120, 0), np.int64), ())
    truth = 1.2 * numeric[:, 0] + np.logaddexp(lengths, 0.2)
    y = truth + 0.08 * rng.standard_normal(30)[runs] + 0.02 * rng.standard_normal(120)
    y[66] += outlier
    spoilt = y + np.where(runs == wild, np.log(factor), 0.0)
    side = np.linspace(-1.7, 1.7, 15)
    everywhere = Features(np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2), np.empty((225, 0), np.int64), ())
    at_first, std = HeavyTailedProcess(least_gain=least_gain).fit(features, y, None, runs).predict(everywhere)
    process = HeavyTailedProcess(least_gain=least_gain).fit(features, spoilt, None, runs)
    moved = np.abs(process.predict(everywhere)[0] - at_first)
    assert (moved < 1.645 * std).all()
    assert process.noise_ < 0.1
    assert (process._noise[runs == wild] > 0.8).all()
    assert (process._noise[66] > 0) == (outlier > 0)
    if factor > 9:
        plain = GaussianProcess().fit(features, spoilt, None, runs).predict(everywhere)[0]
        assert (np.abs(plain - at_first) > 1.645 * std).any()  # it does move those of a plain process
