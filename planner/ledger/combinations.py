"""Metrics that some axes alone can change: which points have one value in common, and which reading gave it."""

from __future__ import annotations

import numpy as np

from planner.space.grid import Grid
from planner.space.types import IntArray, Metric

__all__ = ["Combinations"]


class Combinations:
    """The combinations of the axes that each metric depends on, and the first reading of each combination."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._of: dict[str, IntArray] = {}
        self._first: dict[tuple[str, int], tuple[int, int]] = {}

    def of(self, metric: Metric) -> IntArray:
        """The combination of each point, (N,): points with equal numbers have one value; each point its own where a
        metric does not say what it depends on."""
        if metric.name not in self._of:
            axes = metric.depends_on
            self._of[metric.name] = (np.arange(len(self._grid)) if axes is None else self._grid.combinations(axes))
        return self._of[metric.name]

    def is_first(self, metric: Metric, row: int, position: int) -> bool:
        """Whether a reading at a row, of the run at a position, tells something new. To be asked in order of time."""
        if metric.depends_on is None:
            return True
        first = self._first.setdefault((metric.name, int(self.of(metric)[row])), (row, position))
        return first == (row, position)
