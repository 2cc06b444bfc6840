"""Which rows of a table are runs that succeeded: one rule for replay, import, and the truth of an evaluation.

status: COLUMN    a row is ok if its cell says ok, in any case; every other word is the reason of a failure
ok: CONDITION     a row is ok if it meets the condition: "state == 'COMPLETE'", "valid_sla", "error == ''"
both              the condition decides, and the column has the reason

A table without any ok row is refused, for what stands there is most likely success in other words.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Final

import numpy as np

from planner.space.cells import Cells
from planner.space.expressions import parse, quoted, suggestion
from planner.space.types import BoolArray, StudyError, Value

__all__ = ["OK", "doubtful_failures", "status_lookalikes", "success_condition", "successes"]

OK: Final = "ok"
"""The word of a status column that means success, and the status of a row that is ok."""
_GOOD: Final = re.compile(r"ok|pass(ed)?|succe(ss(ful)?|eded)|completed?|done|finished|fit|valid|good", re.IGNORECASE)
_BAD: Final = re.compile(r"(fail|error|oom\b|out of mem|time[d ]*[-_ ]?out|crash|abort|kill|invalid|cancel|prune|skip|"
                         r"unfinished|incomplete|exception).*", re.IGNORECASE)
_GOOD_NAMES: Final = re.compile(r"(is_)?(status|state|outcome|success(ful)?|succeeded|ok|pass(ed)?|valid(_\w+)?)",
                                re.IGNORECASE)
_BAD_NAMES: Final = re.compile(r"(is_|has_)?(fail(ed|ure)?|errors?|error_\w+|exception|oom|crashed|timed_out|"
                               r"exit_?(code|status)|return_?code)", re.IGNORECASE)
_SHOWN: Final = 5
_LONGEST: Final = 120


def successes(
    columns: Mapping[str, Cells], status: str | None, ok: str | None, *, file: str,
    status_key: str = "runner.status", ok_key: str = "runner.ok",
) -> tuple[BoolArray, tuple[str, ...]]:
    """Whether each row is ok, (R,), and its status: "ok", or why it failed.

    columns: the rows in use. status: a column; ok: a condition over columns; without both, every row is ok. file: the
    table's name. The keys start error messages: StudyError if there is no such column, or no row is ok.
    """
    rows = len(next(iter(columns.values()), ()))
    if status is not None and status not in columns:
        raise StudyError(f"{status_key}: {file} has no column '{status}'{suggestion(status, columns)}")
    words = tuple(_word(cell) for cell in columns[status]) if status is not None else ("",) * rows
    if ok is None:
        fine = np.array([status is None or word.lower() == OK for word in words], dtype=bool)
        if status is not None and not fine.any():
            raise StudyError(_nothing_ok(status, columns[status], file, status_key, ok_key))
        return fine, tuple(OK if good else word or "no status" for good, word in zip(fine, words, strict=True))
    fine, names = _meeting(columns, ok, rows, file, ok_key)
    why = [", ".join(_is(name, columns[name].raw[row]) for name in names) for row in range(rows)]
    reasons = (word if word and word.lower() != OK else reason for word, reason in zip(words, why, strict=True))
    return fine, tuple(OK if good else reason[:_LONGEST] for good, reason in zip(fine, reasons, strict=True))


def _meeting(columns: Mapping[str, Cells], ok: str, rows: int, file: str, key: str) -> tuple[BoolArray, list[str]]:
    """Whether each row meets the condition, and the columns that it names."""
    condition = parse(ok, columns, key)
    names = [name for name in columns if name in condition.names]
    value = condition({name: columns[name] for name in names})
    if isinstance(value, Cells):
        if not value.is_truth:
            raise StudyError(f"{key}: the column '{names[0]}' does not say true or false (it says {_said(value)}); "
                             f"compare it, as in {_written(key, success_condition(names[0], value))}")
        value = value.truth
    fine = np.asarray(value)
    if fine.dtype != bool:
        raise StudyError(f"{key}: '{ok}' is not a condition; compare something, as in \"state == 'COMPLETE'\"")
    fine = np.broadcast_to(fine, (rows,))
    if not fine.any():
        there = "; ".join(f"{name} says {_said(columns[name])}" for name in names)
        raise StudyError(f"{key}: no row of {file} meets '{ok}'{f' ({there})' if there else ''}; correct the condition")
    return fine, names


def _nothing_ok(name: str, column: Cells, file: str, status_key: str, ok_key: str) -> str:
    said = f"{status_key}: no row of {file} is 'ok' in column '{name}' (it says {_said(column)})"
    if all(_BAD.fullmatch(_word(cell)) for cell in column):
        return f"{said}; nothing can be learned from failures alone"
    fix = _written(ok_key, success_condition(name, column))
    return f"{said}; say which rows succeeded, as in {fix}"


def success_condition(name: str, column: Cells) -> str:
    """The condition by which rows most likely succeeded, to propose to the user: "state == 'COMPLETE'"."""
    where = quoted(name)
    bad = _BAD_NAMES.fullmatch(name) is not None
    if column.is_truth:
        return f"{where} == {'false' if bad else 'true'}"
    if column.is_numeric:
        return f"{where} == {0 if bad or not (column.numbers == 1).any() else 1}"
    words = list(dict.fromkeys(_word(cell) for cell in column))
    if bad and ("" in words or not any(_GOOD.fullmatch(word) for word in words)):
        return f"{where} == ''"
    good = next((word for word in words if _GOOD.fullmatch(word)), None)
    good = good or next((word for word in words if word and not _BAD.fullmatch(word)), None) or "COMPLETE"
    return f"{where} == {good!r}"


def status_lookalikes(columns: Mapping[str, Cells], used: Collection[str], ok_key: str = "runner.ok") -> list[str]:
    """A note on each column that looks like a status with failures in it, and is not in `used`: by its name, or since
    every word in it is one for success or failure. columns: the rows in use."""
    return [f"the column '{name}' says {_said(column)} and is not used: all rows count as successful; if some failed, "
            f"say which are ok, as in {_written(ok_key, success_condition(name, column))}"
            for name, column in columns.items() if name not in used and _looks_like_status(name, column)]


def doubtful_failures(reasons: Iterable[str], ok_key: str = "runner.ok") -> list[str]:
    """A note if rows count as failed whose status is a word for success, beside others that are 'ok'."""
    words = Counter(reason for reason in reasons if reason.lower() != OK and _GOOD.fullmatch(reason))
    return [f"rows that say {word!r} count as failed ({count:,}); if they succeeded, say which are ok by "
            f"{'--ok' if ok_key.startswith('-') else '`ok`'}" for word, count in words.items()]


def _looks_like_status(name: str, column: Cells) -> bool:
    words = list(dict.fromkeys(_word(cell) for cell in column))
    good, bad = _GOOD_NAMES.fullmatch(name) is not None, _BAD_NAMES.fullmatch(name) is not None
    if not any(words):
        return False
    if column.is_truth:
        return (good or bad) and bool((column.truth if bad else ~column.truth).any())
    if column.is_numeric:
        numbers = column.numbers[~np.isnan(column.numbers)]
        flags = bool(np.isin(numbers, [0, 1]).all())
        return (good and flags and bool((numbers == 0).any())) or (
            bad and bool((numbers == np.floor(numbers)).all() and (numbers != 0).any()))
    failed = any(_BAD.fullmatch(word) for word in words)
    if all(not word or _GOOD.fullmatch(word) or _BAD.fullmatch(word) for word in words):
        return failed or (good and "" in words)
    return bad or (good and (len(words) > 1 or failed))


def _written(key: str, condition: str) -> str:
    """The condition as it is written for the setting `key`: of a study file, or an option."""
    return f'--ok "{condition}"' if key.startswith("-") else f'ok: "{condition}"'


def _word(cell: Value | None) -> str:
    return "" if cell is None else " ".join(str(cell).split())


def _is(name: str, cell: Value | None) -> str:
    return f"{name} is blank" if cell is None else f"{name} is {_word(cell)!r}"


def _said(column: Cells) -> str:
    words = list(dict.fromkeys(_word(cell) for cell in column))
    shown = ", ".join(repr(word if len(word) <= 40 else word[:37] + "...") if word else "nothing"
                      for word in words[:_SHOWN])
    return shown + (", …" if len(words) > _SHOWN else "")
