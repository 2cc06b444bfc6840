"""Estimated accuracy: right on average where the model is right, and never more certain than it may be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from planner.evaluation.accuracy import Score, score
from planner.evaluation.estimate import Estimate, estimate_accuracy
from planner.ledger.observations import Observations, Run
from planner.models.calibration import Forecasts
from planner.models.grid_model import GridModel
from planner.models.transforms import expected_error
from planner.space.grid import Grid, full_grid
from planner.space.types import Axis, Cost, Measurement, Reading, Role, Scale, Scope, Status, Transform


def _grid() -> Grid:
    return full_grid([
        Axis("input_len", (64, 128, 256, 512, 1024), scale=Scale.LOG, roles=(Role.INPUT_TOKENS,)),
        Axis("batch_size", tuple(range(1, 33)), scale=Scale.LOG, roles=(Role.BATCH,)),
    ])


def _truth(grid: Grid, rng: np.random.Generator, noise: float) -> np.ndarray:
    inputs, batch = (np.asarray(grid.column(name), dtype=float) for name in ("input_len", "batch_size"))
    return (3 + 0.02 * inputs * batch**0.8 + 0.4 * batch) * np.exp(noise * rng.standard_normal(len(grid)))


def _study(grid: Grid, truth: np.ndarray, rows: np.ndarray) -> Observations:
    observations = Observations(grid, ("latency_ms",))
    for number, row in enumerate(rows):
        point = grid.point(int(row))
        reading = Reading(point, {"latency_ms": (float(truth[row]),)}, 1.0)
        observations.add(Run(number, point, Measurement(Status.OK, Cost(measure_s=1.0), (reading,))))
    return observations


def _estimated_and_true(truth: np.ndarray, observations: Observations) -> tuple[Estimate | None, Score]:
    model = GridModel(observations.grid, None).fit(observations)
    prediction = model.predict()
    low, high = prediction.low["latency_ms"], prediction.high["latency_ms"]
    found = score(truth, prediction.value["latency_ms"], (low, high), observations.column("latency_ms"),
                  observations.known, observations.metric("latency_ms"))
    return estimate_accuracy(model, ~observations.known, np.ones(len(observations.grid)))["latency_ms"], found


def test_expected_ape_is_that_of_draws() -> None:
    z = np.random.default_rng(0).standard_normal(400_000)
    for std in (0.01, 0.1, 0.5):
        assert expected_error(Transform.LOG, np.zeros(1),
                              np.array([std]))[0] == pytest.approx(np.mean(np.abs(np.expm1(std * z))), rel=0.01)


@pytest.mark.parametrize(("runs", "understated"), [(24, 0.04), (72, 0.02)])
def test_estimates_are_honest_over_seeds(runs: int, understated: float) -> None:
    """On average they promise no more than is true, and of points drawn at random, which are easier to judge by than
    chosen ones, little less; the 90 % interval nearly always holds the truth."""
    grid, off, inside = _grid(), [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        truth = _truth(grid, rng, 0.05)
        observations = _study(grid, truth, rng.choice(len(grid), runs, replace=False))
        estimate, found = _estimated_and_true(truth, observations)
        assert estimate is not None and estimate.low < estimate.estimated < estimate.high
        off.append(estimate.estimated - found.accuracy)
        inside.append(estimate.low <= found.accuracy <= estimate.high)
    assert -understated < np.mean(off) < 0.01
    assert np.mean(inside) >= 0.75


@pytest.mark.parametrize(("runs", "known"), [(3, False), (4, False), (5, True)])
def test_three_runs_of_the_later_half_are_the_least_that_say_something(runs: int, known: bool) -> None:
    grid = _grid()
    rng = np.random.default_rng(0)
    observations = _study(grid, _truth(grid, rng, 0.0), rng.choice(len(grid), runs, replace=False))
    model = GridModel(grid, None).fit(observations)
    assert (estimate_accuracy(model, ~observations.known, np.ones(len(grid)))["latency_ms"] is not None) == known


def _told(ape: list[float], runs: list[int], expected: float = 0.1) -> tuple[float, float, float]:
    """The estimated error and the ends of its interval, in units of a fitted model's expected error, given forecasts of
    these runs with these errors."""
    grid = _grid()
    rng = np.random.default_rng(3)
    observations = _study(grid, _truth(grid, rng, 0.05), rng.choice(len(grid), 24, replace=False))
    model = GridModel(grid, None).fit(observations)
    n = len(ape)
    model.forecasts_ = {"latency_ms": Forecasts(np.array(ape), np.full(n, expected), np.ones(n), np.array(runs))}
    estimate = estimate_accuracy(model, ~observations.known, np.ones(len(grid)))["latency_ms"]
    assert estimate is not None
    std = model.predict().std["latency_ms"][~observations.known]
    usual = float(np.mean(np.exp(std**2 / 2) * (norm.cdf(std) - norm.cdf(-std))))
    return (1 - estimate.estimated) / usual, (1 - estimate.high) / usual, (1 - estimate.low) / usual


def test_the_error_is_corrected_by_forecast_errors_by_hand() -> None:
    """Errors of 0.3, 0.1 and 0.2 where 0.1 was expected of each; the prior counts as four more runs:
    (0.3 + 0.1 + 0.2 + 0.4) / (0.3 + 0.4). Each run counts once, however many readings it gave. Three
    runs are few: small-sample inflation by 1 + 5/3."""
    few = 1 + 5 / 3
    error, _, _ = _told([0.3, 0.1, 0.2], [7, 8, 9])
    assert error == pytest.approx(few / 0.7, rel=1e-9)
    assert _told([0.2, 0.3, 0.4, 0.1, 0.2], [7, 7, 7, 8, 9])[0] == pytest.approx(few / 0.7, rel=1e-9)
    assert _told([0.1] * 3, [7, 8, 9])[0] == pytest.approx(few, rel=1e-9)
    assert _told([0.2] * 1000, list(range(1000)))[0] == pytest.approx(2, rel=0.01)


def test_few_runs_and_runs_that_disagree_make_the_interval_wider() -> None:
    def width(ape: list[float]) -> float:
        error, least, most = _told(ape, list(range(len(ape))))
        assert least < error < most and most / error == pytest.approx(error / least)  # symmetric in its logarithm
        return most / least

    assert width([0.1] * 4) > 2 * width([0.1] * 12) > 2 * width([0.1] * 200)
    assert width([0.01, 0.5] * 20) > 1.1 * width([0.1] * 40)


@pytest.mark.parametrize("started", [2, 3, 6])
def test_models_never_run_are_judged_by_how_many_were(started: int) -> None:
    """A study that its budget ends before every engine was started: readings by the dozen of a few models say little of
    the others. Judged by readings, a stated 62 % was 20 % (three of twelve), and two thirds of points were inside."""
    grid = full_grid([
        Axis("model", tuple(f"m{i}" for i in range(12)), Scope.ENGINE, Scale.CATEGORY, (Role.MODEL,)),
        Axis("input_len", (16, 32, 64, 128, 256), scale=Scale.LOG, roles=(Role.INPUT_TOKENS,)),
        Axis("batch_size", (1, 2, 4, 8, 16), scale=Scale.LOG, roles=(Role.BATCH,)),
    ])
    model_of = grid.codes[:, 0]
    inputs, batch = (np.log(grid.size_column(role)) for role in (Role.INPUT_TOKENS, Role.BATCH))
    held, covered = [], []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        level, slope = rng.normal(0, 0.7, 12), rng.normal(0.6, 0.2, 12)
        truth = np.exp(level[model_of] + slope[model_of] * batch + 0.4 * inputs + rng.normal(0, 0.02, len(grid)))
        rows = np.flatnonzero(np.isin(model_of, rng.permutation(12)[:started]) & (rng.random(len(grid)) < 0.6))
        observations = _study(grid, truth, rng.permutation(rows))
        estimate, found = _estimated_and_true(truth, observations)
        assert estimate is not None
        held.append(estimate.low <= found.accuracy <= estimate.high)
        covered.append(found.coverage90)
    assert np.mean(held) >= 0.9 and np.mean(covered) > 0.78


def test_one_reading_of_every_model_is_judged_by_readings() -> None:
    grid = full_grid([Axis("model", ("a", "b"), Scope.ENGINE, Scale.CATEGORY, (Role.MODEL,)),
                      Axis("batch_size", tuple(range(1, 21)), scale=Scale.LOG, roles=(Role.BATCH,))])
    truth = np.exp(0.5 * np.log(grid.size_column(Role.BATCH)) + grid.codes[:, 0])
    rows = np.array([*range(0, 20, 2), 30])
    assert set(GridModel(grid, None).fit(_study(grid, truth,
                                                rows)).calibration_count("latency_ms")) == {6.0}  # the later half
    only = GridModel(grid, None).fit(_study(grid, truth, rows[:-1])).calibration_count("latency_ms")
    assert set(only[:20]) == {5.0} and set(only[20:]) == {1.0}


@pytest.mark.parametrize("turned", [False, True])
def test_a_point_new_on_two_axes_is_judged_by_the_smaller_count(turned: bool) -> None:
    axes = [Axis("a", ("p", "q", "r"), scale=Scale.CATEGORY), Axis("b", tuple("abcdefgh"), scale=Scale.CATEGORY)]
    grid = full_grid(axes[::-1] if turned else axes)
    known = [row for row in range(24) if grid.point(row)["a"] != "r" and grid.point(row)["b"] != "h"]
    model = GridModel(grid, None).fit(_study(grid, np.exp(0.1 * np.arange(24.0)), np.array(known)))
    of = {(p["a"], p["b"]): n for p, n in zip(map(grid.point, range(24)), model.calibration_count("latency_ms"),
                                              strict=True)}
    assert (of["p", "a"], of["r", "a"], of["p", "h"], of["r", "h"]) == (7.0, 2.0, 7.0, 2.0)


def test_a_category_that_only_fails_does_not_hold_up_the_rest() -> None:
    """Its points hardly can run: they count by that, and an estimate does not wait for one of them to succeed."""
    grid = full_grid([Axis("device", ("a", "b", "c"), Scope.ENGINE, Scale.CATEGORY),
                      Axis("batch_size", tuple(range(1, 41)), scale=Scale.LOG, roles=(Role.BATCH,))])
    rng = np.random.default_rng(0)
    truth = np.exp(0.5 * np.log(grid.size_column(Role.BATCH)) + 0.3 * grid.codes[:, 0] + rng.normal(0, 0.02, len(grid)))
    observations = _study(grid, truth, rng.permutation(np.arange(0, 80, 2)))
    for number, row in enumerate((80, 95, 110)):
        observations.add(Run(40 + number, grid.point(row), Measurement(Status.FAILED, Cost(measure_s=1.0))))
    feasibility = np.where(grid.codes[:, 0] < 2, 1.0, 0.01)
    estimate = estimate_accuracy(GridModel(grid, None).fit(observations), ~observations.known,
                                 feasibility)["latency_ms"]
    assert estimate is not None and estimate.low > 0.9


def test_where_nothing_is_left_to_predict_nothing_can_be_wrong() -> None:
    grid = _grid()
    rng = np.random.default_rng(0)
    observations = _study(grid, _truth(grid, rng, 0.0), rng.choice(len(grid), 9, replace=False))
    model = GridModel(grid, None).fit(observations)
    none = estimate_accuracy(model, np.zeros(len(grid), dtype=bool), np.ones(len(grid)))["latency_ms"]
    assert none is not None and (none.low, none.estimated, none.high) == (1, 1, 1)


@given(st.floats(0.001, 3.0), st.floats(1.0001, 30.0), st.floats(0.0, 0.999))
def test_likely_is_two_cases_of_three(error: float, wider: float, goal: float) -> None:
    """The logarithm of the error is normal about the estimate, and 5 % lie beyond the interval's wide end."""
    estimate = Estimate(1 - error, 1 - error * wider, 1 - error / wider)
    probability = norm.cdf(np.log((1 - goal) / error) / (np.log(wider) / norm.ppf(0.95)))
    if abs(probability - 2 / 3) > 1e-3:
        assert estimate.is_likely(goal) == (probability > 2 / 3)


def test_what_noise_forbids_by_hand() -> None:
    """Noise that leaves 0.9, four fifths of which would leave 0.92."""
    estimate = Estimate(0.881, 0.8, 0.93, 0.9)
    assert estimate.forbids(0.93) and not estimate.forbids(0.91)
    assert estimate.is_at_ceiling and not Estimate(0.879, 0.8, 0.93, 0.9).is_at_ceiling
    quiet = Estimate(0.999, 0.99, 1.0)
    assert not quiet.forbids(0.999) and not quiet.is_at_ceiling


def test_points_that_cannot_run_do_not_count() -> None:
    grid = _grid()
    rng = np.random.default_rng(3)
    observations = _study(grid, _truth(grid, rng, 0.05), rng.choice(len(grid), 24, replace=False))
    model = GridModel(grid, None).fit(observations)
    std = model.predict().std["latency_ms"]
    easy = np.where(std < np.median(std), 1.0, 0.0)
    everywhere = estimate_accuracy(model, ~observations.known, np.ones(len(grid)))["latency_ms"]
    there = estimate_accuracy(model, ~observations.known, easy)["latency_ms"]
    assert everywhere is not None and there is not None
    assert there.estimated > everywhere.estimated
