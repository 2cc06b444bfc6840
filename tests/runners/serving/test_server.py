"""Servers that start, crash, hang or are killed: the reason comes from their log, and nothing of them is left.

The child is fake_server.py, or a script that plays a server which does not come up: no vLLM is needed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from runners import process_table
from runners.serving import server as module
from runners.serving.server import Server, ServerError, ask, command_line, describe, on_cores, reset_prefix_cache
from tests.runners.serving import fake_server
from tests.runners.serving.fake_server import Behaviour, FakeServer

FAKE = [sys.executable, "-S", str(Path(fake_server.__file__))]

# A server that starts a child of its own, says what vLLM says, and ends.
CRASHES = """
import subprocess, sys
subprocess.Popen(["sleep", "1000"])
print("INFO 01-01 00:00:00 [api_server.py:1] vLLM API server", flush=True)
print("(EngineCore pid=1) ERROR 01-01 00:00:00 [core.py:1] ValueError: no room for the KV cache", flush=True)
print("RuntimeError: Engine core initialization failed. See root cause above.", flush=True)
sys.exit(1)
"""
HANGS = """
import signal, subprocess, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen(["sleep", "1000"])
time.sleep(1000)
"""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_POLL_S", 0.02)
    monkeypatch.setattr(module, "_GRACE_S", 0.5)


def fake(*arguments: object, timeout_s: float = 20.0, command: Sequence[str] = FAKE) -> Server:
    return Server([*command, *map(str, arguments)], dict(os.environ), timeout_s)


def script(text: str) -> list[str]:
    return [sys.executable, "-S", "-c", text]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The numbers of the processes that servers were."""
    found: list[int] = []
    group = module.ProcessGroup

    def noted(*arguments: Any, **named: Any) -> Any:
        made = group(*arguments, **named)
        found.append(made.pid)
        return made

    monkeypatch.setattr(module, "ProcessGroup", noted)
    yield found
    assert found, "something was started"
    assert not [pid for pid in found if process_table.members(pid)], "and is gone"


def test_a_server_is_there_inside_and_gone_afterwards(started: list[int]) -> None:
    server = fake("--ready-s", 0.2)
    assert not server.alive and server.pid is None
    with server:
        assert server.alive and server.pid == started[0]
        assert ask(f"{server.base_url}/health") == b""
        assert server.why() == ""
        assert describe(server.base_url) == {"served": "tiny", "engine": "vllm 0.32.0"}
    assert not server.alive
    assert ask(f"{server.base_url}/health") is None
    assert not process_table.members(started[0])


def test_it_is_gone_after_an_error_too(started: list[int]) -> None:
    with pytest.raises(ZeroDivisionError), fake():
        raise ZeroDivisionError
    assert not process_table.members(started[0])


def test_a_crash_at_the_start_gives_the_reason_of_the_log(started: list[int]) -> None:
    """Not the line that only points to it, and long before the time limit."""
    began = time.monotonic()
    with pytest.raises(ServerError, match=r"^ValueError: no room for the KV cache$"), fake(command=script(CRASHES)):
        pass
    assert time.monotonic() - began < 10
    assert not process_table.members(started[0]), "the child that it left behind is gone"


def test_a_server_that_hangs_is_ended_and_the_message_names_the_setting(started: list[int]) -> None:
    with pytest.raises(ServerError, match=r"did not answer within 1 s; give it more by runner\.start_timeout_s"), \
            fake(command=script(HANGS), timeout_s=1.0):
        pass
    assert not process_table.members(started[0]), "though it ignores SIGTERM, and has a child"


@pytest.mark.usefixtures("started")
def test_a_server_that_answers_with_an_error_is_not_ready() -> None:
    """HTTP 503 while it loads its weights."""
    with pytest.raises(ServerError, match=r"did not answer within 0\.7 s"), fake("--ready-s", 60, timeout_s=0.7):
        pass


@pytest.mark.usefixtures("started")
def test_a_port_that_somebody_took_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between our look and the server's start: it says so, and ends."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        monkeypatch.setattr(module, "_free_port", lambda: other.getsockname()[1])
        with pytest.raises(ServerError, match="Address already in use"), fake():
            pass


def test_a_free_port_is_another_each_time() -> None:
    assert len({module._free_port() for _ in range(5)}) > 1


def test_what_cannot_be_executed_is_an_error_of_the_server() -> None:
    with pytest.raises(ServerError, match="could not be started"), fake(command=["/no/such/program"]):
        pass


@pytest.mark.usefixtures("started")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_server_that_was_killed_says_by_which_signal(number: signal.Signals) -> None:
    with fake() as server:
        assert server.pid is not None
        os.kill(server.pid, number)
        deadline = time.monotonic() + 10
        while server.alive and time.monotonic() < deadline:
            time.sleep(0.01)
        assert server.why().startswith(f"server was ended by signal {int(number)} (")
        assert not server.alive


@pytest.mark.usefixtures("started")
def test_a_server_that_dies_under_load_says_why() -> None:
    with fake("--dies-after", 0) as server:
        with contextlib.suppress(OSError):
            ask(f"{server.base_url}/v1/completions", data=b'{"prompt": "a", "max_tokens": 1}')
        deadline = time.monotonic() + 10
        while server.alive and time.monotonic() < deadline:
            time.sleep(0.01)
        assert server.why() == "RuntimeError: CUDA error: an illegal memory access was encountered"


def test_what_a_server_says_of_itself() -> None:
    with FakeServer(Behaviour(model="llama", version="1.2")) as server:
        assert describe(server.base_url) == {"served": "llama", "engine": "vllm 1.2"}
        assert reset_prefix_cache(server.base_url)
        assert server.resets == 1
        assert ask(f"{server.base_url}/no/such/page") is None
    assert describe(server.base_url) == {}
    assert not reset_prefix_cache(server.base_url)
    assert ask("file:///etc/passwd") is None


def test_the_command_line_has_each_argument_as_vllm_reads_it() -> None:
    command = command_line({"model": "m", "max_num_seqs": 8, "enforce_eager": True, "enable_prefix_caching": False,
                            "hf_overrides": {"a": 1}})
    assert command[:4] == [sys.executable, "-P", "-m", "vllm.entrypoints.openai.api_server"]
    assert command[4:] == ["--model", "m", "--max-num-seqs", "8", "--enforce-eager", "--no-enable-prefix-caching",
                           "--hf-overrides", '{"a": 1}']


def test_a_command_runs_on_its_cores() -> None:
    last = max(os.sched_getaffinity(0))
    command = on_cores([sys.executable, "-c", "import os; print(os.sched_getaffinity(0))"], [last])
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == str({last})
    assert on_cores(["true"], ()) == ["true"]
