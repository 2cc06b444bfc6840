"""How long requests wait for a replica that serves at most so many at once.

Notation
--------
λ, X        requests per second: arrivals at one replica; what it completes with all slots busy
c           slots: requests in flight at most; the next ones wait in order of arrival
ρ           λ / X
W           seconds that a request waits for a slot

Arrivals are a Poisson process. Split at random over n replicas, it is n Poisson processes (Kingman, Poisson Processes,
1993, section 5.1); a balancer that knows which replica is idle lets requests wait less. P(W > 0) is Erlang's C with
each slot as fast as it is when all are busy, and W is exponential where it is not 0 (Kleinrock, Queueing Systems I,
1975, section 3.4). Both are pessimistic of a server that batches: with fewer requests in flight each of them is served
faster, and lengths usually spread less than an exponential distribution (where they spread more, waits are longer).
"""

from __future__ import annotations

import numpy as np
from scipy.special import gammaincc, gammaln, xlogy

from planner.space.types import FloatArray

__all__ = ["probability_to_wait", "waiting"]


def probability_to_wait(rate: FloatArray, slots: float, capacity: FloatArray) -> FloatArray:
    """P(W > 0), of the shape of `rate` (λ) and `capacity` (X); 1 where λ ≥ X. slots: c."""
    busy = np.minimum(rate / capacity, 1.0)
    offered = slots * busy
    # Erlang's B, the share of requests that find all slots busy if none may wait.
    blocked = np.exp(xlogy(slots, offered) - offered - gammaln(slots + 1)) / gammaincc(slots + 1, offered)
    waits: FloatArray = blocked / (1 - busy * (1 - blocked))
    return waits


def waiting(rate: FloatArray, slots: float, capacity: FloatArray, quantile: float | None) -> FloatArray:
    """A quantile of W over all requests, those that do not wait included, or its mean (None); infinite where λ ≥ X."""
    waits = probability_to_wait(rate, slots, capacity)
    spare = np.maximum(capacity - rate, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = waits if quantile is None else np.maximum(0.0, np.log(waits / (1 - quantile)))
        seconds: FloatArray = np.where(spare > 0, scaled / spare, np.inf)
    return seconds
