"""Reading a table of measurements as a recorded grid; every error is one line.

Notation: R rows in use, N points, A axes.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from planner.space.cells import Cells
from planner.space.expressions import parse, quoted, suggestion
from planner.space.metrics import impossible, metric_named
from planner.space.types import FloatArray, IntArray, Kind, Metric, StudyError, Value
from planner.tables.axis_cells import AxisCells, found, listed
from planner.tables.named_columns import NamedColumns, far_from_the_rest
from planner.tables.recorded import BoolArray, RecordedTable, is_undefined
from planner.tables.settings import TableSettings
from planner.tables.success import status_lookalikes, successes
from planner.tables.table_file import TableFile, read_table_file

__all__ = ["RecordedTable", "TableSettings", "load_table", "read_measured"]

def load_table(settings: TableSettings, directory: Path, axes: Mapping[str, Sequence[Value] | None],
               targets: Iterable[str | Metric], key: str = "runner.{}", categories: Collection[str] = ()
               ) -> RecordedTable:
    """The recorded grid in the table that `settings` name, checked.

    axes: the given values of each axis, None (or empty) for all in the table. targets: names, or metrics; values of a
    metric must suit its transform. key: pattern for the name of a setting in error messages. categories: axes whose
    values keep their spelling. Raises StudyError, one line that names the key and the fix.
    """
    file = read_table_file(directory / settings.table, settings.table, key.format("table"))
    return _Loader(file, settings, key, tuple(targets), frozenset(categories)).load(axes)


def read_measured(path: Path, axes: Mapping[str, Sequence[Value] | None], targets: Iterable[str | Metric], *,
                  status: str | None = None, where: str | None = None, ok: str | None = None,
                  renames: Mapping[str, str] | None = None, allow_undefined: bool = True, key: str = "--truth"
                  ) -> RecordedTable:
    """The truth in any measured table; every row costs 0 s.

    status: as in a study; without it and `ok`, a column called 'status' is used if there is one. ok, renames: as `ok`
    and `map` of a study. allow_undefined: an ok row may lack a target, which is then NaN there (tpot at one output
    token). Raises StudyError.
    """
    file = read_table_file(path, str(path), key)
    if status is None and ok is None and "status" in file.columns and "status" not in axes:
        status = "status"
    settings = TableSettings(table=str(path), cost_s=0.0, status=status, where=where, ok=ok, map=dict(renames or {}))
    return _Loader(file, settings, key, tuple(targets), allow_undefined=allow_undefined).load(axes)


@dataclass(frozen=True)
class _Loader:
    """One reading of a file under settings; each step raises StudyError."""

    file: TableFile
    settings: TableSettings
    key: str
    asked: tuple[str | Metric, ...]
    categories: frozenset[str] = frozenset()
    allow_undefined: bool = False

    @cached_property
    def targets(self) -> Mapping[str, Metric]:
        """The targets by name."""
        found = [metric_named(target) if isinstance(target, str) else target for target in self.asked]
        return {metric.name: metric for metric in found}

    @cached_property
    def names(self) -> NamedColumns:
        """What the study's names mean in the file."""
        return NamedColumns(self.file, self.settings.map, self._named("map"))

    def load(self, axes: Mapping[str, Sequence[Value] | None]) -> RecordedTable:
        self._check_names(axes)
        rows = self._condition()
        notes: list[str] = []
        columns = {name: self.names.cells(name) for name in axes}
        for name, given in axes.items():
            if given:
                there = self._axis(name, columns[name][rows], given, rows)
                notes += there.notes
                rows = rows[there.codes >= 0]
        values: dict[str, tuple[Value, ...]] = {}
        codes = np.empty((len(rows), len(axes)), dtype=np.int64)
        for i, (name, given) in enumerate(axes.items()):
            there = self._axis(name, columns[name][rows], given, rows)
            values[name], codes[:, i] = there.values, there.codes
        if self.settings.trajectory and any(isinstance(v, str | bool) for v in values[self.settings.trajectory]):
            raise StudyError(f"{self._key('trajectory')}: '{self.settings.trajectory}' has values that are not "
                             "numbers; name an axis of numbers")
        point, first = _group(codes)
        ok, status = self._successes(rows)
        metrics = self._metrics(rows, ok, values, codes)
        cost = self._costs(rows, ok)
        notes += [*self._conversions(), *self._lookalikes(rows, axes), *self._odd(rows, metrics, cost)]
        return RecordedTable(self.file.name, self.file.sha256, values, codes[first], point, ok, status, metrics,
                             cost, self._devices(rows), self._readings(rows, point), tuple(notes))

    def _key(self, setting: str) -> str:
        return self.key.format(setting)

    def _named(self, option: str) -> str:
        """What messages call a setting that is an option of `evaluate` too."""
        return self._key(option) if "{}" in self.key else f"--{option}"

    def _check_names(self, axes: Mapping[str, Any]) -> None:
        for setting, name in (("status", self.settings.status), ("repeat", self.settings.repeat)):
            if name is not None:
                self.file.column(name, self._key(setting))
                if name in axes or name in self.targets:
                    raise StudyError(f"{self._key(setting)}: '{name}' is an axis or a target; name another column")
        for name in self.settings.map:
            if name not in axes and name not in self.targets:
                raise StudyError(f"{self._named('map')}: '{name}' is neither an axis nor a target"
                                 f"{suggestion(name, [*axes, *self.targets])}")
        for name in axes:
            self.names.check(name, f"space.axes.{name}")
        for name in self.targets:
            if name in axes:
                raise StudyError(f"targets: '{name}' is an axis; name a metric")
            self.names.check(name, "targets")
        if self.settings.trajectory is not None and self.settings.trajectory not in axes:
            trajectory = self.settings.trajectory
            raise StudyError(f"{self._key('trajectory')}: '{trajectory}' is not an axis{suggestion(trajectory, axes)}")

    def _axis(self, name: str, cells: Cells, given: Sequence[Value] | None, rows: IntArray) -> AxisCells:
        def where(row: int) -> str:
            return self.file.where(int(rows[row]))

        is_category = name in self.categories
        return listed(name, cells, given, is_category, where) if given else found(name, cells, is_category, where)

    def _condition(self) -> IntArray:
        """The rows that meet `where`, ascending."""
        text, key, count = self.settings.where, self._key("where"), len(self.file.lines)
        if text is None:
            return np.arange(count)
        value = parse(text, self.file.columns, key)(self.file.columns)
        met = np.asarray(value.truth if isinstance(value, Cells) else value)
        if met.dtype != bool:
            raise StudyError(f"{key}: '{text}' is not a condition; compare something, as in \"mode == 'direct'\"")
        met = np.broadcast_to(met, count)
        if not met.any():
            raise StudyError(f"{key}: '{text}' leaves no row of {self.file.name}; loosen it")
        return np.flatnonzero(met)

    def _successes(self, rows: IntArray) -> tuple[BoolArray, tuple[str, ...]]:
        columns = {name: cells[rows] for name, cells in self.file.columns.items()}
        return successes(columns, self.settings.status, self.settings.ok, file=self.file.name,
                         status_key=self._key("status"), ok_key=self._named("ok"))

    def _metrics(self, rows: IntArray, ok: BoolArray, axes: Mapping[str, tuple[Value, ...]], codes: IntArray
                 ) -> dict[str, FloatArray]:
        """The targets, and every other column of numbers, (R,) each."""
        apart = {*axes, *map(self.names.source, (*axes, *self.targets)), self.settings.status, self.settings.repeat}
        metrics: dict[str, FloatArray] = {}
        for name in dict.fromkeys([*self.file.columns, *self.targets]):
            if name in self.targets:
                values = self.names.metric(self.targets[name])[rows]
                undefined = self._check_target(self.targets[name], values, rows, ok, axes, codes)
                metrics[name] = np.where(undefined | ~ok, np.nan, values)
            elif name not in apart and (cells := self.file.columns[name][rows]).is_numeric:
                values = np.where(np.isfinite(cells.numbers) & ok, cells.numbers, np.nan)
                if not np.isnan(values).all():
                    metrics[name] = values
        return metrics

    def _check_target(self, metric: Metric, values: FloatArray, rows: IntArray, ok: BoolArray,
                      axes: Mapping[str, tuple[Value, ...]], codes: IntArray) -> BoolArray:
        """Where the metric is undefined, (R,). Raises StudyError for an ok row whose value cannot be."""
        undefined = ~np.isfinite(values)
        zero = (values == 0) & ok & (metric.kind is Kind.STEP)
        if zero.any() and is_undefined(metric, zero, axes, codes):
            undefined |= zero  # a tool's word for "undefined"
        bad = undefined & ok
        if self.allow_undefined and metric.name in self.file.columns:
            bad &= ~self.file.columns[metric.name][rows].missing
        column = self.names.source(metric.name)
        if bad.any() and not is_undefined(metric, bad, axes, codes):
            row = int(rows[np.argmax(bad)])
            cell = self.file.columns[column].raw[row] if column in self.file.columns else None
            what = "has no number" if cell is None else f"has {str(cell)[:40]!r}, which is no number,"
            mark = "mark its status" if self.settings.status else "mark the failed rows in a `status` column"
            raise StudyError(f"targets: {self.file.where(row)} is ok but {what} in column '{column}'; correct the row, "
                             f"{mark}, or say which rows succeeded, as in {self._named('ok')} \"{quoted(column)} > 0\"")
        if metric in self.asked:  # its transform is settled
            for row, value in zip(rows[ok & ~undefined].tolist(), values[ok & ~undefined].tolist(), strict=True):
                if problem := impossible(metric, value):
                    raise StudyError(f"targets: {self.file.where(row)}: {problem}")
        return undefined

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
        return self.names.conversions(self.targets.values(), prices)

    def _lookalikes(self, rows: IntArray, axes: Collection[str]) -> list[str]:
        if self.settings.status is not None or self.settings.ok is not None:
            return []
        texts = [*self.settings.map.values(), self.settings.where or "", str(self.settings.cost_s)]
        used = {name for name in self.file.columns if any(name in text for text in texts)}
        return status_lookalikes({name: cells[rows] for name, cells in self.file.columns.items()},
                                 {*used, *axes, *self.targets}, self._named("ok"))

    def _odd(self, rows: IntArray, metrics: Mapping[str, FloatArray], cost: FloatArray) -> list[str]:
        columns = {name: metrics[name] for name in self.targets} | {self._key("cost_s"): cost}
        return [f"{name} is {column[row]:g} in {self.file.where(int(rows[row]))}, the others are about {usual:.3g}: a "
                "word for \"failed\"? Leave it out by `where`, or say with `ok` which rows succeeded"
                for name, column in columns.items() for row, usual in far_from_the_rest(column)]

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
        return _numbered(cells, point)


def _numbered(repeats: Cells, point: IntArray) -> IntArray:
    """Rows share a reading if they have the same repeat, and the same count of earlier rows with that repeat at their
    point."""
    readings: dict[tuple[Any, int], int] = {}
    seen: dict[tuple[int, Any], int] = {}
    codes = np.empty(len(point), dtype=np.int64)
    for i, (where, cell) in enumerate(zip(point.tolist(), repeats, strict=True)):
        nth = seen[where, cell] = seen.get((where, cell), -1) + 1
        codes[i] = readings.setdefault((cell, nth), len(readings))
    return codes


def _group(codes: IntArray) -> tuple[IntArray, IntArray]:
    """The group of each row, (R,), numbered in order of first appearance, and the first row of each group, (N,)."""
    keys = np.zeros(len(codes), dtype=np.int64)
    for column in codes.T:  # compressed at each step, so that no product of sizes can overflow
        keys = np.unique(keys * (int(column.max()) + 1) + column, return_inverse=True)[1]
    _, first, group = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return rank[group], first[order]
