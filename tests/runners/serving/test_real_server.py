"""The runner on a real server of vLLM's, with the smallest model there is, and vLLM's own client. Two starts in all."""

from __future__ import annotations

import importlib.util
import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from planner.space.types import Axis, Measurement, Point, Proposal, Role, RunnerContext, Status, StudyError
from planner.testing import check_runner
from runners import process_table
from runners.serving.records import Records
from runners.serving.runner import VllmServeRunner
from runners.serving.server import ask

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed"),
]

STUDIES = Path(process_table.__file__).parents[1] / "studies"
SLOTS = 4
AXES = (
    Axis("input_len", (16, 64), roles=(Role.INPUT_TOKENS,)),
    Axis("output_len", (16, 32, 512), roles=(Role.OUTPUT_TOKENS,)),
    Axis("max_concurrency", (1, 4), roles=(Role.CONCURRENCY,)),
    Axis("request_rate", (4.0, 60.0, math.inf), roles=(Role.RATE,)),
)
CONTEXT = RunnerContext(AXES, ("ttft_ms",), STUDIES)


def build(**settings: Any) -> VllmServeRunner:
    given = {"duration_s": 2.0, "max_duration_s": 30.0, "timeout_s": 60.0} | settings
    if "base_url" not in settings:
        given |= {"model": "models/llama-tiny", "load_format": "dummy", "dtype": "bfloat16", "max_model_len": 1024,
                  "max_num_seqs": SLOTS, "kv_cache_gib": 1}
    return VllmServeRunner(VllmServeRunner.Config(**given), CONTEXT)


@pytest.fixture(scope="module")
def runner() -> Iterator[VllmServeRunner]:
    made = build()
    yield made
    made.close()


def at(places: int, rate: float = math.inf, output: int = 32) -> Point:
    return {"input_len": 64, "output_len": output, "max_concurrency": places, "request_rate": rate}


def run(runner: VllmServeRunner, point: Point, seed: int = 0) -> Measurement:
    return runner.measure(Proposal(point, (point,), seed))


def metrics(measured: Measurement) -> dict[str, float]:
    assert measured.status is Status.OK, measured.reason
    (reading,) = measured.readings
    return {name: values[0] for name, values in reading.metrics.items()}


def server_pid(runner: VllmServeRunner) -> int:
    assert runner._server is not None and runner._server.pid is not None
    return runner._server.pid


def test_a_closed_loop(runner: VllmServeRunner) -> None:
    """What the metrics say of each other, and of the records."""
    measured = run(runner, at(SLOTS))
    found = metrics(measured)
    assert measured.cost.start_s > 2
    assert measured.cost.measure_s > found["window_s"] > 1
    assert found["in_flight"] == pytest.approx(SLOTS, rel=0.1)
    assert found["output_throughput"] == pytest.approx(32 * found["request_throughput"], rel=0.1)
    assert found["request_throughput"] == pytest.approx(SLOTS / found["mean_e2el_ms"] * 1e3, rel=0.15)
    assert found["mean_e2el_ms"] == pytest.approx(found["mean_ttft_ms"] + 31 * found["mean_tpot_ms"], rel=0.01)
    assert 0 < found["ttft_ms"] < found["e2el_ms"]
    assert found["failed_requests"] == 0
    assert found["total_token_throughput"] == pytest.approx(3 * found["output_throughput"], rel=0.1), "64 in, 32 out"
    assert "p50_itl_ms" in found and set(found) <= (runner.metrics() or set())
    records = Records.unpack(measured.records)
    assert (records.input_tokens == 64).all() and (records.output_tokens == 32).all()
    assert records.good.all()


def test_an_open_loop_on_the_same_server(runner: VllmServeRunner) -> None:
    measured = run(runner, at(SLOTS, rate=4.0, output=16))
    found = metrics(measured)
    assert measured.cost.start_s == 0
    assert found["request_throughput"] == pytest.approx(4.0, rel=0.35)
    records = Records.unpack(measured.records)
    assert len(records) / (records.due[-1] - records.due[0]) == pytest.approx(4.0, rel=0.2)


def test_above_its_capacity_it_is_saturated(runner: VllmServeRunner) -> None:
    """60 requests of 32 tokens a second on 4 places: its rates are known, its times are those of a backlog."""
    measured = run(runner, at(SLOTS, rate=60.0, output=32))
    assert measured.status is Status.SATURATED, measured.reason
    (reading,) = measured.readings
    assert not [name for name in reading.metrics if name.endswith("_ms")]
    assert 0 < reading.metrics["request_throughput"][0] < 60
    assert runner._server is not None and runner._server.alive


def test_the_contract_on_a_server_that_is_up(runner: VllmServeRunner) -> None:
    """With `base_url`, nothing is started and nothing ended."""
    if runner._target is None:
        run(runner, at(1, output=16))
    target = runner._target
    assert target is not None
    settings = {"base_url": target.base_url, "tokenizer": target.tokenizer, "duration_s": 1.0}
    axes = CONTEXT.axes[2:3]

    def served(**more: Any) -> VllmServeRunner:
        config = VllmServeRunner.Config(**settings, **more, input_len=16, output_len=16)
        return VllmServeRunner(config, RunnerContext(axes, ("ttft_ms",), STUDIES))

    check_runner(served, Proposal({"max_concurrency": 2}, ({"max_concurrency": 2},)),
                 unknown=lambda: served(max_number_of_seqs=3))
    assert served().fingerprint()["engine"].startswith("vllm ")
    assert ask(f"{target.base_url}/health") is not None


def test_a_server_killed_in_mid_run(runner: VllmServeRunner) -> None:
    """The run has failed with its reason, nothing is left of it, and the next run has another."""
    metrics(run(runner, at(1, output=16)))
    group = server_pid(runner)
    assert len(process_table.members(group)) >= 2, "the front end and the engine"
    shared = process_table.shared_memory(group)
    threading.Timer(1.0, os.kill, (group, signal.SIGKILL)).start()
    began = time.monotonic()
    killed = run(runner, at(SLOTS, output=512))
    assert killed.status is Status.FAILED
    assert "the server ended during the run: server was ended by signal 9" in killed.reason
    assert not killed.readings
    assert time.monotonic() - began < 30
    assert not process_table.members(group)
    assert not [path for path in shared if path.exists()]

    after = run(runner, at(1, output=16))
    assert (after.status, after.reason) == (Status.OK, "")
    assert after.cost.start_s > 2
    last = server_pid(runner)
    runner.close()
    assert not process_table.members(last)


def test_an_argument_it_does_not_know_is_refused_before_anything_starts() -> None:
    with pytest.raises(StudyError, match=r"did you mean max_num_seqs\?"):
        VllmServeRunner(VllmServeRunner.Config(model="models/llama-tiny", max_num_seq=4), CONTEXT)
