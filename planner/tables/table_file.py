"""A CSV or Parquet file as plain numpy columns, with the line number of each row.

CSV is read with the standard library: it keeps text such as 'None' or 'NA' on an axis as written, parses floats
exactly, knows line numbers, and costs no start-up time. pandas is loaded for Parquet only.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from planner.space.expressions import suggestion
from planner.space.types import FloatArray, IntArray, StudyError

__all__ = ["TableFile", "one_line", "read_table_file", "to_numbers"]

_MISSING: Final = frozenset({"", "na", "n/a", "#n/a", "nan", "none", "null", "-"})
_TRUTH: Final = {"true": True, "false": False}
_PARQUET: Final = frozenset({".parquet", ".pq"})


@dataclass(frozen=True, eq=False)
class TableFile:
    """The content of a file. Immutable.

    columns: by name, (n,) arrays of numbers (NaN if missing), of booleans, or of objects (text; None if missing).
    lines: (n,) the line of each row in the file, counted from 1.
    """

    name: str
    sha256: str
    columns: Mapping[str, NDArray[Any]]
    lines: IntArray
    line_word: str
    """What `lines` counts: lines of a CSV file, rows of a Parquet file."""

    def column(self, name: str, key: str) -> NDArray[Any]:
        """The column called `name`. Raises StudyError that starts with `key`."""
        if name not in self.columns:
            raise StudyError(f"{key}: {self.name} has no column '{name}'{suggestion(name, self.columns)}")
        return self.columns[name]

    def where(self, row: int) -> str:
        """File and line of the row, for error messages."""
        return f"{self.name} {self.line_word} {self.lines[row]}"


def read_table_file(path: Path, name: str, key: str) -> TableFile:
    """The content of `path`, which the user calls `name`. Raises StudyError, one line that starts with `key`."""
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise StudyError(f"{key}: there is no file {name}; the path is relative to the study file") from error
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise StudyError(f"{key}: cannot open {name} ({why}); give a CSV or Parquet file") from error
    if path.suffix.lower() in _PARQUET:
        columns, lines, word = *_parquet_columns(data, name, key), "row"
    else:
        columns, lines, word = *_csv_columns(data, name, key), "line"
    if lines.size == 0:
        raise StudyError(f"{key}: {name} has no rows; give a table with a row for each configuration")
    return TableFile(name, hashlib.sha256(data).hexdigest(), columns, lines, word)


def to_numbers(column: NDArray[Any]) -> FloatArray:
    """The column as floats, (n,); NaN where a cell is not a number."""
    if column.dtype.kind in "fiub":
        return np.asarray(column, dtype=np.float64)
    return np.array([_number(cell) for cell in column.tolist()], dtype=np.float64)


def _number(cell: Any) -> float:
    try:
        return float(cell)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _csv_columns(data: bytes, name: str, key: str) -> tuple[dict[str, NDArray[Any]], IntArray]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise StudyError(f"{key}: {name} is not UTF-8 text; save it as CSV in UTF-8, or as .parquet") from error
    reader = csv.reader(io.StringIO(text, newline=""))
    header: list[str] = []
    rows: list[list[str]] = []
    lines: list[int] = []
    end = 0  # a quoted cell may span lines: a row has the line of its first character
    try:
        for row in reader:
            begin, end = end + 1, reader.line_num
            if not any(cell.strip() for cell in row):
                continue
            if not header:
                header = _header(row, name, key)
                continue
            if len(row) != len(header):
                raise StudyError(f"{key}: {name} line {begin} has {len(row)} cells where the header has "
                                 f"{len(header)}; correct the line")
            rows.append(row)
            lines.append(begin)
    except csv.Error as error:
        raise StudyError(f"{key}: {name} line {end + 1} is not CSV ({error}); correct the line") from error
    cells = zip(*rows, strict=True) if rows else ((),) * len(header)
    columns = {column: _csv_column(values) for column, values in zip(header, cells, strict=True)}
    return columns, np.array(lines, dtype=np.int64)


def _header(names: Sequence[Any], name: str, key: str) -> list[str]:
    header = [one_line(str(column)) for column in names]
    for column in header:
        if header.count(column) > 1:
            raise StudyError(f"{key}: {name} has two columns called '{_short(column)}'; rename one")
    return header


def one_line(text: str) -> str:
    """The text without line breaks and unprintable characters, for messages."""
    return "".join(character for character in " ".join(text.split()) if character.isprintable())


def _short(text: str) -> str:
    text = one_line(text)
    return text if len(text) <= 60 else text[:57] + "..."


def _csv_column(cells: Sequence[str]) -> NDArray[Any]:
    """The column as numbers if every cell is a number or missing, as booleans if all are, else as text."""
    stripped = [cell.strip() for cell in cells]
    lowered = {cell.lower() for cell in set(stripped)}
    if lowered and lowered <= _TRUTH.keys():
        return np.array([_TRUTH[cell.lower()] for cell in stripped], dtype=bool)
    if not lowered <= _MISSING:
        try:
            return np.array([math.nan if cell.lower() in _MISSING else float(cell) for cell in stripped])
        except ValueError:
            pass
    return _objects([cell or None for cell in stripped])


def _objects(values: Sequence[Any]) -> NDArray[Any]:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _parquet_columns(data: bytes, name: str, key: str) -> tuple[dict[str, NDArray[Any]], IntArray]:
    import pandas as pd

    try:
        frame = pd.read_parquet(io.BytesIO(data))
        if not isinstance(frame.index, pd.RangeIndex):
            frame = frame.reset_index()
        header = _header(list(frame.columns), name, key)
        columns = {column: _parquet_column(frame.iloc[:, i]) for i, column in enumerate(header)}
    except StudyError:
        raise
    except Exception as error:  # the reader's layers raise many types; for the user it is one error
        raise StudyError(f"{key}: cannot read {name} as Parquet ({_short(str(error))}); write it again") from error
    return columns, np.arange(1, len(frame) + 1, dtype=np.int64)


def _parquet_column(series: Any) -> NDArray[Any]:
    import pandas as pd

    kind = series.dtype
    if isinstance(kind, pd.CategoricalDtype):
        return _parquet_column(series.astype(kind.categories.dtype))
    if pd.api.types.is_bool_dtype(kind) and not series.hasnans:
        return np.asarray(series.to_numpy(dtype=bool))
    if pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_bool_dtype(kind):
        return np.asarray(series.to_numpy(dtype=np.float64, na_value=np.nan))
    missing = series.isna().to_numpy(dtype=bool).tolist()
    cells = series.astype(object).tolist()
    return _objects([None if gone else str(cell) for cell, gone in zip(cells, missing, strict=True)])
