"""A grid as a tool is given it that knows nothing of models and their sizes: the stock view, for rivals and ablations.

Notation: N grid points, d numeric columns, c category columns.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from planner.space.grid import Grid
from planner.space.types import Features, FloatArray

__all__ = ["unit_cube", "without_descriptors"]


def without_descriptors(grid: Grid) -> Grid:
    """The same points in the same order, their categories bare names."""
    return Grid(tuple(replace(axis, descriptors={}) for axis in grid.axes), grid.codes)


def unit_cube(grid: Grid) -> Features:
    """Sizes on [0, 1], of their log2 where the axis says so, (N, d), and category codes, (N, c); no descriptors."""
    features = without_descriptors(grid).features
    lowest = features.numeric.min(axis=0)
    numeric: FloatArray = (features.numeric - lowest) / np.ptp(features.numeric, axis=0)
    return Features(numeric, features.category, features.levels)
