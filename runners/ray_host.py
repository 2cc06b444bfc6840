"""The actor that holds a runner on a Ray node, and the process that it holds it in.

When Ray ends an actor it kills the actor's child processes first, and of those only: what they have started lives on.
The guard of process_group would be such a child. So the runner is in a process of its own, which Ray kills, and whose
guard, which Ray does not know, then ends the engine. If the actor is gone and nobody has killed the process, it sees
that by itself.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from typing import Any, Final

from planner.space.plugins import runner_class
from planner.space.types import Measurement, Proposal, RunnerContext, RunnerError
from runners.device_pool import DevicePool, runtime_folder
from runners.devices import DEVICES, found_platform
from runners.local_executor import placement

__all__ = ["Host"]

_FINGERPRINT: Final = "fingerprint"
_CLOSE: Final = "close"


class Host:
    """The actor. Its methods return what the runner's do, or text: why nothing can be measured here."""

    def __init__(self, kind: str, settings: Any, context: RunnerContext, has_gpus: bool) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._pipe, theirs = spawn.Pipe()
        self._process = spawn.Process(target=_serve, args=(theirs, kind, settings, context, has_gpus), daemon=True)
        self._process.start()
        theirs.close()

    def fingerprint(self) -> Any:
        """The runner's."""
        return self._answer(_FINGERPRINT)

    def measure(self, proposal: Proposal) -> Any:
        """The runner's, with its placement."""
        return self._answer(proposal)

    def close(self) -> Any:
        """The runner's."""
        return self._answer(_CLOSE)

    def _answer(self, request: Any) -> Any:
        self._pipe.send(request)
        return self._pipe.recv()


def _serve(pipe: Connection, kind: str, settings: Any, context: RunnerContext, has_gpus: bool) -> None:
    """Answer until the actor has ended."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    held = _Held(kind, settings, context, has_gpus)
    while True:
        request = pipe.recv()
        if request == _FINGERPRINT:
            pipe.send(_or_why(lambda: dict(held.runner.fingerprint())))
        elif request == _CLOSE:
            held.close()
            pipe.send(None)
        else:
            pipe.send(_or_why(lambda: held.measure(request)))  # noqa: B023 - called before the next one comes


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGKILL)  # the guard does what is left to do


def _or_why(answer: Callable[[], Any]) -> Any:
    try:
        return answer()
    except RunnerError as error:
        return str(error)


class _Held:
    """A runner, on devices that Ray has given us. Their locks are taken too (device_pool): an engine that was started
    by hand, or that a killed actor has left behind, has ended before ours starts."""

    def __init__(self, kind: str, settings: Any, context: RunnerContext, has_gpus: bool) -> None:
        self.runner = runner_class(kind)(settings, context)
        self._pool: DevicePool | None = None
        if has_gpus:
            platform = found_platform(1, is_cpu_engine=False)
            self._pool = DevicePool(platform.devices, list(map(platform.lock_name, platform.devices)), runtime_folder())
            self._pool.take(len(platform.devices))
            os.environ[DEVICES] = ",".join(platform.devices)

    def measure(self, proposal: Proposal) -> Measurement:
        """The runner's, with its placement."""
        began = time.time()
        measurement = self.runner.measure(proposal)
        return replace(measurement, placement=placement(self._pool.mine if self._pool else (), began, time.time()))

    def close(self) -> None:
        """The runner's."""
        self.runner.close()
        if self._pool is not None:
            self._pool.give_back()
