"""The baseline with BoTorch: its closed form against BoTorch's own class, its fits, its prices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from planner.ledger.observations import Observations, Run
from planner.space.grid import Grid, full_grid
from planner.space.types import Axis, Cost, FloatArray, Measurement, Reading, Scale, Scope, Status
from planner.strategies.botorch_qnipv import IntegratedVariance
from planner.strategies.registry import make_strategy
from planner.strategies.strategy import StrategyContext
from planner.strategies.unit_cube import unit_cube

torch: Any = pytest.importorskip("torch", reason="the baseline needs torch: pip install 'sweepwise[compare]'")
pytest.importorskip("botorch", reason="the baseline needs BoTorch: pip install 'sweepwise[compare]'")


def the_grid(category: bool = True) -> Grid:
    sizes = [Axis("x", (1, 2, 4, 8, 16, 32), scale=Scale.LOG), Axis("y", (1, 2, 3, 4, 5))]
    return full_grid([Axis("m", ("a", "b"), Scope.ENGINE, Scale.CATEGORY), *sizes] if category else sizes)


def smooth(grid: Grid) -> FloatArray:
    model = grid.codes[:, 0] if len(grid.axes) == 3 else np.zeros(len(grid))
    cube = unit_cube(grid).numeric
    values: FloatArray = 1 + 2 * cube[:, 0] + np.sin(2 * cube[:, 1]) + 0.5 * model
    return values


@pytest.mark.parametrize("category", [True, False])
def test_the_closed_form_is_botorchs_acquisition(category: bool) -> None:
    """qNegIntegratedPosteriorVariance of each candidate, alone and after two that wait, to the last digits."""
    from botorch.acquisition.active_learning import qNegIntegratedPosteriorVariance

    from planner.strategies.botorch_gp import StockGP

    grid, rng = the_grid(category), np.random.default_rng(1)
    rows = rng.permutation(len(grid))
    known, candidates, references = rows[:9], rows[9:15], rows[15:25]
    gp = StockGP(unit_cube(grid)).fit(known, smooth(grid)[known] + 0.05 * rng.standard_normal(9))
    both = np.concatenate([candidates, references])
    ours = IntegratedVariance(gp.covariance(both), gp.noise_, np.full(10, 0.1))
    before = np.diagonal(gp.covariance(references)).mean()
    waiting: list[int] = []
    for _ in range(3):
        with torch.no_grad():
            theirs = qNegIntegratedPosteriorVariance(
                gp._model, gp._X[references], X_pending=gp._X[candidates[waiting]] if waiting else None)
            value = theirs(gp._X[candidates][:, None, :]).numpy()
        np.testing.assert_allclose(before - ours.of_each(), -value, rtol=1e-6)
        chosen = int(np.argmax(value))
        assert chosen == np.argmax(ours.of_each())
        before -= ours.of_each()[chosen]
        ours.choose(chosen)
        waiting.append(chosen)


@pytest.mark.parametrize("category", [True, False])
def test_a_fit_learns_and_starts_at_the_given_values(category: bool) -> None:
    from planner.strategies.botorch_gp import StockGP

    grid = the_grid(category)
    y, rows = smooth(grid), np.random.default_rng(0).permutation(len(grid))[: len(grid) // 2]
    gp = StockGP(unit_cube(grid)).fit(rows, y[rows])
    mean, std = gp.predict()
    rest = np.setdiff1d(np.arange(len(grid)), rows)
    assert np.abs(mean - y)[rest].mean() < 0.05 and (std >= 0).all() and std[rest].mean() > std[rows].mean()
    np.testing.assert_allclose(np.sqrt(np.diagonal(gp.covariance(rest))), std[rest], rtol=1e-6)
    again = StockGP(unit_cube(grid)).fit(rows, y[rows], gp.learned_)
    np.testing.assert_allclose(again.predict()[0], mean, atol=1e-3)
    np.testing.assert_array_equal(StockGP(unit_cube(grid)).fit(rows, y[rows]).predict()[0], mean)


def test_one_reading_and_equal_readings_are_enough() -> None:
    from planner.strategies.botorch_gp import StockGP

    cube = unit_cube(the_grid())
    for rows in ([3], [3, 4, 5, 6]):
        mean, std = StockGP(cube).fit(np.array(rows), np.full(len(rows), 2.0)).predict()
        assert np.isfinite(mean).all() and np.isfinite(std).all() and mean[rows] == pytest.approx(2.0, abs=0.1)


def test_a_fit_that_fails_leaves_what_it_started_from(monkeypatch: pytest.MonkeyPatch) -> None:
    from botorch.exceptions.errors import ModelFittingError

    from planner.strategies.botorch_gp import StockGP

    def fail(_: Any) -> None:
        raise ModelFittingError("all attempts failed")

    monkeypatch.setattr("planner.strategies.botorch_gp.fit_gpytorch_mll", fail)
    grid = the_grid()
    rows = np.arange(0, len(grid), 5)
    assert np.isfinite(StockGP(unit_cube(grid)).fit(rows, smooth(grid)[rows]).predict()[0]).all()


def observed(grid: Grid, rows: list[int], seconds: FloatArray) -> Observations:
    """Two targets; the second is undefined where y is 1, and negative somewhere."""
    observations = Observations(grid, ("latency_s", "slope"))
    for number, row in enumerate(rows):
        point, value = grid.point(row), float(smooth(grid)[row])
        slope = {"slope": (value - 3,)} if point["y"] != 1 else {}
        reading = Reading(point, {"latency_s": (value,), **slope}, float(seconds[row]))
        start = 5.0 if number == 0 or grid.engine[row] != grid.engine[rows[number - 1]] else 0.0
        observations.add(Run(number, point, Measurement(Status.OK, Cost(start, 0, float(seconds[row]), 2.0),
                                                        (reading,))))
    return observations


def test_posterior_prices_and_choices() -> None:
    grid = the_grid()
    # Runs at large x take a thousand times as long.
    seconds = np.where(np.asarray(grid.column("x"), float) > 4, 100.0, 0.1)
    strategy = make_strategy("botorch_qnipv", StrategyContext(grid, ("latency_s", "slope"), None, np.full(len(grid),
        2.0), 0))
    order: list[int] = []
    for _ in range(10):
        row = strategy.propose(observed(grid, order, seconds))
        assert row is not None
        order.append(row)
    assert np.count_nonzero(np.diff(grid.engine[order])) == 1, "the first runs start each engine once"
    order += [row for row in np.random.default_rng(2).permutation(len(grid)).tolist() if row not in order][:14]
    observations = observed(grid, order, seconds)
    assert strategy.price(0, observations) == 0.0
    row = strategy.propose(observations)
    assert row is not None and seconds[row] < 1, "the expensive half is not worth a thousand times the price"
    posterior = strategy.posterior(observations)
    rest = ~observations.known
    truth = {"latency_s": smooth(grid), "slope": smooth(grid) - 3}
    for target, values in posterior.prediction.value.items():
        assert np.abs(values - truth[target])[rest].mean() < 0.2
        assert (posterior.prediction.low[target] < values).all() and (values < posterior.prediction.high[target]).all()
    assert (posterior.prediction.low["latency_s"] > 0).all() and (posterior.prediction.low["slope"] < 0).any()
    assert posterior.accuracy == {"latency_s": None, "slope": None} and not strategy.is_due(observations)
    running = grid.engine[order[-1]]
    here, there = (int(np.flatnonzero(rest & (grid.engine == e) & (seconds < 1))[0]) for e in (running, 1 - running))
    assert strategy.price(here, observations) == pytest.approx(2 * 0.1, rel=0.5)
    assert strategy.price(there, observations) - 2 * 5.0 == pytest.approx(2 * 0.1, rel=0.5)
