"""The process that made a trial, whether it is still alive, and whether it will finish the trial."""

from __future__ import annotations

import functools
import os
import secrets
import socket
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from optuna.trial import FrozenTrial, Trial

__all__ = ["give_up", "is_alive", "is_given_up", "this_worker"]

_GIVEN_UP: Final = set[tuple[int, datetime | None]]()
"""Number and microsecond of the start of runs, which no two runs of one process share."""
_OLD_PARTS: Final = 3  # host, pid and start time were an identity in earlier versions


@dataclass(frozen=True, slots=True)
class _Worker:
    """host, boot and namespace say where process numbers mean the same; token is the process's own, and in no other
    machine, not even in one that was copied with all its memory."""

    host: str
    pid: str
    started: str
    boot: str = ""
    namespace: str = ""
    token: str = ""

    @property
    def place(self) -> tuple[str, str, str]:
        return self.host, self.boot, self.namespace


def this_worker() -> str:
    """The identity of this process, stored with its trials: host, pid, start time, boot, pid namespace, token."""
    me = _here(os.getpid())
    return "|".join((me.host, me.pid, me.started, me.boot, me.namespace, me.token))


def is_alive(worker: str) -> bool | None:
    """Whether the process that `this_worker` named still runs; None where that cannot be seen from here: on another
    machine, in another container. An identity of an earlier version is taken to be alive elsewhere, by its host name
    alone: it has no lease, so that its silence says nothing."""
    parts = worker.split("|")
    if len(parts) == _OLD_PARTS:
        return parts[0] != socket.gethostname() or _runs(parts[1], parts[2])
    if len(parts) != len(_Worker.__slots__):
        return False
    other, me = _Worker(*parts), _here(os.getpid())
    if other == me:
        return True
    if other.place != me.place or not all(me.place) or not _sees_own_processes():
        return None
    if other.pid == me.pid:  # an earlier process with this number; or, begun at the same moment, a copy of this one
        return None if other.started == me.started else False
    return _runs(other.pid, other.started)


def give_up(trial: Trial) -> None:
    """This process lives, and will not finish this RUNNING trial: its record was away, or its runner raised. Where the
    process measures again, a notebook or a service, it closes the trial as it closes those of a dead worker."""
    _GIVEN_UP.add((trial.number, trial.datetime_start))


def is_given_up(trial: FrozenTrial) -> bool:
    """Whether `give_up` was called for this trial, in this process."""
    return (trial.number, trial.datetime_start) in _GIVEN_UP


@functools.cache
def _here(pid: int) -> _Worker:
    """This process. By pid: a fork is another worker."""
    return _Worker(socket.gethostname(), str(pid), _started(pid), _read("/proc/sys/kernel/random/boot_id"),
                   _link("/proc/self/ns/pid"), secrets.token_hex(8))


def _sees_own_processes() -> bool:
    """Whether /proc shows the namespace that this process is in: `unshare --pid` alone leaves the outer one there."""
    return _link("/proc/self") == str(os.getpid())


def _runs(pid: str, started: str) -> bool:
    if not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return _started(int(pid)) == started


def _started(pid: int) -> str:
    """The process's start time in clock ticks, which tells a recycled pid from the old process.

    "dead" for a zombie: killed, but its parent (often a container's) never waits for it.
    """
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return ""
    return "dead" if state in {"Z", "X"} else rest[18]


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _link(path: str) -> str:
    try:
        return os.readlink(path)  # noqa: PTH115 -- a namespace's link leads to no path
    except OSError:
        return ""
