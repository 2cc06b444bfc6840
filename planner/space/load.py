"""The axis that loads a server, and the lines of the grid along it.

A *line* holds the points of one engine configuration and one workload: they differ by the load alone. A grid may hold
closed loops, loaded by their concurrency, and open loops, loaded by a rate: each point is on a line of its own kind.
"""

from __future__ import annotations

import numpy as np

from planner.space.grid import Grid
from planner.space.types import Axis, BoolArray, IntArray, Role, Scale

__all__ = ["ascending_lines", "first_axis", "load_axis", "load_lines"]


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


def load_lines(grid: Grid) -> list[tuple[Axis, IntArray]]:
    """Every line with its load: each row of the grid is in one. No lines where no axis is a load.

    A row is on a line along the concurrency if another row is, too; else along the rate; else alone.
    """
    first = load_axis(grid)
    if first is None:
        return []
    found: list[tuple[Axis, IntArray]] = []
    left = np.ones(len(grid), dtype=bool)
    for role in (Role.CONCURRENCY, Role.RATE, Role.BATCH):
        axis = first_axis(grid, (role,))
        if axis is None or (role is Role.BATCH and axis is not first):
            continue
        for rows in ascending_lines(grid, axis, left):
            if len(rows) > 1:
                found.append((axis, rows))
                left[rows] = False
    return found + [(first, rows) for rows in ascending_lines(grid, first, left)]


def ascending_lines(grid: Grid, axis: Axis, among: BoolArray | None = None) -> list[IntArray]:
    """The rows of each line along `axis`, ascending by its value; of those `among` (N,) only, where given."""
    codes, lines = grid.codes[:, grid.position(axis.name)], grid.lines(axis.name)
    order = np.lexsort((codes, lines))
    if among is not None:
        order = order[among[order]]
    ends = np.flatnonzero(np.diff(lines[order])) + 1
    return [rows for rows in np.split(order, ends) if len(rows)]
