"""A server and its client as a queue: records without a network and without waiting, whose truth is known.

A request takes a place of the client (a closed loop's concurrency, or the limit of an open loop), then one of the
server's `slots`, first come first served. Its first token is out after its prompt, its last after its answer.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from planner.space.types import FloatArray
from runners.serving.client import ClientRun, LateError, Load, Target
from runners.serving.records import Records

Draw = Callable[[np.random.Generator, int], FloatArray]


def play(
    prompt_s: FloatArray, answer_s: FloatArray, slots: int, arrivals: FloatArray | None = None,
    limit: int | None = None, prompts_at_once: int | None = None, tokens: int = 2,
) -> Records:
    """The records of n requests, (n,) seconds each for prompt and answer.

    arrivals: seconds, ascending; None for a closed loop, whose requests are due when one of `limit` places is free.
    prompts_at_once: how many prompts the server works on; None: as many as it has slots.
    """
    n = len(prompt_s)
    places: list[float] = [0.0] * min(limit or n, n)
    server: list[float] = [0.0] * min(slots, n)
    workers: list[float] = [0.0] * min(prompts_at_once or n, n)
    due, sent, first, end = np.zeros((4, n))
    for i in range(n):
        place = heapq.heappop(places)
        due[i] = place if arrivals is None else arrivals[i]
        sent[i] = max(due[i], place)
        began = max(sent[i], heapq.heappop(server))
        first[i] = max(began, heapq.heappop(workers)) + prompt_s[i]
        end[i] = first[i] + answer_s[i]
        heapq.heappush(workers, float(first[i]))
        heapq.heappush(server, float(end[i]))
        heapq.heappush(places, float(end[i]))
    return Records(due, sent, first, end, np.full(n, 16), np.full(n, tokens), ("",) * n)


def poisson(rng: np.random.Generator, rate: float, n: int) -> FloatArray:
    """Arrivals of a Poisson process, the first at 0."""
    times: FloatArray = np.cumsum(rng.exponential(1 / rate, n))
    return times - times[0]


def mm(rng: np.random.Generator, load: float, servers: int, n: int, service_s: float = 1.0) -> Records:
    """An M/M/c queue at `load` times its capacity: exponential answers of `service_s` on average, prompts of none."""
    answers = rng.exponential(service_s, n)
    return play(np.full(n, 1e-6), answers, servers, poisson(rng, load * servers / service_s, n))


@dataclass
class Clock:
    """Seconds that pass only where a client's run takes some."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def fixed(seconds: float) -> Draw:
    """The same time for each request."""
    return lambda _, n: np.full(n, seconds)


def exponential(seconds: float) -> Draw:
    """Times with an exponential distribution of this mean."""
    return lambda rng, n: rng.exponential(seconds, n)


@dataclass
class QueueClient:
    """A client (runners.serving.client.Client) of such a server.

    changed: what becomes of the records of each run, such as failures. drift: factor on the service time of each run
    from the first, as machines have it. loads: what was asked, in order.
    """

    clock: Clock
    prompt_s: Draw = field(default_factory=lambda: fixed(0.02))
    answer_s: Draw = field(default_factory=lambda: fixed(0.48))
    slots: int = 64
    prompts_at_once: int | None = None
    changed: Callable[[Records], Records] = lambda records: records
    factor: Callable[[np.random.Generator], float] = lambda _: 1.0
    loads: list[Load] = field(default_factory=list)
    events: list[str] = field(default_factory=list)

    def run(self, target: Target, load: Load, timeout_s: float) -> ClientRun:
        self.loads.append(load)
        self.events.append("run")
        rng = np.random.default_rng(load.seed)
        factor = self.factor(rng)
        prompts, answers = (factor * draw(rng, load.requests) for draw in (self.prompt_s, self.answer_s))
        arrivals = None if load.is_closed else _arrivals(rng, load)
        records = play(prompts, answers, self.slots, arrivals, load.max_concurrency, self.prompts_at_once,
                       load.output_len)
        lasts = float(records.end.max())
        self.clock.now += min(lasts, timeout_s)
        if lasts > timeout_s:
            raise LateError(f"its {load.requests} requests did not end within {timeout_s:g} s")
        moment = self.clock.now - lasts
        moved = replace(records, **{name: getattr(records, name) + moment for name in ("due", "sent", "first", "end")})
        return ClientRun(self.changed(moved), {})

    def warm_up(self) -> None:
        """Nothing."""

    def facts(self) -> dict[str, str]:
        return {"client": "queue 1"}

    def close(self) -> None:
        self.events.append("close")


def _arrivals(rng: np.random.Generator, load: Load) -> FloatArray:
    """As vLLM's client has them: gamma times, stretched so that all are sent in requests / rate seconds."""
    if math.isinf(load.burstiness):
        return np.arange(load.requests) / load.request_rate
    times = np.cumsum(rng.gamma(load.burstiness, 1.0, load.requests))
    found: FloatArray = times / times[-1] * load.requests / load.request_rate
    return found
