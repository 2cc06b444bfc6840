"""Rows, the result of an importer: each is one reading with its origin. And functions to read numbers from JSON.

Every function raises StudyError, one line that names the file, the row, and the fix, and nothing else, whatever the
file contains.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from planner.space.types import StudyError, Value
from planner.tables.table_file import one_line

__all__ = ["DISTRIBUTIONS", "Counts", "Provenance", "Row", "content_identity", "number", "numbers", "parse_json",
           "parse_json_stream", "positive_count", "read_bytes", "scalar", "section", "short", "usable"]

DISTRIBUTIONS: Final = ("ttft", "tpot", "itl", "e2el")
"""vLLM's names of the metrics of which each request has its own value."""
_LONGEST_SHOWN: Final = 60


@dataclass(frozen=True, slots=True)
class Provenance:
    """The origin of a reading. row: its place in the file, for messages. version: the tool's, if the file has it.
    identity: equal for copies of one reading under any file name. formerly: what earlier versions of sweepwise
    recorded as identity, so that a file imported then is still known.
    """

    file: str
    sha256: str
    format: str
    row: str
    version: str = ""
    identity: str = ""
    formerly: str = ""

    @property
    def where(self) -> str:
        """File and row: the start of a message."""
        return f"{self.file} {self.row}"


@dataclass(frozen=True, slots=True)
class Counts:
    """How much a file says was done, to check it against itself. None: not in the file.

    duration_s: seconds of the measured window. requests: completed ones. input_tokens, output_tokens: those of all
    completed requests. cut_off: requests that were still running at the end, and are in no metric.
    """

    duration_s: float | None = None
    requests: float | None = None
    input_tokens: float | None = None
    output_tokens: float | None = None
    cut_off: float = 0.0


@dataclass(frozen=True, slots=True)
class Row:
    """One reading of a file.

    fields: settings known to the format, translated to vLLM's names if the format has its own; text as written. A
    setting that is no axis must be the same in all rows, and a row without it differs from one that has it. others:
    everything else in the file that is one number, text or truth value. It may be named by an axis, --map, --where or
    --ok, may be anything (also not finite), and is otherwise left alone. metrics: raw repeats, in vLLM's names and
    units; each finite. seconds: warm-ups and repeats, 0 if unknown. whole: whether `seconds` counts all rows of the
    same run and point. start_s: seconds of the engine start before the run. accelerators: the number of devices if the
    file has it as one number; else None, and it follows from the parallel sizes in `fields`. failure: why there are no
    metrics. run: rows of a file with the same name are one run; with `across_files`, rows of all files. counts: what
    the metrics can be checked against. unknown: names in `others` that the format does not know; the user is told that
    they are left alone. notes: for the user; what was left out of the file, and why.
    """

    fields: Mapping[str, Value]
    metrics: Mapping[str, tuple[float, ...]]
    seconds: float
    provenance: Provenance
    whole: bool = False
    start_s: float = 0.0
    accelerators: float | None = None
    failure: str = ""
    run: str = ""
    across_files: bool = False
    notes: tuple[str, ...] = field(default=())
    others: Mapping[str, Value] = field(default_factory=dict)
    counts: Counts | None = None
    unknown: frozenset[str] = frozenset()


def read_bytes(path: Path) -> tuple[bytes, str]:
    """The content of a file, and its sha256. Raises StudyError."""
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise StudyError(f"{path}: cannot be read ({why}); name a file of results") from error
    return data, hashlib.sha256(data).hexdigest()


def parse_json(data: bytes, name: str) -> Any:
    """One JSON value. Raises StudyError."""
    values = parse_json_stream(data, name)
    if len(values) != 1:
        raise StudyError(f"{name}: holds {len(values)} JSON values instead of one; is it the right file?")
    return values[0]


def parse_json_stream(data: bytes, name: str) -> list[Any]:
    """All JSON values of a file, as vLLM's --append-result writes them. Raises StudyError."""
    try:
        text = data.decode("utf-8-sig").strip()
        decoder, position, values = json.JSONDecoder(), 0, []
        while position < len(text):
            value, position = decoder.raw_decode(text, position)
            values.append(value)
            while position < len(text) and text[position].isspace():
                position += 1
    except (ValueError, RecursionError) as error:
        why = one_line(str(error))[:_LONGEST_SHOWN]
        raise StudyError(f"{name}: is not whole JSON ({why}); was it cut off? write it again") from error
    return values


def section(data: Any, key: str, where: str) -> Mapping[str, Any]:
    """The object under `key`. Raises StudyError."""
    found = data.get(key) if isinstance(data, dict) else None
    if not isinstance(found, dict):
        raise StudyError(f"{where}: has no object '{key}'; is it the tool's own file, and whole?")
    return found


def number(value: Any, where: str, key: str) -> float:
    """The value as a finite number from 0. Raises StudyError."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise StudyError(f"{where}: {key} is {short(value)}, not a number; correct it or leave the file out")
    try:
        result = float(value)
    except OverflowError:
        result = math.inf
    if not math.isfinite(result) or result < 0:
        raise StudyError(f"{where}: {key} is {short(value)}, which is impossible; correct it or leave the file out")
    return result


def usable(value: Any, key: str, notes: list[str]) -> float | None:
    """The value of a metric as a finite number above 0. None if the file has none, or 0, by which tools mean
    "undefined"; None, and a line in `notes`, if it is impossible."""
    if value is None or (not isinstance(value, bool) and isinstance(value, int | float) and value == 0):
        return None
    try:
        return number(value, "", key)
    except StudyError:
        notes.append(f"{key} is {short(value)}, which is impossible: left out")
        return None


def numbers(value: Any, where: str, key: str) -> tuple[float, ...]:
    """The value as a list of at least one finite number from 0. Raises StudyError."""
    if not isinstance(value, list) or not value:
        raise StudyError(f"{where}: {key} is {short(value)}, not a list of numbers; correct it or leave the file out")
    return tuple(number(item, where, f"{key}[{i}]") for i, item in enumerate(value))


def positive_count(value: Any, where: str, key: str) -> int:
    """The value as a whole number from 1. Raises StudyError."""
    result = number(value, where, key)
    if result < 1 or result != int(result):
        raise StudyError(f"{where}: {key} is {short(value)}, not a count from 1; correct it or leave the file out")
    return int(result)


def scalar(value: Any) -> Value | None:
    """The value if an axis can have it, numeric text as a number; else None."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return value if abs(value) < 2**53 else None  # nan and infinity too
    if not isinstance(value, str):
        return None
    try:
        parsed = float(value)
    except ValueError:
        return value
    if not math.isfinite(parsed):
        return value
    return int(parsed) if parsed == int(parsed) else parsed


def content_identity(record: Any) -> str:
    """A hash of a record's content, independent of its formatting."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def short(value: Any) -> str:
    """The value as short text, for messages."""
    if isinstance(value, int) and abs(value) > 2**63:
        return "a number of many digits"
    text = one_line(repr(list(value[:3]) if isinstance(value, Sequence) and not isinstance(value, str) else value))
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN - 3] + "..."
