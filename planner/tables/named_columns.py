"""What a study's names mean in a table: the column of that name, or the column or expression that `map` gives."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import numpy as np

from planner.space.cells import Cells
from planner.space.expressions import parse
from planner.space.types import FloatArray, StudyError
from planner.space.units import factor, unit_in, unit_named
from planner.tables.table_file import TableFile

__all__ = ["FAR", "NamedColumns", "far_from_the_rest"]

FAR: Final = 1e10
"""Ratio to the median from which on a value is taken for a word for "failed"."""
_WORDS: Final = {"s": "seconds", "ms": "milliseconds", "us": "microseconds"}


@dataclass(frozen=True)
class NamedColumns:
    """The columns of a file under a study's names.

    renames: name → column or expression over the file's columns. key: what messages call `renames`. units: name → the
    unit that is wanted of it, where one is known.
    """

    file: TableFile
    renames: Mapping[str, str] = field(default_factory=dict)
    key: str = "map"
    units: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def columns(self) -> Mapping[str, Cells]:
        """The file's columns, and those that `renames` names; a given name hides a column of that name. A column with
        a unit in its header is converted to the unit that is wanted. Raises StudyError."""
        return {**self.file.columns, **{name: self._renamed(name, text) for name, text in self.renames.items()}}

    def check(self, name: str, key: str) -> None:
        """Raises StudyError that starts with `key` if there is no such column and nothing is given for it."""
        if name in self.columns:
            return
        try:
            self.file.column(name, key)
        except StudyError as error:
            alike = [column for column in self.file.columns if _slug(column) == _slug(name)]
            how = f"{{{name}: \"{alike[0]}\"}}" if alike else "{NAME: COLUMN}"
            how = f"{self.key} {name}=\"{alike[0] if alike else 'COLUMN'}\"" if self.key[0] == "-" else f"`map: {how}`"
            raise StudyError(f"{error}; a column with another header is given by {how}") from None

    def source(self, name: str) -> str:
        """The column or expression of the file that has the name."""
        return self.renames.get(name, name)

    def sources(self) -> frozenset[str]:
        """The columns of the file that have another name in the study."""
        return frozenset(text for name, text in self.renames.items() if text != name and text in self.file.columns)

    def amount(self, text: str, unit: str, key: str) -> FloatArray:
        """A column, converted to `unit` by the unit in its header, or an expression over columns, in all rows; NaN for
        cells that are no numbers. Raises StudyError that starts with `key`."""
        if name := self._single(text):
            scaled: FloatArray = self.columns[name].numbers * factor(self._header(name), unit, key)
            return scaled
        return self._computed(text, self.columns, key)

    def names_in(self, text: str, key: str) -> frozenset[str]:
        """The columns that a column, a condition or an expression names."""
        return frozenset({text}) if text in self.columns else parse(text, self.columns, key).names

    def conversions(self, prices: Mapping[str, str]) -> list[str]:
        """A line for each column that is converted. prices: setting → its column or expression, in seconds."""
        used = [(f"{self.key} {name}" if self.key[0] == "-" else f"{self.key}.{name}", text, self.units.get(name, ""))
                for name, text in self.renames.items() if text in self.file.columns]
        used += [(setting, self._header(name), "s") for setting, text in prices.items() if (name := self._single(text))]
        return [f"{key}: {header} is in {unit.name}, read as {_WORDS.get(wanted, wanted)} {_times(scale)}"
                for key, header, wanted in used
                if (scale := factor(header, wanted, key)) != 1 and (unit := unit_in(header))]

    def _renamed(self, name: str, text: str) -> Cells:
        key = f"{self.key} {name}" if self.key[0] == "-" else f"{self.key}.{name}"
        if text not in self.file.columns:
            return Cells.of(self._computed(text, self.file.columns, key).tolist())
        cells, scale = self.file.columns[text], factor(text, self.units.get(name, ""), key)
        if scale == 1:
            return cells
        return Cells(tuple(cell if number != number else number * scale  # noqa: PLR0124 - a cell without a number
                           for cell, number in zip(cells, cells.numbers.tolist(), strict=True)))

    def _single(self, text: str) -> str:
        """The column that the text names, if it does nothing else."""
        if text in self.columns:
            return text
        bare = re.fullmatch(r"\s*`([^`]+)`\s*", text)
        return bare[1] if bare and bare[1] in self.columns else ""

    def _header(self, name: str) -> str:
        """The header that tells the unit of a column."""
        if name not in self.renames:
            return name
        unit = self.units.get(name, "")
        return f"{name} ({unit})" if unit_named(unit) else self.renames[name]

    def _computed(self, text: str, columns: Mapping[str, Cells], key: str) -> FloatArray:
        value = parse(text, columns, key)(columns)
        try:
            numbers = np.asarray(value, dtype=np.float64)
        except ValueError as error:
            raise StudyError(f"{key}: '{text}' gives no number; name a column, or compute with columns") from error
        return np.broadcast_to(numbers, len(self.file.lines)).copy()


def _slug(header: str) -> str:
    return "_".join(re.findall(r"[a-z0-9]+", header.lower()))


def _times(scale: float) -> str:
    return f"÷ {1 / scale:g}" if scale < 1 else f"× {scale:g}"


def far_from_the_rest(values: FloatArray) -> list[tuple[int, float]]:
    """The first value that is `FAR` times the median of all, or as much less, with that median; empty if there is none.

    values: (n,), NaN and zero where there is nothing to say.
    """
    sizes = np.abs(values[np.isfinite(values) & (values != 0)])
    if not sizes.size:
        return []
    usual = float(np.sort(sizes)[(len(sizes) - 1) // 2])
    with np.errstate(all="ignore"):
        far = np.flatnonzero((values != 0) & (np.fmax(np.abs(values) / usual, usual / np.abs(values)) >= FAR))
    return [(int(far[0]), usual)] if far.size else []


