"""A column of cells as a file holds them. What a cell means is asked cell by cell, so one odd cell changes no other."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np

from planner.space.meaning import as_number, as_truth, is_blank, same
from planner.space.types import BoolArray, FloatArray, IntArray, Value

__all__ = ["Cells", "as_text_cell", "from_text_cell"]

MISSING: Final = frozenset({"", "na", "n/a", "#n/a", "nan", "none", "null", "-"})
"""Words by which files say that there is no number."""
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""Characters with which spreadsheets let a formula begin (OWASP, CSV injection)."""
_GROUPED: Final = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?", re.ASCII)
_DECIMAL: Final = re.compile(r"[+-]?\d*\.\d+([eE][+-]?\d+)?", re.ASCII)


def as_text_cell(cell: Any) -> Any:
    """The cell for a CSV file: text that a spreadsheet would take for a formula begins with an apostrophe."""
    return f"'{cell}" if isinstance(cell, str) and cell.lstrip("'").startswith(_FORMULA) else cell


def from_text_cell(cell: str) -> str:
    """The text of a cell of a CSV file, without the apostrophe of `as_text_cell`."""
    return cell[1:] if cell.startswith("'") and cell.lstrip("'").startswith(_FORMULA) else cell


@dataclass(frozen=True, eq=False)
class Cells:
    """A column. Immutable. In expressions it is compared cell by cell.

    raw: (n,) each cell as written: text of a CSV file, without blanks around it, or the value of a JSON or Parquet
    file; None if blank.
    """

    raw: tuple[Value | None, ...]

    @classmethod
    def of(cls, cells: Iterable[Value | None]) -> Cells:
        """The column of these cells; blank ones become None, blanks around text are dropped."""
        return cls(tuple(None if is_blank(cell) else cell.strip() if isinstance(cell, str) else cell
                         for cell in cells))

    def __len__(self) -> int:
        return len(self.raw)

    def __iter__(self) -> Iterator[Value | None]:
        return iter(self.raw)

    def __getitem__(self, rows: IntArray) -> Cells:
        return Cells(tuple(self.raw[row] for row in rows.tolist()))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> FloatArray:
        return self.numbers.astype(dtype or np.float64)

    @cached_property
    def numbers(self) -> FloatArray:
        """Each cell as a number, (n,); NaN where it is none. Commas between thousands are read if the column leaves no
        doubt: some cell has a decimal point, or two commas."""
        grouped = self._has_thousands
        return np.array([as_number(cell.replace(",", "") if grouped and isinstance(cell, str)
                         and _GROUPED.fullmatch(cell) else cell) for cell in self.raw], dtype=np.float64)

    @cached_property
    def blank(self) -> BoolArray:
        """Whether each cell is empty, (n,)."""
        return np.array([cell is None for cell in self.raw], dtype=bool)

    @cached_property
    def missing(self) -> BoolArray:
        """Whether each cell is empty or a word for "no number", (n,)."""
        return np.array([cell is None or (isinstance(cell, str) and cell.lower() in MISSING) for cell in self.raw],
                        dtype=bool)

    @cached_property
    def truth(self) -> BoolArray:
        """Whether each cell is true, (n,); a cell that is no truth value is not."""
        return np.array([as_truth(cell) is True for cell in self.raw], dtype=bool)

    @cached_property
    def is_numeric(self) -> bool:
        """Whether there are numbers, and every other cell is missing."""
        number = ~np.isnan(self.numbers)
        return bool(number.any() and (number | self.missing).all())

    @cached_property
    def is_truth(self) -> bool:
        """Whether there are truth values, and every other cell is missing."""
        truth = np.array([as_truth(cell) is not None for cell in self.raw], dtype=bool)
        return bool(truth.any() and (truth | self.missing).all())

    def equals(self, value: Value) -> BoolArray:
        """Whether each cell means `value`, (n,). Empty text means a blank."""
        return np.array([same(value, cell) for cell in self.raw], dtype=bool)

    @cached_property
    def _has_thousands(self) -> bool:
        texts = [cell for cell in self.raw if isinstance(cell, str)]
        grouped = [cell for cell in texts if _GROUPED.fullmatch(cell)]
        plain = any(_DECIMAL.fullmatch(cell) for cell in texts) or any(
            isinstance(cell, float) and math.isfinite(cell) and cell != int(cell) for cell in self.raw)
        return bool(grouped) and (plain or any(cell.count(",") > 1 or "." in cell for cell in grouped))
