"""A load generator as a child process: it is found, its failure has a reason, and nothing of it is left."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from planner.space.types import RunnerError
from runners.serving import tool as module
from runners.serving.client import ClientError, LateError, Load
from runners.serving.tool import Request, Tool, length_range, metrics_of, records_of, requests_in_flight
from tests.runners.serving.fake_tools import install


def found(least: str = "1") -> Tool:
    return Tool.found("loadgen", least, "begins")


LOAD = Load(4, 2, float("inf"), 1.0, 100, 10, 0.0, 0)


def test_a_tool_is_found_on_path_with_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = install(tmp_path, monkeypatch, "loadgen", version="0.13.2")
    assert found("0.13") == Tool("loadgen", fake.command, "0.13.2", "begins")
    assert not fake.calls  # its metadata say it: nothing is started


def test_a_tool_is_found_beside_this_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = install(tmp_path, monkeypatch, "loadgen", version="1.0")
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    assert found("0.13").command == fake.command


def test_a_version_without_metadata_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = install(tmp_path, monkeypatch, "loadgen", "print('loadgen version: 2.1.0rc1')")
    assert found("0.13").version == "2.1.0rc1" and fake.calls[0]["argv"] == ["--version"]
    install(tmp_path, monkeypatch, "loadgen", "print('who knows')")
    assert found("0.13").version == ""


def test_what_is_missing_or_too_old_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RunnerError, match=r"loadgen is not installed; pip install 'loadgen>=0\.13'"):
        found("0.13")
    install(tmp_path, monkeypatch, "loadgen", version="0.9.1")
    with pytest.raises(RunnerError, match=r"is loadgen 0\.9\.1, whose options differ; pip install 'loadgen>=0\.13'"):
        found("0.13")
    assert found("0.9").version == "0.9.1"


BOX = """
print("12:00 ERROR Traceback")
print("╭─ System Exit Errors ─────────────╮")
print("│ • Service: dataset_manager        │")
print("│    Operation: Configure Profiling │")
print("│    Reason: Failed to load the     │")
print("│            tokenizer 'x'          │")
print("│ • Service: controller             │")
print("╰──────────────────────────────────╯")
print("Log File: aiperf.log")
sys.exit(1)
"""


@pytest.mark.parametrize(("body", "reason"), [
    ("", ""),
    (BOX, "loadgen: Failed to load the tokenizer 'x'"),
    ("print(\"Usage: x\\n\\nError: Invalid value for '--seed': \\n  - Extra inputs are not permitted\"); sys.exit(2)",
     "loadgen: Error: Invalid value for '--seed': Extra inputs are not permitted"),
    ("raise ValueError('no such model')", "loadgen: ValueError: no such model"),
    ("print('one\\ntwo'); sys.exit(3)", "loadgen: it ended with status 3: one | two"),
    ("os.kill(os.getpid(), 9)", "loadgen: it was ended by signal 9 (Killed, often because memory ran out)"),
])
def test_a_failure_has_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, reason: str) -> None:
    install(tmp_path, monkeypatch, "loadgen", body, "1.0")
    assert found("1").run([], tmp_path, {}, 30) == reason


def test_what_it_is_given_arrives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = install(tmp_path, monkeypatch, "loadgen", version="1.0")
    found("1").run(["a", "b c"], tmp_path, {"OURS": "1"}, 30)
    call = fake.calls[0]
    assert call["argv"] == ["a", "b c"] and call["env"]["OURS"] == "1" and call["env"]["HOME"] == os.environ["HOME"]
    assert Path(call["cwd"]).resolve() == Path(call["env"]["TMPDIR"]).resolve() == tmp_path.resolve()


LINGERS = """
import subprocess
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
pathlib.Path("child").write_text(str(child.pid))
print("begins\\n1 of 4 requests", flush=True)
time.sleep(60)
"""


def is_there(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").exists() and Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    return False


def test_what_does_not_end_is_ended_with_all_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "loadgen", LINGERS, "1.0")
    began = time.monotonic()
    with pytest.raises(LateError, match=r"loadgen did not end within 2 s; its last line: 1 of 4 requests"):
        found("1").run([], tmp_path, {}, 2)
    assert time.monotonic() - began < 20
    assert not is_there(int((tmp_path / "child").read_text()))


def test_what_does_not_begin_is_no_late_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A load that is late tells of the server, a tool that never began does not."""
    install(tmp_path, monkeypatch, "loadgen", "print('reading the tokenizer', flush=True); time.sleep(60)", "1.0")
    with pytest.raises(ClientError, match="did not begin to send within 1 s; its last line: reading") as error:
        found("1").run([], tmp_path, {}, 1)
    assert not isinstance(error.value, LateError)


def test_an_interruption_ends_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "loadgen", LINGERS, "1.0")

    def interrupted(*_: object) -> None:
        while not (tmp_path / "child").exists() or not (tmp_path / "child").read_text():
            time.sleep(0.02)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        found("1").run([], tmp_path, {}, 30)
    assert not is_there(int((tmp_path / "child").read_text()))


def test_what_cannot_be_started_is_a_clients_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = install(tmp_path, monkeypatch, "loadgen", version="1.0")
    there = found("1")
    fake.command.unlink()
    with pytest.raises(ClientError, match="loadgen cannot be started"):
        there.run([], tmp_path, {}, 5)


# ---------------------------------------------------------------------------------------------------------- results


def request(due: float, error: str = "", tokens: int = 3) -> Request:
    return Request(due, due + 0.5, due + 1 if tokens else None, due + 2 if tokens else None, 7, tokens, error)


def test_records_are_in_the_order_in_which_they_were_due() -> None:
    records, order = records_of("x", [request(3), request(1, "HTTP\n 500", 0), request(2, "", 0), request(0)], LOAD, "")
    assert records.due.tolist() == [0, 1, 2, 3] and order == [3, 1, 2, 0]
    assert records.errors == ("", "HTTP 500", "an answer without tokens", "")
    assert records.good.tolist() == [True, False, False, True]
    assert np.isnan(records.first[1]) and np.isnan(records.end[2]) and records.sent.tolist() == [0.5, 1.5, 2.5, 3.5]
    assert records.input_tokens.tolist() == [7] * 4


def test_a_failed_tool_that_tells_of_every_request_is_read() -> None:
    failed = [request(i, "refused", 0) for i in range(4)]
    assert len(records_of("x", failed, LOAD, "x: all requests failed")[0]) == 4


@pytest.mark.parametrize(("count", "lost", "reason", "says"), [
    (3, 0, "", "x tells of 3 requests, and 4 were asked for"), (3, 0, "x: crashed", "x: crashed"),
    (2, 1, "", "x tells of 2 requests"), (0, 1, "x: crashed", "x: crashed"),
])
def test_missing_requests_are_an_error(count: int, lost: int, reason: str, says: str) -> None:
    with pytest.raises(ClientError, match=says):
        records_of("x", [request(i) for i in range(count)], LOAD, reason, lost)
    assert len(records_of("x", [request(i) for i in range(3)], LOAD, "", lost=1)[0]) == 3


def test_nothing_is_read_from_a_report_that_is_not_there(tmp_path: Path) -> None:
    assert metrics_of(tmp_path / "none.json", "guidellm") == {}


def test_lengths_are_those_of_vllm() -> None:
    """vLLM's random dataset: whole numbers from floor(mean · (1 − r)) to ceil(mean · (1 + r))."""
    assert length_range(100, 0.0) == (100, 100) and length_range(33, 0.5) == (16, 50) and length_range(1, 0.9) == (1, 2)


def test_a_closed_loop_has_no_more_in_flight_than_it_sends() -> None:
    assert requests_in_flight(LOAD) == 2 and requests_in_flight(replace(LOAD, max_concurrency=9)) == 4
    assert requests_in_flight(replace(LOAD, max_concurrency=None)) == 4
