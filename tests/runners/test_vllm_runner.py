"""The runner on a real engine, with the smallest model there is. Few starts: each takes seconds."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from planner.space.types import (
    Axis,
    Measurement,
    Point,
    Proposal,
    Role,
    Runner,
    RunnerContext,
    Scale,
    Scope,
    Status,
)
from runners import process_table
from runners.vllm_offline import VllmRunner

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed"),
]

STUDIES = Path(process_table.__file__).parents[1] / "studies"
OUTPUTS = (1, 8, 64, 512)
AXES = (
    Axis("model", ("models/llama-tiny",), Scope.ENGINE, Scale.CATEGORY, (Role.MODEL,)),
    Axis("max_num_seqs", (32, 64), Scope.ENGINE),
    Axis("input_len", (16, 1536), roles=(Role.INPUT_TOKENS,)),
    Axis("output_len", OUTPUTS, roles=(Role.OUTPUT_TOKENS,)),
    Axis("batch_size", (1, 8, 32), roles=(Role.BATCH,)),
)
CONTEXT = RunnerContext(AXES, ("e2el_ms",), STUDIES)


def build(**settings: Any) -> VllmRunner:
    given = {"load_format": "dummy", "dtype": "bfloat16", "max_model_len": 1024, "kv_cache_gib": 1} | settings
    return VllmRunner(VllmRunner.Config(**given), CONTEXT)


@pytest.fixture(scope="module")
def runner() -> Iterator[VllmRunner]:
    made = build(repeats=2)
    yield made
    made.close()


def at(batch: int, output: int, inputs: int = 16, seqs: int = 32) -> Point:
    return {"model": "models/llama-tiny", "max_num_seqs": seqs, "input_len": inputs, "output_len": output,
            "batch_size": batch}


def run(runner: VllmRunner, point: Point, seed: int = 0) -> Measurement:
    covers = [point] + [{**point, "output_len": k} for k in OUTPUTS if k < int(point["output_len"])]
    return runner.measure(Proposal(point, tuple(covers), seed))


def engine_pid(runner: VllmRunner) -> int:
    assert runner._engine is not None
    return runner._engine.pid


def test_a_run_reads_its_whole_trajectory(runner: VllmRunner) -> None:
    assert isinstance(runner, Runner)
    assert runner.trajectory_axis == "output_len"
    measured = run(runner, at(8, 64))
    assert measured.status is Status.OK, measured.reason
    assert Measurement.from_json(measured.to_json()) == measured
    assert len(measured.environment) == 12
    readings = {int(reading.point["output_len"]): reading for reading in measured.readings}
    assert sorted(readings) == [1, 8, 64]
    assert not [name for name in readings[1].metrics if "tpot" in name or "itl" in name]
    assert readings[64].metrics["num_preemptions"] == (0.0, 0.0)
    assert "num_preemptions" not in readings[8].metrics
    assert readings[64].seconds == pytest.approx(measured.cost.warmup_s + measured.cost.measure_s)
    assert readings[1].seconds < readings[8].seconds < readings[64].seconds
    for repeat, times in enumerate(measured.trajectory_s):
        assert len(times) == 64
        assert times[0] > 0
        assert np.all(np.diff(times) >= 0)
        for length, reading in readings.items():
            e2el = reading.metrics["e2el_ms"][repeat]
            assert e2el == pytest.approx(times[length - 1] * 1e3, abs=2e-3)
            assert reading.metrics["output_throughput"][repeat] == pytest.approx(8 * length / e2el * 1e3)
        assert readings[1].metrics["batch_ttft_ms"] == readings[64].metrics["batch_ttft_ms"]


def test_the_engine_stays_for_other_workloads_and_refuses_what_is_too_long(runner: VllmRunner) -> None:
    run(runner, at(1, 1))
    again = run(runner, at(32, 8))
    assert (again.status, again.cost.start_s) == (Status.OK, 0.0)
    refused = run(runner, at(1, 8, inputs=1536))
    assert refused.status is Status.FAILED
    assert refused.reason == "input_len 1536 + output_len 8 exceeds max_model_len 1024"
    assert not refused.readings
    assert run(runner, at(1, 1)).cost.start_s == 0.0


def test_another_engine_then_kill_9_then_a_hang(runner: VllmRunner) -> None:
    first = run(runner, at(1, 1)) and engine_pid(runner)
    changed = run(runner, at(1, 1, seqs=64))
    assert changed.status is Status.OK, changed.reason
    assert changed.cost.start_s > 1
    assert not process_table.members(first), "the old engine is gone"
    assert run(runner, at(1, 1, seqs=64)).cost.start_s == 0.0

    threading.Timer(0.5, os.kill, (engine_pid(runner), signal.SIGKILL)).start()
    killed = run(runner, at(32, 512, seqs=64))
    assert killed.status is Status.FAILED
    assert "signal 9" in killed.reason
    assert killed.cost.start_s == 0
    assert killed.cost.measure_s >= 0.4

    after = run(runner, at(1, 8, seqs=64))
    assert (after.status, after.reason) == (Status.OK, "")
    assert after.cost.start_s > 1

    group = engine_pid(runner)
    os.kill(group, signal.SIGSTOP)
    runner._settings = runner._settings.model_copy(update={"timeout_s": 2.0})
    hung = run(runner, at(1, 8, seqs=64))
    assert (hung.status, hung.reason) == (Status.FAILED, "no answer within 2 s")
    assert hung.cost.measure_s == pytest.approx(2, abs=1)
    runner.close()
    assert not process_table.members(group)


def test_an_engine_that_cannot_start_says_why_and_is_charged() -> None:
    runner = build(dtype="float99")
    try:
        failed = run(runner, at(1, 1))
    finally:
        runner.close()
    assert failed.status is Status.FAILED
    assert "float99" in failed.reason
    assert failed.cost.import_s > 1 and failed.cost.start_s > 0, "the imports too: nobody else pays for them"
    assert failed.cost.measure_s == 0


# Several processes of vLLM's own, and a parent that gets no chance to clean up.
TENSOR_PARALLEL = f"""
import sys, time
sys.path[:0] = {[str(STUDIES.parent), str(Path(__file__).parent)]!r}
import test_vllm_runner as t
runner = t.build(tensor_parallel_size=2, repeats=1)
print(runner.accelerators(t.at(1, 8)), flush=True)
measured = t.run(runner, t.at(1, 8))
print(measured.status, measured.reason, flush=True)
print(t.engine_pid(runner), flush=True)
time.sleep(1000)
"""


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs a core for each of two ranks")
def test_nothing_of_a_tensor_parallel_engine_survives_kill_9_of_the_parent() -> None:
    parent = subprocess.Popen([sys.executable, "-c", TENSOR_PARALLEL], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    try:
        assert parent.stdout.readline().strip() == "2.0"
        assert parent.stdout.readline().strip() == "ok"
        group = int(parent.stdout.readline())
        shared = process_table.shared_memory(group)
        assert shared, "the ranks talk through shared memory"
        assert len(process_table.members(group)) >= 3, "child, two ranks"
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
    deadline = time.monotonic() + 20
    while process_table.members(group) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not process_table.members(group)
    assert not [path for path in shared if path.exists()]
