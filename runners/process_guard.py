"""The guard process: ends the children of the process that started it, once that process has ended.

It learns of them on standard input, one line each, and knows by the end of its input that the other process is gone:

    +PID 1     watch this session, and remove its shared memory when it ends (0: leave that alone)
    -PID       nothing of this session is left
    .          the process that we guard is about to end in good order

See `process_group` for what is reached. Imports the standard library only: it must start at once.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Sequence
from typing import Final

from runners.process_table import GRACE_S, end_processes, remove_files, shared_memory

__all__ = ["main"]

_LEADERLESS_S: Final = GRACE_S + 1
"""Seconds that a session may outlive its leader; ending it in good order takes less, and must not be disturbed."""
_STARTING_S: Final = 0.1
"""Seconds after which we look again: a child that was being started may not have shown its mark yet."""


def main() -> None:
    """Return when standard input has ended and nothing runs that we were told of or that carries the mark.

    The last argument of the command line is the mark.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    mark, sessions = sys.argv[-1], _Sessions()
    orderly = sessions.follow()
    sessions.end_all(mark)
    if not orderly:
        time.sleep(_STARTING_S)
        sessions.end_all(mark)


class _Sessions:
    """The sessions that we were told of."""

    def __init__(self) -> None:
        self._owns_memory: dict[int, bool] = {}
        self._leaders: dict[int, int] = {}  # session by the descriptor that tells when its leader ends
        self._due: dict[int, float] = {}  # when to end a session whose leader has ended
        self._poll = select.poll()
        self._poll.register(0, select.POLLIN)

    def follow(self) -> bool:
        """Read until the input ends; whether it ended in good order."""
        orderly, rest = False, b""
        while True:
            ready = {descriptor for descriptor, _ in self._poll.poll(self._wait_ms())}
            for descriptor in ready - {0}:
                self._due[self._leaders[descriptor]] = time.monotonic() + _LEADERLESS_S
                self._unwatch(descriptor)
            if 0 in ready:
                chunk = os.read(0, 1 << 16)
                if not chunk:
                    return orderly
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    if line == b".":
                        orderly = True
                    else:
                        self._note(line)
            for session in [session for session, due in self._due.items() if due <= time.monotonic()]:
                self._end([session], "", 0.0)
                self._forget(session)

    def end_all(self, mark: str) -> None:
        """Return when no session and nothing that carries the mark runs any more."""
        self._end(list(self._owns_memory), mark, GRACE_S)

    def _end(self, sessions: Sequence[int], mark: str, grace_s: float) -> None:
        memory = {path for session in sessions if self._owns_memory[session] for path in shared_memory(session)}
        end_processes(sessions, mark, grace_s)
        remove_files(memory)

    def _wait_ms(self) -> float | None:
        return max(0.0, min(self._due.values()) - time.monotonic()) * 1e3 if self._due else None

    def _note(self, line: bytes) -> None:
        number, _, owns_memory = line[1:].partition(b" ")
        session = int(number)
        if line.startswith(b"-"):
            self._forget(session)
            return
        self._owns_memory[session] = owns_memory == b"1"
        with contextlib.suppress(OSError, AttributeError):  # its leader has ended since; no Linux
            descriptor = os.pidfd_open(session)
            self._leaders[descriptor] = session
            self._poll.register(descriptor, select.POLLIN)

    def _forget(self, session: int) -> None:
        self._owns_memory.pop(session, None)
        self._due.pop(session, None)
        for descriptor in [descriptor for descriptor, leader in self._leaders.items() if leader == session]:
            self._unwatch(descriptor)

    def _unwatch(self, descriptor: int) -> None:
        del self._leaders[descriptor]
        self._poll.unregister(descriptor)
        os.close(descriptor)
