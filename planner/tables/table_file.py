"""A table as columns of cells, with the line number of each row: CSV, Parquet, JSON Lines, or a JSON list of records.

Every cell is kept as written; what it means is asked where it is used (planner.space.cells). CSV is read with the
standard library: it keeps '1.10' and '007' as they stand, knows line numbers, and costs no start-up time. pandas is
loaded for Parquet only.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from planner.space.cells import Cells, from_text_cell
from planner.space.expressions import suggestion
from planner.space.types import IntArray, StudyError, Value

__all__ = ["JSON_TABLES", "TableFile", "flat_records", "one_line", "read_table_file"]

_PARQUET: Final = frozenset({".parquet", ".pq"})
JSON_TABLES: Final = frozenset({".json", ".jsonl", ".ndjson"})
"""Endings of files that are read as JSON Lines, or as a JSON list of records."""


@dataclass(frozen=True, eq=False)
class TableFile:
    """The content of a file. Immutable.

    columns: by name, the cells of all rows. lines: (n,) the line of each row in the file, counted from 1. nested: names
    of fields that are no column, since they hold lists or objects (JSON).
    """

    name: str
    sha256: str
    columns: Mapping[str, Cells]
    lines: IntArray
    line_word: str
    """What `lines` counts: lines of a CSV file, rows of a Parquet file, records of a JSON file."""
    nested: tuple[str, ...] = ()

    def column(self, name: str, key: str) -> Cells:
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
    ending = path.suffix.lower()
    nested: tuple[str, ...] = ()
    if ending in _PARQUET:
        columns, lines, word = *_parquet_columns(data, name, key), "row"
    elif ending in JSON_TABLES:
        (columns, nested), word = _json_columns(data, name, key), "record"
        lines = np.arange(1, 1 + max((len(cells) for cells in columns.values()), default=0), dtype=np.int64)
    else:
        columns, lines, word = *_csv_columns(data, name, key), "line"
    if lines.size == 0:
        raise StudyError(f"{key}: {name} has no rows; give a table with a row for each configuration")
    return TableFile(name, hashlib.sha256(data).hexdigest(), columns, lines, word, nested)


def _csv_columns(data: bytes, name: str, key: str) -> tuple[dict[str, Cells], IntArray]:
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
                header = _header([from_text_cell(column) for column in row], name, key)
                continue
            if len(row) != len(header):
                raise StudyError(f"{key}: {name} line {begin} has {len(row)} cells where the header has "
                                 f"{len(header)}; correct the line")
            rows.append(row)
            lines.append(begin)
    except csv.Error as error:
        raise StudyError(f"{key}: {name} line {end + 1} is not CSV ({error}); correct the line") from error
    cells = zip(*rows, strict=True) if rows else ((),) * len(header)
    columns = {column: Cells.of(map(from_text_cell, values)) for column, values in zip(header, cells, strict=True)}
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


def flat_records(data: bytes) -> list[Mapping[str, Any]] | None:
    """The records of JSON Lines, or of a JSON list: objects with a field that is one value. None if it holds others."""
    try:
        text = data.decode("utf-8-sig").strip()
        values = json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.splitlines() if line]
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, list) or not values or not all(isinstance(value, dict) for value in values):
        return None
    return values if any(_is_cell(cell) for record in values for cell in record.values()) else None


def _is_cell(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float)


def _json_columns(data: bytes, name: str, key: str) -> tuple[dict[str, Cells], tuple[str, ...]]:
    records = flat_records(data)
    if records is None:
        raise StudyError(f"{key}: {name} is neither JSON Lines nor a JSON list of flat records; write one record "
                         "(an object of names and values) for each row")
    fields = dict.fromkeys(field for record in records for field in record)
    nested = tuple(field for field in fields if not all(_is_cell(record.get(field)) for record in records))
    header = _header([field for field in fields if field not in nested], name, key)
    kept = [field for field in fields if field not in nested]
    columns = {column: Cells.of(record.get(field) for record in records)
               for column, field in zip(header, kept, strict=True)}
    return columns, nested


def _parquet_columns(data: bytes, name: str, key: str) -> tuple[dict[str, Cells], IntArray]:
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


def _parquet_column(series: Any) -> Cells:
    missing = series.isna().to_numpy(dtype=bool).tolist()
    cells = series.astype(object).tolist()
    return Cells.of(None if gone else _parquet_cell(cell) for cell, gone in zip(cells, missing, strict=True))


def _parquet_cell(cell: Any) -> Value:
    plain = cell.item() if hasattr(cell, "item") else cell
    return plain if isinstance(plain, str | int | float) else str(plain)
