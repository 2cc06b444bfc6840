"""Processes of this machine as tests see them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path


def soon(condition: Callable[[], object], within_s: float = 15.0) -> bool:
    """Whether the condition holds within so many seconds."""
    end = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def sleepers(text: str) -> list[int]:
    """Numbers of the processes that run `sleep` for a time that begins with this text."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().startswith(b"sleep\0" + text.encode()):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found
