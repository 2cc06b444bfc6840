"""A prior helps where it is right, is left out where it is wrong, and says nothing where it knows nothing."""

from __future__ import annotations

import numpy as np
import pytest

from planner.models.ensemble import Ensemble
from planner.models.prior_regressor import PriorColumn, PriorRegressor, with_priors
from planner.space.types import Features, FloatArray, IntArray
from planner.testing.regressor import check_regressor

N = 120
RNG = np.random.default_rng(7)
FEATURES = Features(RNG.standard_normal((N, 2)), RNG.integers(0, 3, (N, 1)), (3,))


def bumpy() -> FloatArray:
    """A surface that a few readings cannot show."""
    x, y = FEATURES.numeric.T
    return np.asarray(2 * x + np.sin(3 * x) * np.cos(3 * y) + np.array([0.0, 1.0, -0.7])[FEATURES.category[:, 0]])


def moved(surface: FloatArray) -> FloatArray:
    """A release that is 20 % slower, and a little more where x is large."""
    return np.asarray(surface + 0.2 + 0.03 * FEATURES.numeric[:, 0])


def column(mean: FloatArray, name: str = "old") -> PriorColumn:
    return PriorColumn(name, mean, np.where(np.isfinite(mean), 0.01, np.nan))


def error(rows: IntArray, y: FloatArray, *priors: PriorColumn) -> float:
    own = Ensemble(FEATURES)
    found = with_priors(own, FEATURES, priors).fit(rows, y[rows], np.arange(len(rows)))
    rest = np.setdiff1d(np.arange(N), rows)
    return float(np.mean(np.abs(found.predict()[0] - y)[rest]))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("runs", [5, 12])
def test_a_good_prior_is_worth_many_runs(seed: int, runs: int) -> None:
    rows = np.random.default_rng(seed).permutation(N)[:runs]
    y = moved(bumpy())
    assert error(rows, y, column(bumpy())) < 0.5 * error(rows, y)


@pytest.mark.parametrize("seed", range(4))
def test_a_prior_that_contradicts_the_runs_is_left_out(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, wrong = rng.permutation(N)[:40], column(rng.permutation(4 * bumpy()), "wrong")
    y = moved(bumpy())
    found = PriorRegressor(FEATURES, Ensemble(FEATURES), [wrong]).fit(rows, y[rows], np.arange(40))
    assert found.weight_of("wrong") == 0 and found.prior_weight == 0
    assert error(rows, y, wrong) == pytest.approx(error(rows, y), rel=1e-9)


def test_of_several_priors_the_one_that_forecasts_best_weighs_most() -> None:
    rows, y = np.random.default_rng(1).permutation(N)[:20], moved(bumpy())
    rough = column(bumpy() + 0.3 * np.sin(5 * FEATURES.numeric[:, 1]), "rough")
    found = PriorRegressor(FEATURES, Ensemble(FEATURES), [rough, column(bumpy(), "good")]).fit(
        rows, y[rows], np.arange(20))
    good, other = found.weight_of("good"), found.weight_of("rough")
    assert good is not None and other is not None and good > 2 * other
    assert found.weight_of("another") is None


def test_where_a_prior_says_nothing_only_the_readings_count() -> None:
    surface = bumpy()
    surface[FEATURES.category[:, 0] == 2] = np.nan
    rows, y = np.random.default_rng(2).permutation(N)[:15], moved(bumpy())
    own = Ensemble(FEATURES).fit(rows, y[rows], np.arange(15))
    found = PriorRegressor(FEATURES, Ensemble(FEATURES), [column(surface)]).fit(rows, y[rows], np.arange(15))
    unknown = FEATURES.category[:, 0] == 2
    for mine, alone in zip(found.predict(), own.predict(), strict=True):
        assert np.allclose(mine[unknown], alone[unknown], atol=0.01)
    known = ~unknown & ~np.isin(np.arange(N), rows)
    assert np.mean(np.abs(found.predict()[0] - y)[known]) < 0.5 * np.mean(np.abs(own.predict()[0] - y)[known])


def test_intervals_hold_what_they_say() -> None:
    y, inside = moved(bumpy()), []
    for seed in range(6):
        rows = np.random.default_rng(seed).permutation(N)[:12]
        mean, std = PriorRegressor(FEATURES, Ensemble(FEATURES), [column(bumpy())]).fit(
            rows, y[rows], np.arange(12)).predict()
        inside.append(np.mean(np.abs(y - mean) < 1.645 * std))
    assert np.mean(inside) > 0.85


def test_the_contract_of_a_regressor() -> None:
    def make(features: Features) -> PriorRegressor:
        mean = np.linspace(0.0, 1.0, len(features))
        mean[::5] = np.nan
        return PriorRegressor(features, Ensemble(features), [column(mean)])

    check_regressor(make)


def test_without_priors_nothing_changes() -> None:
    own = Ensemble(FEATURES)
    assert with_priors(own, FEATURES, []) is own
