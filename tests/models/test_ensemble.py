"""The ensemble: weights of its members, one-step-ahead forecasts, and each member alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from planner.models.ensemble import Ensemble
from planner.models.gp import GaussianProcess
from planner.space.types import Z90, Features, FloatArray, IntArray

ROWS = np.arange(24)
RUNS = np.repeat(np.arange(12), 2)


def bent(X: Features, noise: float = 0.05) -> FloatArray:
    """A curve with a kink, which a latency model can have and a smooth interpolation cannot."""
    values: FloatArray = np.maximum(X.numeric[:, 0], 0) * 2 + 0.5 * X.numeric[:, 1]
    return values + noise * np.random.default_rng(1).standard_normal(len(X))


def base(X: Features, y: FloatArray, runs: IntArray | None = None) -> GaussianProcess:
    return GaussianProcess().fit(X[ROWS], y[ROWS], groups=runs)


def with_latency_model(X: Features, y: FloatArray, latency_model: FloatArray) -> tuple[GaussianProcess, Features]:
    wider = Features(np.column_stack([X.numeric, (latency_model - latency_model.mean()) / latency_model.std()]),
                     X.category, X.levels)
    gp = GaussianProcess(linear_only=(X.numeric.shape[1],), category_terms=("offset", "slope"))
    return gp.fit(wider[ROWS], y[ROWS]), wider


def reading(gp: GaussianProcess, X: Features) -> tuple[FloatArray, FloatArray]:
    """Mean and standard deviation of one more reading at each row."""
    mean, std = gp.predict(X)
    return mean, np.hypot(std, gp.noise_)


def mixed(forecast: list[tuple[FloatArray, FloatArray]], weights: FloatArray, i: int) -> tuple[float, float]:
    """Mixture by ensemble weight over variance; disagreement of members adds to the variance."""
    means, variances = np.array([mean[i] for mean, _ in forecast]), np.array([std[i] ** 2 for _, std in forecast])
    weights = weights / variances / np.sum(weights / variances)
    mean = np.sum(weights * means)
    return mean, float(np.sum(weights * (variances + (means - mean) ** 2))) ** 0.5


@pytest.mark.parametrize("runs", [
    np.array([4, 9, 1, 1, 9, 16, 4, 25]),  # five runs: 1 and 4 are the earlier ones
    np.array([4, 9, 1, 1, 9, 16, 4, 25])[::-1],
    np.array([7, 1, 2, 3, 4, 5]),  # six: 1, 2 and 3
    np.array([3, 3, 3]),  # one: there is no earlier half
])
def test_only_the_later_half_of_the_runs_has_forecasts(features: Callable[..., Features], runs: IntArray) -> None:
    X = features(len(runs) + 5)
    ensemble = Ensemble(X).fit(np.arange(len(runs)), bent(X)[: len(runs)], runs, latency_model=bent(X, 0.0))
    distinct = sorted(set(runs.tolist()))
    earlier = set(distinct[: len(distinct) // 2])
    for forecast in ensemble.one_step_ahead():
        assert forecast.shape == runs.shape
        assert list(np.isnan(forecast)) == [run in earlier for run in runs]


def test_the_mixture_by_hand(features: Callable[..., Features]) -> None:
    X = features(40)
    y, latency_model = bent(X), bent(X, 0.0)
    ensemble = Ensemble(X).fit(ROWS, y[ROWS], RUNS, latency_model=latency_model)
    first, (second, wider) = base(X, y), with_latency_model(X, y, latency_model)
    forecasts = [member.one_step_ahead(RUNS) for member in (first, second)]
    now = [reading(first, X), reading(second, wider)]
    for forecast, members, rows in ((ensemble.one_step_ahead(), forecasts, range(12, 24)), (ensemble.predict(), now,
        range(40))):
        for i in rows:
            assert (forecast[0][i], forecast[1][i]) == pytest.approx(mixed(members, ensemble.weights_, i), rel=1e-9)


def test_trust_is_by_squared_error_ahead_and_each_run_counts_once(features: Callable[..., Features]) -> None:
    X, runs = features(40), np.repeat(np.arange(9), (1, 5, 2, 2, 2, 1, 1, 9, 1))  # the later half: 4 to 8
    y, latency_model = bent(X), bent(X, 0.0)
    ensemble = Ensemble(X).fit(ROWS, y[ROWS], runs, latency_model=latency_model)
    second, _ = with_latency_model(X, y, latency_model)
    errors = []
    for member in (base(X, y), second):
        squares = (y[ROWS] - member.one_step_ahead(runs)[0]) ** 2
        squares = np.minimum(squares, 9 * np.median(squares[runs >= 4]))  # a glitch is worth three usual errors
        errors.append(np.mean([squares[runs == run].mean() for run in range(4, 9)]))
    assert ensemble.weights_ == pytest.approx(np.array(errors[::-1]) / sum(errors), rel=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_a_latency_model_has_weight_where_it_holds(features: Callable[..., Features], seed: int) -> None:
    """A surface that only the latency model predicts; one that any smooth curve predicts better; too few runs."""
    X, rng = features(60, levels=(), seed=seed), np.random.default_rng(seed)
    rough, smooth = rng.standard_normal(60), X.numeric.sum(axis=1)
    noise = 0.02 * rng.standard_normal(60)
    right = Ensemble(X).fit(ROWS, (rough + noise)[ROWS], RUNS, latency_model=rough)
    wrong = Ensemble(X).fit(ROWS, (smooth + noise)[ROWS], RUNS, latency_model=rough)
    assert right.weights_[1] > 0.9 and wrong.weights_[1] < 0.6
    few = Ensemble(X).fit(ROWS[:8], (rough + noise)[:8], RUNS[:8], latency_model=rough)
    assert few.weights_ == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize("seed", range(3))
def test_one_glitch_does_not_choose_the_member(features: Callable[..., Features], seed: int) -> None:
    """A run of the later half that no member could predict leaves a right latency model its weight."""
    X, rng = features(60, levels=(), seed=seed), np.random.default_rng(seed)
    rough = rng.standard_normal(60)
    odd = rough + 0.02 * rng.standard_normal(60)
    odd[20] += 30.0
    assert Ensemble(X).fit(ROWS, odd[ROWS], ROWS, latency_model=rough).weights_[1] > 0.5


@pytest.mark.parametrize("only", [0, -1])
def test_one_member_alone(features: Callable[..., Features], only: int) -> None:
    X = features(40)
    y, latency_model = bent(X), bent(X, 0.0)
    ensemble = Ensemble(X, only).fit(ROWS, y[ROWS], RUNS, latency_model=latency_model)
    member, observations = (base(X, y), X) if only == 0 else with_latency_model(X, y, latency_model)
    assert ensemble.weights_ == [1.0]
    np.testing.assert_allclose(ensemble.predict(), reading(member, observations), rtol=1e-9)
    np.testing.assert_allclose(ensemble.covariance(ROWS, ROWS + 9), member.covariance(observations[ROWS],
        observations[ROWS + 9]))
    np.testing.assert_allclose(np.array(ensemble.one_step_ahead())[:, 12:], np.array(member.one_step_ahead(RUNS))[:,
        12:], rtol=1e-9)
    assert ensemble.noise_ == pytest.approx(member.noise_)
    both = Ensemble(X).fit(ROWS, y[ROWS], RUNS, latency_model=latency_model)
    assert not np.allclose(both.predict()[0], ensemble.predict()[0])


@pytest.mark.parametrize("only", [None, 0, -1])
@pytest.mark.parametrize("latency_model", [None, np.full(40, 2.0)])  # none, and one that says the same everywhere
def test_without_a_latency_model_only_the_base_member_counts(
    features: Callable[..., Features], only: int | None, latency_model: FloatArray | None
) -> None:
    X = features(40)
    y = bent(X)
    ensemble = Ensemble(X, only).fit(ROWS, y[ROWS], RUNS, latency_model=latency_model)
    np.testing.assert_allclose(ensemble.predict(), reading(base(X, y), X), rtol=1e-9)


def test_covariance_is_the_base_members(features: Callable[..., Features]) -> None:
    X = features(40)
    y = bent(X)
    ensemble = Ensemble(X).fit(ROWS, y[ROWS], RUNS, latency_model=bent(X, 0.0))
    np.testing.assert_allclose(
        ensemble.covariance(ROWS, ROWS + 9), base(X, y).covariance(X[ROWS], X[ROWS + 9]), rtol=1e-9)


def test_run_effects_and_known_noise_reach_both_members(features: Callable[..., Features]) -> None:
    X = features(40)
    y, latency_model = bent(X), bent(X, 0.0)
    for share in (False, True):
        ensemble = Ensemble(X).fit(ROWS, y[ROWS], RUNS, run_effect=share, latency_model=latency_model)
        assert [gp.hyperparameters_.run_noise > 0 for gp, _ in ensemble.members_] == [share, share]
    odd, noise = y[ROWS].copy(), np.zeros(24)
    odd[5], noise[5] = odd[5] + 6.0, 60.0
    for only in (0, -1):
        mean, _ = Ensemble(X, only).fit(ROWS, odd, RUNS, noise, latency_model=latency_model).predict()
        rest = np.delete(ROWS, 5)
        without, _ = Ensemble(X, only).fit(rest, y[rest], RUNS[rest], latency_model=latency_model).predict()
        assert np.abs(mean - without).max() < 0.15


@pytest.mark.parametrize("knows_them", [False, True])
def test_a_category_that_was_never_run_is_not_predicted_as_if_it_were_known(knows_them: bool) -> None:
    """Twenty models whose speeds differ, of which five have no reading. gp_embedding takes their coordinates for known
    and its interval held a fifth of their points; a latency model that knows them is used at once."""
    sizes, models = np.linspace(-1.5, 1.5, 6), 20
    codes = np.repeat(np.arange(models), len(sizes))
    features = Features(np.tile(sizes, models)[:, None], codes[:, None], (models,))
    inside, error = [], []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        level, slope = rng.normal(0, 0.7, models), rng.normal(0.7, 0.2, models)
        truth = level[codes] + slope[codes] * np.tile(sizes, models) + rng.normal(0, 0.02, len(codes))
        latency_model = level[codes] + 0.7 * np.tile(sizes, models) if knows_them else None
        rows = np.flatnonzero(codes < 15)[::2]
        ensemble = Ensemble(features).fit(rows, truth[rows], np.arange(len(rows)), latency_model=latency_model)
        mean, std = ensemble.predict()
        unseen = codes >= 15
        inside.append(np.abs(truth - mean)[unseen] < Z90 * std[unseen])
        error.append(np.abs(truth - mean)[unseen])
    assert np.mean(inside) > 0.8 and bool(np.mean(error) < 0.2) is knows_them
