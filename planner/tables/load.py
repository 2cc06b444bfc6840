"""Reading a table of measurements as a recorded grid; every error is one line.

Notation: R rows in use, N points, A axes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from planner.space.cells import Cells
from planner.space.expressions import parse, suggestion
from planner.space.metrics import metric_named, unit_wanted
from planner.space.types import BoolArray, FloatArray, IntArray, Kind, Metric, StudyError, Transform, Value
from planner.tables.axis_cells import AxisKind, AxisValues, found, listed, some_cells, without_rows
from planner.tables.checks import MetricChecks, outliers
from planner.tables.grouping import group, numbered
from planner.tables.named_columns import NamedColumns
from planner.tables.recorded import RecordedTable
from planner.tables.settings import TableSettings
from planner.tables.success import doubtful_failures, status_lookalikes, successes
from planner.tables.table_file import TableFile, read_table_file

__all__ = ["RecordedTable", "TableSettings", "load_table", "read_measured"]


def load_table(settings: TableSettings, directory: Path, axes: Mapping[str, Sequence[Value] | None],
               targets: Iterable[str | Metric], key: str = "runner.{}", kinds: Mapping[str, AxisKind] | None = None,
               ) -> RecordedTable:
    """The recorded grid in the table that `settings` name, checked.

    axes: the given values of each axis, None (or empty) for all in the table. targets: names, or metrics; values of a
    metric must suit its transform. key: pattern for the name of a setting in error messages. kinds: what the study says
    of axes. Raises StudyError, one line that names the key and the fix.
    """
    file = read_table_file(directory / settings.table, settings.table, key.format("table"))
    return _Loader(file, settings, key, tuple(targets), dict(kinds or {})).load(axes)


def read_measured(path: Path, axes: Mapping[str, Sequence[Value] | None], targets: Iterable[str | Metric], *,
                  status: str | None = None, where: str | None = None, ok: str | None = None,
                  renames: Mapping[str, str] | None = None, allow_undefined: bool = True, key: str = "--truth",
                  kinds: Mapping[str, AxisKind] | None = None) -> RecordedTable:
    """The truth in any measured table; every row costs 0 s.

    status: as in a study; without it, a column called 'status' is used if there is one. ok, renames: as `ok` and `map`
    of a study. allow_undefined: an ok row may lack a target, which is then NaN there (tpot at one output token).
    Raises StudyError.
    """
    file = read_table_file(path, str(path), key)
    if status is None and "status" in file.columns and "status" not in axes:
        status = "status"
    settings = TableSettings(table=str(path), cost_s=0.0, status=status, where=where, ok=ok, map=dict(renames or {}))
    return _Loader(file, settings, key, tuple(targets), dict(kinds or {}), allow_undefined).load(axes)


@dataclass(frozen=True)
class _Loader:
    """One reading of a file under settings; each step raises StudyError."""

    file: TableFile
    settings: TableSettings
    key: str
    asked: tuple[str | Metric, ...]
    kinds: Mapping[str, AxisKind] = field(default_factory=dict)
    allow_undefined: bool = False

    @cached_property
    def targets(self) -> Mapping[str, Metric]:
        """The targets by name."""
        return {metric.name: metric for metric in map(_metric, self.asked)}

    @cached_property
    def names(self) -> NamedColumns:
        """What the study's names mean in the file."""
        units = {name: unit_wanted(self.targets.get(name) or metric_named(name)) for name in self.settings.map}
        return NamedColumns(self.file, self.settings.map, self._option("map"), units)

    def load(self, axes: Mapping[str, Sequence[Value] | None]) -> RecordedTable:
        self._check_names(axes)
        rows, found_values, notes = self._axes(axes)
        values = {name: axis.values for name, axis in found_values.items()}
        codes = np.column_stack([axis.codes for axis in found_values.values()])
        if self.settings.trajectory and any(isinstance(v, str | bool) for v in values[self.settings.trajectory]):
            raise StudyError(f"{self._key('trajectory')}: '{self.settings.trajectory}' has values that are not "
                             "numbers; name an axis of numbers")
        point, first = group(codes)
        columns = {name: cells[rows] for name, cells in self.names.columns.items()}
        ok, status = successes(columns, self.settings.status, self.settings.ok, file=self.file.name,
                               status_key=self._key("status"), ok_key=self._option("ok"))
        metrics, remarks = self._metrics(columns, self._checks(rows, ok, values, codes))
        cost = self._costs(rows, ok)
        prices = {} if np.ptp(cost) == 0 else {self._key("cost_s"): cost}
        if self.settings.ok is None:
            notes += [f"{self.file.name}: {note}" for note in doubtful_failures(status, self._option("ok"))]
        notes += [*self._conversions(), *self._lookalikes(columns, axes), *remarks,
                  *outliers({name: metrics[name] for name in self.targets} | prices, self._place(rows))]
        return RecordedTable(self.file.name, self.file.sha256, values, codes[first], point, ok, status, metrics,
                             cost, self._devices(rows), self._readings(rows, point), tuple(notes))

    def _key(self, setting: str) -> str:
        return self.key.format(setting)

    @property
    def _is_option(self) -> bool:
        return "{}" not in self.key

    def _option(self, name: str) -> str:
        """What messages call a setting that is an option of `evaluate` too."""
        return f"--{name}" if self._is_option else self._key(name)

    def _place(self, rows: IntArray) -> Callable[[int], str]:
        return lambda row: self.file.where(int(rows[row]))

    def _check_names(self, axes: Mapping[str, Any]) -> None:
        for setting, name in (("status", self.settings.status), ("repeat", self.settings.repeat)):
            if name is not None:
                if name not in self.names.columns:
                    self.file.column(name, self._key(setting))
                if name in axes or name in self.targets:
                    raise StudyError(f"{self._key(setting)}: '{name}' is an axis or a target; name another column")
        for name in axes:
            self.names.check(name, f"space.axes.{name}")
        for name in self.targets:
            if name in axes:
                raise StudyError(f"targets: '{name}' is an axis; name a metric")
            self.names.check(name, "targets")
        if self.settings.trajectory is not None and self.settings.trajectory not in axes:
            trajectory = self.settings.trajectory
            raise StudyError(f"{self._key('trajectory')}: '{trajectory}' is not an axis{suggestion(trajectory, axes)}")

    def _axes(self, axes: Mapping[str, Sequence[Value] | None]) -> tuple[IntArray, dict[str, AxisValues], list[str]]:
        """The rows in use, the values of each axis there, and notes on what does not match."""
        considered = self._condition()
        place, rows = self._place(considered), considered
        remarks: dict[str, list[str]] = {}
        for name, given in axes.items():
            if given:
                axis = listed(self.names.columns[name][considered], given, self._kind(name), False, self.file.name,
                              place)
                left = rows[np.isin(rows, considered[axis.codes >= 0])]
                if not left.size:
                    there = dict.fromkeys(self.names.columns[name][rows])
                    raise StudyError(f"space.axes.{name}: no row of {self.file.name} has any of the given values; "
                                     f"use some of: {some_cells(there)}")
                rows, remarks[name] = left, [axis.note]
        found_values = {name: self._axis(name, given, rows) for name, given in axes.items()}
        for name, lines in remarks.items():
            lines.insert(0, without_rows(axes[name] or (), found_values[name].values))
        return rows, found_values, [f"space.axes.{name}: {'; '.join(filter(None, lines))}"
                                    for name, lines in remarks.items() if any(lines)]

    def _kind(self, name: str) -> AxisKind:
        return self.kinds.get(name, AxisKind())

    def _axis(self, name: str, given: Sequence[Value] | None, rows: IntArray) -> AxisValues:
        column = self.names.columns[name]
        # The whole column decides, so that the type of a number does not depend on the rows in use.
        whole = _whole(column.numbers)
        if given:
            return listed(column[rows], given, self._kind(name), whole, self.file.name, self._place(rows))
        return found(name, column[rows], self._kind(name), whole, self._place(rows))

    def _condition(self) -> IntArray:
        """The rows that meet `where`, ascending."""
        text, key, count = self.settings.where, self._option("where"), len(self.file.lines)
        if text is None:
            return np.arange(count)
        value = parse(text, self.names.columns, key)(self.names.columns)
        met = np.asarray(value.truth if isinstance(value, Cells) and value.is_truth else value)
        if met.dtype != bool:
            raise StudyError(f"{key}: '{text}' is not a condition; compare something, as in \"mode == 'direct'\"")
        met = np.broadcast_to(met, count)
        if not met.any():
            raise StudyError(f"{key}: '{text}' leaves no row of {self.file.name}; loosen it")
        return np.flatnonzero(met)

    def _checks(self, rows: IntArray, ok: BoolArray, axes: Mapping[str, tuple[Value, ...]], codes: IntArray
                ) -> MetricChecks:
        before = self.settings.ok
        both = "{}" if before is None else f"({before}) and {{}}" if " or " in before else f"{before} and {{}}"
        fix = f'--ok "{both}"' if self._is_option else f'ok: "{both}"'
        mark = "mark its status" if self.settings.status else "mark it in a `status` column"
        return MetricChecks(ok, axes, codes, self.allow_undefined, self._place(rows),
                            f"{mark}, or say which rows are ok: {fix}")

    def _metrics(self, columns: Mapping[str, Cells], checks: MetricChecks) -> tuple[dict[str, FloatArray], list[str]]:
        """The targets, and every other column with numbers, (R,) each; and notes."""
        apart = {*checks.axes, *self.names.sources(), self.settings.status, self.settings.repeat} - {*self.targets}
        metrics: dict[str, FloatArray] = {}
        notes = []
        for name, cells in columns.items():
            if name in self.targets:
                metrics[name], note = checks.target(self.targets[name], cells, self.names.source(name))
            elif name in apart or np.isnan(cells.numbers).all():
                continue
            else:
                values, note = checks.other(name, cells)
                if not np.isnan(values).all():
                    metrics[name] = values
            notes += [note] if note else []
        return metrics, notes

    def _costs(self, rows: IntArray, ok: BoolArray) -> FloatArray:
        cost = self._setting("cost_s", "s", rows)
        said = np.where(ok, "cost_s", "failed_cost_s")
        if self.settings.failed_cost_s is not None:
            cost = np.where(ok, cost, self._setting("failed_cost_s", "s", rows))
        bad = ~(np.isfinite(cost) & (cost >= 0))
        if bad.any():
            row = int(np.argmax(bad))
            what = "no number" if math.isnan(cost[row]) else f"{cost[row]:g} seconds"
            kind = "the cost of an ok run" if ok[row] else "the cost of a failed run"
            raise StudyError(f"{self._key(str(said[row]))}: {self.file.where(int(rows[row]))} gives {what} as {kind}; "
                             "give a column, a number or an expression that is 0 or more in every row")
        return cost

    def _devices(self, rows: IntArray) -> FloatArray:
        devices = self._setting("accelerators", "", rows)
        bad = ~(np.isfinite(devices) & (devices > 0))
        if bad.any():
            where = self.file.where(int(rows[np.argmax(bad)]))
            raise StudyError(f"{self._key('accelerators')}: {where} gives {devices[np.argmax(bad)]:g} devices; give "
                             "a column, a number or an expression that is above 0 in every row")
        return devices

    def _setting(self, setting: str, unit: str, rows: IntArray) -> FloatArray:
        """A price (a column, a number or an expression) in each row, (R,); NaN for cells that are not numbers."""
        amount = getattr(self.settings, setting)
        if not isinstance(amount, str):
            return np.full(len(rows), amount)
        return self.names.amount(amount, unit, self._key(setting))[rows]

    def _conversions(self) -> list[str]:
        prices = {self._key(setting): amount for setting in ("cost_s", "failed_cost_s")
                  if isinstance(amount := getattr(self.settings, setting), str)}
        return self.names.conversions(prices)

    def _lookalikes(self, columns: Mapping[str, Cells], axes: Collection[str]) -> list[str]:
        """Notes on columns that look like a status that is not used."""
        if self.settings.status is not None or self.settings.ok is not None:
            return []
        used = {*axes, *self.targets, *self.settings.map, self.settings.repeat or ""}
        for setting in ("where", "cost_s", "failed_cost_s", "accelerators"):
            text = getattr(self.settings, setting)
            used |= self.names.names_in(text, self._key(setting)) if isinstance(text, str) else frozenset()
        for text in self.settings.map.values():
            used |= {text} if text in self.file.columns else parse(text, self.file.columns, "map").names
        return [f"{self.file.name}: {note}" for note in status_lookalikes(columns, used, self._option("ok"))]

    def _readings(self, rows: IntArray, point: IntArray) -> IntArray | None:
        """The reading of each row, (R,). None without a `repeat` column."""
        name = self.settings.repeat
        if name is None:
            return None
        cells = self.file.columns[name][rows]
        if cells.blank.any():
            where = self.file.where(int(rows[np.argmax(cells.blank)]))
            raise StudyError(f"{self._key('repeat')}: {where} names no repeat in column '{name}'; number the repeats "
                             "of every row")
        return numbered(cells, point)


def _metric(target: str | Metric) -> Metric:
    """The metric. Of a mere name that is not known, any value is right."""
    metric = metric_named(target) if isinstance(target, str) else target
    is_unknown = isinstance(target, str) and metric.kind is Kind.OTHER
    return replace(metric, transform=Transform.LINEAR) if is_unknown else metric


def _whole(numbers: FloatArray) -> bool:
    """Whether all finite values are whole numbers."""
    there = numbers[np.isfinite(numbers)]
    return bool(np.all(there == np.floor(there)))
