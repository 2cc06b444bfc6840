"""Grids too large to be predicted after each run: the same model, asked for fewer points."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from planner.acquisition.settings import CANDIDATES, REFERENCES
from planner.ledger.observations import Observations, Run
from planner.models import settings
from planner.models.cost import CostModel
from planner.models.ensemble import Ensemble
from planner.models.gp import GaussianProcess
from planner.models.heavy_tails import HeavyTailedProcess
from planner.models.large_server_model import LargeServerModel
from planner.models.sampled import used_readings
from planner.models.server_model import ServerModel
from planner.space.grid import Grid, full_grid
from planner.space.types import Axis, Cost, Measurement, Reading, Role, Scale, Scope, Status
from planner.strategies.adaptive import AdaptiveStrategy
from planner.strategies.strategy import StrategyContext

SIZES_B = (1.0, 8.0, 70.0)
TARGETS = ("batch_ttft_ms", "e2el_ms")


def grid_of(load: str = "batch_size", role: Role = Role.BATCH, more: tuple[Axis, ...] = ()) -> Grid:
    return full_grid([
        Axis("model", ("a", "b", "c"), Scope.ENGINE, Scale.CATEGORY, (Role.MODEL,), {"params_b": SIZES_B}),
        Axis("input_len", (32, 128, 512, 2048), scale=Scale.LOG, roles=(Role.INPUT_TOKENS,)),
        Axis("output_len", (1, 16, 64, 256), scale=Scale.LOG, roles=(Role.OUTPUT_TOKENS,)),
        Axis(load, tuple(range(1, 60, 2)), scale=Scale.LOG, roles=(role,)), *more])


def measured(grid: Grid, runs: int, seed: int = 0, trajectory: str | None = "output_len") -> Observations:
    observations, rng = Observations(grid, TARGETS), np.random.default_rng(seed)
    for row in rng.permutation(len(grid))[:runs]:
        point, noise = grid.point(int(row)), float(np.exp(0.03 * rng.standard_normal()))
        readings = []
        for other in [*(grid.shorter(trajectory, int(row)) if trajectory else ()), row]:
            i, o, b = (float(x) for x in list(grid.point(int(other)).values())[1:4])
            size = SIZES_B[int(grid.codes[other, 0])]
            first, step = 20 + 0.02 * size * i * b, 3 + 2 * size + 2e-4 * b * (i + o / 2)
            metrics = {"batch_ttft_ms": (first * noise,), "e2el_ms": ((first + (o - 1) * step) * noise,)}
            readings.append(Reading(grid.point(int(other)), metrics, metrics["e2el_ms"][0] / 1000))
        observations.add(Run(len(observations.runs), point, Measurement(
            Status.OK, Cost(20.0, 0.0, readings[-1].seconds), tuple(readings))))
    return observations


def strategy_of(grid: Grid, trajectory: str | None = "output_len") -> AdaptiveStrategy:
    return AdaptiveStrategy(StrategyContext(grid, TARGETS, trajectory, 1.0 + np.arange(len(grid)) % 3),
                            initial=np.empty(0, dtype=np.int64))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many points each prediction was asked for."""
    counts: list[int] = []
    predict: Callable[..., Any] = Ensemble.predict

    def counting(self: Ensemble, rows: Any = slice(None)) -> Any:
        found = predict(self, rows)
        counts.append(len(found[0]))
        return found

    monkeypatch.setattr(Ensemble, "predict", counting)
    return counts


@pytest.mark.parametrize("grid", [grid_of(), grid_of("max_concurrency", Role.CONCURRENCY)], ids=["static", "served"])
def test_a_large_grid_is_predicted_where_it_is_asked_for(
    grid: Grid, asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """1,440 points: nothing that a run waits for predicts more than the sample, the candidates or the references."""
    monkeypatch.setattr(settings, "EXACT_POINTS", 1000)
    monkeypatch.setattr(settings, "SAMPLE_POINTS", 200)
    strategy, observations = strategy_of(grid), measured(grid, 12)
    assert strategy.propose(observations) is not None
    posterior = strategy.posterior(observations)
    engines = int(grid.engine.max()) + 1
    assert asked and max(asked) <= max(200, CANDIDATES, REFERENCES) + engines
    assert set(posterior.prediction.value) == set(TARGETS) and max(asked) < len(grid)
    assert posterior.prediction.value["e2el_ms"].shape == (len(grid),) and max(asked) == len(grid)


def test_the_answers_are_those_of_a_model_of_the_whole_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a sample of all points even estimated accuracy and cost are; with a part of them they are near."""
    grid = grid_of()
    observations = measured(grid, 16)
    exact = strategy_of(grid).posterior(observations)
    monkeypatch.setattr(settings, "EXACT_POINTS", 1000)
    for sample, tolerance in ((len(grid), 1e-9), (400, 0.15)):
        monkeypatch.setattr(settings, "SAMPLE_POINTS", sample)
        large = strategy_of(grid).posterior(observations)
        rows = np.array([5, 900, 77])
        for name in TARGETS:
            one, other = exact.accuracy[name], large.accuracy[name]
            assert one is not None and other is not None
            assert 1 - other.estimated == pytest.approx(1 - one.estimated, rel=tolerance)
            assert 1 - other.low == pytest.approx(1 - one.low, rel=tolerance)
            for part in ("value", "low", "high", "std"):
                whole = getattr(exact.prediction, part)[name]
                np.testing.assert_allclose(getattr(large.prediction.at(rows), part)[name], whole[rows], rtol=1e-8)
                np.testing.assert_allclose(getattr(large.prediction, part)[name], whole, rtol=1e-8)
        assert large.plain.cost == pytest.approx(exact.plain.cost, rel=tolerance)
        assert large.longest is not None and exact.longest is not None
        assert large.longest.seconds == pytest.approx(exact.longest.seconds, rel=tolerance)


def test_a_prediction_stays_what_it_was_when_the_model_is_fitted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = grid_of()
    monkeypatch.setattr(settings, "EXACT_POINTS", 1000)
    strategy, observations = strategy_of(grid), measured(grid, 10)
    early, late = strategy.posterior(observations), strategy.posterior(observations)
    before = early.prediction.value["e2el_ms"].copy()
    for run in measured(grid, 20, seed=1).runs:
        observations.add(replace(run, number=100 + run.number))
    after = strategy.posterior(observations).prediction.value["e2el_ms"]
    np.testing.assert_array_equal(late.prediction.value["e2el_ms"], before)
    assert np.abs(after / before - 1).max() > 0.01


def test_prices_are_predicted_where_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = grid_of()
    observations, devices = measured(grid, 14), np.ones(len(grid))
    exact = CostModel(grid, devices).fit(observations)
    monkeypatch.setattr(settings, "EXACT_POINTS", 1000)
    large = CostModel(grid, devices).fit(observations)
    rows = np.concatenate([np.flatnonzero(observations.measured)[:3], [1, 700, 1400]])
    np.testing.assert_allclose(large.price(rows), exact.price(rows), rtol=1e-8)
    np.testing.assert_allclose(large.seconds(), exact.seconds(), rtol=1e-8)
    later = copy.copy(large).fit(measured(grid, 20, seed=3))
    assert not np.allclose(later.price(rows), large.price(rows))
    np.testing.assert_allclose(large.price(rows), exact.price(rows), rtol=1e-8)


@pytest.mark.parametrize("runs", [30, 90])
def test_readings_in_use_are_in_order_of_time_and_spread(runs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them where they are few; else from many runs, none twice."""
    monkeypatch.setattr(settings, "THINNED", 2)
    grid = grid_of()
    observations = measured(grid, runs)
    rows = np.flatnonzero(observations.measured)
    of_run = observations.run_of[rows]
    few, every = (used_readings(grid, rows, of_run, most) for most in (20, 10_000))
    assert (np.diff(of_run[every]) >= 0).all() and sorted(every) == list(range(len(rows)))
    assert (np.diff(of_run[few]) >= 0).all() and len(set(few)) == 20
    assert len(set(of_run[few])) > 10 and len(set(grid.codes[rows[few], 0])) == 3


def test_a_large_grid_is_learned_from_as_many_readings_as_its_models_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "EXACT_POINTS", 1000)
    monkeypatch.setattr(settings, "MAX_POINTS", 40)
    monkeypatch.setattr(settings, "COST_POINTS", 15)
    strategy = strategy_of(grid_of())
    strategy.posterior(measured(grid_of(), 40))
    used = {name: len(data.rows) for name, data in strategy._model.data_.items()}
    assert used and max(used.values()) == 40
    member, _ = strategy._cost._fitted[0].members_[0]  # type: ignore[attr-defined]
    assert len(member.rows_) == 15


def test_one_factorisation_serves_for_the_fit_and_its_forecasts() -> None:
    """In order of time; in any other order the forecasts are the same, from a second one."""
    features, rng = grid_of().features, np.random.default_rng(0)
    rows, runs = rng.permutation(len(features))[:60], np.arange(60) // 2
    y = features.numeric[rows].sum(axis=1) + 0.1 * rng.standard_normal(60)
    shuffled = rng.permutation(60)
    gp = GaussianProcess().fit(features[rows], y, groups=runs)
    other = copy.copy(gp)
    other._features, other._y, other._noise = features[rows[shuffled]], y[shuffled], gp._noise[shuffled]
    other._groups = runs[shuffled]
    other._factorise()
    for one, two in zip(gp.one_step_ahead(runs), other.one_step_ahead(runs[shuffled]), strict=True):
        np.testing.assert_allclose(one[shuffled], two, rtol=1e-7)


def test_hyper_parameters_learned_without_outliers_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A steady process learns them once for little new data; the usual one at each fit that finds an outlier."""
    features, rng = grid_of().features, np.random.default_rng(0)
    rows = rng.permutation(len(features))[:63]
    y = features.numeric[rows].sum(axis=1) + 0.02 * rng.standard_normal(63)
    y[::9] += 2.0
    learned: list[bool] = []
    learn = GaussianProcess._learn
    monkeypatch.setattr(GaussianProcess, "_learn", lambda self, *given: learned.append(True) or learn(self, *given))
    for steady in (True, False):
        process = HeavyTailedProcess(steady=steady)
        process.fit(features[rows[:60]], y[:60])
        learned.clear()
        process.fit(features[rows], y)
        assert bool(learned) is not steady
        smooth = np.delete(np.arange(63), np.arange(0, 63, 9))
        assert np.abs(process.predict(features[rows[smooth]])[0] - y[smooth]).mean() < 0.1


RATES = (Axis("request_rate", (0.5, 1.0, 4.0, float("inf")), scale=Scale.LOG, roles=(Role.RATE,)),)
REPLICAS = (Axis("data_parallel_size", (1, 2, 4), Scope.ENGINE, Scale.LOG, (Role.ACCELERATORS,)),)


@pytest.mark.parametrize("covers", ["first", "step", "output"])
@pytest.mark.parametrize("more", [(), RATES, REPLICAS], ids=["closed", "open", "replicas"])
def test_a_server_model_without_terms_at_every_point(covers: Any, more: tuple[Axis, ...]) -> None:
    grid = grid_of("max_concurrency", Role.CONCURRENCY, more)
    grid = Grid(grid.axes, grid.codes[::3])
    observations = measured(grid, 40, trajectory=None)
    rows = np.flatnonzero(observations.measured)
    latency = observations.column("e2el_ms")[rows]
    small, large = ServerModel(grid, covers), LargeServerModel(grid, covers)
    assert small.is_trivial == large.is_trivial
    for _ in range(2):  # the second time shapes are not compared again
        np.testing.assert_allclose(large.fit(rows, latency), small.fit(rows, latency), rtol=1e-9, atol=1e-9)
    assert large._best is not None and large._compared == len(rows)
