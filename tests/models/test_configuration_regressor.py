"""What some axes alone can change: one reading holds for a combination, all others are predicted."""

from __future__ import annotations

import numpy as np

from planner.models.configuration_regressor import ConfigurationRegressor
from planner.models.ensemble import Ensemble
from planner.space.types import Features
from planner.testing import check_regressor

GROUPS = np.repeat(np.arange(6), 5)
FEATURES = Features(np.zeros((30, 0)), GROUPS[:, None], (6,))


def fitted(noise: float = 0.05) -> ConfigurationRegressor:
    """Readings of four of six combinations, at different points of each."""
    rows = np.array([2, 6, 14, 15])
    y = np.array([1.0, 1.2, 0.8, 1.1])
    return ConfigurationRegressor(Ensemble(FEATURES), GROUPS).fit(rows, y, np.arange(4), np.full(4, noise))


def test_it_keeps_the_contract_of_regressors() -> None:
    check_regressor(lambda features: ConfigurationRegressor(Ensemble(features), np.arange(len(features))))


def test_a_reading_holds_for_its_combination_with_its_own_error() -> None:
    mean, std = fitted().predict()
    for group, value in enumerate((1.0, 1.2, 0.8, 1.1)):
        assert np.all(mean[group == GROUPS] == value) and np.all(std[group == GROUPS] == 0.05)
    assert np.all(std[GROUPS > 3] > 0.1), "the others differ by 0.2: so may these"
    assert np.ptp(mean[GROUPS > 3]) < 1e-9


def test_nothing_is_left_to_learn_where_there_is_a_reading() -> None:
    rows = np.arange(30)
    covariance = fitted().covariance(rows, rows)
    assert covariance is not None
    assert np.all(covariance[GROUPS < 4] == 0) and np.all(covariance[:, GROUPS < 4] == 0)
    assert np.all(np.diagonal(covariance)[GROUPS > 3] > 0)


def test_of_several_readings_of_a_combination_the_first_stays() -> None:
    made = ConfigurationRegressor(Ensemble(FEATURES), GROUPS).fit(
        np.array([0, 1, 7]), np.array([1.0, 3.0, 2.0]), np.arange(3), np.full(3, 0.1))
    assert made.predict(np.array([4]))[0] == 1.0
