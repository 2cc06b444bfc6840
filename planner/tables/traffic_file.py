"""Files of real traffic, recognised by their content.

  Azure's LLM inference traces, CSV        TIMESTAMP (date and time), ContextTokens, GeneratedTokens
  BurstGPT, CSV                            Timestamp (s), Model, Request tokens, Response tokens, Total tokens, Log Type
  Mooncake, JSON Lines                     timestamp (ms), input_length, output_length, hash_ids of 512 tokens
  Qwen-Bailian, JSON Lines                 the same in s, with chat_id and hash_ids of 16 tokens
  any other CSV or JSON Lines              with one of these names for each: numbers in CSV are s, in JSON Lines ms

(github.com: Azure/AzurePublicDataset, HPMLL/BurstGPT, kvcache-ai/Mooncake, alibaba-edu/qwen-bailian-usagetraces-anon.)
A file of conversations, as ShareGPT's, has no times and stays a file: vLLM reads it itself.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from planner.space.types import StudyError
from planner.tables.traffic import Blocks, Traffic, covering

__all__ = ["is_sharegpt", "read_traffic"]

_TIME: Final = ("timestamp", "timestampms", "timestamps", "arrivaltime", "arrivedat", "time")
_INPUT: Final = ("inputlength", "contexttokens", "requesttokens", "inputlen", "inputtokens", "prompttokens",
                 "promptlen", "numprefilltokens", "isl")
_OUTPUT: Final = ("outputlength", "generatedtokens", "responsetokens", "outputlen", "outputtokens", "completiontokens",
                  "numdecodetokens", "osl")
_BLOCKS: Final = "hash_ids"
_BLOCK_SIZES: Final = (512, 16)
_MS_PER_S: Final = {"timestampms": 1e3, "timestamps": 1.0}
_KNOWN: Final = "timestamp, input_length and output_length, or those of Azure's, Mooncake's or BurstGPT's traces"
_HEAD_CHARACTERS: Final = 8 * 2**20


class _Row(NamedTuple):
    """A line of a file: its number, and its cells by name."""

    line: int
    cells: Mapping[str, Any]


class _Request(NamedTuple):
    seconds: float
    input_len: int
    output_len: int
    blocks: Blocks
    line: int


class _Names(NamedTuple):
    """The file's own names of what is read."""

    time: str
    input_len: str
    output_len: str


def read_traffic(path: Path) -> Traffic:
    """The requests of a file. Those without tokens (BurstGPT's failures) are left out and counted in a note. Raises
    StudyError that names file, line and the fix."""
    text = _text(path)
    if text.lstrip().startswith("["):
        what = ("holds conversations, which have no times; name it with dataset: sharegpt" if is_sharegpt(path)
                else "is one JSON list; write one JSON object a line")
        raise StudyError(f"{path}: {what}")
    is_json = text.lstrip().startswith("{")
    rows = list(_json_rows(text, path) if is_json else _csv_rows(text, path))
    if not rows:
        raise StudyError(f"{path}: has no requests; name a file with a line for each")
    names = _names(rows[0].cells, path)
    per_second = _per_second(names.time, rows[0].cells, is_json)
    read = [_request(row, names, per_second, path) for row in rows]
    kept = sorted((one for one in read if one.input_len and one.output_len), key=lambda one: one.seconds)
    if not kept:
        raise StudyError(f"{path}: no request has tokens both of prompt and answer; is it whole?")
    notes = [] if len(kept) == len(read) else [
        f"{len(read) - len(kept)} of {len(read)} requests of {path.name} have no tokens and are left out"]
    seconds = np.array([one.seconds for one in kept])
    input_len, output_len = (np.array([getattr(one, name) for one in kept], dtype=np.int64)
                             for name in ("input_len", "output_len"))
    size = _block_tokens(kept, rows[0].cells, path) if any(one.blocks for one in kept) else 0
    blocks = covering([one.blocks for one in kept], input_len, size) if size else ()
    return Traffic(str(path), seconds - seconds[0], input_len, output_len, blocks, size, tuple(notes))


def is_sharegpt(path: Path) -> bool:
    """Whether the file is a JSON list of conversations, of which one has two turns or more, as vLLM's dataset
    `sharegpt` reads it. Reads no more than the first 8 MiB."""
    try:
        with path.open(encoding="utf-8") as file:
            head = file.read(_HEAD_CHARACTERS).lstrip()
    except (OSError, UnicodeDecodeError):
        return False
    if not head.startswith("["):
        return False
    decoder, place = json.JSONDecoder(), 1
    while True:
        place += len(head[place:place + 100]) - len(head[place:place + 100].lstrip(" \t\r\n,"))
        try:
            entry, place = decoder.raw_decode(head, place)
        except (ValueError, RecursionError):  # the end of the list, or of what was read
            return False
        turns = entry.get("conversations") if isinstance(entry, dict) else None
        if isinstance(turns, list) and len(turns) > 1 and all(
                isinstance(turn, dict) and isinstance(turn.get("value"), str) for turn in turns[:2]):
            return True


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise StudyError(f"{path}: cannot be read ({error.strerror}); name a file of traffic") from error
    except UnicodeDecodeError as error:
        raise StudyError(f"{path}: is not text; name a CSV or JSON Lines file, unpacked") from error


def _json_rows(text: str, path: Path) -> Iterator[_Row]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            cells = json.loads(line)
        except (ValueError, RecursionError):
            cells = None
        if not isinstance(cells, dict):
            raise StudyError(f"{path} line {number}: is no JSON object; write one a line, or delete the line")
        yield _Row(number, cells)


def _csv_rows(text: str, path: Path) -> Iterator[_Row]:
    reader = csv.reader(io.StringIO(text))
    header: list[str] = []
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if not header:
                header = [cell.strip() for cell in cells]
            elif len(cells) != len(header):
                raise StudyError(f"{path} line {reader.line_num}: has {len(cells)} cells, the header {len(header)}; "
                                 "correct or delete the line")
            else:
                yield _Row(reader.line_num, dict(zip(header, cells, strict=True)))
    except csv.Error as error:
        raise StudyError(f"{path} line {reader.line_num}: {error}; correct or delete the line") from error


def _names(cells: Mapping[str, Any], path: Path) -> _Names:
    plain = {re.sub(r"[^a-z0-9]", "", str(name).lower()): str(name) for name in cells}

    def one_of(names: Sequence[str], what: str) -> str:
        for name in names:
            if name in plain:
                return plain[name]
        raise StudyError(f"{path}: has no column of {what} (it has {', '.join(plain.values())[:200]}); name its "
                         f"columns {_KNOWN}")

    return _Names(one_of(_TIME, "arrival times"), one_of(_INPUT, "input tokens"), one_of(_OUTPUT, "output tokens"))


def _per_second(time: str, cells: Mapping[str, Any], is_json: bool) -> float:
    """What one second is in the file's times."""
    said = _MS_PER_S.get(re.sub(r"[^a-z0-9]", "", time.lower()))
    return said if said is not None else 1e3 if is_json and "chat_id" not in cells else 1.0


def _request(row: _Row, names: _Names, per_second: float, path: Path) -> _Request:
    where = f"{path} line {row.line}"
    blocks = row.cells.get(_BLOCKS, [])
    if not isinstance(blocks, list) or any(type(block) is not int or block < 0 for block in blocks):
        raise StudyError(f"{where}: {_BLOCKS} is not a list of whole numbers; correct or delete the line")
    return _Request(_seconds(row.cells.get(names.time), names.time, per_second, where),
                    _tokens(row.cells.get(names.input_len), names.input_len, where),
                    _tokens(row.cells.get(names.output_len), names.output_len, where), tuple(blocks), row.line)


def _seconds(cell: Any, name: str, per_second: float, where: str) -> float:
    """The time of a number, or of a date with a time of day."""
    try:
        seconds = float(cell) / per_second
    except (TypeError, ValueError, OverflowError):
        try:
            when = datetime.fromisoformat(str(cell).strip())
            seconds = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            seconds = math.nan
    if isinstance(cell, bool) or not math.isfinite(seconds):
        raise StudyError(f"{where}: {name} is {_shown(cell)}, which is no time; write a number or a date with a time")
    return seconds


def _tokens(cell: Any, name: str, where: str) -> int:
    try:
        count = float(cell)
    except (TypeError, ValueError, OverflowError):
        count = math.nan
    if isinstance(cell, bool) or not (math.isfinite(count) and count >= 0 and count == int(count)):
        raise StudyError(f"{where}: {name} is {_shown(cell)}, which is no number of tokens; correct or delete the line")
    return int(count)


def _block_tokens(requests: Sequence[_Request], cells: Mapping[str, Any], path: Path) -> int:
    """Tokens of a block: what a file of `write_timed_trace` says, or the known size by which more than half of the
    prompts have as many blocks as cover them."""
    said = cells.get("block_tokens")
    if isinstance(said, int) and said > 0:
        return said
    have = [one for one in requests if one.blocks]
    for size in _BLOCK_SIZES:
        wrong = [one for one in have if len(one.blocks) != -(-one.input_len // size)]
        if 2 * len(wrong) < len(have):
            return size
    raise StudyError(f"{path} line {wrong[0].line}: {len(wrong[0].blocks)} hash_ids for {wrong[0].input_len} tokens; "
                     f"blocks of {' or '.join(map(str, _BLOCK_SIZES))} tokens are known: correct or leave out hash_ids")


def _shown(cell: Any) -> str:
    return "missing" if cell is None else repr(cell)[:40]
