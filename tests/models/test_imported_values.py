"""Another device's runs, imported on a category axis, are a prior of the device that is measured."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest

from planner.evaluation.prior_use import prior_uses
from planner.ledger.observations import Observations, Run
from planner.models.ensemble import Ensemble
from planner.models.grid_model import GridModel
from planner.models.imported_regressor import ImportedRegressor, OldSurface
from planner.models.imported_values import ImportedValue, imported_values, without_axis
from planner.models.learned_prior import learn_prior
from planner.models.prior_regressor import PriorRegressor
from planner.space.grid import Grid, full_grid
from planner.space.types import (
    Axis,
    Cost,
    Features,
    FloatArray,
    IntArray,
    Measurement,
    Reading,
    Role,
    Scale,
    Scope,
    Status,
)
from planner.testing.regressor import check_regressor

LENGTHS, BATCHES = tuple(64 * 2**i for i in range(5)), tuple(2**i for i in range(9))
GRID = full_grid([
    Axis("gpu", ("A100", "H100"), Scope.ENGINE, Scale.CATEGORY),
    Axis("input_len", LENGTHS, scale=Scale.LOG),
    Axis("batch_size", BATCHES, scale=Scale.LOG),
])
OLD = np.flatnonzero(GRID.codes[:, 0] == 0)
NEW = np.flatnonzero(GRID.codes[:, 0] == 1)


def truth(grid: Grid = GRID) -> FloatArray:
    """Milliseconds: uneven in the sizes; the H100 takes half as long, and less where batches are large."""
    length, batch = np.log2(grid.numbers("input_len")), np.log2(grid.numbers("batch_size"))
    level = 3 + 0.6 * length + 0.3 * batch + 0.3 * np.sin(2 * length) * np.cos(1.5 * batch)
    new = grid.column("gpu") == "H100" if len(grid.axes) == 3 else np.ones(len(grid))
    return np.asarray(np.exp(level - new * (0.7 + 0.03 * batch)), dtype=np.float64)


def observed(imported: IntArray, own: IntArray, grid: Grid = GRID) -> Observations:
    """Imported runs at some rows, then own ones."""
    observations, values = Observations(grid, ("latency_ms",)), truth(grid)
    for number, row in enumerate([*imported.tolist(), *own.tolist()]):
        point, value = grid.point(row), float(values[row])
        reading = Reading(point, {"latency_ms": (value,)}, value / 1000)
        observations.add(Run(number, point, Measurement(Status.OK, Cost(measure_s=value / 1000), (reading,)),
                             imported=number < len(imported)))
    return observations


def some_new(count: int, seed: int = 0) -> IntArray:
    return np.random.default_rng(seed).permutation(NEW)[:count]


def names(observations: Observations) -> list[str]:
    return [value.name for value in imported_values(observations)]


@pytest.mark.parametrize(("imported", "own"), [
    (OLD, some_new(3)),
    (OLD[::2], some_new(3)),
    (OLD[::2], np.concatenate([some_new(3), OLD[1:9:2]])),  # a few more of it were measured here
    (np.concatenate([OLD, NEW[:2]]), NEW[4:8]),  # a few of the other device were imported too
])
def test_a_value_is_a_prior_once_it_was_imported_and_another_is_measured(imported: IntArray, own: IntArray) -> None:
    assert names(observed(imported, own)) == ["gpu=A100 (imported)"]


@pytest.mark.parametrize(("imported", "own"), [
    (OLD[:0], np.concatenate([OLD, some_new(3)])),  # measured here
    (OLD, OLD[:0]),  # nothing of the other device yet
    (np.concatenate([OLD[::2], NEW[::2]]), NEW[1::2]),  # both devices were imported
    (OLD[:4], np.concatenate([OLD[8:], some_new(3)])),  # most of it was measured here
])
def test_else_no_value_is(imported: IntArray, own: IntArray) -> None:
    assert names(observed(imported, own)) == []


def test_of_two_axes_it_is_the_one_that_tells_imported_runs_from_own_ones() -> None:
    grid = full_grid([Axis("model", ("a", "b", "c"), scale=Scale.CATEGORY), *GRID.axes[:2]])
    model, gpu = grid.codes[:, 0], grid.codes[:, 1]
    old = np.flatnonzero((gpu == 0) & (model < 2))
    new = np.flatnonzero((gpu == 1) & (grid.codes[:, 2] < 2))
    observations = Observations(grid, ("latency_ms",))
    for number, row in enumerate([*old.tolist(), *new.tolist()]):
        point = grid.point(row)
        reading = Reading(point, {"latency_ms": (1.0 + number,)}, 1.0)
        observations.add(Run(number, point, Measurement(Status.OK, Cost(measure_s=1.0), (reading,)),
                             imported=number < len(old)))
    assert names(observations) == ["gpu=A100 (imported)"]


def by_prior(own: IntArray, grid: Grid = GRID) -> tuple[GridModel, IntArray]:
    """A model of the H100 alone, fitted to the own runs, with all of the A100 as `prior:`. And its row of each point of
    the H100."""
    alone, rows = without_axis(Grid(grid.axes, grid.codes[NEW]), "gpu")
    there, place = without_axis(grid, "gpu")
    old = Observations(there, ("latency_ms",))
    for number, row in enumerate(OLD.tolist()):
        point, value = there.point(int(place[row])), float(truth(grid)[row])
        old.add(Run(number, point, Measurement(Status.OK, Cost(measure_s=value / 1000), (
            Reading(point, {"latency_ms": (value,)}, value / 1000),))))
    prior = learn_prior("A100", old, None, np.array([there.find(alone.point(row)) for row in range(len(alone))]))
    here = rows[np.searchsorted(NEW, own)]
    return GridModel(alone, None, priors=[prior]).fit(observed(OLD[:0], here, alone)), rows


def test_the_other_device_is_predicted_as_with_prior() -> None:
    own = some_new(12)
    found = GridModel(GRID, None).fit(observed(OLD, own))
    model, rows = by_prior(own)
    here = found.predict().value["latency_ms"][NEW]
    assert np.allclose(here, model.predict().value["latency_ms"][rows], rtol=0.03)
    unmeasured = ~np.isin(NEW, own)
    assert np.mean(np.abs(here / truth()[NEW] - 1)[unmeasured]) < 0.04


@pytest.mark.parametrize("seed", [0, 1])
def test_on_a_server_past_models_forecast_it_as_with_prior(seed: int) -> None:
    """By what was imported alone its first runs were forecast so vaguely that any error was less than expected."""
    load = replace(GRID.axes[2], roles=(Role.CONCURRENCY,))
    served, own = full_grid([*GRID.axes[:2], load]), some_new(14, seed)
    found = GridModel(served, None).fit(observed(OLD, own, served)).past_forecasts_["latency_ms"]
    usual = by_prior(own, served)[0].past_forecasts_["latency_ms"]
    by_run, usual_by_run = np.argsort(found.runs), np.argsort(usual.runs)
    assert np.array_equal(found.runs[by_run] - len(OLD), usual.runs[usual_by_run]) and len(usual.runs) == 7
    assert np.allclose(found.expected[by_run], usual.expected[usual_by_run], rtol=0.6)
    assert np.allclose(found.ape[by_run], usual.ape[usual_by_run], atol=0.03)


def test_the_prior_is_named_with_its_weight() -> None:
    (use,) = prior_uses(GridModel(GRID, None).fit(observed(OLD, some_new(8))))
    assert (use.name, use.points) == ("gpu=A100 (imported)", len(OLD))
    assert use.weights["latency_ms"] > 0.5


def test_only_runs_of_the_study_judge_and_the_first_half_do_not() -> None:
    found = GridModel(GRID, None).fit(observed(OLD, some_new(8))).forecasts_["latency_ms"]
    assert sorted(found.runs) == list(range(len(OLD) + 4, len(OLD) + 8))
    own = np.concatenate([some_new(8), OLD[1:9:2]])
    found = GridModel(GRID, None).fit(observed(OLD[::2], own)).forecasts_["latency_ms"]
    assert sorted(found.runs) == list(range(len(OLD[::2]) + 4, len(OLD[::2]) + 12))


def test_a_point_left_of_the_old_device_is_predicted_by_its_own_surface() -> None:
    left = OLD[20:22]
    found = GridModel(GRID, None).fit(observed(np.setdiff1d(OLD, left), some_new(4))).predict()
    assert np.allclose(found.value["latency_ms"][left], truth()[left], rtol=0.1)


def test_a_fit_goes_on_from_the_last_and_changes_no_copy() -> None:
    model = GridModel(GRID, None).fit(observed(OLD, some_new(5)))
    before = model.regressors_["latency_ms"]
    assert isinstance(before, ImportedRegressor)
    kept, said = copy.copy(before), before.predict()[0]
    model.fit(observed(OLD, some_new(9)))
    assert model.regressors_["latency_ms"] is before
    assert np.array_equal(kept.predict()[0], said) and not np.array_equal(before.predict()[0], said)


def test_with_more_of_the_old_device_imported_its_surface_is_learned_anew() -> None:
    model = GridModel(GRID, None).fit(observed(OLD[:-2], some_new(5)))
    before = model.regressors_["latency_ms"]
    fresh = GridModel(GRID, None).fit(observed(OLD, some_new(5))).predict().value["latency_ms"]
    again = model.fit(observed(OLD, some_new(5)))
    assert again.regressors_["latency_ms"] is not before
    assert np.allclose(again.predict().value["latency_ms"], fresh, rtol=1e-3)


@pytest.mark.parametrize("axis", ["max_concurrency", "output_len"])
def test_on_a_server_and_along_a_trajectory_too(axis: str) -> None:
    roles = (Role.CONCURRENCY,) if axis == "max_concurrency" else (Role.OUTPUT_TOKENS,)
    trajectory = None if axis == "max_concurrency" else axis
    grid = full_grid([GRID.axes[0], Axis("x", (1, 2, 4, 8), scale=Scale.LOG),
                      Axis(axis, (2, 4, 8, 16), scale=Scale.LOG, roles=roles)])
    first = grid.numbers("x") * np.where(grid.column("gpu") == "H100", 1.0, 2.0)
    whole = first + 0.3 * first**0.5 * (grid.numbers(axis) - 1)
    observations = Observations(grid, ("e2el_ms",))
    lines = {int(line): np.flatnonzero(grid.lines(axis) == line) for line in np.unique(grid.lines(axis))}
    longest = np.array([rows.max() for rows in lines.values()])
    old, new = longest[grid.codes[longest, 0] == 0], longest[grid.codes[longest, 0] == 1][:3]
    if trajectory is None:
        old, new = np.flatnonzero(grid.codes[:, 0] == 0), np.flatnonzero(grid.codes[:, 0] == 1)[::3]
    for number, row in enumerate([*old.tolist(), *new.tolist()]):
        covered = [row] if trajectory is None else lines[int(grid.lines(axis)[row])].tolist()
        readings = tuple(Reading(grid.point(at), {"e2el_ms": (float(whole[at]),), "batch_ttft_ms": (float(first[at]),)},
                                 1.0) for at in covered)
        observations.add(Run(number, grid.point(row), Measurement(Status.OK, Cost(measure_s=1.0), readings),
                             imported=number < len(old)))
    model = GridModel(grid, trajectory).fit(observations)
    assert {type(one) for one in model.regressors_.values()} == {ImportedRegressor}
    left = ~observations.measured
    assert np.allclose(model.predict().value["e2el_ms"][left], whole[left], rtol=0.3)


def test_covariances_are_of_each_device_alone() -> None:
    model = GridModel(GRID, None).fit(observed(OLD[:-2], some_new(6)))
    found = model.regressors_["latency_ms"].covariance(np.arange(len(GRID)), np.arange(len(GRID)))
    assert found is not None and np.allclose(found, found.T, atol=1e-9)
    assert not found[np.ix_(OLD, NEW)].any() and (np.diagonal(found)[NEW] > 0).all()


def test_the_contract_of_a_regressor() -> None:
    def make(features: Features) -> ImportedRegressor:
        n = len(features)
        grid = full_grid([Axis("gpu", ("A100",), scale=Scale.CATEGORY), Axis("x", tuple(range(n)))])
        rest, rows = without_axis(grid, "gpu")
        learned = Ensemble(rest.features).fit(np.arange(0, n, 3), np.linspace(0, 1, n)[::3], np.arange(0, n, 3))
        value = ImportedValue("old", "gpu", np.zeros(n, dtype=bool), n)
        old = OldSurface(value, learned, rest, rows, np.arange(0, n, 3))
        return ImportedRegressor([old], PriorRegressor(features, Ensemble(features), [old.column]))

    check_regressor(make)
