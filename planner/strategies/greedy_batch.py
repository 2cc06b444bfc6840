"""A batch of runs chosen one after the other, each of the highest utility for its price given those before it.

Notation: n candidates; utility (n,) in any unit; price (n,) accelerator-seconds of a run; start (n,) those of an engine
start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from planner.acquisition.initial_design import by_engine
from planner.space.types import FloatArray, IntArray

__all__ = ["Candidates", "Utility", "choose_greedily"]


class Utility(Protocol):
    """Utility of a run at each candidate, for one quantity."""

    def of_each(self) -> FloatArray:
        """Utility of each candidate given what was chosen so far, (n,)."""
        ...

    def choose(self, c: int) -> None:
        """Count candidate c as measured from now on."""
        ...


@dataclass(frozen=True, eq=False)
class Candidates:
    """rows: (n,) of the grid; engines: (n,) their configurations; feasibility: (n,) probability that each can run."""

    rows: IntArray
    engines: IntArray
    price: FloatArray
    start: FloatArray
    feasibility: FloatArray


def choose_greedily(candidates: Candidates, utilities: Sequence[Utility], size: int, running: int | None) -> list[int]:
    """Up to `size` grid rows, engines in an order that starts each at most once. running: the engine that is up."""
    up = np.array([engine == running for engine in candidates.engines])
    chosen: list[int] = []
    while len(chosen) < min(size, len(candidates.rows)):
        utility = np.sum([utility.of_each() for utility in utilities], axis=0) * candidates.feasibility
        # A start is shared by the runs after it on the same engine: about as many as a batch has.
        score = utility / (candidates.price + np.where(up, 0.0, candidates.start / size))
        score[chosen] = -np.inf
        best = int(np.argmax(score))
        chosen.append(best)
        up |= candidates.engines == candidates.engines[best]
        for utility_of in utilities:
            utility_of.choose(best)
    return by_engine(candidates.rows[chosen], candidates.engines[chosen], running)
