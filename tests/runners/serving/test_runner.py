"""The runner `vllm-serve`, with a fake server as its child and a queue as its client: no vLLM, no waiting."""

from __future__ import annotations

import importlib.util
import itertools
import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import yaml

import planner
from planner.space.failure import FailureKind
from planner.space.types import (
    Axis,
    Cost,
    Measurement,
    Point,
    Proposal,
    Reading,
    Role,
    RunnerContext,
    RunnerError,
    Scope,
    Status,
    StudyError,
)
from planner.testing import check_runner
from runners import process_table
from runners.serving import runner as module
from runners.serving import server as server_module
from runners.serving.client import ClientError, ClientRun, Load, Target
from runners.serving.records import Records
from runners.serving.runner import VllmServeRunner
from runners.vllm_imports import SWITCH
from tests.runners.serving import fake_server
from tests.runners.serving.fake_server import Behaviour, FakeServer
from tests.runners.serving.queues import Clock, QueueClient, exponential, fixed

CONCURRENCY = Axis("max_concurrency", (1, 4, 8), roles=(Role.CONCURRENCY,))
RATE = Axis("request_rate", (2.0, 100.0, math.inf), roles=(Role.RATE,))
SEQS = Axis("max_num_seqs", (4, 8, 666), Scope.ENGINE)
CLOSED: Point = {"max_concurrency": 4, "request_rate": math.inf, "max_num_seqs": 8}
CRASH = [sys.executable, "-S", "-c", "raise ValueError('no room for the KV cache')"]


class Watched(QueueClient):
    """A queue of 8 places. `during` is called at the second run of a visit, as if the world went on meanwhile."""

    during: Callable[[Target], None] = staticmethod(lambda _: None)
    targets: list[Target]

    def __init__(self) -> None:
        super().__init__(Clock(), slots=8)
        self.targets = []

    def run(self, target: Target, load: Load, timeout_s: float) -> ClientRun:
        self.targets.append(target)
        if len(self.targets) % 2 == 0:
            self.during(target)
        return super().run(target, load, timeout_s)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Watched:
    """What every runner of the test uses."""
    made = Watched()
    monkeypatch.setattr(module, "make_client", lambda *_: made)
    monkeypatch.setattr(module, "require_engine", lambda: None)
    monkeypatch.setenv(SWITCH, "0")
    monkeypatch.setattr(server_module, "_POLL_S", 0.02)
    return made


@pytest.fixture
def build(client: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[
        Callable[..., VllmServeRunner]]:
    """Runners whose server is fake_server.py; 666 sequences at once are more than it can start with."""
    def command(arguments: Mapping[str, Any]) -> list[str]:
        fake = [sys.executable, "-S", str(Path(fake_server.__file__)), "--model", arguments["served_model_name"],
                "--sick-after", "0"]
        return CRASH if arguments.get("max_num_seqs") == 666 else fake

    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"vocab_size": 100}))
    monkeypatch.setattr(module, "command_line", command)
    made: list[VllmServeRunner] = []
    assert module.make_client("vllm") is client

    def make(*axes: Axis, **settings: Any) -> VllmServeRunner:
        given = {"duration_s": 5.0} | ({} if "base_url" in settings else {"model": "tiny", "load_format": "dummy"})
        context = RunnerContext(axes or (CONCURRENCY, RATE, SEQS), ("ttft_ms",), tmp_path)
        made.append(VllmServeRunner(VllmServeRunner.Config(**(given | settings)), context))
        return made[-1]

    yield make
    groups = [runner._server.pid for runner in made if runner._server is not None]
    for runner in made:
        runner.close()
    assert not [group for group in groups if group is not None and process_table.members(group)]


def run(runner: VllmServeRunner, seed: int = 0, **changed: Any) -> Measurement:
    point = {name: value for name, value in {**CLOSED, **changed}.items() if value is not None}
    return runner.measure(Proposal(point, (point,), seed))


def pid(runner: VllmServeRunner) -> int:
    assert runner._server is not None and runner._server.pid is not None
    return runner._server.pid


def test_the_runner_keeps_the_contract(build: Callable[..., VllmServeRunner]) -> None:
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("unknown arguments are read from vLLM's source")
    good, bad = ({"max_concurrency": 4, "max_num_seqs": seqs} for seqs in (8, 666))
    check_runner(partial(build, CONCURRENCY, SEQS), Proposal(good, (good,)), Proposal(bad, (bad,)),
                 partial(build, CONCURRENCY, SEQS, max_number_of_seqs=3))


def test_a_run_is_measured_with_its_records(build: Callable[..., VllmServeRunner], client: Watched) -> None:
    runner = build()
    measured = run(runner)
    assert measured.status is Status.OK, measured.reason
    (reading,) = measured.readings
    assert reading.metrics["request_throughput"] == (pytest.approx(8.0),)
    assert reading.metrics["ttft_ms"] == (pytest.approx(20.0),)
    assert set(reading.metrics) <= (runner.metrics() or set())
    assert measured.cost.start_s > 0
    assert len(measured.environment) == 12
    records = Records.unpack(measured.records)
    assert len(records) == client.loads[-1].requests
    assert Measurement.from_json(json.loads(json.dumps(measured.to_json()))) == measured
    assert measured.trajectory_s == () and runner.trajectory_axis is None


def test_a_server_lives_for_all_loads_of_one_engine_and_no_longer(
    build: Callable[..., VllmServeRunner], client: Watched
) -> None:
    runner = build()
    run(runner)
    first = pid(runner)
    again = run(runner, max_concurrency=8)
    assert (pid(runner), again.cost.start_s) == (first, 0.0)
    assert run(runner, request_rate=2.0, max_concurrency=8).cost.start_s == 0
    other = run(runner, max_num_seqs=4)
    assert other.cost.start_s > 0
    assert pid(runner) != first and not process_table.members(first)
    last = pid(runner)
    runner.close()
    assert not process_table.members(last)
    assert client.events[-1] == "close"
    assert run(runner).status is Status.OK, "a closed runner starts again"


def test_a_bare_model_is_served_from_a_copy_with_a_tokenizer(
    build: Callable[..., VllmServeRunner], client: Watched, tmp_path: Path
) -> None:
    runner = build()
    run(runner)
    target = client.targets[-1]
    assert target.model == "tiny"
    assert Path(target.tokenizer) != tmp_path / "tiny" and (Path(target.tokenizer) / "tokenizer.json").is_file()
    runner.close()
    assert not Path(target.tokenizer).exists()


def test_prompts_of_any_two_runs_differ_and_the_cache_is_emptied_before_each(
    build: Callable[..., VllmServeRunner], client: Watched
) -> None:
    with FakeServer() as server:
        runner = build(CONCURRENCY, base_url=server.base_url)
        for seed, places in itertools.product(range(3), (1, 4)):
            run(runner, seed=seed * 2 + places % 2, max_concurrency=places, max_num_seqs=None, request_rate=None)
        assert server.resets == len(client.loads) == 12
    seeds = [load.seed for load in client.loads]
    assert len(set(seeds)) == len(seeds)


# ------------------------------------------------------------------------------------------------------------ failures


def test_a_crash_at_the_start_is_a_failed_run_with_the_reason_of_the_log(build: Callable[..., VllmServeRunner]) -> None:
    runner = build()
    failed = run(runner, max_num_seqs=666)
    assert (failed.status, failed.reason) == (Status.FAILED, "ValueError: no room for the KV cache")
    assert failed.failure is FailureKind.START
    assert failed.cost.start_s > 0 and failed.cost.measure_s == 0
    assert not failed.readings and runner._server is None
    assert run(runner).status is Status.OK


def test_a_server_that_is_killed_in_mid_run_fails_the_run_and_the_next_starts_another(
    build: Callable[..., VllmServeRunner], client: Watched
) -> None:
    def kill(_: Target) -> None:
        os.kill(pid(runner), signal.SIGKILL)
        deadline = time.monotonic() + 10
        while runner._server is not None and runner._server.alive and time.monotonic() < deadline:
            time.sleep(0.01)
        raise ClientError("HTTP connection refused")

    runner = build()
    run(runner)
    killed_pid = pid(runner)
    client.during = kill
    killed = run(runner)
    assert killed.status is Status.FAILED
    assert killed.reason.startswith("the server ended during the run: server was ended by signal 9")
    assert killed.failure is FailureKind.CRASH
    assert not killed.readings and killed.cost.start_s == 0
    assert not process_table.members(killed_pid)
    client.during = lambda _: None
    client.targets.clear()
    after = run(runner)
    assert after.status is Status.OK, after.reason
    assert after.cost.start_s > 0


def test_a_front_end_whose_engine_is_dead_is_replaced(build: Callable[..., VllmServeRunner], client: Watched) -> None:
    """Its process lives, all its answers are errors, and it says itself that it is not well."""
    def sick(target: Target) -> None:
        server_module.ask(f"{target.base_url}/v1/completions", data=b'{"prompt": "a"}')
        raise ClientError("EngineDeadError")

    runner = build()
    run(runner)
    before = pid(runner)
    client.during = sick
    failed = run(runner)
    assert (failed.status, failed.reason) == (
        Status.FAILED, "the server answers no longer: EngineDeadError")
    assert not process_table.members(before)
    client.during = lambda _: None
    client.targets.clear()
    assert run(runner).status is Status.OK
    assert pid(runner) != before


def test_a_client_that_breaks_fails_the_run_and_the_server_stays(
    build: Callable[..., VllmServeRunner], client: Watched
) -> None:
    def broken(_: Target) -> None:
        raise ClientError("no such tokenizer")

    runner = build()
    run(runner)
    before = pid(runner)
    client.during = broken
    failed = run(runner)
    assert (failed.status, failed.reason, failed.failure) == (Status.FAILED, "no such tokenizer", FailureKind.OTHER)
    client.during = lambda _: None
    assert run(runner).cost.start_s == 0
    assert pid(runner) == before


def test_an_interruption_leaves_nothing(build: Callable[..., VllmServeRunner], client: Watched) -> None:
    def interrupted(_: Target) -> None:
        raise KeyboardInterrupt

    runner = build()
    client.during = interrupted
    with pytest.raises(KeyboardInterrupt):
        run(runner)
    assert runner._server is None and client.events[-1] == "close"


# ----------------------------------------------------------------------------------------------- a server that is there


def test_a_server_that_is_up_is_neither_started_nor_ended(
    build: Callable[..., VllmServeRunner], client: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    def starts(*_: Any) -> None:
        raise AssertionError("nothing may be started")

    monkeypatch.setattr(module, "Server", starts)
    with FakeServer(Behaviour(model="mine", version="9.8.7")) as server:
        runner = build(CONCURRENCY, base_url=server.base_url + "/")
        facts = runner.fingerprint()
        assert (facts["engine"], facts["served"], facts["client"]) == ("vllm 9.8.7", "mine", "queue 1")
        measured = run(runner, max_num_seqs=None, request_rate=None)
        assert (measured.status, measured.cost.start_s) == (Status.OK, 0)
        assert client.targets[-1] == Target(server.base_url, "mine", "mine")
        runner.close()
        assert server_module.ask(f"{server.base_url}/health") is not None, "it is still there"


def test_another_version_of_it_is_another_fingerprint(build: Callable[..., VllmServeRunner]) -> None:
    found = []
    for version in ("1.0", "1.1"):
        with FakeServer(Behaviour(version=version)) as server:
            found.append(build(CONCURRENCY, base_url=server.base_url).fingerprint()["engine"])
    assert found == ["vllm 1.0", "vllm 1.1"]


def test_an_address_where_nothing_answers_is_no_runner_at_all(build: Callable[..., VllmServeRunner]) -> None:
    with pytest.raises(RunnerError, match=r"runner\.base_url: nothing answers at http://127\.0\.0\.1:9"):
        build(CONCURRENCY, base_url="http://127.0.0.1:9").fingerprint()


def test_an_engine_axis_with_it_is_refused(build: Callable[..., VllmServeRunner]) -> None:
    with pytest.raises(StudyError, match=r"space\.axes\.max_num_seqs: scope engine"):
        build(CONCURRENCY, SEQS, base_url="http://127.0.0.1:9")


# ---------------------------------------------------------------------------------------------------- saturated, kept


def study_file(folder: Path, base_url: str, **stop: Any) -> Path:
    path = folder / "served.yaml"
    path.write_text(yaml.safe_dump({
        "study": {"name": "served", "storage": f"sqlite:///{folder / 'served.db'}"},
        "space": {"axes": {"request_rate": {"values": [1, 2, 4, 12, 16], "scale": "log"}}},
        "runner": {"kind": "vllm-serve", "base_url": base_url, "duration_s": 10, "output_len": 32},
        "targets": ["ttft_ms", "output_throughput"], "stop": stop}))
    return path


def test_a_saturated_load_is_known_kept_and_not_tried_again(
    client: Watched, tmp_path: Path, trials: Callable[..., list[optuna.trial.FrozenTrial]]
) -> None:
    """A server of 8 places and one second each: 12 and 16 requests a second are too many."""
    client.answer_s = fixed(0.98)
    with FakeServer() as server:
        path = study_file(tmp_path, server.base_url, trials=3)
        planner.open_study(path).run(strategy="full")
        path = study_file(tmp_path, server.base_url, trials=20)
        result = planner.open_study(path).run(strategy="full")
        assert result is not None
        runs = len(trials(f"sqlite:///{tmp_path / 'served.db'}", "served"))
        planner.open_study(path).run(strategy="full")
    made = trials(f"sqlite:///{tmp_path / 'served.db'}", "served")
    assert len(made) == runs == 5, "each once, over three starts of the study"
    states = {trial.params["request_rate"]: trial.state.name for trial in made}
    assert states == {1: "COMPLETE", 2: "COMPLETE", 4: "COMPLETE", 12: "PRUNED", 16: "PRUNED"}

    study = planner.open_study(path)
    seen = study.observations()
    rates = {int(study.grid.point(row)["request_rate"]): row for row in range(len(study.grid))}
    rows = [rates[12], rates[16]]
    assert seen.failed[rows].all() and seen.saturated[rows].all() and not seen.measured[rows].any()
    assert not seen.failed[[rates[1], rates[2], rates[4]]].any() and seen.saturated.sum() == 2
    assert seen.column("output_throughput")[rows] == pytest.approx(8 * 32, rel=0.05), "the capacity, in its column"
    assert np.isnan(seen.column("ttft_ms")[rows]).all(), "and the times of a backlog are none"
    kept = [run.measurement for run in seen.runs if run.measurement.status is Status.SATURATED]
    assert len(kept) == 2
    for measurement in kept:
        assert "saturated" in measurement.reason
        assert len(Records.unpack(measurement.records)) >= 100
        assert Measurement.from_json(json.loads(json.dumps(measurement.to_json()))) == measurement


def test_both_loops_are_one_study(
    client: Watched, tmp_path: Path, answer: Callable[..., Any], trials: Callable[..., list[optuna.trial.FrozenTrial]]
) -> None:
    """An infinite rate is a closed loop: the value survives the record, a resumed study, and what is written."""
    with FakeServer() as server:
        path = study_file(tmp_path, server.base_url, trials=9)
        text = yaml.safe_load(path.read_text())
        text["space"] = {
            "axes": {"request_rate": {"values": [2, 4, math.inf], "scale": "log"},
                     "max_concurrency": {"values": [2, 4, 64], "scale": "log"}},
            "constraints": ["request_rate > 99 and max_concurrency < 64 or request_rate < 9 and max_concurrency == 64"]}
        path.write_text(yaml.safe_dump(text))
        answer("run", path, "--strategy", "full")
        status = answer("run", path, "--strategy", "full")
    assert (status["grid_points"], status["runs"], status["failed"]) == (4, 4, 0)
    made = trials(f"sqlite:///{tmp_path / 'served.db'}", "served")
    assert sorted((trial.params["request_rate"], trial.params["max_concurrency"]) for trial in made) == [
        (2, 64), (4, 64), (math.inf, 2), (math.inf, 4)]
    closed = [load for load in client.loads if load.is_closed and load.requests > 10]
    assert sorted(load.max_concurrency or 0 for load in closed) == [2, 4]
    predicted = answer("predict", path)
    json.dumps(predicted, allow_nan=False)


def test_records_and_status_survive_json() -> None:
    point = {"request_rate": 12.0}
    measured = Measurement(Status.SATURATED, Cost(1.0, 2.0, 3.0, 4.0),
                           (Reading(point, {"output_throughput": (5.0,)}, 3.0),), "saturated: …", (), "abc", "packed")
    assert Measurement.from_json(json.loads(json.dumps(measured.to_json()))) == measured
    assert "records" not in replace(measured, records="").to_json()


def test_an_open_loop_of_the_runner_is_told_saturated_with_its_rates_only(
    build: Callable[..., VllmServeRunner], client: Watched
) -> None:
    client.answer_s = exponential(0.98)
    runner = build()
    measured = run(runner, request_rate=100.0, max_concurrency=8)
    assert measured.status is Status.SATURATED
    (reading,) = measured.readings
    assert not [name for name in reading.metrics if name.endswith("_ms")]
    assert reading.metrics["request_throughput"][0] == pytest.approx(8, rel=0.2)
    assert runner._server is not None and runner._server.alive
