"""The values of an axis among the rows of a table: found in its cells, or matched to the values that a study lists.

Only the rows in use settle what kind of values an axis has.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from planner.space.cells import Cells
from planner.space.meaning import Matcher, as_number, as_truth, is_none, plain_value
from planner.space.types import Axis, BoolArray, FloatArray, IntArray, Role, Scale, StudyError, Value
from planner.tables.table_file import one_line

__all__ = ["AxisKind", "AxisValues", "found", "kinds_of", "listed", "some_cells", "without_rows"]

_SHOWN: Final = 8
_NO_NUMBER: Final = frozenset({"nan", "na", "n/a", "#n/a"})
"""Words for a missing number; 'None' and '-' beside numbers are values, as of num_speculative_tokens."""
_RANGE: Final = 8
"""From so many consecutive whole numbers on, listed values are a range, and those without a row are no news."""


@dataclass(frozen=True, slots=True)
class AxisKind:
    """What the study file says of an axis. is_category: its values keep their spelling; is_rate: inf is a value."""

    is_category: bool = False
    is_rate: bool = False


@dataclass(frozen=True, eq=False)
class AxisValues:
    """The values that rows have, each once: numbers ascending, others in order of first appearance; and the code of
    each row among them, (R,), −1 where a row has none of the listed values. note: on values and rows that did not
    match; empty if all did."""

    values: tuple[Value, ...]
    codes: IntArray
    note: str = ""


def kinds_of(axes: Sequence[Axis]) -> dict[str, AxisKind]:
    """What the study file says of each axis."""
    return {axis.name: AxisKind(axis.scale is Scale.CATEGORY, Role.RATE in axis.roles) for axis in axes}


def listed(cells: Cells, given: Sequence[Value], kind: AxisKind, whole: bool, file: str, where: Callable[[int], str]
           ) -> AxisValues:
    """The rows' values among those that the study lists. cells: of the rows that may be used; whole: whether the
    column has whole numbers only; file, where: the table and the place of a row, for the note."""
    matcher = Matcher(given)
    meant: dict[tuple[type, Value | None], Value | None] = {}
    own: list[Value | None] = []
    for cell, number in zip(cells, cells.numbers.tolist(), strict=True):
        key = type(cell), cell
        if key not in meant:
            value = matcher(cell)
            # Commas between thousands are the column's affair.
            grouped = value is None and isinstance(cell, str) and not math.isnan(number)
            meant[key] = matcher(number) if grouped else value
        own.append(meant[key])
    out = np.array([value is None for value in own], dtype=bool)
    values, codes = _coded(own, whole)
    parts = _left_out(cells, out, file, where)
    if kind.is_category or any(isinstance(value, str) for value in values):
        parts += _spellings(cells, own)
    return AxisValues(values, codes, "; ".join(parts))


def without_rows(given: Sequence[Value], values: Sequence[Value]) -> str:
    """What to say of listed values that no row in use has: 'no row has 32'; empty if all have rows."""
    there = {_key(value) for value in values}
    missing = [str(value) for value in given if _key(value) not in there]
    consecutive = len(given) >= _RANGE and all(type(value) is int for value in given) and (
        list(given) == list(range(int(given[0]), int(given[0]) + len(given))))
    return f"no row has {_some(missing)}" if missing and not consecutive else ""


def found(name: str, cells: Cells, kind: AxisKind, whole: bool, where: Callable[[int], str]) -> AxisValues:
    """All values of the rows: numbers if every cell is one, truth values if every cell is one, else as written.

    A category keeps a number's spelling where it is unusual: '1.10', '007'. Raises StudyError for a blank cell.
    """
    blank = cells.blank
    if cells.is_numeric and not kind.is_category:
        blank = blank | np.array([isinstance(cell, str) and cell.lower() in _NO_NUMBER for cell in cells], dtype=bool)
    if blank.any():
        raise StudyError(f"space.axes.{name}: {where(int(np.argmax(blank)))} has no value for '{name}'; correct "
                         "the row or leave it out by `where`")
    if not kind.is_category and not np.isnan(cells.numbers).any():
        return AxisValues(*_numeric(cells.numbers, whole))
    if all(as_truth(cell) is not None for cell in cells):
        return AxisValues(*_coded([as_truth(cell) for cell in cells], whole))
    return AxisValues(*_coded(_as_written(cells, kind), whole))


def _numeric(numbers: FloatArray, whole: bool) -> tuple[tuple[Value, ...], IntArray]:
    distinct, codes = np.unique(numbers, return_inverse=True)
    return tuple(_typed(value, whole) for value in distinct.tolist()), codes.astype(np.int64)


def _as_written(cells: Cells, kind: AxisKind) -> list[Value | None]:
    """The value of each cell: the first spelling of what it means."""
    typed = any(isinstance(cell, int | float) and not isinstance(cell, bool) for cell in cells)
    first: dict[tuple[str, Value], Value] = {}
    own: list[Value | None] = []
    for cell in cells:
        number, truth = as_number(cell), as_truth(cell)
        value = plain_value(cell) if kind.is_category and isinstance(cell, str) and truth is None else cell
        if kind.is_rate and math.isinf(number):
            value = number
        if truth is not None:
            key: tuple[str, Value] = "truth", truth
        elif is_none(cell):
            key = "none", ""
        elif math.isinf(number) or (typed and not math.isnan(number)) or not isinstance(value, str):
            key = "number", number
        else:
            key = "text", value
        own.append(first.setdefault(key, value if value is not None else ""))
    return own


def _coded(own: Sequence[Value | None], whole: bool) -> tuple[tuple[Value, ...], IntArray]:
    """The distinct values, and the code of each row; −1 for None."""
    values = list({_key(value): value for value in own if value is not None}.values())
    if not any(isinstance(value, str | bool) for value in values):
        values = sorted((_typed(value, whole) for value in values), key=float)
    elif not any(isinstance(value, str) for value in values):
        values = sorted(values)
    number = {_key(value): i for i, value in enumerate(values)}
    codes = [-1 if value is None else number[_key(value)] for value in own]
    return tuple(values), np.array(codes, dtype=np.int64)


def _key(value: Value | None) -> tuple[bool, Value | None]:
    """True equals 1 in Python, and is another value."""
    return isinstance(value, bool), value


def _typed(value: Value, whole: bool) -> Value:
    """A number as a whole number, if the column has no others: then a point is written in one way."""
    return int(value) if whole and math.isfinite(float(value)) else float(value)


def _left_out(cells: Cells, out: BoolArray, file: str, where: Callable[[int], str]) -> list[str]:
    """What to say of rows without a listed value, by their number and their cells."""
    parts = []
    if (left := cells.blank & out).any():
        first = where(int(np.argmax(left))).removeprefix(f"{file} ")
        parts.append(f"{_rows(left, file)} left out: blank ({first}{' and others' if left.sum() > 1 else ''})")
    if (left := ~cells.blank & out).any():
        said = dict.fromkeys(cell for cell, gone in zip(cells, left.tolist(), strict=True) if gone)
        parts.append(f"{_rows(left, file)} left out: {some_cells(said)} {'is' if len(said) == 1 else 'are'} not listed")
    return parts


def _spellings(cells: Cells, own: Sequence[Value | None]) -> list[str]:
    """What to say of a number that a category has in two spellings: versions may differ where numbers do not."""
    written: dict[Value, dict[str, None]] = {}
    for cell, value in zip(cells, own, strict=True):
        if isinstance(cell, str) and isinstance(value, int | float) and not isinstance(value, bool):
            written.setdefault(value, {})[cell] = None
    return [f"{' and '.join(spelt)} are read as one value, {value}; if they differ, quote them in `values`"
            for value, spelt in written.items() if len(spelt) > 1]


def some_cells(cells: Iterable[Value | None]) -> str:
    """Some of the cells, for messages."""
    return _some([one_line(str(cell)).removesuffix(".0") for cell in cells if cell is not None])


def _some(texts: Sequence[str]) -> str:
    return ", ".join(texts[:_SHOWN]) + (", …" if len(texts) > _SHOWN else "")


def _rows(these: BoolArray, file: str) -> str:
    count = int(these.sum())
    return f"1 row of {file} is" if count == 1 else f"{count:,} rows of {file} are"
