"""Rows of any format → runs of a study: axes found, metrics renamed, repeats gathered. Nothing is written here.

The value of an axis comes from, in this order: --set, the column that --map names, the field of the axis' name, a field
with another tool's name for it. A row that cannot be placed is refused, or with `skip_unknown` left out and counted.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from planner.importers.rows import Row, scalar
from planner.importers.table import RESERVED
from planner.space.expressions import parse, suggestion
from planner.space.grid import Grid
from planner.space.types import Axis, Cost, Measurement, Point, Reading, Role, Status, StudyError, Value

__all__ = ["ImportOptions", "Imported", "Runs", "runs_of"]

_ALIASES: Final[Mapping[Role, tuple[str, ...]]] = {
    Role.INPUT_TOKENS: ("input_len", "random_input_len", "isl", "ii", "prompt_tokens", "input_size"),
    Role.OUTPUT_TOKENS: ("output_len", "random_output_len", "osl", "oo", "output_tokens", "output_size"),
    Role.BATCH: ("batch_size", "bb"), Role.CONCURRENCY: ("max_concurrency", "concurrency"),
    Role.RATE: ("request_rate",), Role.ACCELERATORS: ("tensor_parallel_size", "tensor_parallel", "tp"),
    Role.MODEL: ("model", "model_id", "model_name", "mm"),
}
_SYNONYMS: Final = {name: names for names in _ALIASES.values() for name in names}


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """The user's options for a file. renames: axis or metric → column or expression; given: axis → value for all rows;
    where: a condition that rows must meet."""

    renames: Mapping[str, str]
    given: Mapping[str, Value]
    where: str | None = None
    skip_unknown: bool = False


@dataclass(frozen=True, slots=True)
class Imported:
    """One run: its point, its measurement, and its origin."""

    point: Point
    measurement: Measurement
    origin: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Runs:
    """All runs of some rows, the number of rows left out by reason, and notes for the user."""

    runs: tuple[Imported, ...]
    skipped: Mapping[str, int]
    notes: tuple[str, ...]


def runs_of(
    rows: Sequence[Row], grid: Grid, targets: tuple[str, ...], options: ImportOptions, fixed: Mapping[str, Any],
    devices: Callable[[Point], float],
) -> Runs:
    """The runs that `rows` describe. fixed: settings of the study's runner for all points. Raises StudyError."""
    rows = _filtered(rows, options)
    _check_options(rows, grid, options)
    _check_fixed(rows, grid, options, fixed)
    groups: dict[tuple[str, ...], list[tuple[Point, Row]]] = {}
    skipped: Counter[str] = Counter()
    problems: list[str] = []
    for row in (_renamed(row, grid, options) for row in rows):
        point, problem = _point(row, grid, options)
        if not problem and not row.failure and not any(target in row.metrics for target in targets):
            problem = f"no target: none of {', '.join(targets)} is there, but {_some(row.metrics)}"
        if problem:
            skipped[problem.partition(":")[0]] += 1
            problems.append(f"{row.provenance.where}: {problem}")
            continue
        groups.setdefault(_group(row, point), []).append((point, row))
    if problems and not options.skip_unknown:
        raise StudyError(f"{problems[0]}; {len(problems)} of {len(rows)} rows have no place in the study, and "
                         "--skip-unknown leaves such rows out")
    runs = tuple(_run(members, devices) for members in groups.values())
    absent = [t for t in targets if runs and not any(t in r.metrics for run in runs for r in run.measurement.readings)]
    notes = [note for row in rows for note in row.notes]
    notes += [f"no row gives {target}" for target in absent]
    return Runs(runs, dict(skipped), tuple(dict.fromkeys(notes)))


def _filtered(rows: Sequence[Row], options: ImportOptions) -> Sequence[Row]:
    if options.where is None:
        return rows
    condition = parse(options.where, sorted({name for row in rows for name in row.fields}), "--where")
    columns = {name: _column([row.fields.get(name) for row in rows]) for name in condition.names}
    keep = np.broadcast_to(np.asarray(condition(columns), dtype=bool), (len(rows),))
    if not keep.any():
        raise StudyError(f"--where: no row meets '{options.where}'; loosen it")
    return [row for row, kept in zip(rows, keep, strict=True) if kept]


def _column(values: list[Value | None]) -> Any:
    numeric = all(isinstance(value, int | float) for value in values)
    return np.array(values, dtype=float if numeric else object)


def _check_options(rows: Sequence[Row], grid: Grid, options: ImportOptions) -> None:
    axes = {axis.name for axis in grid.axes}
    known = {name for row in rows for name in (*row.fields, *row.metrics)}
    for name, column in options.renames.items():
        if column not in known and (name in axes or name in RESERVED):
            raise StudyError(f"--map {name}: no row has '{column}'{suggestion(column, known)}")
    for name, value in options.given.items():
        if name in axes and _on_axis(grid.axis(name), value) is None:
            raise StudyError(f"--set {name}: {value!r} is not on the axis; its values are {_values(grid.axis(name))}")


def _check_fixed(rows: Sequence[Row], grid: Grid, options: ImportOptions, fixed: Mapping[str, Any]) -> None:
    """Raises StudyError if a field that is not an axis differs between rows, or from the runner's setting."""
    axes = {axis.name for axis in grid.axes}
    covered = {other for name in axes for other in (name, *_names(grid.axis(name)))} | set(options.given)
    seen: dict[str, tuple[Value, Row]] = {}
    for row in rows:
        if row.any_fields:
            continue
        for name, value in row.fields.items():
            if name in covered or name in options.renames.values():
                continue
            before, _ = seen.setdefault(name, (value, row))
            if before != value:
                raise StudyError(f"{row.provenance.where}: {name} is {value} here and {before} in rows before it, and "
                                 f"is not an axis of the study; add the axis, or choose with --where \"{name} == …\"")
            if name in fixed and str(fixed[name]) != str(value):
                raise StudyError(f"{row.provenance.where}: {name} is {value} where the study's runner has "
                                 f"{fixed[name]}; if they are the same, say so with --set {name}={fixed[name]}")


def _renamed(row: Row, grid: Grid, options: ImportOptions) -> Row:
    """The row with the metrics that --map names, and without columns that are axes."""
    axes = {axis.name for axis in grid.axes}
    aside = axes | {_source(axis, row, options) for axis in grid.axes}
    asked = {name: text for name, text in options.renames.items() if name not in axes and name not in RESERVED}
    if row.failure:
        return row
    metrics = {name: values for name, values in row.metrics.items() if name not in aside}
    for name, value in row.fields.items():
        # An axis may have an infinite rate; nothing else is infinite.
        if name not in aside and isinstance(value, float) and math.isinf(value):
            raise StudyError(f"{row.provenance.where}: {name} is {value}, which no run measures; correct the table")
    for name, text in asked.items():
        if text in row.metrics:
            metrics[name] = row.metrics[text]
            continue
        known = {**{k: float(v) for k, v in row.fields.items() if isinstance(v, int | float)},
                 **{k: np.array(v) for k, v in row.metrics.items()}}
        values = np.atleast_1d(parse(text, known, f"--map {name}")(known))
        if not np.isfinite(values).all():
            raise StudyError(f"{row.provenance.where}: --map {name}: '{text}' gives no number here; correct it")
        metrics[name] = tuple(float(value) for value in values)
    return replace(row, metrics=metrics)


def _point(row: Row, grid: Grid, options: ImportOptions) -> tuple[dict[str, Value], str]:
    """The point of the row and an empty text, or an empty point and the problem."""
    point: dict[str, Value] = {}
    for axis in grid.axes:
        value = options.given.get(axis.name, row.fields.get(_source(axis, row, options)))
        if value is None:
            return {}, f"no {axis.name}: it is not in the file, or not the same for all requests; add " \
                       f"--set {axis.name}=VALUE or --map {axis.name}=COLUMN"
        found = _on_axis(axis, value)
        if found is None:
            return {}, f"{axis.name} off the axis: {value} is not one of {_values(axis)}; add it to the study file"
        point[axis.name] = found
    if grid.find(point) is None:
        where = ", ".join(f"{name}={value}" for name, value in point.items())
        return {}, f"off the grid: the study's constraints or its table exclude {where}"
    return point, ""


def _source(axis: Axis, row: Row, options: ImportOptions) -> str:
    """The name of the field with the axis' value."""
    if axis.name in options.renames:
        return options.renames[axis.name]
    return next((name for name in (axis.name, *_names(axis)) if name in row.fields), axis.name)


def _names(axis: Axis) -> tuple[str, ...]:
    """Other tools' names for the axis."""
    by_role = [name for role in axis.roles for name in _ALIASES[role]]
    return tuple(dict.fromkeys([*_SYNONYMS.get(axis.name, ()), *by_role]))


def _on_axis(axis: Axis, value: Value) -> Value | None:
    """The axis' own value that is meant: 8 and 8.0 are one, and so are 8 and '8' where an axis has categories."""
    by_text = {str(own if own == math.inf else scalar(own)): own for own in axis.values}
    number = scalar(value)
    for own in axis.values:
        if own == value and isinstance(own, bool) == isinstance(value, bool):
            return own
    return by_text.get(str(number)) if number is not None else None


def _values(axis: Axis) -> str:
    shown = [str(value) for value in axis.values]
    return ", ".join(shown if len(shown) <= 12 else [*shown[:6], "…", *shown[-3:]])


def _some(names: Iterable[str]) -> str:
    listed = sorted(names)
    return ", ".join([*listed[:12], *(["…"] if len(listed) > 12 else [])]) or "no metric at all"


def _group(row: Row, point: Point) -> tuple[str, ...]:
    """The key of the row's run: by the file's run name, or else by the point."""
    place = "" if row.across_files else row.provenance.sha256
    return (place, row.run or repr(sorted(point.items())), "failed" if row.failure else "")


def _run(members: list[tuple[Point, Row]], devices: Callable[[Point], float]) -> Imported:
    rows = [row for _, row in members]
    by_point: dict[tuple[Value, ...], list[tuple[Point, Row]]] = {}
    for point, row in members:
        by_point.setdefault(tuple(point.values()), []).append((point, row))
    readings = [_reading(same) for same in by_point.values()]
    # The executed point of a trajectory is its longest.
    executed = max(readings, key=lambda reading: reading.seconds)
    first = rows[0]
    place = first.provenance
    given = [row.accelerators for row in rows if row.accelerators is not None]
    cost = Cost(max(row.start_s for row in rows), 0.0, executed.seconds,
                max(given) if given else _tensor_parallel(first) or devices(executed.point))
    environment = f"imported-{place.sha256[:12]}"
    if first.failure:
        measurement = Measurement(Status.FAILED, cost, (), first.failure, environment=environment)
    else:
        measurement = Measurement(Status.OK, cost, tuple(readings), environment=environment)
    origin = {"file": place.file, "sha256": place.sha256, "format": place.format, "version": place.version,
              "rows": [row.provenance.row for row in rows], "identities": [row.provenance.identity for row in rows]}
    return Imported(executed.point, measurement, origin)


def _reading(same: list[tuple[Point, Row]]) -> Reading:
    """The reading of a point in one run, with all its repeats."""
    metrics: dict[str, tuple[float, ...]] = {}
    for _, row in same:
        for name, values in row.metrics.items():
            metrics[name] = metrics.get(name, ()) + values
    price = max if any(row.whole for _, row in same) else sum
    return Reading(same[0][0], metrics, float(price(row.seconds for _, row in same)))


def _tensor_parallel(row: Row) -> float | None:
    value = row.fields.get("tensor_parallel_size")
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and value >= 1 else None
