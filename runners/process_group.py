"""Child processes that end with us, together with everything that they start.

Each child leads a session of its own, so that Ctrl-C does not reach it. One small guard process (`process_guard`)
looks after all children of this process. It reads from a pipe whose only write end is ours: the pipe closes however
we end, `kill -9` included, and the guard then ends the children. It starts with the first child and takes some 10 MB;
a child costs a line in the pipe.

What ends                     which processes end with it
============================  =====================================================================================
this process                  every session; on Linux also what has left its session: processes that carry our mark
                              in their environment, and the descendants of all of these
`ProcessGroup.end()`          the same, of one child
`end(detached=False)`         the session; what has left it (a daemon) goes on until this process ends
a child, `end` not called     the session, three seconds later, on Linux: the ranks of an engine that was killed free
                              their devices even while nobody asks for the engine

Where we have no time to end our children ourselves, the guard sends SIGTERM, and SIGKILL two seconds later.

Not reached: a process that has left the session, has cleared or overwritten its environment, and whose parent has
ended; processes of another user (`sudo`); what a service starts on request (docker, systemd, a batch queue), though
the client that asked gets SIGTERM and may pass it on. Without /proc (macOS): whatever has left the child's process
group. Where the guard itself is killed, another starts with the next child.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Final, Protocol, TypeAlias

from runners.process_table import KILL_S, end_processes, remove_files, shared_memory

__all__ = ["Child", "ProcessGroup", "Stream"]

Stream: TypeAlias = int | IO[bytes]

_VARIABLE: Final = "SWEEPWISE_PROCESS_GROUP"
"""Holds the marks of a process, the outermost first: a benchmark may itself run sweepwise."""
_EXIT_S: Final = 5.0
_START: Final = "import sys; sys.path.append(sys.argv[1]); from runners.process_guard import main; main()"


class Child(Protocol):
    """What is needed of a child process, as subprocess.Popen has it."""

    @property
    def pid(self) -> int:
        """Its number, and that of its session."""

    @property
    def stdin(self) -> IO[bytes] | None:
        """Our end of its standard input, if that is a pipe."""

    def poll(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status, once it has ended. Raises subprocess.TimeoutExpired."""


class ProcessGroup:
    """A child process and everything that it starts. The caller must call `end`, at least once.

    command, environment, cwd, the streams and pass_fds: as subprocess.Popen takes them. owns_memory: whether files in
    /dev/shm that the child's session holds go with it. popen: what starts it; a ForkServer's starts it faster. Raises
    OSError and ValueError as Popen does.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], *, cwd: Path | None = None,
        stdin: Stream = subprocess.DEVNULL, stdout: Stream = subprocess.DEVNULL, stderr: Stream = subprocess.DEVNULL,
        pass_fds: Sequence[int] = (), owns_memory: bool = False, popen: Callable[..., Child] = subprocess.Popen,
    ) -> None:
        self._guard = _guard
        self._owns_memory = owns_memory
        self._memory: set[Path] = set()
        self._ended = False
        self._mark = self._guard.new_mark()
        with self._guard.starting():
            marks = f"{environment.get(_VARIABLE, '')} {self._mark}".strip()
            self.process: Child = popen(
                command, env={**environment, _VARIABLE: marks}, cwd=cwd, stdin=stdin, stdout=stdout, stderr=stderr,
                pass_fds=pass_fds, start_new_session=True)
            self._guard.watch(self.pid, owns_memory)

    @property
    def pid(self) -> int:
        """Number of the child, of its session and of its process group."""
        return self.process.pid

    def note_memory(self) -> None:
        """Remember the shared memory that is held now: once a child has ended, it can no longer be found."""
        if self._owns_memory and not self._ended:
            found = shared_memory(self.pid) - self._memory
            self._memory |= found
            self._guard.note(self.pid, found)

    def end(self, grace_s: float = 0.0, detached: bool = True) -> None:
        """Return when nothing of the child runs any more.

        grace_s: seconds between SIGTERM and SIGKILL where the child still runs; what a child leaves behind that has
        ended by itself is killed at once. detached: whether what has left the session ends too.
        """
        self.note_memory()
        grace_s = grace_s if self.process.poll() is None else 0.0
        sessions = () if self._ended else (self.pid,)  # once it has ended, its number may be another process's
        end_processes(sessions, self._mark if detached else "", grace_s, reap=self.process.poll)
        self._ended = True
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(KILL_S)
        self._guard.forget(self.pid)
        remove_files(self._memory)


class _Guard:
    """The guard process as seen from the process that it guards. Threads may share it."""

    def __init__(self) -> None:
        self._token = os.urandom(8).hex()
        self._lock = threading.Lock()
        self._count = 0
        self._starting = 0
        self._watched: dict[int, bytes] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe = -1

    @contextlib.contextmanager
    def starting(self) -> Iterator[None]:
        """A context to start a child in. If we end within, the guard waits for a process to show up with a mark."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._start()
            self._starting += 1
            self._tell(b">\n")
        try:
            yield
        finally:
            with self._lock:
                self._starting -= 1
                self._tell(b"<\n")

    def new_mark(self) -> str:
        """What a new child carries in its environment, and its descendants with it."""
        with self._lock:
            self._count += 1
            return f"{self._token}.{self._count}."

    def watch(self, pid: int, owns_memory: bool) -> None:
        """Tell the guard of a child."""
        with self._lock:
            self._watched[pid] = b"+%d %d\n" % (pid, owns_memory)
            self._tell(self._watched[pid])

    def note(self, pid: int, memory: Collection[Path]) -> None:
        """Tell the guard of a child's shared memory."""
        with self._lock:
            lines = b"".join(b"=%d %s\n" % (pid, os.fsencode(path)) for path in memory)
            if lines and pid in self._watched:
                self._watched[pid] += lines
                self._tell(lines)

    def forget(self, pid: int) -> None:
        """Tell the guard that nothing of a child is left."""
        with self._lock:
            if self._watched.pop(pid, None):
                self._tell(b"-%d\n" % pid)

    def close(self) -> None:
        """Let the guard end whatever is left, and wait for it."""
        if self._process is not None and self._pipe >= 0:
            self.leave()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_EXIT_S)

    def leave(self) -> None:
        """Close our end of the pipe."""
        if self._pipe >= 0:
            os.close(self._pipe)
        self._pipe = -1

    def _tell(self, line: bytes) -> None:
        if self._process is None or self._pipe < 0:  # closed, or the guard of the process that we were forked from
            return
        try:
            os.write(self._pipe, line)
        except BrokenPipeError:  # somebody has killed it
            self._process.wait()
            self._start()

    def _start(self) -> None:
        """Start the guard, and tell it of every child there is."""
        self.leave()
        read, self._pipe = os.pipe()
        root = str(Path(__file__).resolve().parents[1])
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _START, root, f"{self._token}."], cwd="/", stdin=read,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        finally:
            os.close(read)
        os.write(self._pipe, b">\n" * self._starting + b"".join(self._watched.values()))


_guard = _Guard()


def _after_fork() -> None:
    """A copy of this process must not keep the guard's pipe open; its own children get a guard of their own."""
    global _guard  # noqa: PLW0603 - one a process
    _guard.leave()
    _guard = _Guard()


def _at_exit() -> None:
    _guard.close()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
