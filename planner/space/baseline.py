"""The baseline: the configuration that all others are compared with."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from planner.space.expressions import suggestion
from planner.space.grid import Grid
from planner.space.meaning import match, named_values
from planner.space.text import listed
from planner.space.types import BoolArray, StudyError, Value
from planner.space.workload import is_given

__all__ = ["baseline_of_option", "baseline_points", "resolved_baseline"]


def baseline_of_option(text: str) -> dict[str, Value]:
    """The baseline in 'axis=value,axis=value'. Raises StudyError."""
    found = named_values(text)
    if found is None:
        raise StudyError(f"--baseline: cannot read '{text}'; write it like tensor_parallel_size=1,dtype=bfloat16")
    return found


def resolved_baseline(baseline: Mapping[str, Value], grid: Grid, key: str = "baseline") -> dict[str, Value]:
    """The baseline with the axes' own values. Raises StudyError that starts with `key`."""
    names = [axis.name for axis in grid.axes]
    found: dict[str, Value] = {}
    for name, value in baseline.items():
        if name not in names:
            raise StudyError(f"{key}: '{name}' is no axis{suggestion(name, names)}; name one of {', '.join(names)}")
        axis = grid.axis(name)
        if is_given(axis):
            raise StudyError(f"{key}: '{name}' is given by traffic, not chosen; leave it out")
        own = match(axis.values, value)
        if own is None:
            raise StudyError(f"{key}: {name}={value} is not on the axis; its values are "
                             f"{listed(axis.values)}")
        found[name] = own
    if found and not baseline_points(found, grid).any():
        raise StudyError(f"{key}: no point of the grid has these values together; choose others")
    return found


def baseline_points(baseline: Mapping[str, Value], grid: Grid) -> BoolArray:
    """The points of the grid that have the values of the baseline, (N,)."""
    there = np.ones(len(grid), dtype=bool)
    for name, value in baseline.items():
        there &= grid.codes[:, grid.position(name)] == grid.axis(name).values.index(value)
    return there
