"""Estimated accuracy: right on average where the model is right, and never more certain than it may be."""

from __future__ import annotations

import numpy as np
import pytest

from planner.evaluation.accuracy import score
from planner.evaluation.estimate import estimate_accuracy
from planner.ledger.observations import Observations, Run
from planner.space.grid import Grid, full_grid
from planner.space.types import Axis, Cost, Measurement, Reading, Role, Scale, Status
from planner.surrogates.model import GridModel, expected_ape


def _grid() -> Grid:
    return full_grid([
        Axis("input_len", (64, 128, 256, 512, 1024), scale=Scale.LOG, roles=(Role.INPUT_TOKENS,)),
        Axis("batch_size", tuple(range(1, 33)), scale=Scale.LOG, roles=(Role.BATCH,)),
    ])


def _truth(grid: Grid, rng: np.random.Generator, noise: float) -> np.ndarray:
    inputs, batch = (np.asarray(grid.column(name), dtype=float) for name in ("input_len", "batch_size"))
    return (3 + 0.02 * inputs * batch**0.8 + 0.4 * batch) * np.exp(noise * rng.standard_normal(len(grid)))


def _study(grid: Grid, truth: np.ndarray, rows: np.ndarray) -> Observations:
    seen = Observations(grid, ("latency_ms",))
    for number, row in enumerate(rows):
        point = grid.point(int(row))
        reading = Reading(point, {"latency_ms": (float(truth[row]),)}, 1.0)
        seen.add(Run(number, point, Measurement(Status.OK, Cost(measure_s=1.0), (reading,))))
    return seen


def test_expected_ape_is_that_of_draws() -> None:
    z = np.random.default_rng(0).standard_normal(400_000)
    for std in (0.01, 0.1, 0.5):
        assert expected_ape(np.array([std]))[0] == pytest.approx(np.mean(np.abs(np.expm1(std * z))), rel=0.01)


def test_estimates_are_honest_over_seeds() -> None:
    """On average within two points of the truth, whose 90 % interval holds it nearly always."""
    grid, off, inside = _grid(), [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        truth = _truth(grid, rng, 0.05)
        seen = _study(grid, truth, rng.choice(len(grid), 24, replace=False))
        model = GridModel(grid, None).fit(seen)
        estimate = estimate_accuracy(model, ~seen.known, np.ones(len(grid)))["latency_ms"]
        prediction = model.predict()
        found = score(truth, prediction.value["latency_ms"],
                      (prediction.low["latency_ms"], prediction.high["latency_ms"]),
                      seen.column("latency_ms"), seen.known, False)
        assert estimate is not None and estimate.low < estimate.estimated < estimate.high
        off.append(estimate.estimated - found.accuracy)
        inside.append(estimate.low <= found.accuracy <= estimate.high)
    assert abs(np.mean(off)) < 0.02
    assert np.mean(inside) >= 0.75


def test_too_few_runs_say_nothing() -> None:
    grid = _grid()
    rng = np.random.default_rng(0)
    seen = _study(grid, _truth(grid, rng, 0.0), rng.choice(len(grid), 3, replace=False))
    model = GridModel(grid, None).fit(seen)
    assert estimate_accuracy(model, ~seen.known, np.ones(len(grid)))["latency_ms"] is None


def test_points_that_cannot_run_do_not_count() -> None:
    grid = _grid()
    rng = np.random.default_rng(3)
    seen = _study(grid, _truth(grid, rng, 0.05), rng.choice(len(grid), 24, replace=False))
    model = GridModel(grid, None).fit(seen)
    std = model.predict().std["latency_ms"]
    easy = np.where(std < np.median(std), 1.0, 0.0)
    everywhere = estimate_accuracy(model, ~seen.known, np.ones(len(grid)))["latency_ms"]
    there = estimate_accuracy(model, ~seen.known, easy)["latency_ms"]
    assert everywhere is not None and there is not None
    assert there.estimated > everywhere.estimated
