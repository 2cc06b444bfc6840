"""Saturation: the gain of a larger batch, along each line of the grid that differs by the batch alone.

Notation: T throughput; b batch; c the gain by which a doubling must pay, as log2(1 + share).
A line is *saturated* from the smallest b on at which every larger b' has T(b') < T(b)·(1 + share)^log2(b'/b): that is
where log T − c·log b is largest. Where that is the largest batch of the grid, no saturation is seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.analysis import settings
from planner.evaluation.metric_posterior import MetricPosterior
from planner.space.grid import Grid
from planner.space.load import ascending_lines, first_axis
from planner.space.types import Axis, BoolArray, FloatArray, IntArray, Role

__all__ = ["Saturation", "batch_axis", "largest", "saturation"]


@dataclass(frozen=True, slots=True)
class Saturation:
    """Grid rows at which a line is saturated: as predicted, at the earliest and at the latest that the 90 % intervals
    allow; None if that is not within the grid. `start` is a row of the line."""

    start: int
    row: int | None
    earliest: int | None
    latest: int | None


def batch_axis(grid: Grid) -> Axis | None:
    """The axis that loads the engine: batch, else concurrency, else rate; None if none has several numbers."""
    return first_axis(grid, (Role.BATCH, Role.CONCURRENCY, Role.RATE))


def largest(grid: Grid, axis: Axis, runs: BoolArray, meets: BoolArray) -> list[tuple[int, int | None]]:
    """For each line along `axis` with a point that runs: a row of it, and the row of the largest value that `meets`."""
    found: list[tuple[int, int | None]] = []
    for rows in ascending_lines(grid, axis, runs):
        good = rows[meets[rows]]
        found.append((int(rows[0]), int(good[-1]) if len(good) else None))
    return found


def saturation(grid: Grid, axis: Axis, throughput: MetricPosterior, runs: BoolArray) -> list[Saturation]:
    """The saturation of each line along `axis`; lines with too few batches are left out."""
    size = grid.numbers(axis.name)
    low, high = throughput.interval
    usable = runs & np.isfinite(throughput.value) & (low > 0) & (size > 0)
    found = []
    for rows in ascending_lines(grid, axis, usable):
        if len(rows) < settings.LEAST_BATCHES:
            continue
        owed = np.log2(1 + settings.SATURATION_SHARE) * np.log(size[rows])
        value, least, most = (np.log(array[rows]) - owed for array in (throughput.value, low, high))
        found.append(Saturation(int(rows[0]), _first(rows, value, value), _first(rows, most, least),
                                _first(rows, least, most)))
    return found


def _first(rows: IntArray, own: FloatArray, later: FloatArray) -> int | None:
    """The first row whose `own` is at least every `later` after it; None if only the last one's is."""
    after = np.maximum.accumulate(later[::-1])[::-1][1:]
    good = np.flatnonzero(own[:-1] >= after)
    return int(rows[good[0]]) if len(good) else None
