"""The contract of a client: it drives a server at one load and says what happened to each request."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from planner.space.types import Value
from runners.serving.records import Records

__all__ = ["Client", "ClientError", "ClientRun", "LateError", "Load", "Target"]


class ClientError(Exception):
    """The client did not run, or what it wrote cannot be read. The text is the reason, one line."""


class LateError(ClientError):
    """The requests of the load did not end in time; the client has cancelled them."""


@dataclass(frozen=True, slots=True)
class Target:
    """A server: its address without a path, the model's name there, and a tokenizer (a folder or a hub name)."""

    base_url: str
    model: str
    tokenizer: str


@dataclass(frozen=True, slots=True)
class Load:
    """What a client sends in one run.

    requests: how many. max_concurrency: most in flight; None: no limit. request_rate: per second, infinite in a closed
    loop. burstiness: of the arrivals, 1 is a Poisson process. input_len, output_len: tokens of a request; with
    `range_ratio` r they are uniform in ± r of these. seed: two runs with different seeds send different prompts.
    dataset: random (uniform lengths), lognormal, sharegpt, or trace. The latter two are read from the file `traffic`; a
    trace has lengths and arrivals of its own. options: of the client, to read a file that datasets.py has written.
    """

    requests: int
    max_concurrency: int | None
    request_rate: float
    burstiness: float
    input_len: int
    output_len: int
    range_ratio: float
    seed: int
    dataset: str = "random"
    traffic: str = ""
    options: tuple[str, ...] = ()

    def with_seed(self, seed: int) -> Load:
        """The same load with other prompts."""
        return replace(self, seed=seed)

    @property
    def is_closed(self) -> bool:
        """Whether a request is sent when another ends: a limit on what is in flight, and no rate."""
        return self.request_rate == float("inf")


@dataclass(frozen=True, slots=True)
class ClientRun:
    """What one client run gave.

    records: its requests; None if the client tells only statistics. metrics: statistics of the client's own, by vLLM's
    names, for clients without records. detail: times between tokens of each request in seconds, () where not told.
    """

    records: Records | None
    metrics: dict[str, Value]
    detail: tuple[tuple[float, ...], ...] = ()


class Client(Protocol):
    """Drives a server.

    Contract: `run` returns when all requests of the load have ended, or raises ClientError after at most `timeout_s`
    seconds; nothing of the client then goes on. A failed request is part of the records, never left out. A client
    sends no request of its own that the records do not hold, except to see that the server answers, before the first.
    It may be silent about the request that ended last, which no window holds.
    `facts` names client and version, for the fingerprint. `close` ends whatever the client keeps; it may be called
    twice.
    """

    def warm_up(self) -> None:
        """Begin what takes time before the first run, and return at once: a server starts meanwhile."""
        ...

    def run(self, target: Target, load: Load, timeout_s: float) -> ClientRun:
        """Send the load and wait for its end."""
        ...

    def facts(self) -> dict[str, str]:
        """Client and version; starts nothing."""
        ...

    def close(self) -> None:
        """Free everything."""
        ...
