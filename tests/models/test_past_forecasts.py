"""Forecasts by models of the runs before: what they use, and intervals by their ranks."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any

import numpy as np
import pytest

from planner.ledger.observations import Observations, Run
from planner.models.calibration import Forecasts, calibration, rank_calibration
from planner.models.grid_model import GridModel
from planner.models.past_forecasts import Forecast, PastForecasts, boundaries, joined
from planner.space.grid import Grid, full_grid
from planner.space.types import (
    Z90,
    Axis,
    Cost,
    FloatArray,
    Measurement,
    Metric,
    Reading,
    Role,
    Scale,
    Scope,
    Status,
)


def grid(role: Role | None = Role.CONCURRENCY) -> Grid:
    roles = () if role is None else (role,)
    return full_grid([Axis("load", tuple(range(1, 41)), scale=Scale.LOG, roles=roles),
                      Axis("engine", tuple(f"e{i}" for i in range(5)), Scope.ENGINE, Scale.CATEGORY)])


def measured(where: Grid, truth: FloatArray, rows: Any, imported: Container[int] = ()) -> Observations:
    """Runs of these rows, in this order. imported: places of those that were."""
    observations = Observations(where, ["ms"])
    for number, row in enumerate(rows):
        point = where.point(int(row))
        reading = Reading(point, {"ms": (float(truth[row]),)}, 1.0)
        observations.add(Run(number, point, Measurement(Status.OK, Cost(measure_s=1.0), (reading,)),
                             imported=number in imported))
    return observations


def counting(asked: list[int]) -> Callable[[Observations], Forecast]:
    """Notes how many runs each model knows, and forecasts that number."""
    def learn(before: Observations) -> Forecast:
        asked.append(len(before.runs))
        return lambda rows: {"ms": (np.full(len(rows), float(len(before.runs))), np.ones(len(rows)))}

    return learn


def test_boundaries_grow_by_a_quarter() -> None:
    assert boundaries(6) == [] and boundaries(7) == [6] and boundaries(40) == [6, 8, 10, 13, 17, 22, 28, 35]


def test_a_forecast_knows_nothing_of_its_own_run_or_of_later_ones() -> None:
    """Each model sees the runs up to a boundary, once, and forecasts those up to the next."""
    where = grid()
    asked: list[int] = []
    truth = np.exp(np.arange(len(where), dtype=np.float64) / 50)
    rows = np.random.default_rng(0).permutation(len(where))[:30]
    past = PastForecasts(counting(asked))
    found = past.of(Metric("ms"), measured(where, truth, rows))
    assert sorted(found.runs.tolist()) == list(range(15, 30)) and asked == [13, 17, 22, 28]
    edges = np.array(boundaries(30))
    for run, z in zip(found.runs.tolist(), found.z.tolist(), strict=True):
        before = edges[edges <= run].max()
        assert z == pytest.approx(before - np.log(truth[rows[run]]))
    past.of(Metric("ms"), measured(where, truth, rows))
    assert asked == [13, 17, 22, 28]  # kept
    past.of(Metric("ms"), measured(where, truth, np.random.default_rng(0).permutation(len(where))[:60]))
    assert sorted(len(key) for key in past._kept) == [28, 35, 44, 55], "models go when they are of no more use"


@pytest.mark.parametrize("first", [0, 9, 20])
def test_every_past_model_knows_what_was_imported_whenever_that_was(first: int) -> None:
    """Of 70 runs 50 were imported, after the `first` own ones: own ones are forecast, by as many of their own kind."""
    where = grid()
    asked: list[int] = []
    truth = np.exp(np.arange(len(where), dtype=np.float64) / 50)
    rows = np.random.default_rng(0).permutation(len(where))[:70]
    imported = range(first, first + 50)
    found = PastForecasts(counting(asked)).of(Metric("ms"), measured(where, truth, rows, imported))
    own = [place for place in range(70) if place not in imported]
    assert sorted(found.runs.tolist()) == own[10:] and asked == [60, 63, 67]
    for run, z in zip(found.runs.tolist(), found.z.tolist(), strict=True):
        before = 50 + max(edge for edge in boundaries(20) if edge <= own.index(run))
        assert z == pytest.approx(before - np.log(truth[rows[run]]))


def test_imported_runs_are_forecast_while_there_are_no_others() -> None:
    asked: list[int] = []
    rows, truth = np.random.default_rng(0).permutation(200)[:30], np.exp(np.arange(200) / 50)
    found = PastForecasts(counting(asked)).of(Metric("ms"), measured(grid(), truth, rows, range(30)))
    assert sorted(found.runs.tolist()) == list(range(15, 30)) and asked == [13, 17, 22, 28]


def test_what_is_known_from_elsewhere_is_not_forecast() -> None:
    """A point that was measured here and then imported: every past model knows it."""
    rows = np.random.default_rng(0).permutation(200)[:20]
    observations = measured(grid(), np.exp(np.arange(200) / 50), [*rows, rows[15]], imported=[20])
    found = PastForecasts(counting([])).of(Metric("ms"), observations)
    assert 15 not in found.runs and {14, 16, 19} <= set(found.runs.tolist())


@pytest.mark.parametrize(("draw", "least", "most"), [
    (lambda rng, n: rng.standard_normal(n), 0.86, 0.95),
    (lambda rng, n: rng.standard_t(2, n), 0.86, 0.95),
    (lambda rng, n: np.where(rng.random(n) < 0.15, 8, 0.5) * rng.standard_normal(n), 0.86, 0.95)])
def test_intervals_by_ranks_hold_for_any_errors(
    draw: Callable[[np.random.Generator, int], FloatArray], least: float, most: float
) -> None:
    rng, shares = np.random.default_rng(1), []
    for _ in range(300):
        z = draw(rng, 40)
        factor = rank_calibration(Forecasts(np.abs(z), np.abs(z), z, np.arange(40)))
        shares.append(float(np.mean(np.abs(draw(rng, 400)) <= Z90 * factor)))
    assert least <= np.mean(shares) <= most, np.mean(shares)


def test_few_large_errors_do_not_hide_behind_many_small_ones() -> None:
    """Errors that are mostly small and now and then huge: σ by squares misses what the ranks see."""
    z = np.concatenate([np.full(17, 0.1), np.full(3, 6.0)])
    forecasts = Forecasts(np.abs(z), np.abs(z), z, np.arange(20))
    assert rank_calibration(forecasts) > calibration(forecasts)


def test_readings_of_one_run_count_once() -> None:
    z = np.array([3.0] * 50 + [0.2] * 19)
    runs = np.array([0] * 50 + list(range(1, 20)))
    one = rank_calibration(Forecasts(np.abs(z), np.abs(z), z, runs))
    other = rank_calibration(Forecasts(np.abs(z[49:]), np.abs(z[49:]), z[49:], runs[49:]))
    assert one == pytest.approx(other, rel=0.02)


@pytest.mark.parametrize("runs", [1, 2, 3, 6, 7])
def test_few_runs_have_no_past(runs: int) -> None:
    truth = np.exp(np.linspace(0, 2, 200))
    model = GridModel(grid(), None).fit(measured(grid(), truth, np.arange(0, 200, 29)[:runs]))
    assert len(model.past_forecasts_["ms"].z) == max(0, runs - 6)
    assert np.isfinite(model.predict().high["ms"]).all()


def test_joined_forecasts_count_each_run_once() -> None:
    some = Forecasts(np.array([0.1]), np.array([0.1]), np.array([1.0]), np.array([4]))
    both = joined(some, Forecasts(np.array([0.3]), np.array([0.1]), np.array([2.0]), np.array([4])))
    assert both.runs.tolist() == [4, 4] and both.ape.tolist() == [0.1, 0.3]


def test_only_a_served_grid_is_judged_by_past_models() -> None:
    truth = np.exp(np.random.default_rng(3).normal(size=200))
    for role, served in ((Role.CONCURRENCY, True), (Role.RATE, True), (Role.BATCH, False), (None, False)):
        where = grid(role)
        assert where.is_served is served
        model = GridModel(where, None).fit(measured(where, truth, np.arange(0, 200, 12)))
        assert bool(model.past_forecasts_) is served


def test_points_many_times_their_neighbours_stay_in_their_intervals() -> None:
    """A smooth server, a few points of which are several times slower: most unmeasured points must be in their 90 %."""
    shares = []
    for seed in range(6):
        rng, where = np.random.default_rng(seed), grid()
        smooth = 0.6 * np.log(np.asarray(where.column("load"), dtype=np.float64))
        slower = np.where(rng.random(200) < 0.12, rng.exponential(1.5, 200), 0.05 * rng.normal(size=200))
        truth = np.exp(smooth + slower)
        rows = rng.permutation(200)[:45]
        observations = measured(where, truth, rows)
        prediction = GridModel(where, None).fit(observations).predict()
        rest = ~observations.measured
        shares.append(float(np.mean((truth >= prediction.low["ms"])[rest] & (truth <= prediction.high["ms"])[rest])))
    assert np.mean(shares) > 0.85 and min(shares) > 0.75, shares
