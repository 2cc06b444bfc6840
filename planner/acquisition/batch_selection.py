"""A batch of runs of the highest utility for each accelerator-second, engine starts paid.

Notation
--------
c           candidate; n of them
Δ(c)        utility of a run at c, given what was chosen before: it only falls as more is chosen
price(c)    expected accelerator-seconds of the run
engine batch   runs that follow one engine start; its utility is Σ Δ / (start + Σ price), at the length where that is
            largest

On a running engine the next run is the one of most Δ / price; another engine is started where an engine batch on it,
start paid, has a higher utility than that, and what is left on the present one is not worth coming back for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, Self

import numpy as np

from planner.acquisition.settings import RETURN_SHARE
from planner.space.types import FloatArray, IntArray

__all__ = ["BatchSelection", "Field"]


class Field(Protocol):
    """A part of the utility of a run at each candidate; the whole is the sum over fields."""

    def utility(self) -> FloatArray:
        """Δ of each candidate, (n,), for this part."""
        ...

    def part(self, candidates: IntArray) -> Self:
        """The same for some of the candidates only; the original stays as it is."""
        ...

    def observe(self, c: int) -> None:
        """Count candidate c as measured from now on."""
        ...


class BatchSelection:
    """The candidates that are left, with their prices and utilities. All arrays (n,) over candidates."""

    def __init__(
        self, fields: Sequence[Field], feasibility: FloatArray, price: FloatArray, start: FloatArray, engines: IntArray,
        current: int | None,
    ) -> None:
        self._fields, self._feasibility, self._price, self._start = fields, feasibility, price, start
        self._engines, self._current = engines, current
        self._running = (engines == current) | (start <= 0)
        self._open = np.ones(len(price), dtype=bool)
        # Utility of an engine batch when it was last computed: it only falls as more is known.
        self._utility = {int(engine): np.inf for engine in np.unique(engines[~self._running])}

    def select(self, most: int) -> list[int]:
        """The next run on a running engine, or the first `most` runs of an engine batch on another."""
        score = np.where(self._running & self._open, self._total() / self._price, -np.inf)
        best = int(np.argmax(score))
        while self._utility and max(self._utility.values()) > score[best]:
            engine = max(self._utility, key=lambda e: self._utility[e])
            engine_batch, utility = self._engine_batch(engine)
            # Where no run is of any use, no start is worth its price.
            if utility > score[best] and utility >= max(self._others(engine), default=-np.inf):
                if self._utility_of_returning() > RETURN_SHARE * utility:
                    return self._take([best])
                del self._utility[engine]
                self._running |= self._engines == engine
                self._current = engine
                return self._take(engine_batch[:most])
            self._utility[engine] = utility
        return self._take([best])

    def _utility_of_returning(self) -> float:
        """Utility of the best engine batch left on the current engine, if it had to be started again."""
        left = self._current is not None and bool(((self._engines == self._current) & self._open).any())
        return self._engine_batch(self._current)[1] if self._current is not None and left else 0.0

    def _others(self, engine: int) -> list[float]:
        return [utility for other, utility in self._utility.items() if other != engine]

    def _engine_batch(self, engine: int) -> tuple[list[int], float]:
        """The engine batch of the highest utility on an engine, and that utility."""
        members = np.flatnonzero((self._engines == engine) & self._open)
        fields = [field.part(members) for field in self._fields]
        price, left = self._price[members], np.ones(len(members), dtype=bool)
        engine_batch: list[int] = []
        reduced, paid, utility = 0.0, float(self._start[members[0]]), 0.0
        while left.any():
            utilities = np.sum([field.utility() for field in fields], axis=0) * self._feasibility[members]
            c = int(np.argmax(np.where(left, utilities / price, -np.inf)))
            if (reduced + utilities[c]) / (paid + price[c]) <= utility:
                break
            reduced, paid = reduced + float(utilities[c]), paid + float(price[c])
            utility = reduced / paid
            engine_batch.append(int(members[c]))
            left[c] = False
            for field in fields:
                field.observe(c)
        return engine_batch or [int(members[0])], utility

    def _total(self) -> FloatArray:
        total: FloatArray = np.sum([field.utility() for field in self._fields], axis=0) * self._feasibility
        return total

    def _take(self, chosen: list[int]) -> list[int]:
        for c in chosen:
            self._open[c] = False
            for field in self._fields:
                field.observe(c)
        return chosen
