"""Rows of a table that belong together: of one point, or of one repeat.

Notation: R rows in use, N points, A axes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from planner.space.cells import Cells
from planner.space.meaning import as_number
from planner.space.types import IntArray

__all__ = ["group", "numbered"]


def numbered(repeats: Cells, point: IntArray) -> IntArray:
    """Rows share a reading if they have the same repeat, and the same count of earlier rows with that repeat at their
    point."""
    readings: dict[tuple[Any, int], int] = {}
    seen: dict[tuple[int, Any], int] = {}
    codes = np.empty(len(point), dtype=np.int64)
    for i, (where, written) in enumerate(zip(point.tolist(), repeats, strict=True)):
        number = as_number(written)
        cell = written if math.isnan(number) else number  # 1 and 1.0 are one repeat
        nth = seen[where, cell] = seen.get((where, cell), -1) + 1
        codes[i] = readings.setdefault((cell, nth), len(readings))
    return codes


def group(codes: IntArray) -> tuple[IntArray, IntArray]:
    """The group of each row, (R,), numbered in order of first appearance, and the first row of each group, (N,)."""
    keys = np.zeros(len(codes), dtype=np.int64)
    for column in codes.T:  # compressed at each step, so that no product of sizes can overflow
        keys = np.unique(keys * (int(column.max()) + 1) + column, return_inverse=True)[1]
    _, first, found = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return rank[found], first[order]
