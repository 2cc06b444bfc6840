"""A process that works on a study, as the process that shows the study's progress starts it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from planner.space.types import RunnerError
from runners.process_group import ProcessGroup

__all__ = ["WorkerProcess"]

_START: Final = ("import importlib, sys; sys.path.append(sys.argv[1]); "
                 "importlib.import_module(sys.argv[2]).main()")


class WorkerProcess:
    """One worker: a ProcessGroup, so that it ends with us and Ctrl-C reaches it only through us.

    module: its `main` is run, in a process of its own. request: what it reads from standard input. out: the descriptor
    that it writes to; its errors go to ours. Raises RunnerError.
    """

    def __init__(self, module: str, request: bytes, out: int) -> None:
        root = str(Path(__file__).resolve().parents[1])
        try:
            self._group = ProcessGroup([sys.executable, "-P", "-c", _START, root, module], os.environ,
                                       stdin=subprocess.PIPE, stdout=out, stderr=2)
        except OSError as error:
            raise RunnerError(f"--parallel: a worker could not be started: {error}; free memory, or ask for fewer"
                              ) from error
        assert self._group.process.stdin is not None
        with contextlib.suppress(OSError), self._group.process.stdin as stdin:
            stdin.write(request)

    @property
    def pid(self) -> int:
        """Its number."""
        return self._group.pid

    def poll(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""
        return self._group.process.poll()

    def send(self, number: int) -> None:
        """Send it a signal; does nothing once it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def end(self, grace_s: float = 0.0) -> None:
        """Return when nothing of it runs any more."""
        self._group.end(grace_s)
