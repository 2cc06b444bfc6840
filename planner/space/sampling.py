"""Random rows of a grid that leave nothing out: a part of them stands for all."""

from __future__ import annotations

import numpy as np

from planner.space.types import IntArray

__all__ = ["spread_rows"]


def spread_rows(rows: IntArray, engine: IntArray, count: int, rng: np.random.Generator) -> IntArray:
    """About `count` of the rows, ascending; all of them where they are no more. engine: (N,) of every grid point.

    One row is drawn from each of `count` parts of equal size, in order of engines and then of the grid. So every engine
    and every region has its share, and each row the same chance. An engine too small for a part of its own that has no
    row by chance is given one, so that a few more rows than `count` may come.
    """
    if len(rows) <= count:
        return rows
    ordered = rows[np.argsort(engine[rows], kind="stable")]
    edges = np.linspace(0, len(ordered), count + 1).astype(np.int64)
    drawn = ordered[edges[:-1] + (rng.random(count) * np.diff(edges)).astype(np.int64)]
    there = np.bincount(engine[rows]) > 0
    there[engine[drawn]] = False
    own = engine[ordered]
    first, end = (np.searchsorted(own, np.flatnonzero(there), side) for side in ("left", "right"))
    missed = ordered[first + (rng.random(len(first)) * (end - first)).astype(np.int64)]
    return np.sort(np.concatenate([drawn, missed]))
