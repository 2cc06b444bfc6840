"""Which rows of a table succeeded: one rule for replay, import and evaluate.

`ok`, a condition, says it; else a status column, in which a row that says ok (in any case) succeeded. What else a
status says is the reason of a failure. No other word is taken for success: ask, and name the words.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Final

import numpy as np

from planner.space.cells import Cells
from planner.space.expressions import parse, quoted
from planner.space.types import BoolArray, StudyError

__all__ = ["status_lookalikes", "successes"]

_OK: Final = "ok"
_NAMES: Final = re.compile(
    r"(.*[_ ])?(status|state|success|successful|succeeded|ok|passed|failed|failure|error|errors|exit_code|exitcode|"
    r"return_code|returncode|outcome|valid|valid_\w+|is_valid|oom)", re.IGNORECASE)
_WORDS: Final = frozenset({
    "ok", "success", "successful", "succeeded", "complete", "completed", "done", "finished", "pass", "passed", "fail",
    "failed", "failure", "error", "oom", "out of memory", "timeout", "timed out", "pruned", "crashed", "skipped"})
_SHOWN: Final = 5


def successes(
    columns: Mapping[str, Cells], status: str | None, ok: str | None, keys: tuple[str, str], name: str
) -> tuple[BoolArray, tuple[str, ...]]:
    """Whether each row succeeded, (n,), and what its status says, the reason of a failure.

    columns: all of the rows in use. status: a column; ok: a condition. keys: what messages call status and ok. name:
    of the file. Raises StudyError if no row would be a success, and says how to say which are.
    """
    rows = len(next(iter(columns.values())))
    said = ["" if cell is None else str(cell) for cell in columns[status]] if status else [""] * rows
    if ok is not None:
        value = parse(ok, columns, keys[1])(columns)
        met = np.asarray(value.truth if isinstance(value, Cells) else value)
        if met.dtype != bool:
            raise StudyError(f"{keys[1]}: '{ok}' is not a condition; compare something, as in \"state == 'COMPLETE'\"")
        good: BoolArray = np.broadcast_to(met, rows).copy()
        if not good.any():
            what = f"; column '{status}' says {_words(said)}" if status else ""
            raise StudyError(f"{keys[1]}: no row of {name} meets '{ok}', so nothing succeeded{what}; correct it")
        return good, tuple(word or f"not {ok}" for word in said)
    if status is None:
        return np.ones(rows, dtype=bool), (_OK,) * rows
    good = np.array([word.lower() == _OK for word in said], dtype=bool)
    if not good.any():
        example = next((word for word in said if word), "COMPLETE")
        raise StudyError(f"{keys[0]}: no row of {name} is 'ok' in column '{status}' (it says {_words(said)}); say "
                         f"which rows succeeded, as in {keys[1]} \"{quoted(status)} == '{example}'\"")
    return good, tuple(word or "no status" for word in said)


def status_lookalikes(columns: Mapping[str, Cells], used: Collection[str]) -> list[str]:
    """A line for each column that looks like a status by its name or its words, and is not used."""
    notes = []
    for name, cells in columns.items():
        words = {str(cell).lower() for cell in cells if cell is not None}
        if name in used or not words:
            continue
        if _NAMES.fullmatch(name) or (words <= _WORDS and not cells.is_numeric):
            notes.append(f"'{name}' looks like a status and is not used; it says "
                         f"{_words(['' if cell is None else str(cell) for cell in cells])}")
    return notes


def _words(said: list[str]) -> str:
    distinct = list(dict.fromkeys(said))
    shown = ", ".join(repr(word[:40]) for word in distinct[:_SHOWN])
    return shown + (f" and {len(distinct) - _SHOWN} others" if len(distinct) > _SHOWN else "")
