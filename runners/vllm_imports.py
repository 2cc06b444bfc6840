"""vLLM imported once, for all engines and servers of a study."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

from runners.devices import READ_LATE
from runners.fork_server import ForkServer, ForkServerError, can_fork

__all__ = ["ENGINE_MODULES", "SERVER_MODULES", "VllmImports"]

T = TypeVar("T")

ENGINE_MODULES: Final = ("vllm", "vllm.entrypoints.llm")
SERVER_MODULES: Final = ("vllm", "vllm.entrypoints.openai.api_server", "vllm.benchmarks.serve")
SWITCH: Final = "SWEEPWISE_FORK_SERVER"
"""Set to 0, this variable has each engine import vLLM by itself."""

_READ_LATE: Final = READ_LATE | {"VLLM_CPU_OMP_THREADS_BIND", "VLLM_CPU_KVCACHE_SPACE"}
"""Variables that vLLM reads when an engine starts, so that engines that differ in these alone share the imports."""


class VllmImports:
    """A fork server that has imported vLLM, started when it is first needed and again when variables differ.

    `for_engine` says what the imports took: the run that starts the first engine pays for them, once and in full, even
    if other work went on meanwhile.
    """

    def __init__(self, modules: Sequence[str]) -> None:
        self._modules = tuple(modules)
        self._server: ForkServer | None = None
        self._variables: Mapping[str, str] = {}
        self._useless: list[Mapping[str, str]] = []
        self._paid = False

    @property
    def server(self) -> ForkServer | None:
        """The fork server where one runs."""
        return self._server if self._server is not None and self._server.alive else None

    def begin(self, environment: Mapping[str, str]) -> None:
        """Import in the background, for engines with these variables. Does nothing if that has begun."""
        variables = {name: value for name, value in environment.items() if name not in _READ_LATE}
        if not can_fork() or os.environ.get(SWITCH) == "0" or variables in self._useless:
            return
        if self._server is not None and self._server.alive and variables == self._variables:
            return
        self.close()
        self._variables, self._paid = variables, False
        try:
            self._server = ForkServer(variables, self._modules)
        except ForkServerError:
            self._useless.append(variables)

    def for_engine(self, environment: Mapping[str, str], timeout_s: float) -> tuple[ForkServer | None, float]:
        """The fork server, and the seconds of its imports, 0 if they are paid for; None where an engine has to import
        by itself, which will also show why."""
        self.begin(environment)
        if self._server is None:
            return None, 0.0
        try:
            seconds = self._server.import_s(timeout_s)
        except ForkServerError:
            self._give_up()
            return None, 0.0
        self._paid, paid = True, self._paid
        return self._server, 0.0 if paid else seconds

    def started(self, fork_server: ForkServer | None, start: Callable[[ForkServer | None], T]) -> T:
        """What `start` starts with the fork server; without it, now and from now on, where that forks nothing."""
        if fork_server is not None:
            try:
                return start(fork_server)
            except ForkServerError:
                self._give_up()
        return start(None)

    def _give_up(self) -> None:
        """Engines with these variables import by themselves from now on."""
        self._useless.append(self._variables)
        self.close()

    def close(self) -> None:
        """End it, if there is one, and whatever was forked from it."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
