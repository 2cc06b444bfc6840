"""The first runs of a study with a baseline: of the baseline itself."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from planner.acquisition.settings import BASELINE_RUNS
from planner.space.baseline import baseline_points
from planner.space.grid import Grid
from planner.space.types import IntArray, Value
from planner.tables.workload import PlacedWorkload

__all__ = ["first_of_baseline"]


def first_of_baseline(grid: Grid, baseline: Mapping[str, Value], workload: PlacedWorkload | None) -> IntArray | None:
    """Rows of the baseline to run before all others: one for each of the largest parts of the workload, else one in
    all; None without a baseline. Axes that neither sets are in the middle."""
    if not baseline:
        return None
    there = baseline_points(baseline, grid)
    part = np.zeros(len(grid), dtype=np.int64) if workload is None else workload.parts_of(grid)
    weights = np.ones(1) if workload is None else workload.weights
    last = np.array([max(1, len(axis.values) - 1) for axis in grid.axes])
    found = []
    for number in np.argsort(-weights, kind="stable")[:BASELINE_RUNS]:
        rows = np.flatnonzero(there & (part == number))
        if len(rows):
            off_centre = np.sum((grid.codes[rows] / last - 0.5) ** 2, axis=1)
            found.append(int(rows[np.argmin(off_centre)]))
    return np.array(found, dtype=np.int64) if found else None
