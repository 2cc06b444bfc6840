"""A process that has imported what its children need, so that each child starts at once.

Importing vLLM takes most of an engine's start. A fork server (AFL's and multiprocessing's word) does it once: every
child is forked from it and finds all modules there. It touches no device. A child is as separate as if it had been
started anew: a session of its own, its own variables and descriptors, ended through its own ProcessGroup. A child that
dies takes nobody with it. Linux only.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final

from runners.forked_process import ForkedProcess
from runners.held_descriptors import held
from runners.process_group import ProcessGroup, Stream

__all__ = ["ForkServer", "ForkServerError", "can_fork"]

_START: Final = "import sys; sys.path.append(sys.argv[1]); from runners.fork_server_process import main; main()"
_MESSAGE_BYTES: Final = 1 << 16
_FORK_S: Final = 30.0


class ForkServerError(Exception):
    """It can fork nothing; the text is the reason, one line. Start the process in the usual way."""


def can_fork() -> bool:
    """Whether this system has what a fork server needs."""
    return hasattr(os, "pidfd_open") and hasattr(socket, "send_fds")


class ForkServer:
    """Imports begin at once, in the background. Use from one thread at a time. The caller must call `close`.

    environment: the variables under which the modules are imported. modules: what to import.
    """

    def __init__(self, environment: Mapping[str, str], modules: Sequence[str]) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._import_s: float | None = None
        root = str(Path(__file__).resolve().parents[1])
        try:
            self._group = ProcessGroup([sys.executable, "-P", "-c", _START, root], environment, stdin=theirs.fileno(),
                                       owns_memory=True)
        except OSError as error:
            self._socket.close()
            raise ForkServerError(f"it could not be started: {error}") from error
        finally:
            theirs.close()
        try:
            self._send({"modules": list(modules), "paths": [root]})
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """Number of the process, of its session and of its process group."""
        return self._group.pid

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._group.process.poll() is None

    def import_s(self, timeout_s: float) -> float:
        """Seconds that the imports took; waits for their end. Raises ForkServerError."""
        if self._import_s is None:
            self._import_s = self._told(timeout_s, "import_s")
            self._group.note_memory()
        return self._import_s

    def popen(
        self, command: Sequence[str], *, env: Mapping[str, str], cwd: Path | None = None,
        stdin: Stream = subprocess.DEVNULL, stdout: Stream = subprocess.DEVNULL, stderr: Stream = subprocess.DEVNULL,
        pass_fds: Sequence[int] = (), start_new_session: bool = True, cores: Sequence[int] = (),
    ) -> ForkedProcess:
        """A child that runs `command`, a module and its arguments; otherwise as subprocess.Popen. Raises
        ForkServerError, after which this server has ended: it may have forked a child that nobody knows.

        An argument that is the number of one of `pass_fds` is what that number becomes in the child. cores: those that
        the child may use; () for those that this process may use now. A session of its own is what each child has.
        """
        assert start_new_session
        numbers = {str(descriptor): k for k, descriptor in enumerate(pass_fds) if descriptor not in held}
        arguments = [{"descriptor": numbers[argument]} if argument in numbers else argument for argument in command[1:]]
        message = {"module": command[0], "arguments": arguments, "environment": dict(env),
                   "cwd": None if cwd is None else str(cwd), "cores": list(cores or os.sched_getaffinity(0))}
        with contextlib.ExitStack() as opened:
            status, their_status = os.pipe()
            opened.callback(os.close, their_status)
            streams, ours = _streams(stdin, stdout, stderr, opened)
            try:
                self.import_s(_FORK_S)
                self._send(message, [their_status, *streams, *pass_fds])
                pid = int(self._told(_FORK_S, "pid"))
            except BaseException:
                os.close(status)
                if ours is not None:
                    ours.close()
                self.close()
                raise
        return ForkedProcess(pid, status, ours)

    def close(self) -> None:
        """Return when it and all of its children have ended. May be called twice."""
        self._socket.close()
        self._group.end()

    def _send(self, message: Mapping[str, Any], descriptors: Sequence[int] = ()) -> None:
        try:
            socket.send_fds(self._socket, [json.dumps(message).encode()], descriptors)
        except OSError as error:
            raise ForkServerError(f"the fork server takes no message: {error}") from error

    def _told(self, timeout_s: float, name: str) -> float:
        """The number of this name in the next reply. Raises ForkServerError."""
        found = self._reply(timeout_s).get(name)
        if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found < math.inf:
            raise ForkServerError(f"the fork server answered what none does: {name} {str(found)[:80]}")
        return found

    def _reply(self, timeout_s: float) -> dict[str, Any]:
        self._socket.settimeout(timeout_s)
        try:
            reply = self._socket.recv(_MESSAGE_BYTES)
        except TimeoutError:
            raise ForkServerError(f"the fork server gave no answer within {timeout_s:g} s") from None
        except OSError as error:
            raise ForkServerError(f"the fork server gives no answer: {error}") from error
        if not reply:
            raise ForkServerError("the fork server has ended")
        try:
            answer = json.loads(reply)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise ForkServerError(f"the fork server answered {reply[:80]!r}, which is no JSON object")
        if "reason" in answer:
            raise ForkServerError(str(answer["reason"]))
        return answer


def _streams(
    stdin: Stream, stdout: Stream, stderr: Stream, opened: contextlib.ExitStack
) -> tuple[list[int], IO[bytes] | None]:
    """Descriptors of the child's three streams, and our end of its standard input if that is a pipe."""
    ours: IO[bytes] | None = None
    found: list[int] = []
    for number, stream in enumerate((stdin, stdout, stderr)):
        if stream == subprocess.PIPE and number == 0:
            theirs, end = os.pipe()
            opened.callback(os.close, theirs)
            ours = os.fdopen(end, "wb")
            found.append(theirs)
        elif stream == subprocess.DEVNULL:
            null = os.open(os.devnull, os.O_RDWR)
            opened.callback(os.close, null)
            found.append(null)
        elif stream == subprocess.STDOUT and number == 2:
            found.append(found[1])
        else:
            found.append(stream if isinstance(stream, int) else stream.fileno())
    return found, ours
