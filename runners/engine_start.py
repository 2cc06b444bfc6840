"""The start of an engine: its price, and what it consists of, in seconds, from our clock and from vLLM's log.

    import          importing vLLM, once for all engines where a fork server does it
    model           building the model and loading its weights
    compile         torch.compile
    graphs          capturing CUDA graphs
    KV cache        profiling memory, creating the cache, warming up: what vLLM calls init engine, less the two above
    first steps     ours: a short batch, so that no point pays for what is allocated once
    end of the last ending the engine that was there before
    other           the rest: processes, configuration, tokenizer, an HTTP front end

What this version of vLLM does not say, such as the time of a model on a CPU, is part of `other`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from planner.space.types import Cost
from runners.fork_server import ForkServer

__all__ = ["Start", "StartWatch", "start_parts"]

_NUMBER: Final = r"(\d+(?:\.\d+)?)"
_LEAST_S: Final = 0.001
_SAID: Final = {
    "model": re.compile(rf"Model loading took .*?{_NUMBER} seconds"),
    "compile": re.compile(rf"torch\.compile took {_NUMBER} s in total"),
    "graphs": re.compile(rf"Graph capturing finished in {_NUMBER} secs"),
    "KV cache": re.compile(rf"init engine \(.*?\) took {_NUMBER} s"),
}


def start_parts(total_s: float, log: str, known: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    """Part → seconds, those of less than a millisecond left out; they add up to total_s, the seconds of the start.

    log: what the engine has printed. known: parts that we have timed. Ranks that say the same work side by side: the
    slowest counts.
    """
    said = {name: max(map(float, found)) for name, pattern in _SAID.items() if (found := pattern.findall(log))}
    if "KV cache" in said:
        said["KV cache"] = max(0.0, said["KV cache"] - said.get("compile", 0.0) - said.get("graphs", 0.0))
    parts = {**known, **said}
    parts["other"] = max(0.0, total_s - sum(parts.values()))
    return tuple((name, round(seconds, 3)) for name, seconds in parts.items() if seconds >= _LEAST_S)


@dataclass(frozen=True, slots=True)
class Start:
    """A start of an engine: its seconds, those of the imports that it is charged with, and the parts of both."""

    start_s: float = 0.0
    import_s: float = 0.0
    parts: tuple[tuple[str, float], ...] = ()

    def cost(self, warmup_s: float, measure_s: float, accelerators: float) -> Cost:
        """The cost of the run that caused the start."""
        return Cost(self.start_s, warmup_s, measure_s, accelerators, self.import_s)


class StartWatch:
    """Times a start from the moment it is made. Imports are charged in full, even if some of their time had passed
    before anybody waited for them."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._waited = self._import_s = 0.0
        self._known: dict[str, float] = {}

    def ended_last(self) -> None:
        """The engine that was there before has been ended."""
        self._known["end of the last"] = time.perf_counter() - self._began

    def imported(self, wait: Callable[[], tuple[ForkServer | None, float]]) -> ForkServer | None:
        """The fork server that `wait` waits for; it also gives the seconds of the imports, 0 if they are paid for."""
        began = time.perf_counter()
        fork_server, self._import_s = wait()
        if self._import_s:
            self._waited = time.perf_counter() - began
        return fork_server

    def done(self, log: str = "", known: Mapping[str, float] | None = None) -> Start:
        """The start, which is over, well or not. log: what the engine printed. known: parts that it has timed."""
        start_s = time.perf_counter() - self._began - min(self._waited, self._import_s)
        parts = {**self._known, **(known or {})}
        parts["import"] = self._import_s + parts.get("import", 0.0)
        return Start(start_s, self._import_s, start_parts(start_s + self._import_s, log, parts))
