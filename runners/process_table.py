"""Finds and ends running processes: those of a session, those that carry a mark, and the shared memory that they hold.

Reads /proc. Where there is none (macOS), only process groups are found. Imports the standard library only: the guard
process runs this too, and must start at once.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

__all__ = ["GRACE_S", "KILL_S", "end_processes", "find", "members", "remove_files", "shared_memory", "started_at"]

GRACE_S: Final = 2.0
"""Seconds between asking processes to end and ending them."""
KILL_S: Final = 20.0
"""Seconds after which a process that SIGKILL does not end (it waits for a disk or a device) is given up."""
_POLL_S: Final = 0.02

_PROCESSES = Path("/proc")
_MEMORY = Path("/dev/shm")


class _Process(NamedTuple):
    """What is known of a running process. started: in clock ticks; with the number, it is one process and no other."""

    pid: int
    parent: int
    group: int
    session: int
    started: int


def find(
    sessions: Collection[int], mark: str = "", below: int = 0, started: Mapping[int, int] = MappingProxyType({})
) -> dict[int, int]:
    """The process group of each process that runs, by process id: processes of the sessions, the descendants of the
    process `below` and, with a mark, also those that were started with the mark in their environment and the
    descendants of all of these.

    started: when the leaders of the sessions started. A session is left out whose leader started at another time: the
    number is another process's by now. A process that has ended and that nobody has waited for does not run. This
    process itself is left out. Without /proc: the sessions whose process group has a process, each as one entry.
    """
    return {pid: process.group for pid, process in _find(sessions, mark, below, started).items()}


def _find(sessions: Collection[int], mark: str, below: int, started: Mapping[int, int]) -> dict[int, _Process]:
    if not (_PROCESSES / "self" / "stat").exists():
        return {session: _Process(session, 0, session, session, 0) for session in sessions if _group_runs(session)}
    processes = {process.pid: process for process in _running()}
    ours = {session for session in sessions if session not in started or session not in processes
            or processes[session].started == started[session]}
    children: dict[int, list[int]] = {}
    for process in processes.values():
        children.setdefault(process.parent, []).append(process.pid)
    found = [pid for pid, process in processes.items()
             if process.session in ours or (mark and _carries(pid, mark))]
    known = set(found)
    roots = [*([below] if below else ()), *(found if mark or below else ())]
    while roots:
        more = [child for child in children.get(roots.pop(), ()) if child not in known]
        known.update(more)
        roots += more
    return {pid: processes[pid] for pid in sorted(known - {os.getpid()})}


def members(session: int) -> list[int]:
    """Running processes of the session, ascending."""
    return list(find({session}))


def shared_memory(session: int) -> set[Path]:
    """Files of shared memory that the session's processes hold; empty without /proc.

    vLLM leaves some of them behind, and all of them when it is killed.
    """
    found: set[Path] = set()
    for member in {session, *members(session)}:  # its leader may have ended
        found |= set(_MEMORY.glob(f"__KMP_REGISTERED_LIB_{member}_*"))  # Intel's OpenMP does not keep it mapped
        with contextlib.suppress(OSError):
            for line in (_PROCESSES / str(member) / "maps").read_text().splitlines():
                path = line.partition(f"{_MEMORY}/")[2]
                if path and not path.endswith("(deleted)"):
                    found.add(_MEMORY / path)
    return found


def end_processes(
    sessions: Collection[int], mark: str = "", grace_s: float = 0.0, reap: Callable[[], object] = bool, *,
    below: int = 0, started: Mapping[int, int] = MappingProxyType({}),
) -> bool:
    """Whether something that `find` finds ran and nothing of it runs any more; False too where `KILL_S` seconds of
    SIGKILL have not helped.

    below, started: as `find` has them. grace_s: seconds between SIGTERM and SIGKILL; 0 kills at once. reap: called
    again and again; it waits for children of this process that have ended, which without /proc cannot be told from
    those that run.
    """
    patience, asked = time.monotonic() + grace_s, False
    while found := _find(sessions, mark, below, started):
        if time.monotonic() >= patience + KILL_S:
            return False
        if time.monotonic() >= patience:
            _send(signal.SIGKILL, sessions, found)
        elif not asked:
            _send(signal.SIGTERM, sessions, found)
            _send(signal.SIGCONT, sessions, found)  # a process that is stopped does not end
        asked = True
        time.sleep(_POLL_S)
        reap()
    return asked


def remove_files(paths: Collection[Path]) -> None:
    """Return when the files are gone, as far as they are ours to remove."""
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink()


def _send(number: signal.Signals, sessions: Collection[int], found: Mapping[int, _Process]) -> None:
    """Send a signal to the sessions' process groups, each at once, and to every other process found."""
    for group in {process.group for process in found.values()} & set(sessions):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)
    for process in [process for process in found.values() if process.group not in sessions]:
        _send_to(process, number)


def _send_to(process: _Process, number: signal.Signals) -> None:
    """Send a signal to this process, and to none that has had its number since."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if not hasattr(os, "pidfd_open"):
            os.kill(process.pid, number)
            return
        descriptor = os.pidfd_open(process.pid)
        try:
            if started_at(process.pid) == process.started:
                signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)


def started_at(pid: int) -> int:
    """When a process started, in clock ticks since the machine did, one that has ended and that nobody has waited for
    too; 0 if there is none, or no /proc."""
    fields = _fields(pid)
    return int(fields[19]) if fields else 0


def _running() -> Iterator[_Process]:
    """Every process that runs."""
    for entry in _PROCESSES.iterdir():
        fields = _fields(int(entry.name)) if entry.name.isdecimal() else []
        if fields and fields[0] not in {b"Z", b"X"}:
            yield _Process(int(entry.name), int(fields[1]), int(fields[2]), int(fields[3]), int(fields[19]))


def _fields(pid: int) -> list[bytes]:
    """What /proc tells of a process, from its state on; nothing if it has ended."""
    try:
        # The second field is the program's name, in brackets, with anything in it.
        return (_PROCESSES / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return []


def _carries(pid: int, mark: str) -> bool:
    try:
        return mark.encode() in (_PROCESSES / str(pid) / "environ").read_bytes()
    except OSError:  # it has ended since, or is another user's
        return False


def _group_runs(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):  # macOS refuses where all have ended and none was waited for
        return False
    return True
