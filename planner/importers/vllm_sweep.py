"""The folder of a `vllm bench sweep serve` experiment: a folder for each combination, with run=N.json and failures.

Each run file has the output of `vllm bench serve` and the parameters of its combination: vllm/benchmarks/sweep/serve.py
until 0.32, serve_workload.py and serve_sla.py, which write a folder deeper, and vllm/benchmarks/serve_multi.py before.
The runs of a combination are repeats of one measurement. warmup.json is not a repeat; summary.json and summary.csv
repeat the same data. summary.csv is read where it stands alone: a number there may have been text.

A failure that a later run of the same number replaced (--resume) is no failure.
"""

from __future__ import annotations

import ast
import csv
import io
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from planner.importers.importer import Source
from planner.importers.rows import (
    Provenance,
    Row,
    content_identity,
    parse_json,
    read_bytes,
    section,
)
from planner.importers.vllm_bench import row_of
from planner.importers.vllm_settings import split
from planner.space.types import StudyError, Value
from planner.tables.table_file import one_line

__all__ = ["VllmSweep"]

_SUMMARY: Final = "summary.csv"
_COLUMNS: Final = frozenset({"date", "num_prompts", "duration", "completed", "request_throughput", "run_number"})
_NULLS: Final = ("label", "tokenizer_id", "request_goodput", "max_concurrency")
"""Keys that vLLM writes with null where there is nothing."""
_WHOLE: Final = re.compile(r"-?\d{1,15}")
_NUMBER: Final = re.compile(r"-?\d+(\.\d*)?(e[+-]?\d+)?", re.IGNORECASE)
_TRUTH: Final = {"True": True, "False": False}
_LONGEST_CELL: Final = 2**27


class VllmSweep:
    """The folder of an experiment, or of several, or its summary.csv."""

    def recognises(self, source: Source) -> bool:
        """Whether the folder or its subfolders have results of a sweep, or the table is its summary."""
        if source.is_folder:
            return bool(_files(source.path)) or Source(source.path / _SUMMARY).header >= _COLUMNS
        return source.header >= _COLUMNS

    def read(self, path: Path, name: str, known: Mapping[str, Value], renames: Mapping[str, str]) -> list[Row]:
        """A row for each run. Raises StudyError."""
        if not path.is_dir():
            return _summary(path, name, known)
        files = _files(path)
        if not files and (path / _SUMMARY).is_file():
            return _summary(path / _SUMMARY, f"{name}/{_SUMMARY}", known)
        rows = [row for file in files if (row := _run(file, f"{name}/{file.relative_to(path)}", known)) is not None]
        if not rows:
            raise StudyError(f"{name}: holds no run=N.json of a vllm bench sweep; name the experiment's folder")
        return rows


def _files(path: Path) -> list[Path]:
    """The files of runs and failures, without failures that another run replaced."""
    runs = [file for file in path.rglob("run=*.json") if not _replaced(file)]
    return sorted([*runs, *path.rglob("SERVE-*-failure.json")])


def _replaced(file: Path) -> bool:
    return file.name.endswith(".failure.json") and file.with_name(
        file.name.removesuffix(".failure.json") + ".json").is_file()


def _run(file: Path, name: str, known: Mapping[str, Value]) -> Row | None:
    data, digest = read_bytes(file)
    provenance = Provenance(name, digest, "vllm-sweep", "result 1")
    record = parse_json(data, name)
    if file.name.endswith("failure.json"):
        row = _failure(record, provenance)
    else:
        row = row_of(record, provenance, known, file)
    return row and replace(row, run=str(file.parent), across_files=True)


def _failure(record: object, provenance: Provenance) -> Row | None:
    """The row of a failed run recorded by --continue-on-error; None for a failed server start, which has no point."""
    if not isinstance(record, dict) or "error" not in record:
        raise StudyError(f"{provenance.where}: is not a failure record of vllm bench sweep; leave the file out")
    if "bench_overrides" not in record:
        return None
    given = {**section(record, "serve_overrides", provenance.where),
             **section(record, "bench_overrides", provenance.where)}
    fields, others = split(given, given, ())
    reason = f"vllm bench serve ended with {one_line(str(record.get('error_type', 'an error')))[:60]}"
    return Row(fields, {}, 0.0, replace(provenance, identity=content_identity(record)), failure=reason, others=others,
               notes=("the cost of a failed run is not in the file",))


def _summary(path: Path, name: str, known: Mapping[str, Value]) -> list[Row]:
    """The rows of a summary.csv. Raises StudyError."""
    data, digest = read_bytes(path)
    header, lines = _table(data, name)
    # What the user attached stands between these two, as vLLM writes it.
    begin, end = (header.index(key) if key in header else 0 for key in ("num_prompts", "request_rate"))
    wholes = {i for i in range(len(header)) if _are_wholes([line[i] for line in lines])}
    rows = []
    for number, line in enumerate(lines, 1):
        record = {key: _value(line[i], i in wholes) for i, key in enumerate(header)
                  if key and (line[i] or key in _NULLS)}
        provenance = Provenance(name, digest, "vllm-sweep", f"row {number}")
        row = row_of(record, provenance, known, path, header[begin + 1:end])
        if row is not None:
            rows.append(row)
    if not rows:
        raise StudyError(f"{name}: has no rows of runs; name the experiment's folder")
    return rows


def _table(data: bytes, name: str) -> tuple[list[str], list[list[str]]]:
    """Header and rows. Raises StudyError."""
    limit = csv.field_size_limit(_LONGEST_CELL)  # the latencies of all requests are one cell
    try:
        table = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True))
    except (ValueError, csv.Error) as error:
        raise StudyError(f"{name}: is not a whole table ({one_line(str(error))[:60]}); write it again") from error
    finally:
        csv.field_size_limit(limit)
    header, lines = table[0] if table else [], table[1:]
    if not set(header) >= _COLUMNS or any(len(line) != len(header) for line in lines):
        raise StudyError(f"{name}: is not the summary.csv of a vllm bench sweep; was it cut off? name the experiment's "
                         "folder")
    return header, lines


def _are_wholes(cells: list[str]) -> bool:
    """Whether pandas made whole numbers into decimals, for want of a blank among them."""
    filled = [cell for cell in cells if cell]
    return len(filled) < len(cells) and all(cell.endswith(".0") and _WHOLE.fullmatch(cell[:-2]) for cell in filled)


def _value(cell: str, whole: bool) -> Any:
    """The cell as the JSON value that it was made of."""
    if not cell:
        return None
    if cell in _TRUTH:
        return _TRUTH[cell]
    if whole:
        return int(cell[:-2])
    if _WHOLE.fullmatch(cell) and str(int(cell)) == cell:
        return int(cell)
    if _NUMBER.fullmatch(cell) and not _WHOLE.fullmatch(cell):
        return float(cell)
    if cell.startswith(("[", "{")):  # pandas writes lists and objects as Python does
        try:
            return ast.literal_eval(cell)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return cell
    return cell
