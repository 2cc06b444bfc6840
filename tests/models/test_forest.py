"""The forest learns, doubts, and tells noise."""

from __future__ import annotations

import numpy as np
import pytest

from planner.models.forest import RandomForest


def test_learns_and_covers(roofline):
    X, truth = roofline(0)
    rng = np.random.default_rng(0)
    y, order = truth + 0.05 * rng.standard_normal(len(truth)), rng.permutation(len(truth))
    train, test = order[:400], order[400:]
    forest = RandomForest().fit(X[train], y[train])
    mean, std = forest.predict(X[test])
    assert np.abs(mean - y[test]).mean() < 0.25 * np.abs(y[test] - y[train].mean()).mean()
    assert np.mean(np.abs(mean - y[test]) < 1.645 * np.hypot(std, forest.noise_)) > 0.85


def test_noise_is_what_the_trees_do_not_explain(features):
    X, rng = features(300, d=1, levels=()), np.random.default_rng(1)
    step = np.where(X.numeric[:, 0] > 0, 1.0, -1.0)
    quiet, loud = (RandomForest(min_samples_leaf=10).fit(X, step + s * rng.standard_normal(300)).noise_
                   for s in (0.02, 0.5))
    assert quiet < 0.1 < loud
    known = RandomForest(min_samples_leaf=10).fit(X, step + 0.5 * rng.standard_normal(300), np.full(300, 0.5))
    assert known.noise_ < loud


def test_unequal_lengths_are_refused(features):
    with pytest.raises(ValueError, match="rows"):
        RandomForest().fit(features(5), np.zeros(4))
    with pytest.raises(ValueError, match="rows"):
        RandomForest().fit(features(0), np.zeros(0))
