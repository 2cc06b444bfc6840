"""What old studies and tables measured, under the names of the study that starts from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from planner.importers.placing.options import names_in
from planner.importers.placing.place import Places
from planner.importers.placing.runs import ImportOptions, StudyContext, runs_of
from planner.importers.registry import check_format, read_rows
from planner.importers.rows import Row
from planner.ledger.observations import Run
from planner.space.cells import Cells
from planner.space.expressions import parse, suggestion
from planner.space.grid import Grid, grid_of_rows
from planner.space.meaning import as_number, match
from planner.space.prior_spec import PriorSpec
from planner.space.types import Axis, Metric, Point, Scale, StudyError, Value

__all__ = ["OldStudy", "Receiver", "old_study", "old_table", "rows_of", "unique_points"]


@dataclass(frozen=True, eq=False)
class Receiver:
    """The study that starts from an old one. key: of the entry in its study file, for messages."""

    grid: Grid
    metrics: tuple[Metric, ...]
    key: str


@dataclass(frozen=True)
class OldStudy:
    """What an old source measured, on the axes that it shares with the new study.

    axes: with the values of both. runs: their points have these axes. trajectory: the axis along which they measured.
    """

    axes: tuple[Axis, ...]
    runs: tuple[Run, ...]
    trajectory: str | None = None
    notes: tuple[str, ...] = ()


def old_study(entry: PriorSpec, grid: Grid, runs: Sequence[Run], trajectory: str | None, study: Receiver) -> OldStudy:
    """What a study of ours measured. grid, runs: its own. Raises StudyError."""
    runs = [run for run in _that_meet(entry, grid, runs, study) if run.measurement.readings]
    if not runs:
        raise StudyError(f"{study.key}: {entry.study} has no measured run"
                         f"{' that meets `where`' if entry.where else ''}; run it first, or delete the entry")
    names = {entry.map.get(axis.name, axis.name): axis for axis in study.grid.axes if axis.name not in entry.set}
    values = {axis.name: list(dict.fromkeys(reading.point[axis.name] for run in runs
                                            for reading in run.measurement.readings)) for axis in grid.axes}
    for name, found in values.items():
        if name not in names and len(found) > 1:
            raise StudyError(f"{study.key}: its axis '{name}' is none of this study's{suggestion(name, names)}; choose "
                             f"a value by `where: {name} == …`, or name the axis by `map`")
    shared = {old: axis for old, axis in names.items() if old in values}
    axes = tuple(_joined(axis, values[old], study) for old, axis in shared.items())

    def place(point: Point) -> dict[str, Value]:
        return {axis.name: _on(axis, point[old]) for axis, old in zip(axes, shared, strict=True)}

    kept = tuple(_renamed(run, place, entry.map) for run in runs)
    return OldStudy(axes, kept, shared[trajectory].name if trajectory in shared else None)


def old_table(entry: PriorSpec, rows: Sequence[Row], study: Receiver) -> OldStudy:
    """What a table or another tool's file holds. Raises StudyError."""
    options = ImportOptions(entry.map, {}, entry.where, skip_unknown=True)
    places = Places(study.grid, options, names_in(rows), rows)
    own = [axis for axis in study.grid.axes if axis.name not in entry.set]
    said = [(axis, [places.said(axis, row) for row in rows]) for axis in own]
    said = [(axis, found) for axis, found in said if any(value is not None for value in found)]
    axes = tuple(_joined(axis, [value for value in found if value is not None], study) for axis, found in said)
    whole = [i for i in range(len(rows)) if all(found[i] is not None for _, found in said)]
    points = [{axis.name: _on(axis, found[i]) for axis, (_, found) in zip(axes, said, strict=True)} for i in whole]
    if not axes or not points:
        raise StudyError(f"{study.key}: no row of {entry.table} says where it was measured; name its axes by `map`, as "
                         f"in `map: {{{study.grid.axes[0].name}: COLUMN}}`")
    grid = grid_of_rows(axes, unique_points(points), [])
    try:
        found = runs_of(rows, StudyContext(grid, study.metrics, lambda _: 1.0, counts_devices=True), options)
    except StudyError as error:
        raise StudyError(f"{study.key}: {str(error).replace('--', '')}") from error
    runs = tuple(Run(number, run.point, run.measurement) for number, run in enumerate(found.runs)
                 if run.measurement.readings)
    return OldStudy(axes, runs, None, tuple(f"{entry.label}: {note}" for note in found.notes))


def rows_of(entry: PriorSpec, path: Path) -> list[Row]:
    """The rows of a table. Raises StudyError."""
    check_format(entry.format)
    return read_rows(path, entry.format, {}, entry.map)


def unique_points(points: Sequence[Mapping[str, Value]]) -> dict[str, list[Value]]:
    """Each point once, as columns; one point at least."""
    once = list({tuple(point.values()): point for point in points}.values())
    return {name: [point[name] for point in once] for name in once[0]}


def _that_meet(entry: PriorSpec, grid: Grid, runs: Sequence[Run], study: Receiver) -> list[Run]:
    if entry.where is None:
        return list(runs)
    condition = parse(entry.where, [axis.name for axis in grid.axes], f"{study.key}.where")

    def meets(run: Run) -> bool:
        value = condition({name: Cells.of([run.point[name]]) for name in condition.names})
        return bool(np.all(getattr(value, "truth", value)))

    return [run for run in runs if meets(run)]


def _renamed(run: Run, place: Callable[[Point], dict[str, Value]], names: Mapping[str, str]) -> Run:
    """The run at its place on the shared axes, with metrics under the new study's names."""
    readings = []
    for reading in run.measurement.readings:
        metrics = dict(reading.metrics)
        metrics.update({new: reading.metrics[old] for new, old in names.items() if old in reading.metrics})
        readings.append(replace(reading, point=place(reading.point), metrics=metrics))
    return replace(run, point=place(run.point), measurement=replace(run.measurement, readings=tuple(readings)))


def _joined(axis: Axis, values: Sequence[Value], study: Receiver) -> Axis:
    """The axis of the new study with the old one's values too. Raises StudyError."""
    more = [value for value in dict.fromkeys(values) if match(axis.values, value) is None]
    if axis.scale is Scale.CATEGORY:
        return Axis(axis.name, (*axis.values, *more), axis.scope, axis.scale, axis.roles,
                    {} if more else axis.descriptors)
    numbers = [as_number(value) for value in more]
    if not np.isfinite(numbers).all():
        raise StudyError(f"{study.key}: {axis.name} is {str(more[0])[:40]} there and a number here; choose rows by "
                         "`where`, or give the axis `scale: category`")
    together = sorted([*axis.values, *dict.fromkeys(numbers)], key=as_number)
    return Axis(axis.name, tuple(together), axis.scope, axis.scale, axis.roles)


def _on(axis: Axis, value: Value | None) -> Value:
    found = match(axis.values, value)
    assert found is not None  # the axis has the values of both
    return found
