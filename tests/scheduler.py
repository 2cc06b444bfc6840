"""A discrete-event simulation of a server with continuous batching: served grids whose truth is known.

The scheduler is vLLM's in short. Every step takes at most `max_num_batched_tokens` tokens: one for each request that
decodes, then as much as fits of the prompts of running requests and of those that wait, in order of arrival. At most
`max_num_seqs` requests run, and no request is admitted unless its whole prompt and output fit the key-value cache. A
prompt's last chunk gives the first token.

Notation: n requests; seconds throughout.

Source: Agrawal et al., "Taming throughput-latency tradeoff in LLM inference with Sarathi-Serve", arXiv 2403.02310.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal, TypeAlias

import numpy as np

from planner.space.types import BoolArray, FloatArray, IntArray

Routing: TypeAlias = Literal["random", "round robin", "least loaded"]


@dataclass(frozen=True, slots=True)
class Engine:
    """What a step takes, and what limits it.

    step_s: launch and reading the weights. token_s: for each token of the step, prompt or output. context_s: for each
    token of context that a decoding request reads. attention_s: for each pair of a prompt's token and one before it.
    noise: standard deviation of the logarithm of a factor that all steps of one simulation share.
    """

    step_s: float = 8e-3
    token_s: float = 2e-5
    context_s: float = 2e-8
    attention_s: float = 2e-10
    max_num_seqs: int = 256
    max_num_batched_tokens: int = 8192
    cache_tokens: float = math.inf
    noise: float = 0.0


@dataclass(frozen=True, eq=False)
class Served:
    """When each request arrived, had its first token, and ended, and how many tokens it got; (n,) each, in order of
    arrival."""

    arrival: FloatArray
    first: FloatArray
    end: FloatArray
    outputs: IntArray

    @property
    def ttft_s(self) -> FloatArray:
        return self.first - self.arrival

    @property
    def tpot_s(self) -> FloatArray:
        """NaN where the output is one token."""
        tpot: FloatArray = (self.end - self.first) / np.where(self.outputs > 1, self.outputs - 1, np.nan)
        return tpot

    def window(self, warm_up: float = 0.2) -> BoolArray:
        """The requests between the first and the last share of `warm_up`, (n,)."""
        place = np.arange(len(self.arrival)) / len(self.arrival)
        return (place >= warm_up) & (place < 1 - warm_up)

    def metrics(self, warm_up: float = 0.2) -> dict[str, float]:
        """Medians of ttft_ms and tpot_ms over the window; output_throughput over the whole time, as vLLM's own
        benchmark has it."""
        inside = self.window(warm_up)
        return {"ttft_ms": 1e3 * float(np.median(self.ttft_s[inside])),
                "tpot_ms": 1e3 * float(np.median(self.tpot_s[inside])),
                "output_throughput": float(self.outputs.sum() / (self.end.max() - self.arrival.min()))}


def simulate(load: float, input_len: int, output_len: int, engine: Engine, requests: int, seed: int,
             open_loop: bool, spread: float = 0.0) -> Served:
    """Serve `requests` requests.

    load: in open loop the rate of Poisson arrivals, per second (inf: all at once); in closed loop how many requests
    are in flight, a new one sent as soon as one ends. spread: lengths are uniform on (1 − spread … 1) of those given.
    """
    rng = np.random.default_rng(seed)
    inputs, outputs = (np.maximum(1, np.rint(length * rng.uniform(1 - spread, 1, requests))).astype(np.int64)
                       for length in (input_len, output_len))
    if open_loop:
        arrival = np.cumsum(rng.exponential(1 / load, requests))
    else:
        arrival = np.where(np.arange(requests) < load, 0.0, np.inf)
    server = _Server(engine, inputs, outputs, arrival, math.exp(engine.noise * rng.standard_normal()))
    while server.left:
        server.step()
    return Served(arrival, server.first, server.end, outputs)


def served_rows(loads: dict[str, list[Any]], engines: dict[int, Engine], open_loop: bool, rounds: int = 8,
                seed: int = 0, spread: float = 0.2) -> list[dict[str, Any]]:
    """One row for each combination of `loads` (load, input_len, output_len) and each engine (by its n_gpus): the axes
    under the names that studies have, the metrics, and `run_s`. rounds: requests for each one in flight; in open loop
    50 times as many in all."""
    rows = []
    for number, (n_gpus, load, i, o) in enumerate(product(engines, *loads.values())):
        requests = 50 * rounds if open_loop else int(max(rounds * load, 4 * rounds))
        served = simulate(load, i, o, engines[n_gpus], requests, seed + number, open_loop, spread)
        rows.append({"n_gpus": n_gpus, "input_len": i, "output_len": o,
                     "request_rate" if open_loop else "max_concurrency": load, **served.metrics(),
                     "run_s": float(served.end.max())})
    return rows


def simulate_fleet(replicas: int, rate: float, input_len: int, output_len: int, engine: Engine, requests: int,
                   seed: int, routing: Routing = "random", spread: float = 0.0) -> Served:
    """Serve `requests` Poisson arrivals, `rate` a second in all, by several servers; each has its own factor. Others as
    for `simulate`."""
    rng = np.random.default_rng(seed)
    inputs, outputs = (np.maximum(1, np.rint(length * rng.uniform(1 - spread, 1, requests))).astype(np.int64)
                       for length in (input_len, output_len))
    arrival = np.cumsum(rng.exponential(1 / rate, requests))
    servers = [_Server(engine, np.ones(requests, np.int64), np.ones(requests, np.int64), np.full(requests, np.inf),
                       math.exp(engine.noise * rng.standard_normal())) for _ in range(replicas)]
    place: list[tuple[_Server, int]] = []
    for number, time in enumerate(arrival):
        for server in servers:
            server.until(time)
        match routing:
            case "random":
                server = servers[int(rng.integers(replicas))]
            case "round robin":
                server = servers[number % replicas]
            case "least loaded":
                server = min(servers, key=lambda one: one.in_flight(time))
        place.append((server, server.receive(time, int(inputs[number]), int(outputs[number]))))
    for server in servers:
        server.until(math.inf)
    first, end = (np.array([getattr(server, name)[k] for server, k in place]) for name in ("first", "end"))
    return Served(arrival, first, end, outputs)


class _Server:
    """What runs and what waits. Arrays (n,) over requests; `running` holds numbers of requests, in order of arrival.

    In closed loop `arrival` is inf for what has not been sent yet, and filled as requests end.
    """

    def __init__(self, engine: Engine, inputs: IntArray, outputs: IntArray, arrival: FloatArray, factor: float) -> None:
        self.engine, self.inputs, self.outputs, self.arrival, self.factor = engine, inputs, outputs, arrival, factor
        self.first, self.end = np.full(len(inputs), np.nan), np.full(len(inputs), np.nan)
        self.prefilled, self.made = np.zeros_like(inputs), np.zeros_like(inputs)
        self.running = np.empty(0, dtype=np.int64)
        self.clock, self.left, self._next = 0.0, len(inputs), 0
        self._sent = int(np.isfinite(arrival).sum())
        self.received = 0  # of requests that come one by one

    def until(self, time: float) -> None:
        """Serve what was received, until `time`, when a request may come: no step begins later."""
        if self.received < len(self.arrival):
            self.arrival[self.received] = time  # steps end there, since it might be admitted
        while self.clock < time and (self._next < self.received or len(self.running)):
            self.step()
        if self.received < len(self.arrival):
            self.arrival[self.received] = np.inf

    def receive(self, time: float, input_len: int, output_len: int) -> int:
        """Take a request that arrives now; returns its place."""
        place = self.received
        self.arrival[place], self.inputs[place], self.outputs[place] = time, input_len, output_len
        self.received += 1
        self._sent = len(self.arrival)  # nothing is sent when a request ends
        return place

    def in_flight(self, time: float) -> int:
        """Requests that it has received and that have not ended at `time`."""
        return self.received - int((self.end[:self.received] <= time).sum())

    def step(self) -> None:
        """One step, or as many at once as change nothing but contexts."""
        decoding = self.running[self.prefilled[self.running] == self.inputs[self.running]]
        chunks = self._chunks(self.engine.max_num_batched_tokens - len(decoding))
        if not chunks and not len(decoding):
            self.clock = max(self.clock, float(self.arrival[self._next]))
            return
        seconds = self._seconds(decoding, chunks)
        self.clock += float(seconds[-1])
        self.made[decoding] += len(seconds)
        for request, tokens in chunks.items():
            self.prefilled[request] += tokens
            if self.prefilled[request] == self.inputs[request]:
                self.first[request], self.made[request] = self.clock, 1
        done = self.running[self.made[self.running] == self.outputs[self.running]]
        if len(done):
            self._finish(done)

    def _chunks(self, budget: int) -> dict[int, int]:
        """Tokens of each prompt that the next step takes; admits what fits."""
        chunks: dict[int, int] = {}
        for request in self.running[self.prefilled[self.running] < self.inputs[self.running]]:
            tokens = min(budget, int(self.inputs[request] - self.prefilled[request]))
            if tokens > 0:
                chunks[int(request)] = tokens
                budget -= tokens
        admitted: list[int] = []
        while budget > 0 and self._can_admit(len(admitted)):
            admitted.append(self._next)
            chunks[self._next] = min(budget, int(self.inputs[self._next]))
            budget -= chunks[self._next]
            self._next += 1
        if admitted:
            self.running = np.concatenate([self.running, np.array(admitted, dtype=np.int64)])
        return chunks

    def _can_admit(self, more: int) -> bool:
        if self._next >= len(self.inputs) or self.arrival[self._next] > self.clock:
            return False
        if len(self.running) + more >= self.engine.max_num_seqs:
            return False
        if math.isinf(self.engine.cache_tokens):
            return True
        holders = [*self.running, *range(self._next - more, self._next + 1)]
        held = int(self.inputs[holders].sum() + self.outputs[holders].sum())
        return held <= self.engine.cache_tokens or len(holders) == 1

    def _seconds(self, decoding: IntArray, chunks: dict[int, int]) -> FloatArray:
        """Seconds until the end of each of the next steps that change nothing but contexts, (k,) with k ≥ 1."""
        engine = self.engine
        context = float(self.inputs[decoding].sum() + self.made[decoding].sum())
        base = engine.step_s + engine.token_s * (len(decoding) + sum(chunks.values())) + engine.context_s * context
        for request, tokens in chunks.items():
            base += engine.attention_s * tokens * (float(self.prefilled[request]) + tokens / 2)
        if chunks:
            return np.array([self.factor * base])
        steps = np.arange(int((self.outputs[decoding] - self.made[decoding]).min()))
        seconds = self.factor * np.cumsum(base + engine.context_s * len(decoding) * steps)
        if self._next < len(self.inputs) and self.arrival[self._next] > self.clock:
            return seconds[:int(np.searchsorted(seconds, self.arrival[self._next] - self.clock)) + 1]
        return seconds

    def _finish(self, done: IntArray) -> None:
        self.end[done] = self.clock
        self.running = self.running[self.made[self.running] < self.outputs[self.running]]
        self.left -= len(done)
        until = min(self._sent + len(done), len(self.arrival))
        self.arrival[self._sent:until] = self.clock
        self._sent = until
