"""What a reader makes of a file: rows, each one reading with where it came from. And how numbers are taken from JSON.

A reader is a function of a path. It changes nothing, knows no study, and raises StudyError, one line that names the
file, the row, and the mend. Whatever it is fed, it raises nothing else.
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

__all__ = ["DISTRIBUTIONS", "Provenance", "Row", "content_identity", "number", "numbers", "parse_json",
           "parse_json_stream", "positive_count", "read_bytes", "scalar", "section", "short"]

DISTRIBUTIONS: Final = ("ttft", "tpot", "itl", "e2el")
"""vLLM's names of what each request has its own of."""
_LONGEST_SHOWN: Final = 60


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a reading came from. row: how a message calls its place in the file. version: the tool's, where the file
    says so. identity: equal for two copies of one reading, whatever the files are called; else a hash of file and row.
    """

    file: str
    sha256: str
    format: str
    row: str
    version: str = ""
    identity: str = ""

    @property
    def where(self) -> str:
        """How a message opens."""
        return f"{self.file} {self.row}"


@dataclass(frozen=True, slots=True)
class Row:
    """One reading of a file.

    fields: what was set, in vLLM's names where the format has names of its own. metrics: raw repeats, in vLLM's names
    and units. seconds: warm-ups and repeats, 0 where the file does not say; `whole` where that counts all rows of the
    same run and point, and not this one alone. start_s: seconds of the engine start before it. accelerators: None where
    the file does not say. failure: why there are no metrics. run: rows of a file with one name are one run, or
    `across_files` rows of any file. any_fields: fields may be anything (a table's columns), so that those which are no
    axis need not be the same in all rows.
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
    any_fields: bool = False
    notes: tuple[str, ...] = field(default=())


def read_bytes(path: Path) -> tuple[bytes, str]:
    """The file, and its sha256. Raises StudyError."""
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
        raise StudyError(f"{name}: holds {len(values)} JSON values where one belongs; is it the right file?")
    return values[0]


def parse_json_stream(data: bytes, name: str) -> list[Any]:
    """JSON values one after the other, as vLLM's --append-result writes them. Raises StudyError."""
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
    """A finite number that is not negative. Raises StudyError."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise StudyError(f"{where}: {key} is {short(value)}, not a number; mend it or leave the file out")
    try:
        result = float(value)
    except OverflowError:
        result = math.inf
    if not math.isfinite(result) or result < 0:
        raise StudyError(f"{where}: {key} is {short(value)}, which no measurement gives; mend it or leave the file out")
    return result


def numbers(value: Any, where: str, key: str) -> tuple[float, ...]:
    """A list of at least one such number. Raises StudyError."""
    if not isinstance(value, list) or not value:
        raise StudyError(f"{where}: {key} is {short(value)}, not a list of numbers; mend it or leave the file out")
    return tuple(number(item, where, f"{key}[{i}]") for i, item in enumerate(value))


def positive_count(value: Any, where: str, key: str) -> int:
    """A whole number from 1. Raises StudyError."""
    result = number(value, where, key)
    if result < 1 or result != int(result):
        raise StudyError(f"{where}: {key} is {short(value)}, not a count from 1; mend it or leave the file out")
    return int(result)


def scalar(value: Any) -> Value | None:
    """A value that an axis can have: text that is a number becomes one; None for everything else."""
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
    """A hash of what a record says, however it is laid out."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def short(value: Any) -> str:
    """A value as a message shows it."""
    if isinstance(value, int) and abs(value) > 2**63:
        return "a number of many digits"
    text = one_line(repr(list(value[:3]) if isinstance(value, Sequence) and not isinstance(value, str) else value))
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN - 3] + "..."
