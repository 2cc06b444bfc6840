"""Which reader reads a file: told by the user, or by what the file holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from planner.importers import aiperf, fmwork, guidellm, table, vllm_bench, vllm_sweep
from planner.importers.rows import Row
from planner.space.expressions import suggestion
from planner.space.types import StudyError, Value

__all__ = ["FORMATS", "check_format", "format_of", "read_rows"]

FORMATS: Final = ("auto", "fmwork", "vllm-bench", "vllm-sweep", "guidellm", "aiperf", "table")
_TABLES: Final = frozenset({".csv", ".parquet", ".pq"})
_IN_FOLDER: Final = {"aiperf": "profile_export_aiperf.json", "guidellm": "benchmarks.json", "fmwork": "driver.log"}


def check_format(name: str) -> None:
    """Raises StudyError where there is no format of this name."""
    if name not in FORMATS:
        raise StudyError(f"--format: unknown format '{name}'{suggestion(name, FORMATS)}")


def read_rows(path: Path, form: str, known: Mapping[str, Value], renames: Mapping[str, str]) -> list[Row]:
    """The rows of a file or folder. known: what --set says; renames: what --map says. Raises StudyError."""
    name = str(path)
    if not path.exists():
        raise StudyError(f"{name}: there is no such file or folder; name what the benchmark wrote")
    form = format_of(path) if form == "auto" else form
    if path.is_dir() and form != "vllm-sweep":
        inside = _IN_FOLDER.get(form)
        if inside is None or not (path / inside).is_file():
            raise StudyError(f"{name}: is a folder without a file of the format {form}; name the file itself")
        path, name = path / inside, f"{name}/{inside}"
    match form:
        case "fmwork":
            return fmwork.read(path, name)
        case "vllm-bench":
            return vllm_bench.read(path, name, known)
        case "vllm-sweep":
            return vllm_sweep.read(path, name, known)
        case "guidellm":
            return guidellm.read(path, name)
        case "aiperf":
            return aiperf.read(path, name)
    return table.read(path, name, renames)


def format_of(path: Path) -> str:
    """The format of a file or folder. Raises StudyError where that cannot be told."""
    if path.is_dir():
        found = next((form for form, inside in _IN_FOLDER.items() if (path / inside).is_file()), None)
        form = "vllm-sweep" if vllm_sweep.is_sweep(path) else found
    elif path.suffix.lower() in _TABLES:
        form = "fmwork" if path.suffix.lower() == ".csv" and _header(path) >= fmwork.COLUMNS else "table"
    else:
        form = _by_content(path)
    if form is None:
        raise StudyError(f"{path}: cannot tell what wrote it; say so with --format {' | '.join(FORMATS[1:])}")
    return form


def _header(path: Path) -> set[str]:
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            return {cell.strip() for cell in file.readline(100_000).split(",")}
    except OSError:
        return set()  # the reader will say why


def _by_content(path: Path) -> str | None:
    try:
        text = path.read_bytes().decode("utf-8-sig", errors="replace")
    except OSError:
        return None
    if not text.lstrip().startswith(("{", "[")):
        return "fmwork" if "FMWORK " in text else None
    try:
        data: Any = json.JSONDecoder().raw_decode(text.lstrip())[0]
    except (ValueError, RecursionError):
        # What follows an opening line of a log may be anything; what is a JSON file cut off says so when it is read.
        return "fmwork" if "FMWORK " in text else None
    if aiperf.is_report(data):
        return "aiperf"
    if guidellm.is_report(data):
        return "guidellm"
    first = data[0] if isinstance(data, list) and data else data
    return "vllm-bench" if vllm_bench.is_result(first) else None
