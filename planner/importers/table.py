"""Any table: CSV, Parquet, JSON Lines, or a JSON list of flat records. A column has no meaning but its name, until the
study or the user's --map names it.

A file of `sweepwise export` is recognised by its columns; its runs, repeats, failures and costs are restored.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from planner.importers.importer import Source, file_of
from planner.importers.rows import Counts, Provenance, Row
from planner.space.meaning import as_number, is_blank
from planner.space.types import StudyError, Value
from planner.tables.table_file import JSON_TABLES, TableFile, flat_records, read_table_file

__all__ = ["Table", "content_of"]

_EXPORTED: Final = frozenset({"repeat", "status", "seconds", "accelerators", "environment", "run"})
_UNPRICED: Final = ("no column has the cost of a row (--map seconds=COLUMN)",)
_COUNTS: Final = (
    ("duration", "duration_s", "benchmark_duration"), ("completed", "completed_requests"),
    ("total_input_tokens", "total_input"), ("total_output_tokens", "total_output"))
"""The names of what `Counts` has first: seconds, requests, input tokens, output tokens."""


class Table:
    """A table of any columns."""

    def recognises(self, source: Source) -> bool:
        """Whether the name ends in that of a CSV or Parquet file, or the file holds several flat JSON records."""
        if source.is_folder or source.path.suffix.lower() not in JSON_TABLES:
            return source.is_table
        try:
            records = flat_records(source.path.read_bytes())
        except OSError:
            return False
        return records is not None

    def read(self, path: Path, name: str, known: Mapping[str, Value], renames: Mapping[str, str]) -> list[Row]:
        """A row for each row of the table. Raises StudyError."""
        path, name = file_of(path, name, "table")
        table = read_table_file(path, name, name)
        notes: tuple[str, ...] = () if "seconds" in renames else _UNPRICED
        if table.nested:
            notes += (f"left alone, since they hold lists or objects: {', '.join(table.nested[:8])}",)
        contents = [content_of(table, i) for i in range(len(table.lines))]
        nth: Counter[str] = Counter()
        rows = []
        for i, content in enumerate(contents):
            rows.append(_row(table, i, f"{content} {nth[content]}", notes))
            nth[content] += 1
        return rows


def content_of(table: TableFile, i: int) -> str:
    """The content of a row as text: equal wherever it stands, and however its numbers are written."""
    cells = {}
    for name, column in table.columns.items():
        if (value := column.raw[i]) is not None:
            number = as_number(value)
            cells[name] = str(value) if math.isnan(number) or isinstance(value, bool) else repr(number)
    return json.dumps(cells, sort_keys=True)


def _row(table: TableFile, i: int, content: str, notes: tuple[str, ...]) -> Row:
    place = f"{table.line_word} {table.lines[i]}"
    digests = [hashlib.sha256(text.encode()).hexdigest() for text in (content, f"{table.sha256} {place}")]
    provenance = Provenance(table.name, table.sha256, "table", place, identity=digests[0], formerly=digests[1])
    cells = {name: value for name, column in table.columns.items() if (value := column.raw[i]) is not None}
    numbers = {name: float(number) for name, column in table.columns.items()
               if np.isfinite(number := column.numbers[i])}
    if set(table.columns) >= _EXPORTED:
        return _exported(cells, numbers, provenance, list(table.columns))
    duration, requests, inputs, outputs = (
        next((numbers[name] for name in names if name in numbers), None) for names in _COUNTS)
    return Row({}, {name: (number,) for name, number in numbers.items()}, 0.0, provenance, others=cells,
               counts=Counts(duration, requests, inputs, outputs), notes=notes, unknown=frozenset(cells))


def _exported(cells: Mapping[str, Value], numbers: Mapping[str, float], provenance: Provenance, names: Sequence[str]
              ) -> Row:
    """A row of our own export: the axes stand before the columns of `_EXPORTED`, the metrics behind them."""
    axes = names[:min(names.index(name) for name in _EXPORTED)]
    status = str(cells.get("status", ""))
    failed = status.lower() != "ok"
    metrics = {name: (number,) for name, number in numbers.items() if name not in {*axes, *_EXPORTED, "start_s"}}
    price = {name: _price(cells, name, provenance) for name in ("seconds", "start_s", "accelerators")}
    return Row(
        {name: cells[name] for name in axes if name in cells}, {} if failed else metrics,
        price["seconds"], provenance, whole=True, start_s=price["start_s"], accelerators=price["accelerators"] or None,
        failure=(status or "no status") if failed else "", run=str(cells.get("run", "")))


def _price(cells: Mapping[str, Value], column: str, provenance: Provenance) -> float:
    value = cells.get(column)
    number = as_number(value)
    if is_blank(value):
        return 0.0
    if not math.isfinite(number) or number < 0:
        raise StudyError(f"{provenance.where}: {column} is {str(value)[:40]}, not a number from 0; correct the table")
    return number
