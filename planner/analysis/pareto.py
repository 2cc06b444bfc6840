"""Pareto fronts of two figures or more."""

from __future__ import annotations

from collections.abc import Sequence
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


def nondominated(figures: Sequence[Figure], among: BoolArray) -> IntArray:
    """The rows of `among` (N,) that no other one equals or beats in all figures, best of the first figure first.

    Of rows that are equal in all, only the first is returned. Sorted by the figures, the first row left is on the
    front, as no later one beats it, and all that it beats are dropped: as many passes as the front has rows.
    """
    rows = np.flatnonzero(among & np.all([np.isfinite(one.value) for one in figures], axis=0))
    less = np.array([np.where(one.higher_is_better, -1.0, 1.0) * one.value[rows] for one in figures])
    order = np.lexsort(less[::-1])
    rows, less = rows[order], less[:, order]
    front: list[int] = []
    while len(rows):
        front.append(int(rows[0]))
        open_rows = np.any(less < less[:, :1], axis=0)
        rows, less = rows[open_rows], less[:, open_rows]
    return np.array(front, dtype=np.int64)
