"""Which points stand for a grid that is too large to be predicted after each run."""

from __future__ import annotations

import numpy as np

from planner.models import settings
from planner.models.regressor import ALL
from planner.models.representative import representative_rows
from planner.space.grid import Grid
from planner.space.sampling import spread_rows
from planner.space.types import IntArray

__all__ = ["is_large", "sampled_rows", "used_readings"]


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


def used_readings(grid: Grid, rows: IntArray, runs: IntArray, most: int) -> IntArray:
    """The places of at most `most` readings of a large grid, in order of time, in which one factorisation serves for a
    fit and for its forecasts. Where there are many more, they are those that stand for a random part of all."""
    order = np.argsort(runs, kind="stable")
    if len(order) > settings.THINNED * most:
        part = np.random.default_rng(0).choice(len(order), settings.THINNED * most, replace=False)
        order = order[np.sort(part)]
    return order[representative_rows(grid.features[rows[order]], most, 0)]
