"""The axis that loads a server, and the lines of the grid along it.

A *line* holds the points of one engine configuration and one workload: they differ by the load alone.
"""

from __future__ import annotations

import numpy as np

from planner.space.grid import Grid
from planner.space.types import Axis, BoolArray, IntArray, Role, Scale

__all__ = ["ascending_lines", "first_axis", "load_axis"]


def load_axis(grid: Grid) -> Axis | None:
    """The axis that loads the server: concurrency, else rate, else batch; None if none has several numbers."""
    return first_axis(grid, (Role.CONCURRENCY, Role.RATE, Role.BATCH))


def first_axis(grid: Grid, roles: tuple[Role, ...]) -> Axis | None:
    """The axis of the first of these roles that one with several numbers has; None if there is none."""
    for role in roles:
        axis = grid.by_role(role)
        if axis is not None and axis.scale is not Scale.CATEGORY and len(axis.values) > 1:
            return axis
    return None


def ascending_lines(grid: Grid, axis: Axis, among: BoolArray | None = None) -> list[IntArray]:
    """The rows of each line along `axis`, ascending by its value; of those `among` (N,) only, where given."""
    codes, lines = grid.codes[:, grid.position(axis.name)], grid.lines(axis.name)
    order = np.lexsort((codes, lines))
    if among is not None:
        order = order[among[order]]
    ends = np.flatnonzero(np.diff(lines[order])) + 1
    return [rows for rows in np.split(order, ends) if len(rows)]
