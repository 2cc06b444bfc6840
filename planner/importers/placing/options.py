"""The user's options for files, and what they name in the rows: columns, and amounts computed from columns."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from planner.importers.rows import Row
from planner.space.cells import Cells
from planner.space.expressions import Expression, parse, suggestion
from planner.space.grid import Grid
from planner.space.meaning import as_number, match
from planner.space.types import Axis, StudyError, Value
from planner.space.units import factor

__all__ = ["RESERVED", "Amount", "ImportOptions", "amount", "cell", "check_options", "columns_of", "names_in",
           "shortly", "values_of"]

RESERVED: Final = ("seconds", "start_s", "accelerators", "status", "run")
"""Names that --map takes beside axes and metrics: the price of a row, its status, and the run that it belongs to."""


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """The user's options for files.

    renames: axis, metric or reserved name → column or expression. given: axis → value for the rows that do not say it.
    where: a condition that rows must meet. ok: a condition that successful rows meet. ignore: settings that may differ
    between rows although they are no axis. skip_unknown: leave out rows that have no place in the study.
    """

    renames: Mapping[str, str] = field(default_factory=dict)
    given: Mapping[str, Value] = field(default_factory=dict)
    where: str | None = None
    skip_unknown: bool = False
    ok: str | None = None
    ignore: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Amount:
    """Numbers of a row: those of a column, times `scale`, or those of an expression over columns."""

    text: str
    scale: float = 1.0
    expression: Expression | None = None

    @property
    def names(self) -> frozenset[str]:
        """The columns in use."""
        return frozenset({self.text}) if self.expression is None else self.expression.names

    def of(self, row: Row) -> tuple[float, ...] | None:
        """One number for each repeat, NaN where a cell is no number; None if the row lacks a column."""
        if any(cell(row, name) is None for name in self.names):
            return None
        if self.expression is None:
            return tuple(self.scale * value for value in _numbers(row, self.text))
        columns = {name: np.array(_numbers(row, name)) for name in self.names}
        lengths = {len(column) for column in columns.values()} - {1}
        if len(lengths) > 1:
            raise StudyError(f"{self.expression.key}: '{self.text}' joins metrics with different numbers of repeats in "
                             f"{row.provenance.where}; name one of them")
        try:
            found = np.atleast_1d(np.asarray(self.expression(columns), dtype=float))
        except ValueError as error:
            if isinstance(error, StudyError):
                raise
            raise StudyError(f"{self.expression.key}: '{self.text}' gives no number; name a column, or compute with "
                             "columns") from error
        return tuple(float(value) for value in found)


def cell(row: Row, name: str) -> Value | None:
    """What the row has under a name: a setting, anything else in the file, or a metric (its first repeat)."""
    for values in (row.fields, row.others):
        if name in values:
            return values[name]
    return row.metrics[name][0] if name in row.metrics else None


def _numbers(row: Row, name: str) -> tuple[float, ...]:
    return row.metrics[name] if name in row.metrics else (as_number(cell(row, name)),)


def names_in(rows: Iterable[Row]) -> set[str]:
    """Every name that a row has."""
    return {name for row in rows for values in (row.fields, row.others, row.metrics) for name in values}


def columns_of(rows: Sequence[Row], names: Iterable[str]) -> dict[str, Cells]:
    """The rows as columns, blank where a row lacks the name."""
    return {name: Cells.of(cell(row, name) for row in rows) for name in names}


def amount(text: str, names: set[str], wanted: str, key: str) -> Amount:
    """The column called `text`, converted to the unit `wanted` by the unit in its header; or else an expression.

    names: those of all rows. Raises StudyError that starts with `key`."""
    if text in names:
        return Amount(text, factor(text, wanted, key))
    return Amount(text, 1.0, parse(text, names, key))


def check_options(rows: Sequence[Row], grid: Grid, options: ImportOptions) -> None:
    """Raises StudyError if an option names what is neither in the rows nor an axis of the study."""
    axes = [axis.name for axis in grid.axes]
    known = names_in(rows)
    for name, value in options.given.items():
        if name not in axes:
            raise StudyError(f"--set {name}: is no axis of the study{suggestion(name, axes)}"
                             f"{'; a figure of the file is named by --map' if name in known else ''}")
        if match(grid.axis(name).values, value) is None:
            raise StudyError(f"--set {name}: {value} is not on the axis; its values are {values_of(grid.axis(name))}")
    for name, text in options.renames.items():
        if text not in known and (name in {"status", "run"} or text.isidentifier()):
            raise StudyError(f"--map {name}: no row has '{text}'{suggestion(text, known)}")
    for name in options.ignore:
        if name not in known:
            raise StudyError(f"--ignore: no row has '{name}'{suggestion(name, known)}")


def shortly(value: Value | None) -> str:
    """The value as text for a message: a file's cell may be of any length."""
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def values_of(axis: Axis) -> str:
    """The values of an axis as text, a long list cut."""
    shown = [str(int(value)) if isinstance(value, float) and math.isfinite(value) and value == int(value)
             else str(value) for value in axis.values]
    return ", ".join(shown if len(shown) <= 12 else [*shown[:6], "…", *shown[-3:]])
