"""The forest learns, has intervals that cover, and tells noise."""

from __future__ import annotations

import numpy as np

from planner.models.forest import ForestRegressor


def test_learns_and_covers(roofline):
    X, truth = roofline(0)
    rng = np.random.default_rng(0)
    y, order = truth + 0.05 * rng.standard_normal(len(truth)), rng.permutation(len(truth))
    train, test = order[:400], order[400:]
    mean, std = (found[test] for found in ForestRegressor(X).fit(train, y[train], train).predict())
    assert np.abs(mean - y[test]).mean() < 0.25 * np.abs(y[test] - y[train].mean()).mean()
    assert np.mean(np.abs(mean - y[test]) < 1.645 * std) > 0.85


def test_noise_is_what_the_trees_do_not_explain(features):
    X, rng, rows = features(300, d=1, levels=()), np.random.default_rng(1), np.arange(300)
    step = np.where(X.numeric[:, 0] > 0, 1.0, -1.0)

    def noise(y, known=None):
        return ForestRegressor(X, min_samples_leaf=10).fit(rows, y, rows, known).noise_

    quiet, loud = (noise(step + s * rng.standard_normal(300)) for s in (0.02, 0.5))
    assert quiet < 0.1 < loud
    assert noise(step + 0.5 * rng.standard_normal(300), np.full(300, 0.5)) < loud


def test_it_has_no_forecasts_and_no_covariance(features):
    forest = ForestRegressor(features(24), trees=10).fit(np.arange(24), np.arange(24.0), np.arange(24))
    assert [forest.one_step_ahead(), forest.covariance(np.arange(3), np.arange(3))] == [None, None]
