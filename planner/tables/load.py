"""Reading a table of measurements as a recorded grid; every error is one line.

Notation: R rows in use, N points, A axes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from planner.space.expressions import parse, suggestion
from planner.space.metrics import metric_named, refusal
from planner.space.types import FloatArray, IntArray, Metric, StudyError, Value
from planner.tables.recorded import BoolArray, RecordedTable, is_undefined
from planner.tables.settings import TableSettings
from planner.tables.table_file import TableFile, one_line, read_table_file, to_numbers

__all__ = ["RecordedTable", "TableSettings", "load_table", "read_measured"]

_OK: Final = "ok"


def load_table(settings: TableSettings, directory: Path, axes: Mapping[str, Sequence[Value] | None],
               targets: Iterable[str | Metric], key: str = "runner.{}") -> RecordedTable:
    """The recorded grid in the table that `settings` name, checked.

    axes: the given values of each axis, None (or empty) for all in the table. targets: names, or metrics; values of a
    metric must suit its transform. key: pattern for the name of a setting in error messages. Raises StudyError, one
    line that names the key and the fix.
    """
    file = read_table_file(directory / settings.table, settings.table, key.format("table"))
    given = tuple(targets)
    described = {target.name: target for target in given if isinstance(target, Metric)}
    names = tuple(target.name if isinstance(target, Metric) else target for target in given)
    return _Loader(file, settings, key, described=described).load(axes, names)


def read_measured(path: Path, axes: Mapping[str, Sequence[Value] | None], targets: Iterable[str], *,
                  status: str | None = None, where: str | None = None, allow_undefined: bool = True,
                  key: str = "--truth") -> RecordedTable:
    """The truth in any measured table; every row costs 0 s.

    status: as in a study; without it, a column called 'status' is used if there is one. allow_undefined: an ok row
    may lack a target, which is then NaN there (tpot at one output token). Raises StudyError.
    """
    file = read_table_file(path, str(path), key)
    if status is None and "status" in file.columns and "status" not in axes:
        status = "status"
    settings = TableSettings(table=str(path), cost_s=0.0, status=status, where=where)
    return _Loader(file, settings, key, allow_undefined).load(axes, tuple(targets))


@dataclass(frozen=True)
class _Loader:
    """One reading of a file under settings; each step raises StudyError."""

    file: TableFile
    settings: TableSettings
    key: str
    allow_undefined: bool = False
    described: Mapping[str, Metric] = field(default_factory=dict)

    def load(self, axes: Mapping[str, Sequence[Value] | None], targets: Sequence[str]) -> RecordedTable:
        self._check_names(axes, targets)
        rows = self._used_rows(axes)
        values: dict[str, tuple[Value, ...]] = {}
        codes = np.empty((len(rows), len(axes)), dtype=np.int64)
        for i, (name, given) in enumerate(axes.items()):
            values[name], codes[:, i] = self._axis(name, given, rows)
        if self.settings.trajectory and any(isinstance(v, str | bool) for v in values[self.settings.trajectory]):
            raise StudyError(f"{self._key('trajectory')}: '{self.settings.trajectory}' has values that are not "
                             "numbers; name an axis of numbers")
        point, first = _group(codes)
        ok, status = self._statuses(rows)
        metrics = self._metrics(rows, ok, targets, values, codes)
        return RecordedTable(self.file.name, self.file.sha256, values, codes[first], point, ok, status, metrics,
                             self._costs(rows, ok), self._devices(rows), self._readings(rows, point))

    def _key(self, setting: str) -> str:
        return self.key.format(setting)

    def _check_names(self, axes: Mapping[str, Any], targets: Sequence[str]) -> None:
        for setting, name in (("status", self.settings.status), ("repeat", self.settings.repeat)):
            if name is not None:
                self.file.column(name, self._key(setting))
                if name in axes or name in targets:
                    raise StudyError(f"{self._key(setting)}: '{name}' is an axis or a target; name another column")
        for name in axes:
            self.file.column(name, f"space.axes.{name}")
        for name in targets:
            self.file.column(name, "targets")
            if name in axes:
                raise StudyError(f"targets: '{name}' is an axis; name a metric")
        if self.settings.trajectory is not None and self.settings.trajectory not in axes:
            trajectory = self.settings.trajectory
            raise StudyError(f"{self._key('trajectory')}: '{trajectory}' is not an axis{suggestion(trajectory, axes)}")

    def _used_rows(self, axes: Mapping[str, Sequence[Value] | None]) -> IntArray:
        used = np.ones(len(self.file.lines), dtype=bool)
        if self.settings.where is not None:
            used &= self._condition(self.settings.where)
        for name, given in axes.items():
            if given:
                matching = used & _matches(self.file.columns[name], given)
                if not matching.any():
                    column = self.file.columns[name][used].tolist()
                    there = dict.fromkeys(one_line(str(cell)).removesuffix(".0") for cell in column)
                    shown = ", ".join(list(there)[:8]) + (", …" if len(there) > 8 else "")
                    raise StudyError(f"space.axes.{name}: no row of {self.file.name} has any of the given values; "
                                     f"use some of: {shown}")
                used = matching
        return np.flatnonzero(used)

    def _condition(self, text: str) -> BoolArray:
        key = self._key("where")
        column = np.asarray(parse(text, self.file.columns, key)(self.file.columns))
        if column.dtype != bool:
            raise StudyError(f"{key}: '{text}' is not a condition; compare something, as in \"mode == 'direct'\"")
        column = np.broadcast_to(column, len(self.file.lines))
        if not column.any():
            raise StudyError(f"{key}: '{text}' leaves no row of {self.file.name}; loosen it")
        return column

    def _axis(self, name: str, given: Sequence[Value] | None, rows: IntArray) -> tuple[tuple[Value, ...], IntArray]:
        """The distinct values among `rows`, and the code of each row, (R,)."""
        column = self.file.columns[name][rows]
        text = column.dtype.kind == "O"
        bad = np.array([cell is None for cell in column]) if text else np.isnan(column.astype(float))
        if bad.any():
            where = self.file.where(int(rows[np.argmax(bad)]))
            raise StudyError(f"space.axes.{name}: {where} has no value for '{name}'; correct the row or leave it out "
                             "by `where`")
        if text:
            code = {value: i for i, value in enumerate(dict.fromkeys(column.tolist()))}
            spelt = {str(value): value for value in given or ()}
            values = tuple(spelt.get(value, value) for value in code)
            return values, np.array([code[value] for value in column.tolist()], dtype=np.int64)
        distinct, codes = np.unique(column, return_inverse=True)
        # The whole column decides, so that the type of a value does not depend on the rows in use.
        whole = column.dtype.kind == "f" and _whole(self.file.columns[name])
        values = tuple(int(value) if whole and math.isfinite(value) else value for value in distinct.tolist())
        return values, codes.astype(np.int64)

    def _statuses(self, rows: IntArray) -> tuple[BoolArray, tuple[str, ...]]:
        name = self.settings.status
        if name is None:
            return np.ones(len(rows), dtype=bool), (_OK,) * len(rows)
        said = ["" if cell is None else str(cell).strip() for cell in self.file.columns[name][rows].tolist()]
        ok = np.array([word.lower() == _OK for word in said], dtype=bool)
        if not ok.any():
            there = ", ".join(repr(word) for word in list(dict.fromkeys(said))[:5])
            raise StudyError(f"{self._key('status')}: no row of {self.file.name} is 'ok' in column '{name}' (it "
                             f"says {there}); nothing can be learned from failures alone")
        return ok, tuple(word or "no status" for word in said)

    def _metrics(self, rows: IntArray, ok: BoolArray, targets: Sequence[str],
                 axes: Mapping[str, tuple[Value, ...]], codes: IntArray) -> dict[str, FloatArray]:
        apart = {*axes, self.settings.status, self.settings.repeat}
        metrics: dict[str, FloatArray] = {}
        for name, column in self.file.columns.items():
            if name in apart or (column.dtype.kind != "f" and name not in targets):
                continue
            values = to_numbers(column[rows])
            undefined = ~np.isfinite(values)
            bad = undefined & ok & (name in targets and not self.allow_undefined)
            metric = self.described.get(name) or metric_named(name)
            if bad.any() and not is_undefined(metric, bad, axes, codes):
                where = self.file.where(int(rows[np.argmax(bad)]))
                fix = "its status" if self.settings.status else "the failed rows in a `status` column"
                raise StudyError(f"targets: {where} is ok but has no number in column '{name}'; correct the row or "
                                 f"mark {fix}")
            values = np.where(undefined | ~ok, np.nan, values)
            if name in self.described:
                self._check_values(metric, values, rows)
            if name in targets or not np.isnan(values).all():
                metrics[name] = values
        return metrics

    def _check_values(self, metric: Metric, values: FloatArray, rows: IntArray) -> None:
        for row, value in zip(rows.tolist(), values.tolist(), strict=True):
            if not math.isnan(value) and not metric.takes(value):
                raise StudyError(f"targets: {self.file.where(row)}: {refusal(metric, value)}")

    def _costs(self, rows: IntArray, ok: BoolArray) -> FloatArray:
        cost = self._numbers("cost_s", rows)
        said = np.where(ok, "cost_s", "failed_cost_s")
        if self.settings.failed_cost_s is not None:
            cost = np.where(ok, cost, self._numbers("failed_cost_s", rows))
        bad = ~(np.isfinite(cost) & (cost >= 0))
        if bad.any():
            row = int(np.argmax(bad))
            what = "no number" if math.isnan(cost[row]) else f"{cost[row]:g} seconds"
            kind = "the cost of an ok run" if ok[row] else "the cost of a failed run"
            raise StudyError(f"{self._key(str(said[row]))}: {self.file.where(int(rows[row]))} gives {what} as {kind}; "
                             "give a column, a number or an expression that is 0 or more in every row")
        return cost

    def _devices(self, rows: IntArray) -> FloatArray:
        devices = self._numbers("accelerators", rows)
        bad = ~(np.isfinite(devices) & (devices > 0))
        if bad.any():
            where = self.file.where(int(rows[np.argmax(bad)]))
            raise StudyError(f"{self._key('accelerators')}: {where} gives {devices[np.argmax(bad)]:g} devices; give "
                             "a column, a number or an expression that is above 0 in every row")
        return devices

    def _numbers(self, setting: str, rows: IntArray) -> FloatArray:
        """The setting (a column, a number or an expression) in each row, (R,); NaN for cells that are not numbers."""
        amount = getattr(self.settings, setting)
        if not isinstance(amount, str):
            return np.full(len(rows), amount)
        if amount in self.file.columns:
            return to_numbers(self.file.columns[amount][rows])
        expression = parse(amount, self.file.columns, self._key(setting))
        value = np.asarray(expression({name: self.file.columns[name][rows] for name in expression.names}))
        return np.broadcast_to(to_numbers(np.atleast_1d(value)), len(rows)).copy()

    def _readings(self, rows: IntArray, point: IntArray) -> IntArray | None:
        """The reading of each row, (R,): rows share one if they have the same `repeat`, and the same count of earlier
        rows with that repeat at their point. None without a `repeat` column."""
        name = self.settings.repeat
        if name is None:
            return None
        cells = self.file.columns[name][rows].tolist()
        readings: dict[tuple[Any, int], int] = {}
        seen: dict[tuple[int, Any], int] = {}
        codes = np.empty(len(rows), dtype=np.int64)
        for i, (where, cell) in enumerate(zip(point.tolist(), cells, strict=True)):
            if cell is None or (isinstance(cell, float) and math.isnan(cell)):
                raise StudyError(f"{self._key('repeat')}: {self.file.where(int(rows[i]))} names no repeat in column "
                                 f"'{name}'; number the repeats of every row")
            nth = seen[where, cell] = seen.get((where, cell), -1) + 1
            codes[i] = readings.setdefault((cell, nth), len(readings))
        return codes


def _whole(column: FloatArray) -> bool:
    """Whether all finite values are whole numbers."""
    there = column[np.isfinite(column)]
    return bool(np.all(there == np.floor(there)))


def _matches(column: NDArray[Any], given: Sequence[Value]) -> BoolArray:
    """Whether each cell is among the given values, (n,). Text is compared with the values as written."""
    if column.dtype.kind == "O":
        spelt = {str(value) for value in given}
        return np.array([cell in spelt for cell in column.tolist()], dtype=bool)
    boolean = column.dtype.kind == "b"
    alike = [value for value in given if isinstance(value, bool) == boolean and not isinstance(value, str)]
    return np.isin(column, np.array(alike, dtype=column.dtype))


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
