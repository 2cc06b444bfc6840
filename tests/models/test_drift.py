"""A machine that changes while it is measured: predictions are of the machine as it is at the last reading."""

from __future__ import annotations

import numpy as np
import pytest

from planner.ledger.observations import Observations, Run
from planner.ledger.run import beginnings
from planner.models.gp import GaussianProcess
from planner.models.grid_model import GridModel
from planner.space.grid import full_grid
from planner.space.types import Axis, Cost, Features, FloatArray, Measurement, Reading, Scale, Status

RUNS = 60


def grid(points: int = 400) -> Features:
    """Points of two sizes, standardised, and no category."""
    side = round(points**0.5)
    axis = np.linspace(-1.7, 1.7, side)
    numeric = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    return Features(numeric, np.zeros((len(numeric), 0), np.int64), ())


def surface(features: Features) -> FloatArray:
    """The logarithm of a latency: smooth, over several e-folds."""
    x, y = features.numeric.T
    values: FloatArray = 0.9 * x + np.logaddexp(0.7 * y, 0.3) + 0.2 * np.sin(1.5 * x)
    return values


def measured(drift: FloatArray, seed: int, noise: float = 0.01) -> tuple[Features, FloatArray, FloatArray, FloatArray]:
    """Points at random, their readings while the logarithm of the machine's slowness is `drift`, their ages, and the
    truth of the whole grid as the machine is at the last reading."""
    rng = np.random.default_rng(seed)
    everything = grid()
    X = everything[rng.permutation(len(everything))[:len(drift)]]
    y = surface(X) + drift + noise * rng.standard_normal(len(drift))
    return X, y, np.linspace(1, 0, len(drift)), surface(everything) + drift[-1]


def error(process: GaussianProcess, truth: FloatArray) -> float:
    return float(np.mean(np.abs(process.predict(grid())[0] - truth)))


DRIFTS = {
    "ramp": np.linspace(0, 0.3, RUNS),
    "step": np.where(np.arange(RUNS) < 25, 0.0, 0.3),
    "faster": np.linspace(0, -0.3, RUNS),
    "walk": 0.3 * np.cumsum(np.random.default_rng(5).standard_normal(RUNS)) / RUNS**0.5,
}


@pytest.mark.parametrize("kind", DRIFTS)
def test_predictions_are_of_the_machine_as_it_is_now(kind: str) -> None:
    drift = DRIFTS[kind]
    plain, aware, inside = [], [], []
    for seed in range(4):
        X, y, ages, truth = measured(drift, seed)
        plain.append(error(GaussianProcess().fit(X, y), truth))
        process = GaussianProcess().fit(X, y, ages=ages)
        aware.append(error(process, truth))
        mean, std = process.predict(grid())
        inside.append(np.mean(np.abs(mean - truth) < 1.645 * std))
    assert np.mean(aware) < 0.6 * np.mean(plain)
    assert np.mean(inside) > 0.8


@pytest.mark.parametrize("kind", DRIFTS)
def test_what_has_changed_is_told_with_its_uncertainty(kind: str) -> None:
    drift = DRIFTS[kind]
    found = [GaussianProcess().fit(X, y, ages=ages).drift_ for X, y, ages, _ in
             (measured(drift, seed) for seed in range(6))]
    errors = np.array([(one.change - (drift[-1] - drift[0])) / one.std for one in found if one is not None])
    assert len(errors) == 6
    assert np.sqrt(np.mean(errors**2)) < 2
    assert all(one is not None and one.std < 0.1 for one in found)


def test_a_machine_that_stays_the_same_has_no_drift() -> None:
    with_ages, without, scales = [], [], []
    for seed in range(6):
        X, y, ages, truth = measured(np.zeros(RUNS), seed)
        process = GaussianProcess().fit(X, y, ages=ages)
        assert process.drift_ is not None
        scales.append(process.drift_.scale)
        assert abs(process.drift_.change) < 3 * process.drift_.std
        with_ages.append(error(process, truth))
        without.append(error(GaussianProcess().fit(X, y), truth))
    assert np.median(scales) < 0.02
    assert np.mean(with_ages) < 1.1 * np.mean(without)


def test_forecasts_know_of_the_drift_up_to_their_run_alone() -> None:
    """A step of 0.5 between two runs is no error of those after the next one, and every error of the one after it."""
    drift = np.where(np.arange(RUNS) < 40, 0.0, 0.5)
    X, y, ages, _ = measured(drift, 1, noise=0.003)
    runs = np.arange(RUNS)
    mean, std = GaussianProcess().fit(X, y, ages=ages).one_step_ahead(runs)
    z = (y - mean) / std
    assert (y - mean)[40] > 0.25
    assert np.abs(z[43:]).max() < 3.5


def test_two_readings_of_one_point_tell_the_drift_between_them() -> None:
    X, y, ages, _ = measured(np.where(np.arange(20) < 19, 0.0, 0.4), 2)
    again = np.array([*range(20), 0])
    values, times = np.append(y, surface(X)[0] + 0.4), np.append(ages * 0.95 + 0.05, 0.0)
    found = GaussianProcess().fit(X[again], values, ages=times).drift_
    assert found is not None and found.change == pytest.approx(0.4, abs=0.12)


def test_rows_that_are_left_out_have_their_ages_left_out_too() -> None:
    X, y, ages, truth = measured(DRIFTS["ramp"], 3)
    process = GaussianProcess(max_points=40, max_hyper_points=30).fit(X, y, ages=ages)
    assert error(process, truth) < error(GaussianProcess(max_points=40, max_hyper_points=30).fit(X, y), truth)
    assert process.given(np.arange(10, 50)).drift_ is not None


def together(runs: int) -> tuple[Observations, FloatArray]:
    """Runs of as many workers that begin at once, at random points, recorded as they end; and the truth of the grid."""
    sizes = tuple(2**power for power in range(8))
    grid = full_grid([Axis(name, sizes, scale=Scale.LOG) for name in ("input_len", "batch_size")])
    truth = np.array([5 + 0.02 * float(np.prod(list(grid.point(row).values()))) for row in range(len(grid))])
    rng = np.random.default_rng(0)
    rows = rng.permutation(len(grid))[:runs]
    seconds = truth[rows] * np.exp(0.1 * rng.standard_normal(runs))
    seen = Observations(grid, ("e2el_s",))
    for number in np.argsort(seconds).tolist():
        point, took = grid.point(int(rows[number])), float(seconds[number])
        seen.add(Run(number, point, Measurement(
            Status.OK, Cost(measure_s=took), (Reading(point, {"e2el_s": (took,)}, took),))))
    return seen, truth


def test_that_short_runs_of_many_workers_end_first_is_no_drift() -> None:
    seen, truth = together(40)
    model = GridModel(seen.grid, None).fit(seen)
    error = np.abs(model.predict().value["e2el_s"] / truth - 1)[~seen.measured]
    assert error.mean() < 0.15
    assert all(abs(drift.change) < 0.05 for _, drift in model.drifts)


def test_a_run_is_as_old_as_its_beginning_whenever_it_ended() -> None:
    """Three runs of 5, 2 and 1 s that began at once, and one after them: it began 8 s later by their costs, or 20 s
    later by the clock."""
    def run(number: int, seconds: float, at: float | None = None) -> Run:
        return Run(number, {}, Measurement(Status.OK, Cost(measure_s=seconds)), started_at=at)

    ended = [run(2, 1.0), run(1, 2.0), run(0, 5.0), run(3, 1.0)]
    assert beginnings(ended).tolist() == [7.0, 5.0, 0.0, 8.0]
    clock = [run(0, 5.0, 100.0), run(3, 1.0, 127.0), run(2, 1.0, 107.0), run(1, 2.0, 105.0)]
    assert beginnings(clock).tolist() == [0.0, 27.0, 7.0, 5.0]
    assert beginnings([]).tolist() == []
