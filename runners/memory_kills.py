"""What the kernel says of processes that it has killed because memory ran out."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

__all__ = ["RAN_OUT", "memory_kills"]

RAN_OUT: Final = "out of memory: the kernel killed a process"

_COUNTERS: Final = Path("/proc/vmstat")


def memory_kills() -> int:
    """How many it has killed since this machine started; 0 where it does not say."""
    with contextlib.suppress(OSError, ValueError):
        for line in _COUNTERS.read_text(encoding="ascii").splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
    return 0
