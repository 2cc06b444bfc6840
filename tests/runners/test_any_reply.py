"""Whatever a process or a server answers, a run is measured or it has failed with a reason: no other exception.

More examples: FUZZ=20 pytest tests/runners/test_any_reply.py
"""

from __future__ import annotations

import copy
import io
import itertools
import json
import math
import os
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from planner.space.types import Axis, Measurement, Proposal, Role, RunnerContext, Status
from runners.engine_start import Start
from runners.fork_server import ForkServer, ForkServerError
from runners.serving import server
from runners.serving.aiperf_client import _lines
from runners.serving.aiperf_client import requests_of as aiperf_requests
from runners.serving.client import ClientError, ClientRun, Load, Target
from runners.serving.guidellm_client import requests_of as guidellm_requests
from runners.serving.records import Records
from runners.serving.tool import records_of as records_of_tool
from runners.serving.visit import Rules, Visit
from runners.serving.vllm_client import records_of
from runners.vllm_offline import VllmRunner
from runners.vllm_process import EngineError, EngineProcess
from runners.vllm_reply import start_parts_of
from tests.time_limit import within

TIMES = int(os.environ.get("FUZZ", "1"))
FEW = settings(max_examples=80 * TIMES, deadline=None, derandomize=TIMES == 1, phases=[Phase.generate],
               suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
HANG_S = 30.0
DEEP: Any = 1
for _ in range(300):
    DEEP = [DEEP]
ANY = st.sampled_from([None, True, math.nan, math.inf, -math.inf, 10**400, -1, 0, 1e308, 2**63, "", "x" * 70_000,
                       "nan", "\x1b[2J", [], {}, [None], [[]], {"": None}, DEEP, -0.5]
                      ) | st.integers() | st.floats() | st.text(max_size=9)
LOAD = Load(requests=3, max_concurrency=2, request_rate=math.inf, burstiness=1.0, input_len=8, output_len=2,
            range_ratio=0.0, seed=0)


def changed(whole: Any, data: st.DataObject) -> Any:
    """The reply with one to three values in it replaced, dropped or added."""
    found = copy.deepcopy(whole)
    for _ in range(data.draw(st.integers(1, 3))):
        if not isinstance(found, dict | list) or data.draw(st.integers(0, 20)) == 0:
            return data.draw(ANY)
        node = found
        while True:
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not keys:
                break
            key = data.draw(st.sampled_from(keys))
            if isinstance(node[key], dict | list) and data.draw(st.booleans()):
                node = node[key]
                continue
            what = data.draw(st.integers(0, 3))
            if what == 0:
                del node[key]
            elif what == 1 and isinstance(node, list):
                node.append(data.draw(ANY))
            else:
                node[key] = data.draw(ANY)
            break
    return found


def one_line(error: Exception) -> None:
    assert str(error) and len(str(error)) < 1000 and "\n" not in str(error), error


# ------------------------------------------------------------------------------------------------------- static engine

RUN = {"warmup_s": 0.1, "measure_s": 0.2, "warmups": [[0.1, 0.2]], "repeats": [[0.1, 0.2], [0.1, 0.2]],
       "metrics": [{"1": {"e2el_ms": 1.0}, "2": {"e2el_ms": 2.0, "num_preemptions": 0.0}}] * 2}
POINT = {"batch_size": 1, "output_len": 2}


class Engine:
    """Answers as it is told."""

    alive = True

    def __init__(self, reply: Any) -> None:
        self.reply = reply

    def ask(self, message: Any, timeout_s: float) -> Any:
        return self.reply

    def close(self) -> None:
        self.alive = False


@FEW
@given(st.data())
def test_a_run_of_an_engine(tmp_path: Path, data: st.DataObject) -> None:
    (tmp_path / "config.json").write_text("{}")
    axes = (Axis("batch_size", (1,), roles=(Role.BATCH,)), Axis("output_len", (1, 2), roles=(Role.OUTPUT_TOKENS,)))
    runner = VllmRunner(VllmRunner.Config(model=str(tmp_path), load_format="dummy", input_len=8),
                        RunnerContext(axes, ("e2el_ms",), tmp_path))
    reply = changed(RUN, data)
    engine = Engine(reply if isinstance(reply, dict) else {"odd": reply})
    runner._engine_for = lambda *_: (engine, Start())  # type: ignore[method-assign,assignment,return-value]
    with within(HANG_S):
        measured = runner.measure(Proposal(POINT, (POINT, {**POINT, "output_len": 1}), 0))
    check_measurement(measured)


def check_measurement(measured: Measurement) -> None:
    """Finite numbers, or a reason."""
    assert measured.status is Status.OK or (measured.reason and not measured.readings)
    cost = measured.cost
    assert all(math.isfinite(part) and part >= 0 for part in (cost.start_s, cost.warmup_s, cost.measure_s))
    assert all(math.isfinite(value) for reading in measured.readings for values in reading.metrics.values()
               for value in values)
    json.dumps(measured.to_json(), allow_nan=False)


@FEW
@given(st.data())
def test_what_an_engine_says_of_itself(data: st.DataObject) -> None:
    try:
        parts = start_parts_of({"parts": changed({"import": 0.1, "first steps": 1}, data)})
    except EngineError as error:
        one_line(error)
    else:
        assert all(math.isfinite(seconds) and seconds >= 0 for seconds in parts.values())


LINES = st.binary(max_size=30) | ANY.map(lambda value: json.dumps(value).encode()) | st.sampled_from(
    [b"[" * 100_000, b'{"error": {"a": 1}}', b'{"error": "x\\ny"}', b"\xff\xfe{}", b'{"a": NaN}', b"{} {}"])


@FEW
@given(LINES)
def test_a_line_of_an_engines_process(line: bytes) -> None:
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    process = EngineProcess.__new__(EngineProcess)
    process._replies, process._buffer, process._answered = ours, bytearray(line + b"\n"), True
    process._process = SimpleNamespace(stdin=io.BytesIO(), poll=lambda: 1, wait=lambda _: 1)  # type: ignore[assignment]
    process._log, process._group = io.BytesIO(), SimpleNamespace(end=lambda: None)  # type: ignore[assignment]
    process.log = lambda: ""  # type: ignore[method-assign]
    process._kills_before = 0
    try:
        with within(HANG_S):
            assert isinstance(process.ask({}, 1.0), dict)
        os.close(ours)
    except EngineError as error:
        one_line(error)
    os.close(theirs)


@FEW
@given(LINES.filter(bool))
def test_a_message_of_a_fork_server(message: bytes) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    made = ForkServer.__new__(ForkServer)
    made._socket, made._import_s = ours, None
    made._group = SimpleNamespace(note_memory=lambda: None)  # type: ignore[assignment]
    theirs.send(message)
    try:
        with within(HANG_S):
            assert made.import_s(1.0) >= 0
    except ForkServerError as error:
        one_line(error)
    ours.close()
    theirs.close()


# ------------------------------------------------------------------------------------------------------------- clients

DETAILED = {"start_times": [1.0, 1.1, 1.2], "queue_times": [0.0, 0.0, 0.0], "ttfts": [0.1, 0.1, 0.1],
            "latencies": [0.2, 0.2, 0.2], "itls": [[0.1], [0.1], [0.1]], "output_lens": [2, 2, 2],
            "input_lens": [8, 8, 8], "errors": ["", "", "x"]}
GUIDELLM = {"benchmarks": [{"requests": {"successful": [
    {"info": {"timings": {"request_start": 1.0, "targeted_start": 1.0, "first_token_iteration": 1.1,
                          "last_token_iteration": 1.2}, "status": "completed"},
     "input_metrics": {"total_tokens": 8}, "output_metrics": {"total_tokens": 2}}] * 3, "errored": None}}]}
AIPERF = [{"metadata": {"credit_issued_ns": 10**9 + number, "request_start_ns": 10**9 + number}, "error": None,
           "metrics": {"time_to_first_token": {"value": 10.0}, "request_latency": {"value": 20.0},
                       "inter_chunk_latency": {"value": [10.0]}, "input_sequence_length": {"value": 8},
                       "output_sequence_length": {"value": 2}}} for number in range(3)]


def of_vllm(_: Path, reply: Any) -> Records:
    return records_of(reply, True)[0]


def of_guidellm(path: Path, reply: Any) -> Records:
    path.write_text(json.dumps(reply))
    return records_of_tool("GuideLLM", list(guidellm_requests(path, True)), LOAD, "", 1)[0]


def of_aiperf(path: Path, reply: Any) -> Records:
    path.write_text("\n".join(map(json.dumps, reply if isinstance(reply, list) else [reply])))
    return records_of_tool("AIPerf", aiperf_requests(_lines(path), True, None)[0], LOAD, "")[0]


@FEW
@given(st.data())
@pytest.mark.parametrize(("whole", "read"), [(DETAILED, of_vllm), (GUIDELLM, of_guidellm), (AIPERF, of_aiperf)],
                         ids=["vllm", "guidellm", "aiperf"])
def test_what_a_client_tells_of_requests(
    whole: Any, read: Callable[[Path, Any], Records], tmp_path: Path, data: st.DataObject
) -> None:
    try:
        with within(HANG_S):
            records = read(tmp_path / "told.json", changed(whole, data))
    except ClientError as error:
        one_line(error)
        return
    measure(records)


class Told:
    """A client that tells the same of every run."""

    def __init__(self, records: Records) -> None:
        self.records = records

    def run(self, *_: object) -> ClientRun:
        return ClientRun(self.records, {})


def measure(records: Records) -> None:
    """A visit takes any records: it measures finite numbers, or says why not."""
    rules = Rules(1.0, 1.0, None, 1, 0.5, 10.0, ("ttft_ms",))
    with within(HANG_S), np.errstate(all="ignore"):
        outcome = Visit(Told(records), Target("http://h", "m", "t"), LOAD, rules,  # type: ignore[arg-type]
                        clock=itertools.count(step=0.1).__next__).measure()
    assert outcome.status is Status.OK or outcome.reason
    assert all(math.isfinite(value) for repeat in outcome.repeats for value in repeat.values())


ODD = st.sampled_from([0.0, 1.0, 1.1, 1.2, 5.0, -1.0, 1e300, -1e300, math.nan, math.inf, -math.inf])


@FEW
@given(st.integers(1, 40), st.data())
def test_any_times_of_requests(n: int, data: st.DataObject) -> None:
    due, sent, first, end = (np.array(data.draw(st.lists(ODD, min_size=n, max_size=n))) for _ in range(4))
    tokens = np.array(data.draw(st.lists(st.sampled_from([0, 1, 2, -1, 2**62]), min_size=n, max_size=n)))
    measure(Records(due, sent, first, end, tokens, tokens, ("",) * n))


# ------------------------------------------------------------------------------------------------------------- servers


ANSWERS = LINES | st.none() | st.sampled_from(
    [b'{"data": null}', b'{"data": 3}', b'{"data": [{"id": null}, 3]}', b'{"version": [1]}'])


@FEW
@given(st.lists(ANSWERS, min_size=4, max_size=4))
def test_what_a_server_says_of_itself(answers: list[bytes | None]) -> None:
    told = iter(answers)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(server, "ask", lambda *_: next(told, None))
        found = server.describe("http://h:1")
    assert all(isinstance(value, str) for value in found.values())
