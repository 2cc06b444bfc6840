"""The grid of a study file: every combination of its values, or the rows of the table that it replays."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from planner.space.descriptors import known_numbers
from planner.space.expressions import parse
from planner.space.grid import Grid, check_size, check_values, full_grid, grid_of_rows
from planner.space.spec import StudySpec
from planner.space.types import Axis, Runner, RunnerContext
from planner.tables.recorded_grid import GridSource

__all__ = ["context_of", "grid_of_spec"]


def context_of(spec: StudySpec, axes: tuple[Axis, ...], directory: Path, seed: int) -> RunnerContext:
    """What a runner of the study may know."""
    return RunnerContext(axes, tuple(metric.name for metric in spec.metrics), directory, seed, spec.metrics,
                         spec.quality.evaluation if spec.quality else None)


def grid_of_spec(
    spec: StudySpec, directory: Path, kind: type[Runner], settings: Any, seed: int
) -> tuple[Grid, tuple[str, ...]]:
    """The grid, and the notes of its recorded table if it has one."""
    constraints = [
        parse(text, spec.space.axes, f"space.constraints[{i}]") for i, text in enumerate(spec.space.constraints)
    ]
    sizes = [axis.size for axis in spec.space.axes.values()]
    check_values(sizes)  # before a value of a range is made
    if not (isinstance(kind, type) and issubclass(kind, GridSource)):
        check_size(sizes)
        axes = [_axis(spec, name, directory) for name in spec.space.axes]
        return full_grid(axes, constraints), ()
    given = tuple(axis.unresolved(name) for name, axis in spec.space.axes.items())
    table = kind.recorded(settings, context_of(spec, given, directory, seed))
    axes = [_axis(spec, name, directory, list(table.axis_values(name))) for name in spec.space.axes]
    return grid_of_rows(axes, table.points(), constraints), table.notes


def _axis(spec: StudySpec, name: str, directory: Path, values: list[Any] | None = None) -> Axis:
    given = spec.space.axes[name]
    if values is not None:
        # The table decides: values without a row are not in the grid.
        given = given.model_copy(update={"values": None, "range": None})
    return given.resolve(name, values, partial(known_numbers, directory=directory))
