"""Categories that behave alike lie close together, and what is measured of one helps to predict the other."""

from __future__ import annotations

import numpy as np
import pytest

from planner.models.category_embedding import CategoryEmbedding
from planner.models.ensemble import Ensemble
from planner.models.gp import GaussianProcess
from planner.space.types import BoolArray, Features, FloatArray, IntArray

SIZES = np.linspace(-1.5, 1.5, 7)


def families(levels: int, seed: int = 0, noise: float = 0.02) -> tuple[Features, FloatArray, BoolArray]:
    """A grid of categories × 7 × 7 sizes; odd categories bend along the first size, even ones along the second."""
    category, i, j = (a.ravel() for a in np.meshgrid(np.arange(levels), np.arange(7), np.arange(7), indexing="ij"))
    odd = category % 2 == 1
    numeric = np.column_stack([SIZES[i], SIZES[j]])
    bent = np.where(odd, np.maximum(numeric[:, 0], 0), np.maximum(numeric[:, 1], 0))
    y = 2 * bent + 0.5 * numeric.sum(axis=1) + noise * np.random.default_rng(seed).standard_normal(len(category))
    return Features(numeric, category[:, None], (levels,)), y, odd


def measured(levels: int, each: int, seed: int = 0) -> IntArray:
    rng = np.random.default_rng(seed)
    return np.concatenate([c * 49 + rng.choice(49, each, replace=False) for c in range(levels)])


def coordinates(X: Features, surrogate: GaussianProcess) -> FloatArray:
    return CategoryEmbedding(X).fit(surrogate).columns(surrogate)


def test_alike_categories_are_close() -> None:
    X, y, odd = families(16)
    rows = measured(16, 12)
    columns = coordinates(X, GaussianProcess().fit(X[rows], y[rows]))
    assert columns.shape == (len(X), 2)
    of_category, odd = columns[::49], odd[::49]
    assert all(np.ptp(columns[c * 49:(c + 1) * 49], axis=0).max() == 0 for c in range(16))
    between = np.linalg.norm(of_category[odd].mean(axis=0) - of_category[~odd].mean(axis=0))
    assert between > 4 * of_category[odd].std(axis=0)[0]


@pytest.mark.parametrize("seed", range(3))
def test_it_predicts_better_from_few_points_of_each(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    X, y, _ = families(16, seed)
    rows = measured(16, 6, seed)
    unseen = np.setdiff1d(np.arange(len(X)), rows)

    def error() -> float:
        mean, _ = Ensemble(X, only=-1).fit(rows, y[rows], np.arange(len(rows)), latency_model=X.numeric[:, 0]).predict()
        return float(np.abs(mean - y)[unseen].mean())

    knowing = error()
    monkeypatch.setattr(CategoryEmbedding, "columns", lambda self, _: np.zeros((len(X), self.width)))
    assert knowing < 0.85 * error()


@pytest.mark.parametrize("seed", range(3))
def test_noise_that_resembles_an_embedding_is_not_promised_away(seed: int) -> None:
    """Categories that differ by a level and by noise: one-step-ahead forecasts have errors as large as
    predictions of unmeasured points. Coordinates fitted to the runs that they judge would hide most of the error."""
    rng = np.random.default_rng(seed)
    category, size = np.repeat(np.arange(60), 4), np.tile(np.linspace(-1.5, 1.5, 4), 60)
    X = Features(size[:, None], category[:, None], (60,))
    y = size + rng.standard_normal(60)[category] + 0.1 * rng.standard_normal(240)
    rows = np.concatenate([4 * c + rng.choice(4, 2, replace=False) for c in rng.permutation(60)])
    ensemble = Ensemble(X, only=-1).fit(rows, y[rows], rng.permutation(120))
    ahead = ensemble.one_step_ahead()[0] - y[rows]
    unseen = np.setdiff1d(np.arange(240), rows)
    true = ensemble.predict()[0][unseen] - y[unseen]
    assert np.nanmean(np.abs(ahead)) > 0.8 * np.mean(np.abs(true))


@pytest.mark.parametrize(("levels", "width"), [((7,), 0), ((8,), 1), ((23, 2), 2), ((9, 90), 4)])
def test_a_coordinate_for_each_eight_categories(levels: tuple[int, ...], width: int) -> None:
    axes = [*(np.arange(n) for n in levels), np.array([0.0, 1.0])]
    grid = np.array(np.meshgrid(*axes, indexing="ij")).reshape(len(levels) + 1, -1)
    X = Features(grid[-1:].T, grid[:-1].T.astype(np.int64), levels)
    assert CategoryEmbedding(X).width == width
    assert coordinates(X, GaussianProcess().fit(X[:9], np.arange(9.0))).shape == (len(X), width)


def test_descriptors_go_with_their_category_and_one_that_a_grid_leaves_out_does_no_harm() -> None:
    X, y, _ = families(16)
    size = np.linspace(-1, 1, 16)[X.category[:, 0]]
    wider = Features(np.column_stack([X.numeric, size]), X.category, X.levels)
    y = y + 3 * size
    rows = measured(16, 12)
    coordinate = coordinates(wider, GaussianProcess().fit(wider[rows], y[rows]))[::49, 0]
    assert abs(np.corrcoef(coordinate, np.arange(16))[0, 1]) > 0.95  # levels that follow the descriptor differ most
    kept = np.flatnonzero(X.category[:, 0] != 5)
    left_out = coordinates(X[kept], GaussianProcess().fit(X[rows], y[rows]))
    assert np.isfinite(left_out).all() and len(left_out) == len(kept)


def test_equal_categories_have_no_embedding() -> None:
    X, _, _ = families(16)
    length_independent = GaussianProcess().fit(X[:1], np.zeros(1))
    assert not coordinates(X, length_independent).any()


@pytest.mark.parametrize(("levels", "latency_model", "members"), [
    (16, True, 3), (16, False, 2), (4, True, 2), (4, False, 1),
])
def test_many_categories_bring_a_member_of_their_own(levels: int, latency_model: bool, members: int) -> None:
    X, y, _ = families(levels)
    rows = measured(levels, 6)
    runs = np.arange(len(rows))
    known = X.numeric[:, 0] if latency_model else None
    assert len(Ensemble(X).fit(rows, y[rows], runs, latency_model=known).members_) == members
    assert len(Ensemble(X, embedding=False).fit(rows, y[rows], runs, latency_model=known).members_) == 1 + latency_model
