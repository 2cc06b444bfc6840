"""The values of an axis among the rows of a table: found in its cells, or matched to the values that a study lists."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from planner.space.cells import Cells
from planner.space.meaning import as_number, as_truth, match, plain_value
from planner.space.types import BoolArray, FloatArray, IntArray, StudyError, Value

__all__ = ["AxisCells", "found", "listed"]

_SHOWN: Final = 8
_NO_NUMBER: Final = frozenset({"nan", "na", "n/a", "#n/a"})
"""Words for a missing number; 'None' and '-' beside numbers are values, as of num_speculative_tokens."""


@dataclass(frozen=True, eq=False)
class AxisCells:
    """The values that rows have, each once, and the code of each row among them, (R,); −1 where a row has none of the
    listed values. notes: lines about values and rows that did not match."""

    values: tuple[Value, ...]
    codes: IntArray
    notes: tuple[str, ...] = ()


def listed(name: str, cells: Cells, given: Sequence[Value], is_category: bool, where: Callable[[int], str]
           ) -> AxisCells:
    """The rows' values among those that the study lists. where: the place of a row, for notes. Raises StudyError if no
    row has any."""
    key = f"space.axes.{name}"
    meant: dict[tuple[type, Value | None], Value | None] = {}
    for cell in cells:
        if (type(cell), cell) not in meant:
            meant[type(cell), cell] = match(given, cell)
    own = [meant[type(cell), cell] for cell in cells]
    matched = np.array([value is not None for value in own], dtype=bool)
    if not matched.any():
        shown = _some([_spelling(cell) for cell in dict.fromkeys(cells) if cell is not None])
        raise StudyError(f"{key}: no row has any of the given values; use some of: {shown}")
    used = {(type(value) is bool, value) for value in own}
    missing = [str(value) for value in given if (type(value) is bool, value) not in used]
    notes = [f"{key}: no row has {_some(missing)}"] if missing else []
    if (left := cells.blank & ~matched).any():
        notes.append(f"{key}: {_rows(left)} left out, blank ({where(int(np.argmax(left)))})")
    if (left := ~cells.blank & ~matched).any():
        others = list(dict.fromkeys(_spelling(cell) for cell, out in zip(cells, left.tolist(), strict=True) if out))
        notes.append(f"{key}: {_rows(left)} left out, not listed: {_some(others)}")
    if is_category:
        notes += _spellings(key, cells, own)
    return _coded(own, cells, is_category, notes)


def found(name: str, cells: Cells, is_category: bool, where: Callable[[int], str]) -> AxisCells:
    """All values of the rows: numbers if every cell is one, truth values if every cell is one, else text as written. A
    category keeps a number's spelling where it is unusual: '1.10', '007'. Raises StudyError for a blank cell."""
    blank = cells.blank
    if cells.is_numeric and not is_category:
        blank = blank | np.array([isinstance(cell, str) and cell.lower() in _NO_NUMBER for cell in cells], dtype=bool)
    if blank.any():
        raise StudyError(f"space.axes.{name}: {where(int(np.argmax(blank)))} has no value for '{name}'; correct "
                         "the row or leave it out by `where`")
    if is_category:
        return _coded([_category(cell) for cell in cells], cells, is_category)
    if not np.isnan(cells.numbers).any():
        return _coded(cells.numbers.tolist(), cells, is_category)
    if all(as_truth(cell) is not None for cell in cells):
        return _coded([as_truth(cell) for cell in cells], cells, is_category)
    return _coded([str(cell) for cell in cells], cells, is_category)


def _category(cell: Value | None) -> Value | None:
    if not isinstance(cell, str):
        return cell
    return as_number(cell) if math.isinf(as_number(cell)) else plain_value(cell)


def _coded(own: Sequence[Value | None], cells: Cells, is_category: bool, notes: Sequence[str] = ()) -> AxisCells:
    """Distinct values: numbers ascending, others in order of first appearance."""
    values = [value for _, value in dict.fromkeys((type(value) is bool, value) for value in own if value is not None)]
    if all(not isinstance(value, str) for value in values):
        values = sorted(values)
    number = {(type(value) is bool, value): i for i, value in enumerate(values)}
    codes = [-1 if value is None else number[type(value) is bool, value] for value in own]
    written = is_category and any(isinstance(cell, str) for cell in cells)
    # Numbers are whole numbers if the rows have no others, so that a point is written in one way.
    plain = values if written else [_number(value, _whole(cells.numbers)) for value in values]
    return AxisCells(tuple(plain), np.array(codes, dtype=np.int64), tuple(notes))


def _whole(numbers: FloatArray) -> bool:
    there = numbers[np.isfinite(numbers)]
    return bool(np.all(there == np.floor(there)))


def _number(value: Value, whole: bool) -> Value:
    if isinstance(value, bool | str) or not math.isfinite(value):
        return value
    return int(value) if whole else float(value)


def _spellings(key: str, cells: Cells, own: Sequence[Value | None]) -> list[str]:
    """A line for each number of a category that the file writes in two ways: versions differ, numbers do not."""
    written: dict[Value, dict[str, None]] = {}
    for cell, value in zip(cells, own, strict=True):
        if isinstance(cell, str) and isinstance(value, int | float) and not isinstance(value, bool):
            written.setdefault(value, {})[cell] = None
    return [f"{key}: {' and '.join(spelt)} are taken for one value, {value}; quote the values in the study file if "
            "they differ" for value, spelt in written.items() if len({text.removesuffix(".0") for text in spelt}) > 1]


def _spelling(cell: Value | None) -> str:
    return str(cell).removesuffix(".0")


def _some(texts: Sequence[str]) -> str:
    return ", ".join(texts[:_SHOWN]) + (", …" if len(texts) > _SHOWN else "")


def _rows(these: BoolArray) -> str:
    count = int(these.sum())
    return f"{count:,} {'row is' if count == 1 else 'rows are'}"
