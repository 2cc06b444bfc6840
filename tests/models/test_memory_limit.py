"""Where memory ends: not short of a point that ran, not beyond one that failed, and not where only chance struck."""

from __future__ import annotations

import numpy as np
import pytest

from planner.ledger.observations import Observations, Run
from planner.models import memory_limit, settings
from planner.models.feasibility import probability_of_feasibility
from planner.models.memory_limit import must_lack, probability_of_fitting
from planner.space.grid import Grid, full_grid
from planner.space.types import Axis, Cost, Measurement, Reading, Role, Scale, Scope, Status

SIZES = tuple(2**k for k in range(8))
AXES = (
    Axis("model", ("7b", "13b", "70b"), Scope.ENGINE, Scale.CATEGORY, (Role.MODEL,), {"params_b": (7.0, 13.0, 70.0)}),
    Axis("n_gpus", (1, 2, 4, 8), Scope.ENGINE, Scale.LOG, (Role.ACCELERATORS,)),
    Axis("input_len", SIZES, scale=Scale.LOG, roles=(Role.INPUT_TOKENS,)),
    Axis("batch_size", SIZES, scale=Scale.LOG, roles=(Role.BATCH,)),
)
GRID = full_grid(AXES)
SHAPE = tuple(len(axis.values) for axis in AXES)


def fits(grid: Grid, most: float = 20.0) -> np.ndarray:
    """Weights and a cache for each token, shared by the accelerators."""
    weights = np.array([7.0, 13.0, 70.0])[grid.codes[:, 0]]
    tokens = np.asarray(grid.column("input_len")) * np.asarray(grid.column("batch_size"))
    return (weights + tokens * np.sqrt(weights) / 100) / np.asarray(grid.column("n_gpus")) <= most


def drawn(truth: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rows = np.random.default_rng(seed).choice(len(truth), count, replace=False)
    return rows[truth[rows]], rows[~truth[rows]]


def observed(grid: Grid, runs: list[tuple[int, str]]) -> Observations:
    """Runs at rows, each with a reason why it failed, or with none."""
    seen = Observations(grid, ("y",))
    for number, (row, reason) in enumerate(runs):
        point, cost = grid.point(row), Cost(measure_s=1.0)
        seen.add(Run(number, point, Measurement(Status.FAILED, cost, reason=reason) if reason else Measurement(
            Status.OK, cost, (Reading(point, {"y": (1.0,)}, 1.0),))))
    return seen


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("wrong", [0.0, 0.2])
def test_more_of_what_takes_memory_never_fits_better(seed: int, wrong: float) -> None:
    """Neither from few points nor from outcomes of which a fifth are wrong."""
    truth = fits(GRID) ^ (np.random.default_rng(seed).random(len(GRID)) < wrong)
    found = probability_of_fitting(GRID, *drawn(truth, 12, seed)).reshape(SHAPE)
    assert (np.diff(found, axis=2) <= 1e-12).all() and (np.diff(found, axis=3) <= 1e-12).all()


@pytest.mark.parametrize("seed", range(5))
def test_more_accelerators_and_a_smaller_model_never_fit_worse_where_nothing_is_known(seed: int) -> None:
    good, bad = drawn(fits(GRID), 12, seed)
    grid = full_grid([Axis("model", ("7b", "13b", "70b"), scale=Scale.CATEGORY, descriptors={"params_b": (7, 13, 70)}),
                      *AXES[1:]])
    found = probability_of_fitting(grid, good, bad).reshape(SHAPE)
    seen = np.zeros(SHAPE[:2], dtype=bool)
    seen[grid.codes[np.concatenate([good, bad]), 0], grid.codes[np.concatenate([good, bad]), 1]] = True
    for model in range(3):
        free = found[model][~seen[model]]
        assert (np.diff(free, axis=0) >= -1e-12).all()


def test_a_point_that_needs_no_more_than_one_that_ran_runs_and_the_reverse() -> None:
    good = np.array([GRID.find({"model": "13b", "n_gpus": 2, "input_len": 32, "batch_size": 16})])
    bad = np.array([GRID.find({"model": "13b", "n_gpus": 2, "input_len": 64, "batch_size": 64})])
    found = probability_of_fitting(GRID, good, bad).reshape(SHAPE)
    assert (found[1, 1, :6, :5] >= 1 - settings.EXCEPTION).all()
    assert (found[1, 1, 6:, 6:] <= settings.EXCEPTION).all()
    assert found[1, 1, 7, 0] > settings.EXCEPTION, "longer, but of a smaller batch: not settled"
    assert found[1, 1, 0, 7] < 1 - settings.EXCEPTION


def test_outcomes_that_contradict_each_other_settle_nothing() -> None:
    """One that failed needs less than one that ran: the points that both speak of are left to the regression."""
    grid = full_grid([Axis("batch_size", SIZES, scale=Scale.LOG, roles=(Role.BATCH,))])
    found = probability_of_fitting(grid, np.array([0, 5]), np.array([2, 7]))
    assert found[0] == found[1] >= 1 - settings.EXCEPTION and (found[6:] <= settings.EXCEPTION).all()
    assert ((found[2:6] > settings.EXCEPTION) & (found[2:6] < 1 - settings.EXCEPTION)).all()


def test_a_constrained_grid_with_rows_in_any_order_is_closed_alike() -> None:
    kept = np.flatnonzero(GRID.codes[:, 2] + GRID.codes[:, 3] < 11)
    rows = np.random.default_rng(0).permutation(kept)
    part = Grid(GRID.axes, GRID.codes[rows])
    good, bad = drawn(fits(part), 40, 1)
    found = probability_of_fitting(part, good, bad)
    codes = part.codes
    for row in range(len(part)):
        same = (codes[:, :2] == codes[row, :2]).all(axis=1)
        above = np.intersect1d(good, np.flatnonzero(same & (codes[:, 2:] >= codes[row, 2:]).all(axis=1)))
        below = np.intersect1d(bad, np.flatnonzero(same & (codes[:, 2:] <= codes[row, 2:]).all(axis=1)))
        if len(above):
            assert found[row] >= 1 - settings.EXCEPTION
        if len(below):
            assert found[row] <= settings.EXCEPTION


@pytest.mark.parametrize("seed", range(3))
def test_what_must_fail_is_what_is_nearly_certain_to(seed: int) -> None:
    """Single rows are settled as all are, also where outcomes contradict each other."""
    truth = fits(GRID) ^ (np.random.default_rng(seed).random(len(GRID)) < 0.05)
    good, bad = drawn(truth, 60, seed)
    rows = np.random.default_rng(seed).permutation(len(GRID))[:200]
    none_known = np.full(len(GRID), 0.5)
    closed = memory_limit._closed(GRID, none_known, good, bad)[rows] <= settings.EXCEPTION
    lacks = must_lack(GRID, rows, good, bad)
    assert lacks.any() and not lacks.all()
    np.testing.assert_array_equal(lacks, closed)


def test_it_tells_more_than_a_plain_regression() -> None:
    """Brier score over unknown points from 40 known ones: nine tenths of that of logistic regression with C = 10."""
    from sklearn.linear_model import LogisticRegression

    ours, plain = [], []
    truth = fits(GRID)
    columns = np.hstack([GRID.features.numeric, np.eye(3)[GRID.codes[:, 0]]])
    for seed in range(6):
        good, bad = drawn(truth, 40, seed)
        known = np.concatenate([good, bad])
        others = np.setdiff1d(np.arange(len(GRID)), known)
        model = LogisticRegression(C=10.0, max_iter=500).fit(columns[known], truth[known])
        plain.append(np.mean((model.predict_proba(columns[others])[:, 1] - truth[others]) ** 2))
        ours.append(np.mean((probability_of_fitting(GRID, good, bad)[others] - truth[others]) ** 2))
    assert np.mean(ours) < 0.9 * np.mean(plain)


def test_a_wrong_configuration_is_no_limit_of_memory() -> None:
    """Three accelerators do not divide the heads: eight are none the better for it, and a batch of 1 none the worse."""
    grid = full_grid([Axis("tp", (1, 2, 3, 4, 8), Scope.ENGINE, Scale.CATEGORY), AXES[3]])
    runs = [(grid.find({"tp": tp, "batch_size": batch}), "" if tp != 3 else "must be divisible by")
            for tp in (1, 3, 8) for batch in (1, 16, 128)]
    found = probability_of_feasibility(grid, observed(grid, [(int(row or 0), why) for row, why in runs])).reshape(5, 8)
    assert found[2].max() < 0.3 and found[[0, 4]].min() > 0.7
    memory = probability_of_feasibility(grid, observed(grid, [(32 + 7, "oom"), (0, ""), (32, "")])).reshape(5, 8)
    assert memory[4, 7] == 0 and (np.diff(memory[4, 1:7]) < 0).all()


def test_chance_is_a_small_rate_at_every_point() -> None:
    """Two crashes in twenty runs: a point is lost if both its tries are, less than one time in a hundred."""
    grid = full_grid([Axis("batch_size", tuple(range(1, 40)), roles=(Role.BATCH,))])
    found = probability_of_feasibility(grid, observed(grid, [*((row, "") for row in range(18)), (38, "crash"),
                                                             (37, "hang")]))
    np.testing.assert_allclose(found[18:37], 1 - (2 / 22)**2)
    np.testing.assert_allclose(found[37:], (1 - (2 / 22)**2) * settings.FEASIBILITY_BROKEN)


def test_without_a_failure_nothing_is_computed() -> None:
    class Unread:
        axes = AXES
        engine = GRID.engine
        find, point = GRID.find, GRID.point

        def __len__(self) -> int:
            return len(GRID)

    assert (probability_of_feasibility(Unread(), observed(GRID, [(0, ""), (9, "")])) == 1).all()  # type: ignore[arg-type]
