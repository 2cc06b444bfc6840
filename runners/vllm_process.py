"""The engine's process, as its parent uses it: start, ask, watch, end.

The child and all it starts are a `ProcessGroup`, which ends with us. Requests go to its standard input, replies come
through a pipe that nobody prints to, and what vLLM prints goes to a temporary file whose last lines explain a failure.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from multiprocessing.connection import wait
from pathlib import Path
from typing import IO, Any

from runners.fork_server import ForkServer
from runners.memory_kills import RAN_OUT, memory_kills
from runners.process_group import ProcessGroup

__all__ = ["EngineError", "EngineProcess", "explain", "tail", "worker_command"]

_CLOSE_S = 20.0
_POLL_S = 0.5
_LOG_TAIL_BYTES = 200_000
_REASON_CHARACTERS = 500
_WORKER = "runners.vllm_worker"
_START = "import sys; sys.path.append(sys.argv[1]); from runners.vllm_worker import main; main()"

_PREFIX = re.compile(r"^(\([^)]*\)\s*)*((ERROR|CRITICAL)\s+\S+\s+\S+\s+\[[^\]]*\]\s*)?")
_EXCEPTION = re.compile(r"^([\w.]*(Error|Exception|Interrupt)|torch\.\w*OutOfMemory\w*)\b.*")
_POINTS_ELSEWHERE = re.compile(r"root cause|stack trace|initialization failed", re.IGNORECASE)


class EngineError(Exception):
    """The engine did not start, died or did not answer, and has been ended. The text is the reason."""


def worker_command(forked: bool = False) -> list[str]:
    """The command that runs vllm_worker; -P keeps the current directory from hiding a module. forked: as a fork server
    takes it."""
    return [_WORKER] if forked else [sys.executable, "-P", "-c", _START, str(Path(__file__).resolve().parents[1])]


class EngineProcess:
    """One engine in a child process. After an EngineError or any interruption of `ask` it has been ended.

    command: what to execute; the descriptor for replies is appended. environment: all of the child's variables.
    fork_server: one that has imported vLLM; the command is then a module. Raises EngineError, and ForkServerError where
    it forks nothing.
    """

    def __init__(
        self, environment: Mapping[str, str], command: Sequence[str] | None = None,
        fork_server: ForkServer | None = None,
    ) -> None:
        self._replies, child_replies = os.pipe()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._buffer = bytearray()
        self._answered = False
        self._kills_before = memory_kills()
        try:
            self._group = ProcessGroup(
                [*(command or worker_command(fork_server is not None)), str(child_replies)], environment,
                stdin=subprocess.PIPE, stdout=self._log, stderr=subprocess.STDOUT, pass_fds=(child_replies,),
                owns_memory=True, popen=subprocess.Popen if fork_server is None else fork_server.popen)
        except OSError as error:
            self._free()
            raise EngineError(f"the engine's process could not be started: {error}") from error
        except BaseException:
            self._free()
            raise
        finally:
            os.close(child_replies)
        self._process = self._group.process

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """Number of the process, of its session and of its process group."""
        return self._group.pid

    def ask(self, message: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """The reply to one request. Raises EngineError."""
        try:
            reply = self._exchange(message, timeout_s)
            if not self._answered:
                self._group.note_memory()
            self._answered = True
            return reply
        except BaseException:
            self.kill()  # a late reply would be taken for that of the next request
            raise

    def _exchange(self, message: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        deadline = time.monotonic() + timeout_s
        assert self._process.stdin is not None
        # If the child has died, reading its reply will show it.
        with contextlib.suppress(OSError):
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0:
                raise EngineError(f"no answer within {timeout_s:g} s")
            if wait([self._replies], min(left, _POLL_S)):
                chunk = os.read(self._replies, 1 << 20)
                if not chunk:
                    raise EngineError(self._reason(None))
                self._buffer += chunk
            elif not self.alive:
                raise EngineError(self._reason(None))
        line, _, rest = bytes(self._buffer).partition(b"\n")
        self._buffer = bytearray(rest)
        try:
            reply = json.loads(line)
        except (ValueError, RecursionError):
            reply = None
        if not isinstance(reply, dict):
            raise EngineError(f"the engine's process answered {line[:80]!r}, which is no JSON object")
        if "error" in reply:
            raise EngineError(self._reason(str(reply["error"])))
        return reply

    def _reason(self, error: str | None) -> str:
        """Why the process died. Waits for its end first: only then is the log complete."""
        try:
            status: int | None = self._process.wait(_CLOSE_S / 4)
        except subprocess.TimeoutExpired:
            status = None
        return explain(error, status, self.log(), memory_kills() > self._kills_before)

    def log(self) -> str:
        """The end of what the process has printed."""
        return tail(self._log)

    def close(self) -> None:
        """Let the process end by itself, then end whatever is left of it. May be called twice."""
        if self._replies < 0:
            return
        self._group.note_memory()
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_CLOSE_S)
        self.kill()

    def kill(self) -> None:
        """Return when the process and everything it started have been killed. May be called twice."""
        if self._replies < 0:
            return
        self._group.end()
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        self._free()

    def _free(self) -> None:
        os.close(self._replies)
        self._replies = -1
        self._log.close()


def tail(log: IO[bytes]) -> str:
    """The end of a log that another process is writing."""
    # The place in the file is shared with the process that writes it: it must not move.
    size = os.fstat(log.fileno()).st_size
    return os.pread(log.fileno(), _LOG_TAIL_BYTES, max(0, size - _LOG_TAIL_BYTES)).decode(errors="replace")


def explain(error: str | None, status: int | None, log: str, ran_out: bool = False) -> str:
    """Why the process died, in one line: from its last reply, its log and its exit status.

    error: the last reply, if there was one. If it only points to another exception, the last real exception in the log
    is the reason. Exceptions within warnings do not count. ran_out: whether the kernel has killed any process since it
    started because memory ran out.
    """
    lines = [line.strip() for line in log.splitlines() if " WARNING " not in line and " INFO " not in line]
    lines = [_PREFIX.sub("", line).strip() for line in lines]
    raised = [line for line in lines if _EXCEPTION.match(line) and not _POINTS_ELSEWHERE.search(line)]
    memory = [line for line in raised if "out of memory" in line.lower()]
    if memory:
        reason = memory[-1]
    elif error is not None and not _POINTS_ELSEWHERE.search(error):
        reason = error
    elif status is not None and status < 0 and error is None:
        # A process that is killed writes nothing more: what the log holds has another cause.
        hint = "" if status != -signal.SIGKILL else f"; {RAN_OUT}" if ran_out else ", often because memory ran out"
        reason = f"engine process was ended by signal {-status} ({signal.strsignal(-status)}{hint})"
    elif raised:
        reason = raised[-1]
    else:
        tail = " | ".join([line for line in lines if line][-3:])
        reason = error or f"engine process ended with status {status}" + (f": {tail}" if tail else "")
    return " ".join(reason.split())[:_REASON_CHARACTERS]
