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
from typing import Final

__all__ = ["GRACE_S", "KILL_S", "end_processes", "find", "members", "remove_files", "shared_memory"]

GRACE_S: Final = 2.0
"""Seconds between asking processes to end and ending them."""
KILL_S: Final = 20.0
"""Seconds after which a process that SIGKILL does not end (it waits for a disk or a device) is given up."""
_POLL_S: Final = 0.02

_PROCESSES = Path("/proc")
_MEMORY = Path("/dev/shm")


def find(sessions: Collection[int], mark: str = "") -> dict[int, int]:
    """The process group of each process that runs, by process id: processes of the sessions and, with a mark, also
    those that were started with the mark in their environment and the descendants of all of these.

    A process that has ended and that nobody has waited for does not run. This process itself is left out. Without
    /proc: the sessions whose process group has a process, each as one entry.
    """
    if not (_PROCESSES / "self" / "stat").exists():
        return {session: session for session in sessions if _group_runs(session)}
    groups: dict[int, int] = {}
    children: dict[int, list[int]] = {}
    found: list[int] = []
    for pid, parent, group, session in _running():
        groups[pid] = group
        children.setdefault(parent, []).append(pid)
        if session in sessions or (mark and _carries(pid, mark)):
            found.append(pid)
    known = set(found)
    while mark and found:
        more = [child for child in children.get(found.pop(), ()) if child not in known]
        known.update(more)
        found += more
    return {pid: groups[pid] for pid in sorted(known - {os.getpid()})}


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
    sessions: Collection[int], mark: str = "", grace_s: float = 0.0, reap: Callable[[], object] = bool
) -> bool:
    """Whether something that `find` finds ran and nothing of it runs any more; False too where `KILL_S` seconds of
    SIGKILL have not helped.

    grace_s: seconds between SIGTERM and SIGKILL; 0 kills at once. reap: called again and again; it waits for children
    of this process that have ended, which without /proc cannot be told from those that run.
    """
    patience, asked = time.monotonic() + grace_s, False
    while found := find(sessions, mark):
        if time.monotonic() >= patience + KILL_S:
            return False
        if time.monotonic() >= patience:
            _send(signal.SIGKILL, sessions, found)
        elif not asked:
            _send(signal.SIGTERM, sessions, found)
        asked = True
        time.sleep(_POLL_S)
        reap()
    return asked


def remove_files(paths: Collection[Path]) -> None:
    """Return when the files are gone, as far as they are ours to remove."""
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink()


def _send(number: signal.Signals, sessions: Collection[int], found: Mapping[int, int]) -> None:
    """Send a signal to the sessions' process groups, each at once, and to every other process found."""
    for group in set(found.values()) & set(sessions):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)
    for pid in [pid for pid, group in found.items() if group not in sessions]:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _running() -> Iterator[tuple[int, int, int, int]]:
    """Id, parent, process group and session of every process that runs."""
    for entry in _PROCESSES.iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            # The second field is the program's name, in brackets, with anything in it.
            fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
        except OSError:  # it has ended since
            continue
        if fields[0] not in {b"Z", b"X"}:
            yield int(entry.name), int(fields[1]), int(fields[2]), int(fields[3])


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
