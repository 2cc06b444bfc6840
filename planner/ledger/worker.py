"""The process that made a trial, and whether it is still alive."""

from __future__ import annotations

import os
import socket
from pathlib import Path

__all__ = ["is_alive", "this_worker"]


def this_worker() -> str:
    """The identity of this process, stored with its trials: host, pid, start time."""
    return f"{socket.gethostname()}|{os.getpid()}|{_started(os.getpid())}"


def _started(pid: int) -> str:
    """The process's start time in clock ticks, which tells a recycled pid from the old process.

    "dead" for a zombie: killed, but its parent (often a container's) never waits for it.
    """
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return ""
    return "dead" if state in {"Z", "X"} else rest[18]


def is_alive(worker: str) -> bool:
    """Whether the process that `this_worker` named still runs; assumed true for another machine's."""
    host, _, process = worker.partition("|")
    if not process:
        return False
    if host != socket.gethostname():
        return True
    pid, _, started = process.partition("|")
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return _started(int(pid)) == started
