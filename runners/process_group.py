"""Child processes that end with us, together with everything that they start.

Each child leads a session of its own, so that Ctrl-C does not reach it. Two kinds of small processes look after
children. They read from pipes whose only write ends are ours and that close however we end, `kill -9` included.

The *guard* (`process_guard`) is one for all children. It knows them by their sessions, by a mark in their environment
and by descent, ends them in good order and removes their shared memory. It starts with the first child and takes some
10 MB; a child costs a line in its pipe.

A *keeper* (`process_keeper`, Linux) is the parent of one child: whatever the child starts stays below it, daemons with
a cleared environment too. It costs 8 MB, and 30 ms at the child's start. A ForkServer's children have the keeper of
their server.

What ends                     which processes end with it
============================  =====================================================================================
this process                  every session, and what has left its session: processes below a keeper and processes
                              that carry our mark, with their descendants
`ProcessGroup.end()`          the same, of one child
`end(detached=False)`         the session; what has left it (a daemon) goes on until this process ends
a child, `end` not called     the session, three seconds later, on Linux: the ranks of an engine that was killed free
                              their devices even while nobody asks for the engine
guard or keeper               nothing: the other one ends what this process leaves behind. Another guard starts with
                              the next child. If both are killed, and then this process, its children go on.

Where we have no time to end our children ourselves, they get SIGTERM, and SIGKILL two seconds later. No signal goes to
a process that merely has the number of one of ours: it must have started when ours did.

Not reached: processes of another user (`sudo`); what a service starts on request (docker, systemd, a batch queue),
though the client that asked gets SIGTERM and may pass it on. If a keeper was killed: a process that has left the
session, has cleared its environment, and whose parent has ended. Without /proc (macOS): whatever has left the child's
process group.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final, Protocol, TypeAlias

from runners.forked_process import ForkedProcess
from runners.held_descriptors import held
from runners.process_table import KILL_S, end_processes, remove_files, shared_memory, started_at

__all__ = ["Child", "ProcessGroup", "Stream"]

Stream: TypeAlias = int | IO[bytes]

_VARIABLE: Final = "SWEEPWISE_PROCESS_GROUP"
"""Holds the marks of a process, the outermost first: a benchmark may itself run sweepwise."""
_EXIT_S: Final = 5.0
_START: Final = "import sys; sys.path.append(sys.argv[1]); from runners.process_guard import main; main()"
_KEEP: Final = "import sys; sys.path.append(sys.argv[1]); from runners.process_keeper import main; main()"
_ROOT: Final = str(Path(__file__).resolve().parents[1])


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
        self._keeper: subprocess.Popen[bytes] | None = None
        self.process: Child
        with self._guard.starting():
            marks = f"{environment.get(_VARIABLE, '')} {self._mark}".strip()
            if popen is subprocess.Popen and sys.platform == "linux":
                self._keeper, self.process = self._guard.start_kept(
                    command, marks, env=environment, cwd=cwd, stdin=stdin, stdout=stdout, stderr=stderr,
                    pass_fds=[*pass_fds, *held])
            else:
                self.process = popen(
                    command, env={**environment, _VARIABLE: marks}, cwd=cwd, stdin=stdin, stdout=stdout, stderr=stderr,
                    pass_fds=[*pass_fds, *held], start_new_session=True)
            self._started = {self.pid: started_at(self.pid)}
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
        below = self._keeper.pid if self._keeper is not None and detached and self._keeper.poll() is None else 0
        end_processes(sessions, self._mark if detached else "", grace_s, self.process.poll, below=below,
                      started=self._started)
        self._ended = True
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(KILL_S)
            if below and self._keeper is not None:
                self._keeper.wait(_EXIT_S)
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
        self._life: tuple[int, ...] = ()  # a pipe that ends with us: keepers read from it
        self._keepers: list[subprocess.Popen[bytes]] = []

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

    def start_kept(
        self, command: Sequence[str], marks: str, *, env: Mapping[str, str], pass_fds: Sequence[int], **options: Any,
    ) -> tuple[subprocess.Popen[bytes], Child]:
        """A keeper, and the child that it keeps. Raises OSError and ValueError as subprocess.Popen does for the
        command."""
        with self._lock:
            self._life = self._life or os.pipe()
            self._keepers = [keeper for keeper in self._keepers if keeper.poll() is None]
        report, theirs = os.pipe()
        own = [str(self._life[0]), str(theirs), _VARIABLE, marks]
        try:
            keeper = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _KEEP, _ROOT, *own, *map(os.fsdecode, command)], env=env,
                pass_fds=[*pass_fds, self._life[0], theirs], start_new_session=True, **options)
        except BaseException:
            os.close(report)
            raise
        finally:
            os.close(theirs)
        with self._lock:
            self._keepers.append(keeper)
        try:
            return keeper, ForkedProcess(_reported(report, command[0]), report, keeper.stdin)
        except BaseException:
            os.close(report)
            raise

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
        """Let the guard and the keepers end whatever is left, and wait for them."""
        if self._process is not None and self._pipe >= 0:
            self.leave()
            with contextlib.suppress(subprocess.TimeoutExpired):
                for process in (self._process, *self._keepers):
                    process.wait(_EXIT_S)

    def leave(self) -> None:
        """Close our ends of the pipes."""
        self._leave_guard()
        for descriptor in self._life:
            os.close(descriptor)
        self._life = ()

    def _leave_guard(self) -> None:
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
        self._leave_guard()
        read, self._pipe = os.pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _START, _ROOT, f"{self._token}."], cwd="/", stdin=read,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        finally:
            os.close(read)
        os.write(self._pipe, b">\n" * self._starting + b"".join(self._watched.values()))


def _reported(report: int, program: str) -> int:
    """The number of the child that a keeper has started. Raises OSError that says why there is none."""
    line = b""
    while (byte := os.read(report, 1)) not in {b"", b"\n"}:
        line += byte
    if line[:1] == b"!" or not line:
        number = int(line[1:] or 0) or errno.ECHILD
        raise OSError(number, os.strerror(number), program)
    return int(line)


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
