"""Any CSV or Parquet file: every column may be an axis or a metric, by its own name or by the user's --map.

A file of `sweepwise export` is recognised by its columns; its runs, repeats, failures and costs are restored.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from planner.importers.importer import Source, file_of
from planner.importers.rows import Provenance, Row, scalar
from planner.space.types import StudyError, Value
from planner.tables.table_file import TableFile, read_table_file

__all__ = ["RESERVED", "Table"]

RESERVED: Final = ("seconds", "start_s", "accelerators", "status", "run")
"""Names that --map takes beside axes and metrics: the price of a row, and its status."""
_EXPORTED: Final = frozenset({"repeat", "status", "seconds", "accelerators", "environment", "run"})
_NO_METRIC: Final = _EXPORTED | {"start_s"}


class Table:
    """A CSV or Parquet file of any columns."""

    def recognises(self, source: Source) -> bool:
        """Whether the name ends in that of a CSV or Parquet file."""
        return source.is_table

    def read(self, path: Path, name: str, known: Mapping[str, Value], renames: Mapping[str, str]) -> list[Row]:
        """A row for each row of the table; only the `RESERVED` names of `renames` are used here. Raises StudyError."""
        path, name = file_of(path, name, "table")
        table = read_table_file(path, name, name)
        exported = set(table.columns) >= _EXPORTED
        chosen = {what: renames.get(what, what if exported and what in table.columns else "") for what in RESERVED}
        for what, column in chosen.items():
            if column:
                table.column(column, f"--map {what}")
        columns = {column: values.tolist() for column, values in table.columns.items()}
        return [_row(table, i, {column: cells[i] for column, cells in columns.items()}, chosen, exported)
                for i in range(len(table.lines))]


def _row(table: TableFile, i: int, cells: Mapping[str, Any], chosen: Mapping[str, str], exported: bool) -> Row:
    place = f"{table.line_word} {table.lines[i]}"
    provenance = Provenance(table.name, table.sha256, "table", place,
                            identity=hashlib.sha256(f"{table.sha256} {place}".encode()).hexdigest())
    aside = {column for column in chosen.values() if column} | (_NO_METRIC if exported else frozenset())
    fields = {column: value for column, cell in cells.items() if (value := _field(cell)) is not None}
    metrics = {column: (float(cell),) for column, cell in cells.items()
               if isinstance(cell, float) and math.isfinite(cell) and column not in aside}
    status = str(cells[chosen["status"]]) if chosen["status"] else "ok"
    return Row(
        fields, {} if status != "ok" else metrics, _price(cells, chosen["seconds"], provenance), provenance,
        whole=exported, any_fields=True, start_s=_price(cells, chosen["start_s"], provenance),
        accelerators=_price(cells, chosen["accelerators"], provenance) or None,
        failure="" if status == "ok" else status, run=str(cells[chosen["run"]]) if chosen["run"] else "",
        notes=() if chosen["seconds"] else ("no column has the cost of a row (--map seconds=COLUMN)",))


def _field(cell: Any) -> Value | None:
    """A cell as an axis may hold it: whole numbers as such, text as it stands, an infinite rate."""
    return cell if isinstance(cell, str) or (isinstance(cell, float) and math.isinf(cell)) else scalar(cell)


def _price(cells: Mapping[str, Any], column: str, provenance: Provenance) -> float:
    if not column:
        return 0.0
    cell = cells[column]
    if not isinstance(cell, float) or math.isinf(cell) or cell < 0:
        raise StudyError(f"{provenance.where}: {column} is {str(cell)[:40]}, not a number from 0; correct the table")
    return 0.0 if math.isnan(cell) else cell
