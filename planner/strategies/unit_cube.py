"""A grid's features without descriptors, as general tools see it: for baselines and ablations.

Notation: N grid points, d numeric columns, c category columns.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from planner.space.grid import Grid
from planner.space.types import Features, FloatArray

__all__ = ["unit_cube", "without_descriptors"]


def without_descriptors(grid: Grid) -> Grid:
    """The same points in the same order, without descriptors of categories."""
    return Grid(tuple(replace(axis, descriptors={}) for axis in grid.axes), grid.codes)


def unit_cube(grid: Grid) -> Features:
    """Numeric axes scaled to [0, 1], in log2 for axes of scale log, (N, d), and category codes, (N, c)."""
    features = without_descriptors(grid).features
    lowest = features.numeric.min(axis=0)
    numeric: FloatArray = (features.numeric - lowest) / np.ptp(features.numeric, axis=0)
    return Features(numeric, features.category, features.levels)
