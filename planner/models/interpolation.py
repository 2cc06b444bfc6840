"""FMwork's predictor (arXiv 2508.10251): linear interpolation between neighbours along one axis.

Notation: N grid points; x values of the axis; y values of the target.
"""

from __future__ import annotations

import numpy as np

from planner.ledger.observations import Observations
from planner.space.types import FloatArray

__all__ = ["interpolate"]


def interpolate(observations: Observations, target: str, axis: str) -> FloatArray:
    """The target at every grid point, (N,), interpolated along `axis` and extrapolated from the last two points.

    A line with one measured point has its value everywhere; NaN on a line with none.
    """
    grid = observations.grid
    lines, x, y = grid.lines(axis), grid.numbers(axis), observations.column(target)
    result = np.full(len(grid), np.nan)
    order = np.lexsort((x, lines))
    for rows in np.split(order, np.flatnonzero(np.diff(lines[order])) + 1):
        known = rows[np.isfinite(y[rows])]
        if len(known):
            result[rows] = _straight(x[known], y[known], x[rows])
    return result


def _straight(x: FloatArray, y: FloatArray, wanted: FloatArray) -> FloatArray:
    values: FloatArray = np.interp(wanted, x, y)
    if len(x) > 1:
        for end, inner, beyond in ((0, 1, wanted < x[0]), (-1, -2, wanted > x[-1])):
            slope = (y[end] - y[inner]) / (x[end] - x[inner])
            values[beyond] = y[end] + slope * (wanted[beyond] - x[end])
    return values
