"""The guard process: ends the children of the process that started it, once that process has ended.

It learns of them on standard input, one line each, and knows by the end of its input that the other process is gone:

    >          a child is about to be started
    <          it has been, or could not be
    +PID 1     watch this session, and remove its shared memory when it ends (0: leave that alone)
    =PID PATH  a file of its shared memory; more may be found when it ends
    -PID       nothing of this session is left

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
from pathlib import Path
from typing import Final

from runners.process_table import GRACE_S, end_processes, remove_files, shared_memory, started_at

__all__ = ["main"]

_LEADERLESS_S: Final = GRACE_S + 1
"""Seconds that a session may outlive its leader; ending it in good order takes less, and must not be disturbed."""
_AGAIN_S: Final = 0.1
"""Seconds between two checks: a process that is just executing another program shows no mark."""
_STARTING_S: Final = 5.0
"""Seconds within which a child shows its mark that was being started when our input ended."""


def main() -> None:
    """Return when standard input has ended and nothing runs that we were told of or that carries the mark.

    The last argument of the command line is the mark.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    mark, sessions = sys.argv[-1], _Sessions()
    sessions.follow()
    until = time.monotonic() + (_STARTING_S if sessions.starting else 0.0)
    while sessions.end_all(mark) or time.monotonic() < until:
        time.sleep(_AGAIN_S)


class _Sessions:
    """The sessions that we were told of. starting: children that were about to be started when we last heard."""

    def __init__(self) -> None:
        self.starting = 0
        self._memory: dict[int, set[Path] | None] = {}  # shared memory to remove; None: not this session's
        self._started: dict[int, int] = {}  # when its leader did: its number may be another process's later
        self._leaders: dict[int, int] = {}  # session by the descriptor that tells when its leader ends
        self._due: dict[int, float] = {}  # when to end a session whose leader has ended
        self._poll = select.poll()
        self._poll.register(0, select.POLLIN)

    def follow(self) -> None:
        """Read until the input ends."""
        rest = b""
        while True:
            ready = {descriptor for descriptor, _ in self._poll.poll(self._wait_ms())}
            for descriptor in ready - {0}:
                self._due[self._leaders[descriptor]] = time.monotonic() + _LEADERLESS_S
                self._unwatch(descriptor)
            if 0 in ready:
                chunk = os.read(0, 1 << 16)
                if not chunk:
                    return
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self._note(line)
            for session in [session for session, due in self._due.items() if due <= time.monotonic()]:
                self._end([session], "", 0.0)
                self._forget(session)

    def end_all(self, mark: str) -> bool:
        """Whether there was something to end, in the sessions or with the mark, and nothing of it is left."""
        self._pause()
        return self._end(list(self._memory), mark, GRACE_S)

    def _pause(self) -> None:
        """Stop what may hold shared memory until it gets SIGTERM: a process that ends by itself, since it too has lost
        the one that started us, would show its memory no longer."""
        for session in [session for session, memory in self._memory.items() if memory is not None]:
            if started_at(session) == self._started[session]:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(session, signal.SIGSTOP)

    def _end(self, sessions: Sequence[int], mark: str, grace_s: float) -> bool:
        for session in sessions:
            memory = self._memory[session]
            if memory is not None:  # first, while it can be found, and so that nothing is left when the processes end
                remove_files(memory | shared_memory(session))
        return end_processes(sessions, mark, grace_s, started=self._started)

    def _wait_ms(self) -> float | None:
        return max(0.0, min(self._due.values()) - time.monotonic()) * 1e3 if self._due else None

    def _note(self, line: bytes) -> None:
        if line in {b">", b"<"}:
            self.starting += 1 if line == b">" else -1
            return
        number, _, rest = line[1:].partition(b" ")
        session = int(number)
        match line[:1]:
            case b"+":
                self._watch(session, owns_memory=rest == b"1")
            case b"=":
                memory = self._memory.get(session)
                if memory is not None:
                    memory.add(Path(os.fsdecode(rest)))
            case b"-":
                self._forget(session)

    def _watch(self, session: int, owns_memory: bool) -> None:
        self._memory[session] = set() if owns_memory else None
        self._started[session] = started_at(session)
        with contextlib.suppress(OSError, AttributeError):  # its leader has ended since; no Linux
            descriptor = os.pidfd_open(session)
            self._leaders[descriptor] = session
            self._poll.register(descriptor, select.POLLIN)

    def _forget(self, session: int) -> None:
        self._memory.pop(session, None)
        self._started.pop(session, None)
        self._due.pop(session, None)
        for descriptor in [descriptor for descriptor, leader in self._leaders.items() if leader == session]:
            self._unwatch(descriptor)

    def _unwatch(self, descriptor: int) -> None:
        del self._leaders[descriptor]
        self._poll.unregister(descriptor)
        os.close(descriptor)
