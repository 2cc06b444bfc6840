"""An OpenAI-compatible vLLM server as a context manager: started, waited for, always gone afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self

from runners.memory_kills import memory_kills
from runners.process_group import Child, ProcessGroup
from runners.vllm_process import explain, tail

__all__ = ["Server", "ServerError", "ask", "command_line", "describe", "module_line", "on_cores", "reset_prefix_cache"]

_MODULE: Final = "vllm.entrypoints.openai.api_server"
_ON_CORES: Final = ("import os, sys; os.sched_setaffinity(0, map(int, sys.argv[1].split(','))); "
                    "os.execv(sys.argv[2], sys.argv[2:])")
_POLL_S: Final = 0.25
_ANSWER_S: Final = 5.0
_GRACE_S: Final = 10.0


class ServerError(Exception):
    """The server did not start, died, or does not answer. The text is the reason, one line."""


class Server:
    """One server process on a free port of this machine, with everything it starts.

    `__enter__` returns when it answers, or raises ServerError with the reason from its log if it crashes or takes
    longer than `timeout_s`; nothing of it is then left. `__exit__` ends it. It also ends when we do, `kill -9`
    included (process_group).

    command: what to execute; `--host` and `--port` are appended. environment: all of its variables. popen: what starts
    it, as ProcessGroup takes it.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], timeout_s: float,
        popen: Callable[..., Child] = subprocess.Popen,
    ) -> None:
        self._command, self._environment, self._timeout_s = list(command), dict(environment), timeout_s
        self._popen = popen
        self._group: ProcessGroup | None = None
        self._log: Any = None
        self._kills_before = memory_kills()
        self.base_url = ""

    def __enter__(self) -> Self:
        host, port = "127.0.0.1", _free_port()
        self.base_url = f"http://{host}:{port}"
        self._log = tempfile.TemporaryFile()
        try:
            self._group = ProcessGroup([*self._command, "--host", host, "--port", str(port)], self._environment,
                                       stdout=self._log, stderr=self._log, owns_memory=True, popen=self._popen)
            self._wait()
        except OSError as error:
            self._end()
            raise ServerError(f"the server could not be started: {error}") from error
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self._end()

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._group is not None and self._group.process.poll() is None

    @property
    def answers(self) -> bool:
        """Whether it says that it is well."""
        return ask(f"{self.base_url}/health") is not None

    @property
    def pid(self) -> int | None:
        """Number of the process and of its group; None if it was never started."""
        return None if self._group is None else self._group.pid

    def why(self) -> str:
        """Why the process ended, from its status and the end of its log; empty while it runs."""
        if self._group is None or self.alive:
            return ""
        ran_out = memory_kills() > self._kills_before
        return explain(None, self._group.process.poll(), self.log(), ran_out).replace("engine process", "server")

    def log(self) -> str:
        """The end of what it has printed."""
        return tail(self._log)

    def _wait(self) -> None:
        """Return when the server answers. Raises ServerError."""
        deadline = time.monotonic() + self._timeout_s
        assert self._group is not None
        while True:
            if not self.alive:
                raise ServerError(self.why())
            if self.answers:
                self._group.note_memory()
                return
            if time.monotonic() > deadline:
                raise ServerError(f"the server did not answer within {self._timeout_s:g} s; give it more by "
                                  "runner.start_timeout_s")
            time.sleep(_POLL_S)

    def _end(self) -> None:
        if self._group is not None:
            self._group.end(_GRACE_S)
        if self._log is not None:
            self._log.close()
        self._group = self._log = None


def command_line(arguments: Mapping[str, Any]) -> list[str]:
    """The command that starts vLLM's server with these arguments (names with underscores)."""
    return [sys.executable, "-P", "-m", *module_line(arguments)]


def module_line(arguments: Mapping[str, Any]) -> list[str]:
    """The same as a fork server takes it: the module and its arguments."""
    command = [_MODULE]
    for name, value in arguments.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            command.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            command += [f"--{flag}", json.dumps(value) if isinstance(value, dict | list) else str(value)]
    return command


def on_cores(command: Sequence[str], cores: Sequence[int]) -> list[str]:
    """The command, to be executed on these cores; () for all. What it starts may bind itself to others."""
    if not cores:
        return list(command)
    return [sys.executable, "-c", _ON_CORES, ",".join(map(str, cores)), *command]


def ask(url: str, timeout_s: float = _ANSWER_S, data: bytes | None = None) -> bytes | None:
    """The body of a good answer; None for any other, or none."""
    if not url.startswith(("http://", "https://")):
        return None
    request = urllib.request.Request(url, data=data, method="GET" if data is None else "POST")
    key = os.environ.get("OPENAI_API_KEY")
    if key:
        request.add_header("Authorization", f"Bearer {key}")
    with contextlib.suppress(OSError, ValueError, urllib.error.URLError), \
            urllib.request.urlopen(request, timeout=timeout_s) as answer:
        body: bytes = answer.read()
        return body
    return None


def reset_prefix_cache(base_url: str) -> bool:
    """Whether the server has emptied its cache of prefixes: vLLM and SGLang can, some only if started for it."""
    return any(ask(f"{base_url}/{path}", data=b"") is not None for path in ("reset_prefix_cache", "flush_cache"))


def describe(base_url: str) -> dict[str, str]:
    """Name and version of the engine behind an address, and its models, as far as it tells; empty if nothing does."""
    models = _json(ask(f"{base_url}/v1/models"))
    if models is None:
        return {}
    listed = models.get("data")
    served = [str(model.get("id")) for model in (listed if isinstance(listed, list) else []) if isinstance(model, dict)]
    facts = {"served": ", ".join(served)}
    for path, engine, keys in (("version", "vllm", ("version",)), ("get_server_info", "sglang", ("version",)),
                               ("info", "tgi", ("version",))):
        found = _json(ask(f"{base_url}/{path}"))
        if found and any(found.get(key) for key in keys):
            version = next(str(found[key]) for key in keys if found.get(key))
            return {**facts, "engine": f"{engine} {version}"}
    return {**facts, "engine": "unknown"}


def _json(body: bytes | None) -> dict[str, Any] | None:
    if body is None:
        return None
    with contextlib.suppress(ValueError, RecursionError):
        found = json.loads(body)
        return found if isinstance(found, dict) else None
    return None


def _free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
