"""A child that another process has forked for us, and that tells us through a pipe how it ends."""

from __future__ import annotations

import os
import select
import subprocess
import threading
import time
from pathlib import Path
from typing import IO, Final

__all__ = ["ForkedProcess"]

_ORPHAN_POLL_S: Final = 0.05
_UNKNOWN: Final = 255


class ForkedProcess:
    """What ProcessGroup needs of subprocess.Popen. status: our end of the pipe, which its parent writes the exit status
    to, and after which the parent waits until we have closed it: until then the number is not another process's.
    stdin: None unless a pipe was asked for."""

    def __init__(self, pid: int, status: int, stdin: IO[bytes] | None) -> None:
        self.pid = pid
        self.stdin = stdin
        self.returncode: int | None = None
        self._status = status
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""
        with self._lock:
            if self.returncode is None and select.select([self._status], [], [], 0)[0]:
                self.returncode = self._end()
            return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status, once it has ended. Raises subprocess.TimeoutExpired."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.poll() is None:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise subprocess.TimeoutExpired([str(self.pid)], timeout or 0.0)
            select.select([self._status], [], [], left)
        assert self.returncode is not None
        return self.returncode

    def _end(self) -> int | None:
        """The status that its parent wrote. If that has been killed, nobody knows it, only whether one runs."""
        text = os.read(self._status, 64)
        if not text and _runs(self.pid):
            time.sleep(_ORPHAN_POLL_S)
            return None
        os.close(self._status)
        return int(text) if text else _UNKNOWN


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return False
