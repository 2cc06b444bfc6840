"""The Gaussian process against brute force, against its limits, and against a sceptic."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from planner.models.gp import GaussianProcess
from planner.models.kernels import ALL_TERMS, HierarchicalKernel
from planner.space.types import Features


def target(X: Features, seed: int = 1, noise: float = 0.05) -> np.ndarray:
    shared = np.logaddexp(X.numeric[:, 0], 0.5 * X.numeric[:, 1])
    return shared + 0.3 * X.category[:, 0] + noise * np.random.default_rng(seed).standard_normal(len(X))


def noisy_covariance(gp: GaussianProcess, X: Features, noise: np.ndarray, runs: np.ndarray | None) -> np.ndarray:
    """K of scaled y at the learned hyper-parameters, written out plainly."""
    h = gp.hyperparameters_
    kernel = HierarchicalKernel(X.numeric.shape[1], X.category.shape[1], (), ALL_TERMS, runs is not None)
    K = kernel.matrix(h, kernel.pairs(X, X)) + np.diag(h.noise**2 + (noise / gp.scale_) ** 2)
    if runs is not None:
        K = K + h.run_noise**2 * (runs[:, None] == runs[None, :])
    return K


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("max_points", [2000, 25])
def test_ahead_equals_brute_force(features, grouped, max_points):
    """Each run's readings from a matrix of the earlier runs' alone. Rows are in no order of time, and runs' numbers
    have gaps, as where some gave no reading of this quantity."""
    X, rng = features(40), np.random.default_rng(3)
    y, noise, runs = target(X), 0.1 * rng.random(40), 3 * rng.integers(0, 13, 40)
    gp = GaussianProcess(max_points=max_points).fit(X, y, noise, groups=runs if grouped else None)
    mean, std = gp.one_step_ahead(runs)
    K, z = noisy_covariance(gp, X, noise, runs if grouped else None), (y - gp.centre_) / gp.scale_
    assert len(np.unique(runs[gp.rows_])) < len(gp.rows_)  # some runs have several readings
    for run in np.unique(runs[gp.rows_]):
        now, before = gp.rows_[runs[gp.rows_] == run], gp.rows_[runs[gp.rows_] < run]
        weights = np.linalg.solve(K[np.ix_(before, before)], K[np.ix_(before, now)])
        np.testing.assert_allclose(mean[now], gp.centre_ + gp.scale_ * weights.T @ z[before], rtol=1e-6, atol=1e-7)
        covariance = K[np.ix_(now, now)] - K[np.ix_(now, before)] @ weights
        np.testing.assert_allclose(std[now], gp.scale_ * np.sqrt(np.diag(covariance)), rtol=1e-6)
    beyond = np.setdiff1d(np.arange(40), gp.rows_)
    assert len(beyond) == max(0, 40 - max_points)
    assert np.isnan(mean[beyond]).all() and np.isnan(std[beyond]).all()


def test_one_step_ahead_is_the_prediction_from_earlier_runs(features):
    """The same as `predict` of a process that never saw the later runs, given what this one learned."""
    X, runs = features(24), np.repeat(np.arange(12), 2)
    y = target(X)
    gp = GaussianProcess().fit(X, y, groups=runs)
    mean, std = gp.one_step_ahead(runs)
    then = GaussianProcess().fit(X[:14], y[:14], groups=runs[:14])
    then.centre_, then.scale_, then._theta = gp.centre_, gp.scale_, gp._theta
    then._factorise()
    said, doubt = then.predict(X[14:16])
    np.testing.assert_allclose(mean[14:16], said, rtol=1e-7)
    np.testing.assert_allclose(std[14:16], np.hypot(doubt, then.noise_), rtol=1e-6)


def test_predict_equals_the_textbook(features):
    X, new = features(30), features(17, seed=5)
    y = target(X)
    gp = GaussianProcess().fit(X, y)
    both = Features(np.vstack([X.numeric, new.numeric]), np.vstack([X.category, new.category]), X.levels)
    kernel = HierarchicalKernel(2, 1, (), ALL_TERMS, False)
    joint = kernel.matrix(gp.hyperparameters_, kernel.pairs(both, both))
    K = noisy_covariance(gp, X, np.zeros(30), None)
    weights = np.linalg.solve(K, joint[:30, 30:])
    mean, std = gp.predict(new)
    np.testing.assert_allclose(mean, gp.centre_ + weights.T @ (y - gp.centre_), rtol=1e-6, atol=1e-7)
    posterior = gp.scale_**2 * (joint[30:, 30:] - joint[30:, :30] @ weights)
    np.testing.assert_allclose(gp.covariance(new, new), posterior, atol=1e-8)
    np.testing.assert_allclose(std**2, np.diag(posterior), rtol=1e-4, atol=1e-9)


def test_covariance_agrees_with_predict_and_between_sets(features):
    gp = GaussianProcess().fit(features(25), target(features(25)))
    a, b = features(9, seed=2), features(6, seed=3)
    np.testing.assert_allclose(np.sqrt(np.diag(gp.covariance(a, a))), gp.predict(a)[1], rtol=1e-6)
    np.testing.assert_allclose(gp.covariance(a, b), gp.covariance(b, a).T, atol=1e-12)
    assert np.linalg.eigvalsh(gp.covariance(a, a)).min() > -1e-10


def test_prediction_does_not_depend_on_chunks(features, monkeypatch):
    X, new = features(20), features(101, seed=2)
    gp = GaussianProcess().fit(X, target(X))
    whole = gp.predict(new)
    monkeypatch.setattr("planner.models.settings.CHUNK_ENTRIES", 150)
    np.testing.assert_allclose(gp.predict(new), whole, rtol=1e-9)


def test_interpolates_with_small_noise_and_is_uncertain_far_away(features):
    X = features(60)
    y = target(X, noise=0.0)
    gp = GaussianProcess().fit(X, y)
    mean, std = gp.predict(X)
    np.testing.assert_allclose(mean, y, atol=0.05)
    far = Features(X.numeric + 30.0, X.category, X.levels)
    assert np.all(gp.predict(far)[1] > 5 * std)
    unseen = Features(X.numeric, np.full_like(X.category, 99), X.levels)
    assert np.all(gp.predict(unseen)[1] > std)


def test_known_noise_is_used(features):
    X = features(30)
    y = target(X)
    y[0] += 5.0
    noise = np.zeros(30)
    noise[0] = 100.0
    mean, _ = GaussianProcess().fit(X, y, noise).predict(X[:1])
    rest, _ = GaussianProcess().fit(X[1:], y[1:]).predict(X[:1])
    assert mean[0] == pytest.approx(rest[0], abs=0.1)


@pytest.mark.parametrize("known", [False, True])
def test_the_spread_of_one_more_reading_includes_known_noise(features, known):
    """Repeats tell 0.3 of noise or nobody does: either way the next reading will lie about as far off."""
    X = features(120)
    clean, noise = target(X, noise=0.0), np.full(120, 0.3)
    y = clean + noise * np.random.default_rng(2).standard_normal(120)
    gp = GaussianProcess().fit(X, y, noise if known else None)
    assert gp.noise_ == pytest.approx(0.3, rel=0.2)
    mean, std = gp.predict(X)
    fresh = clean + noise * np.random.default_rng(3).standard_normal(120)
    assert np.mean(np.abs(fresh - mean) < 1.645 * np.hypot(std, gp.noise_)) == pytest.approx(0.9, abs=0.08)


@settings(deadline=None, max_examples=8)
@given(st.permutations(range(20)), st.floats(0.5, 50.0), st.floats(-30.0, 30.0))
def test_order_and_units_do_not_matter(order, unit, shift):
    rng = np.random.default_rng(0)
    X = Features(rng.standard_normal((20, 2)), rng.integers(0, 3, (20, 1)), (3,))
    y, order = target(X), np.array(order)
    mean, std = GaussianProcess().fit(X, y).predict(X)
    other_mean, other_std = GaussianProcess().fit(X[order], shift + unit * y[order]).predict(X)
    np.testing.assert_allclose((other_mean - shift) / unit, mean, atol=5e-3)
    np.testing.assert_allclose(other_std / unit, std, rtol=0.05)


def test_categories_may_be_renamed(features):
    X = features(40)
    y = target(X)
    renamed = Features(X.numeric, np.array([2, 0, 1])[X.category], X.levels)
    before, after = GaussianProcess().fit(X, y).predict(X), GaussianProcess().fit(renamed, y).predict(renamed)
    np.testing.assert_allclose(before, after, rtol=1e-6)


def test_refits_only_after_growth(features):
    X = features(60)
    y = target(X)
    gp = GaussianProcess().fit(X[:50], y[:50])
    first = gp.hyperparameters_
    gp.fit(X[:55], y[:55])
    assert np.array_equal(gp.hyperparameters_.lengthscales, first.lengthscales)
    assert len(gp.rows_) == 55
    gp.fit(X, y)
    assert not np.array_equal(gp.hyperparameters_.lengthscales, first.lengthscales)
    cold = GaussianProcess().fit(X, y)
    assert gp.log_posterior_ == pytest.approx(cold.log_posterior_, abs=0.5)


def test_refits_when_y_moves_or_the_shape_changes(features):
    X = features(30)
    y = target(X)
    gp = GaussianProcess().fit(X, y).fit(X, 5.0 + 3.0 * y)
    fresh = GaussianProcess().fit(X, 5.0 + 3.0 * y)
    np.testing.assert_allclose(gp.predict(X)[0], fresh.predict(X)[0], atol=0.05)
    wider = features(30, d=3)
    assert len(gp.fit(wider, y).predict(wider)[0]) == 30
    once = GaussianProcess(warm_start=False).fit(X[:29], y[:29]).fit(X, y)
    np.testing.assert_array_equal(once.predict(X), GaussianProcess().fit(X, y).predict(X))


def test_subsets_keep_the_answer(features):
    X = features(300)
    y = target(X)
    whole = GaussianProcess().fit(X, y)
    part = GaussianProcess(max_points=150, max_hyper_points=100).fit(X, y)
    assert len(part.rows_) == 150
    new = features(200, seed=9)
    assert np.abs(part.predict(new)[0] - whole.predict(new)[0]).mean() < 0.05
    mean, std = part.one_step_ahead(np.arange(300))
    known = np.isfinite(mean)
    assert set(np.flatnonzero(known)) == set(part.rows_)
    known[:150] = False  # what the first runs say of the next ones is the prior's word
    assert np.mean(np.abs(mean - y)[known] < 1.645 * std[known]) == pytest.approx(0.9, abs=0.08)


def test_readings_of_one_run_are_not_taken_for_independent():
    covered = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        runs = np.repeat(np.arange(30), 6)
        X = Features(np.column_stack([np.repeat(rng.standard_normal(30), 6), np.tile(np.linspace(-1, 1, 6), 30)]),
                     np.zeros((180, 0), dtype=np.int64), ())
        y = X.numeric.sum(axis=1) + 0.2 * rng.standard_normal(30)[runs] + 0.02 * rng.standard_normal(180)
        gp = GaussianProcess().fit(X, y, groups=runs)
        h = gp.hyperparameters_
        assert 0.1 < gp.scale_ * h.run_noise < 0.3
        assert gp.scale_ * h.noise < 0.05
        mean, std = gp.one_step_ahead(runs)
        covered.append(np.mean(np.abs(mean - y)[90:] < 1.645 * std[90:]))
    assert np.mean(covered) == pytest.approx(0.9, abs=0.1)


@pytest.mark.parametrize("bad", ["length", "nan", "empty", "groups"])
def test_bad_input_is_refused(features, bad):
    X, y = features(5), np.zeros(5)
    with pytest.raises(ValueError, match="rows" if bad != "nan" else "finite"):
        if bad == "length":
            GaussianProcess().fit(X, y[:4])
        elif bad == "nan":
            GaussianProcess().fit(X, y + np.nan)
        elif bad == "empty":
            GaussianProcess().fit(X[:0], y[:0])
        else:
            GaussianProcess().fit(X, y, groups=np.arange(4))


def test_a_sceptic_on_a_roofline(roofline):
    """From 90 of 1,120 points with 5 % noise: far better than a linear model, and honest about what is left."""
    gp_error, linear_error, covered, width = [], [], [], []
    for seed in range(6):
        X, truth = roofline(seed)
        rng = np.random.default_rng(seed)
        y = truth + 0.05 * rng.standard_normal(len(truth))
        order = rng.permutation(len(y))
        train, test = order[:90], order[90:]
        gp = GaussianProcess().fit(X[train], y[train])
        mean, std = gp.predict(X[test])
        total = np.hypot(std, gp.noise_)
        gp_error.append(np.abs(np.expm1(mean - truth[test])).mean())
        covered.append(np.mean(np.abs(mean - y[test]) < 1.645 * total))
        width.append(np.median(total))
        design = np.column_stack([np.ones(len(y)), X.numeric, np.eye(5)[X.category[:, 0]]])
        coefficients = np.linalg.lstsq(design[train], y[train], rcond=None)[0]
        linear_error.append(np.abs(np.expm1(design[test] @ coefficients - truth[test])).mean())
    assert np.mean(gp_error) < 0.5 * np.mean(linear_error)
    assert np.mean(gp_error) < 0.12
    assert 0.85 < np.mean(covered) < 0.96
    assert np.mean(width) < 0.2


def test_fast_enough_for_a_loop(features):
    """n = 200: generous multiples of the 0.1 s, 1 ms and 0.1 s that one idle core takes."""
    X, many = features(200, d=4), features(20_000, d=4, seed=2)
    y, gp = target(X), GaussianProcess()
    seconds = []
    with threadpool_limits(limits=1):  # as in the loop; and processor time, since other tests run beside this one
        for action in (lambda: gp.fit(X, y), lambda: gp.fit(X, y), lambda: gp.predict(many)):
            begin = time.process_time()
            action()
            seconds.append(time.process_time() - begin)
    assert seconds[0] < 3.0 and seconds[1] < 0.3 and seconds[2] < 3.0
