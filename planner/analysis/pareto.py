"""Pareto fronts of two figures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.space.types import BoolArray, FloatArray, IntArray

__all__ = ["Figure", "nondominated"]


@dataclass(frozen=True, eq=False)
class Figure:
    """A number at each grid point, (N,), and whether higher is better."""

    name: str
    value: FloatArray
    higher_is_better: bool


def nondominated(first: Figure, second: Figure, among: BoolArray) -> IntArray:
    """The rows of `among` (N,) that no other one equals or beats in both figures, best of `first` first.

    Of rows that are equal in both, only the first is returned.
    """
    rows = np.flatnonzero(among & np.isfinite(first.value) & np.isfinite(second.value))
    a, b = (np.where(f.higher_is_better, -1.0, 1.0) * f.value[rows] for f in (first, second))
    order = np.lexsort((b, a))
    least = np.minimum.accumulate(b[order])
    front: BoolArray = np.append(True, b[order][1:] < least[:-1]) if len(order) else np.zeros(0, dtype=bool)
    result: IntArray = rows[order[front]].astype(np.int64)
    return result
