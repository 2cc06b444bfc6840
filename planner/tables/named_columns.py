"""What a study's names mean in a table: the column of that name, or the column or expression that `map` gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from planner.space.cells import Cells
from planner.space.expressions import parse
from planner.space.metrics import unit_wanted
from planner.space.types import FloatArray, Metric, StudyError
from planner.space.units import factor
from planner.tables.table_file import TableFile

__all__ = ["FAR", "NamedColumns", "far_from_the_rest"]

FAR: Final = 1e10
"""Ratio to the median from which on a value is taken for a word for "failed"."""


@dataclass(frozen=True)
class NamedColumns:
    """The columns of a file under a study's names. renames: name → column or expression; key: what messages call it."""

    file: TableFile
    renames: Mapping[str, str]
    key: str

    def source(self, name: str) -> str:
        """The column or expression that has the name."""
        return self.renames.get(name, name)

    def check(self, name: str, key: str) -> None:
        """Raises StudyError that starts with `key` if the file has no such column and nothing is given for it."""
        if name in self.renames:
            return
        try:
            self.file.column(name, key)
        except StudyError as error:
            raise StudyError(f"{error}; a column of another name is given by {self.key}") from None

    def cells(self, name: str) -> Cells:
        """The cells of an axis in all rows. Raises StudyError."""
        text = self.source(name)
        if text in self.file.columns:
            return self.file.columns[text]
        return Cells.of(self._computed(text, f"{self.key}: {name}").tolist())

    def metric(self, metric: Metric) -> FloatArray:
        """A metric in all rows, in its unit; NaN for cells that are no numbers. Raises StudyError."""
        return self.amount(self.source(metric.name), unit_wanted(metric), f"{self.key}: {metric.name}")

    def amount(self, text: str, unit: str, key: str) -> FloatArray:
        """A column, converted to `unit` by the unit in its header, or an expression over columns, in all rows."""
        if text in self.file.columns:
            scaled: FloatArray = self.file.columns[text].numbers * factor(text, unit, key)
            return scaled
        return self._computed(text, key)

    def conversions(self, metrics: Iterable[Metric], prices: Mapping[str, str]) -> list[str]:
        """A line for each column that is converted. prices: setting → its column or expression, in seconds."""
        used = [(metric.name, self.source(metric.name), unit_wanted(metric)) for metric in metrics]
        used += [(setting, text, "s") for setting, text in prices.items()]
        return [f"{name}: the column '{text}' is converted (× {scale:g})" for name, text, unit in used
                if text in self.file.columns and (scale := factor(text, unit, name)) != 1]

    def _computed(self, text: str, key: str) -> FloatArray:
        try:
            value = np.asarray(parse(text, self.file.columns, key)(self.file.columns), dtype=np.float64)
        except ValueError as error:
            if isinstance(error, StudyError):
                raise
            raise StudyError(f"{key}: '{text}' gives no number; name a column, or compute with columns") from error
        return np.broadcast_to(value, len(self.file.lines)).copy()


def far_from_the_rest(values: FloatArray) -> list[tuple[int, float]]:
    """The first value that is `FAR` times the median of all, or as much less, with that median; empty if there is none.

    values: (n,), NaN and zero where there is nothing to say.
    """
    sizes = np.abs(np.where(values == 0, np.nan, values))
    if np.isfinite(sizes).sum() < 3:
        return []
    usual = float(np.nanmedian(sizes))
    with np.errstate(invalid="ignore"):
        far = np.flatnonzero(np.fmax(sizes / usual, usual / sizes) >= FAR)
    return [(int(far[0]), usual)] if far.size else []
