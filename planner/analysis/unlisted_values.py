"""Points of a model or a device that is on no axis of the study, such as one that nobody has: predicted by its numbers.

The grid gets the values that are asked for, at the points that are asked for, and is learned anew from all runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from planner.campaign.setup import StudySetup
from planner.ledger.observations import Observations
from planner.models.feasibility import probability_of_feasibility
from planner.models.grid_model import GridModel
from planner.space.descriptors import is_needed, known_numbers
from planner.space.grid import Grid
from planner.space.meaning import match
from planner.space.text import listed
from planner.space.types import Axis, Point, Scale, StudyError, Value
from planner.strategies.strategy import Posterior
from planner.tables.recorded_grid import Sweep

__all__ = ["Described", "unlisted_values", "with_values"]

Described = Mapping[str, float]
"""Axis and descriptor → a number of the values that are not on it: {'gpu.tflops': 990}."""


def unlisted_values(grid: Grid, points: Iterable[Point]) -> dict[str, list[Value]]:
    """Axis → the values of `points` that are not on it, of category axes whose values have numbers."""
    found: dict[str, list[Value]] = {}
    for axis in grid.axes:
        asked = [point[axis.name] for point in points if axis.name in point]
        if axis.scale is Scale.CATEGORY and axis.descriptors:
            found[axis.name] = [value for value in dict.fromkeys(asked) if match(axis.values, value) is None]
    return {name: values for name, values in found.items() if values}


def with_values(
    study: StudySetup, observations: Observations, points: Sequence[Point], described: Described
) -> tuple[Observations, Posterior]:
    """The observations and the posterior on a grid with `points` too, some of whose values are on no axis. Raises
    StudyError where such a value has not every number that the others have."""
    grid = study.grid
    added = unlisted_values(grid, points)
    _check(grid, added, described)
    axes = tuple(_longer(study, axis, added[axis.name], described) if axis.name in added else axis
                 for axis in grid.axes)
    extra = [codes for point in points if (codes := _codes(axes, point)) is not None]
    new = [codes for codes in dict.fromkeys(extra) if any(
        code >= len(axis.values) for code, axis in zip(codes, grid.axes, strict=True))]
    wider = Grid(axes, np.vstack([grid.codes, np.array(new, dtype=np.int64).reshape(-1, len(axes))]))
    known = Observations(wider, [observations.metric(name) for name in observations.targets], observations.runs)
    model = GridModel(wider, study.runner.trajectory_axis).fit(known)
    nothing = Sweep((np.nan,) * 3, (np.nan,) * 3)
    return known, Posterior(model.predict(), {}, probability_of_feasibility(wider, known), nothing)


def _longer(study: StudySetup, axis: Axis, values: list[Value], described: Described) -> Axis:
    """The axis with these values too, and the numbers that all have."""
    known = known_numbers(replace(axis, values=tuple(values), descriptors={}), study.directory)
    numbers, missing, unknown = {}, [], values[0]
    for name, own in axis.descriptors.items():
        typed = described.get(f"{axis.name}.{name}")
        found = [typed if typed is not None else number for number in known.get(name, (None,) * len(values))]
        if None not in found:
            numbers[name] = (*own, *(number for number in found if number is not None))
        elif is_needed(axis, name):
            missing.append(name)
            unknown = values[found.index(None)]
    if missing:
        options = " ".join(f"--describe {axis.name}.{name}=…" for name in missing)
        raise StudyError(f"--point: {axis.name}={unknown} is not on the axis, and not known; its values are "
                         f"{listed(axis.values)}; or type its data sheet: {options}")
    return replace(axis, values=(*axis.values, *values), descriptors=numbers)


def _check(grid: Grid, added: Mapping[str, list[Value]], described: Described) -> None:
    """Raise StudyError for a number that describes nothing, or more than one value."""
    for key in described:
        name, _, number = key.partition(".")
        axis = next((axis for axis in grid.axes if axis.name == name and number in axis.descriptors), None)
        if axis is None:
            usable = ", ".join(f"{axis.name}.{number}" for axis in grid.axes for number in axis.descriptors)
            raise StudyError(f"--describe: '{key}' is no number of an axis; use {usable or 'an axis that has some'}")
        if len(added.get(name, [])) != 1:
            raise StudyError(f"--describe: {key} needs one value in --point that is not on the axis '{name}'; its own "
                             "values are described in the study file")


def _codes(axes: Sequence[Axis], point: Point) -> tuple[int, ...] | None:
    """The point's codes; None if a value is missing or unknown, which `find_points` says better."""
    found = [match(axis.values, point[axis.name]) if axis.name in point
             else axis.values[0] if len(axis.values) == 1 else None for axis in axes]
    if any(value is None for value in found):
        return None
    return tuple(axis.values.index(value) for axis, value in zip(axes, found, strict=True) if value is not None)
