"""Which points stand for a grid that is too large to be predicted after each run."""

from __future__ import annotations

import numpy as np

from planner.models import settings
from planner.models.regressor import ALL
from planner.space.grid import Grid
from planner.space.sampling import spread_rows
from planner.space.types import IntArray

__all__ = ["is_large", "sampled_rows"]


def is_large(grid: Grid) -> bool:
    """Whether means over the grid are taken over a sample."""
    return len(grid) > settings.EXACT_POINTS


def sampled_rows(grid: Grid, among: IntArray | None = None) -> IntArray | slice:
    """The rows over which means are taken: all of them or, of a large grid, a sample that is the same for each worker
    and each session. among: rows to take them from, in place of all."""
    if not is_large(grid):
        return ALL if among is None else among
    rows = np.arange(len(grid)) if among is None else among
    return spread_rows(rows, grid.engine, settings.SAMPLE_POINTS, np.random.default_rng(0))
