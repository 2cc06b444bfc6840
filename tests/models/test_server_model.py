"""The server model on served grids whose truth a simulated scheduler gives, against the terms of static batches."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from planner.models.ensemble import Ensemble
from planner.models.latency_model import Covers, LatencyModel, batch_of
from planner.models.latency_models import latency_model_of
from planner.models.server_model import ServerModel
from planner.space.devices import replicas_axis
from planner.space.grid import Grid, full_grid, grid_of_rows
from planner.space.types import Axis, FloatArray, IntArray, Role, Scale
from tests.scheduler import Engine, served_rows

COVERS: dict[str, Covers] = {"ttft_ms": "first", "tpot_ms": "step", "output_throughput": "output"}
ROLES = {"n_gpus": Role.ACCELERATORS, "input_len": Role.INPUT_TOKENS, "output_len": Role.OUTPUT_TOKENS,
         "max_concurrency": Role.CONCURRENCY, "request_rate": Role.RATE, "batch_size": Role.BATCH}


def _axis(name: str, values: tuple[float, ...]) -> Axis:
    return Axis(name, values, scale=Scale.LOG, roles=(ROLES[name],) if name in ROLES else ())


@cache
def served(open_loop: bool) -> tuple[Grid, dict[str, FloatArray]]:
    """A grid of accelerators, lengths and loads, and its metrics, (N,) each."""
    engines = {n: Engine(step_s=2e-3 + 12e-3 / n, token_s=3e-5 / n, context_s=2e-8 / n, attention_s=4e-10 / n,
                         max_num_seqs=512) for n in (1, 2, 4)}
    loads = {"load": [1, 3, 6, 12, 24] if open_loop else [1, 4, 16, 64, 128], "input_len": [256, 1024, 4096],
             "output_len": [64, 256]}
    rows = served_rows(loads, engines, open_loop, rounds=4, seed=1000)
    axes = [_axis(name, tuple(sorted({row[name] for row in rows}))) for name in rows[0] if name in ROLES]
    grid = grid_of_rows(axes, {axis.name: [row[axis.name] for row in rows] for axis in axes}, [])
    return grid, {metric: np.array([row[metric] for row in rows]) for metric in COVERS}


def _predicted(model: LatencyModel | ServerModel, grid: Grid, metric: str, truth: FloatArray, rows: IntArray,
               whole: bool) -> FloatArray:
    """Logarithm of the metric everywhere, (N,), from `rows`. whole: by the ensemble, else by the model alone."""
    y = np.log(truth[rows])
    if metric == "output_throughput":
        tokens = np.log(batch_of(grid) * grid.size_column(Role.OUTPUT_TOKENS))
        alone = tokens - model.fit(rows, np.exp(tokens[rows] - y))
    else:
        alone = model.fit(rows, np.exp(y))
    features = grid.step_features if metric == "tpot_ms" else grid.features
    ensemble = Ensemble(features, heavy_tails=True)
    return ensemble.fit(rows, y, np.arange(len(rows)), latency_model=alone).predict()[0] if whole else alone


def mean_error(model: LatencyModel | ServerModel, open_loop: bool, metric: str, runs: int, whole: bool = True) -> float:
    """Mean absolute error of the logarithm at the other points, from random runs; the mean of four draws."""
    grid, truths = served(open_loop)
    found = []
    for seed in range(4):
        order = np.random.default_rng(seed).permutation(len(grid))
        predicted = _predicted(model, grid, metric, truths[metric], order[:runs], whole)
        found.append(float(np.abs(predicted - np.log(truths[metric]))[order[runs:]].mean()))
    return float(np.mean(found))


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("open_loop, metric, most", [
    (False, "ttft_ms", 0.7), (False, "tpot_ms", 0.6), (False, "output_throughput", 1.05),
    (True, "ttft_ms", 0.85), (True, "tpot_ms", 0.8), (True, "output_throughput", 0.95)])
def test_few_runs_tell_a_simulated_server(open_loop: bool, metric: str, most: float, whole: bool) -> None:
    """12 runs of 90. Static terms know neither the prefill of one prompt nor prompts between steps, and no request
    rate; a whole request in closed loop they know as well."""
    grid, _ = served(open_loop)
    new, old = (mean_error(model, open_loop, metric, 12, whole)
                for model in (ServerModel(grid, COVERS[metric]), LatencyModel(grid, COVERS[metric], False)))
    assert new < most * old, f"{new:.3f}, static terms {old:.3f}"


def test_a_grid_has_the_model_of_its_kind() -> None:
    values = {"input_len": (64.0, 128.0), "batch_size": (1.0, 2.0)}
    static = full_grid([_axis(name, numbers) for name, numbers in values.items()])
    assert isinstance(latency_model_of(static, "first"), LatencyModel)
    assert isinstance(latency_model_of(served(False)[0], "first"), ServerModel)
    assert not latency_model_of(served(True)[0], "step").is_trivial


@pytest.mark.parametrize("power", [-1.0, 0.0, 1.0])
def test_the_load_of_replicas_is_what_fits(power: float) -> None:
    """Whether the concurrency is that of all replicas or of one, or does not depend on them, shows in a dozen runs."""
    grid = full_grid([_axis("max_concurrency", (1.0, 4.0, 16.0, 64.0)), _axis("data_parallel_size", (1.0, 2.0, 4.0)),
                      _axis("input_len", (128.0, 1024.0, 4096.0))])
    assert replicas_axis(grid.axes) is grid.axes[1]
    c, R, i = (np.asarray(grid.column(axis.name), dtype=np.float64) for axis in grid.axes)
    truth = 5 + 0.2 * c * R**power + 0.001 * i
    rows = np.random.default_rng(0).permutation(len(grid))[:12]
    predicted = np.exp(ServerModel(grid, "first").fit(rows, truth[rows]))
    assert np.abs(predicted / truth - 1).max() < 0.1


def test_categories_differ_by_a_factor() -> None:
    gpu = Axis("gpu", ("a", "b", "c"), scale=Scale.CATEGORY)
    grid = full_grid([gpu, _axis("max_concurrency", (1.0, 4.0, 16.0, 64.0)),
                      _axis("input_len", (128.0, 1024.0, 4096.0))])
    c, i = (np.asarray(grid.column(name), dtype=np.float64) for name in ("max_concurrency", "input_len"))
    truth = np.array([1.0, 2.0, 5.0])[grid.codes[:, 0]] * (5 + 0.2 * c + 0.001 * i)
    rows = np.random.default_rng(1).permutation(len(grid))[:24]
    predicted = np.exp(ServerModel(grid, "first").fit(rows, truth[rows]))
    assert np.abs(predicted / truth - 1).max() < 0.25
    two = rows[grid.codes[rows, 0] < 2]  # a category never run is as fast as the others on the whole
    never_run = np.exp(ServerModel(grid, "first").fit(two, truth[two]))[grid.codes[:, 0] == 2]
    assert (never_run > 0.8 * truth[grid.codes[:, 0] == 0]).all()
    assert (never_run < 1.2 * truth[grid.codes[:, 0] == 1]).all()


def test_a_longer_queue_never_shortens_a_latency() -> None:
    """In open loop, from few runs below saturation: more requests a second take longer, and by more each time."""
    grid, truths = served(True)
    rows = np.flatnonzero(truths["ttft_ms"] < np.quantile(truths["ttft_ms"], 0.7))[::3]
    predicted = np.exp(ServerModel(grid, "first").fit(rows, truths["ttft_ms"][rows]))
    order = np.lexsort([np.asarray(grid.column("request_rate"), dtype=np.float64), grid.lines("request_rate")])
    lines = predicted[order].reshape(-1, len(grid.axis("request_rate").values))
    assert (np.diff(lines, axis=1) >= 0).all() and (lines[:, -1] > lines[:, 0]).any()


def test_many_slow_readings_do_not_drown_the_fast_ones() -> None:
    """Relative errors: one reading a hundred times too long changes the others' predictions little."""
    grid = served(False)[0]
    truth = served(False)[1]["ttft_ms"]
    rows = np.random.default_rng(2).permutation(len(grid))[:30]
    spoilt = truth.copy()
    spoilt[rows[0]] *= 100
    before, after = (np.exp(ServerModel(grid, "first").fit(rows, values[rows])) for values in (truth, spoilt))
    assert np.median(np.abs(after / before - 1)) < 0.1


def test_the_scheduler_of_the_grids_can_be_varied() -> None:
    """A cache that holds few requests makes the others wait: what the tests above do not have."""
    small = replace(Engine(), cache_tokens=8192)
    rows = [served_rows({"load": [32], "input_len": [1024], "output_len": [64]}, {1: engine}, False, rounds=4)[0]
            for engine in (Engine(), small)]
    assert rows[1]["ttft_ms"] > 3 * rows[0]["ttft_ms"]
