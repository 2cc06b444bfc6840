"""What a table may say of its metrics and prices: which values cannot be, and which are worth a word.

Notation: R rows in use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from planner.space.cells import Cells
from planner.space.expressions import quoted
from planner.space.metrics import impossible, metric_named
from planner.space.types import BoolArray, FloatArray, IntArray, Kind, Metric, StudyError, Value
from planner.tables.named_columns import far_from_the_rest
from planner.tables.recorded import is_undefined

__all__ = ["MetricChecks", "outliers"]


@dataclass(frozen=True, eq=False)
class MetricChecks:
    """Checks of the metrics in the rows in use.

    ok: (R,). axes: distinct values; codes: (R, A), those of the rows. may_lack: an ok row may have a blank for a
    target, which is then undefined there. where: the place of a row. fix: how the user says that a row is not ok,
    with a `{}` for the condition.
    """

    ok: BoolArray
    axes: Mapping[str, tuple[Value, ...]]
    codes: IntArray
    may_lack: bool
    where: Callable[[int], str]
    fix: str

    def target(self, metric: Metric, cells: Cells, column: str) -> tuple[FloatArray, str]:
        """The values of a target, (R,), NaN where it is undefined or the row failed; and a note, or empty text.

        column: as the file calls it. Raises StudyError for an ok row whose value cannot be.
        """
        values, undefined = self._values(metric, cells)
        lacking = undefined & self.ok
        bad = lacking & ~cells.missing if self.may_lack else lacking
        if bad.any() and (self.may_lack or not is_undefined(metric, bad, self.axes, self.codes)):
            raise StudyError(self._no_number(metric.name, cells, int(np.argmax(bad)), column))
        for row in np.flatnonzero(self.ok & ~undefined).tolist():
            if problem := impossible(metric, float(values[row])):
                raise StudyError(f"targets: {self.where(row)}: {problem}")
        note = ""
        if lacking.any() and not is_undefined(metric, lacking, self.axes, self.codes):
            count = int(lacking.sum())
            rows = f"in {count:,} rows that are ok, the first" if count > 1 else "in a row that is ok,"
            note = f"{metric.name} is missing {rows} {self.where(int(np.argmax(lacking)))}"
        return np.where(undefined | ~self.ok, np.nan, values), note

    def other(self, name: str, cells: Cells) -> tuple[FloatArray, str]:
        """The values of a column that is no target, (R,), NaN where it has none that can be; and a note, or empty
        text."""
        metric = metric_named(name)
        values, undefined = self._values(metric, cells)
        values = np.where(undefined | ~self.ok, np.nan, values)
        if metric.kind is Kind.OTHER:
            return values, ""
        gone = np.array([value == value and bool(impossible(metric, value)) and value <= 0  # noqa: PLR0124 - no NaN
                         for value in values.tolist()], dtype=bool)
        if not gone.any():
            return values, ""
        row, count = int(np.argmax(gone)), int(gone.sum())
        more = f" and {count - 1:,} more {'row' if count == 2 else 'rows'}" if count > 1 else ""
        return np.where(gone, np.nan, values), (
            f"{name} is {values[row]:g} in {self.where(row)}{more}, which no run measures: left out there")

    def _values(self, metric: Metric, cells: Cells) -> tuple[FloatArray, BoolArray]:
        """The numbers in the cells, and where the metric is undefined. A time between tokens of 0 is a tool's word for
        "undefined" where there is one token."""
        values = cells.numbers
        undefined = ~np.isfinite(values)
        zero = (values == 0) & self.ok
        if metric.kind is Kind.STEP and zero.any() and is_undefined(metric, zero, self.axes, self.codes):
            undefined |= zero
        return values, undefined

    def _no_number(self, name: str, cells: Cells, row: int, column: str) -> str:
        cell = cells.raw[row]
        text = cell if isinstance(cell, str) else ""
        said = "" if cell is None else f" ({str(cell)[:40]!r})"
        condition = f"{quoted(name)} != {text!r}" if len(text) <= 40 and text.isprintable() else f"{quoted(name)} > 0"
        return (f"targets: {self.where(row)} is ok but has no number in column '{column}'{said}; correct the "
                f"row, leave it out by `where`, {self.fix.replace('{}', condition)}")


def outliers(columns: Mapping[str, FloatArray], where: Callable[[int], str]) -> list[str]:
    """A line for each column with a value ten orders of magnitude from the others. columns: name → (R,); prices come
    after metrics, and a row that a metric names is not named again."""
    named: set[int] = set()
    lines = []
    for name, values in columns.items():
        for row, usual in far_from_the_rest(values):
            if row not in named:
                named.add(row)
                lines.append(f"{name} is {values[row]:g} in {where(row)}, the others are about {usual:.1g}: a word for "
                             "\"failed\"? Leave it out by `where`, or say with `ok` which rows succeeded")
    return lines
