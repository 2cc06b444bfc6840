"""Settings that are no axis must be the same in all rows, or the rows are not readings of one study.

A setting that only some rows have is a difference: the others ran with a default that nobody wrote down.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from planner.importers.placing.options import ImportOptions
from planner.importers.rows import Row
from planner.space.expressions import quoted
from planner.space.meaning import same
from planner.space.types import StudyError, Value

__all__ = ["check_settings", "settings_of"]


def settings_of(row: Row, covered: Iterable[str]) -> dict[str, Value]:
    """The settings of a row that no axis covers."""
    aside = set(covered)
    return {name: value for name, value in row.fields.items() if name not in aside}


def check_settings(
    rows: Sequence[Row], covered: Iterable[str], options: ImportOptions, fixed: Mapping[str, Any],
    former: Mapping[str, Mapping[str, Value]],
) -> None:
    """Raises StudyError if a setting differs between rows of one format, from earlier imports, or from the runner's.

    covered: names that are axes, or sources of axes. fixed: settings of the study's runner for all points. former: by
    format, the settings of an earlier import.
    """
    aside = {*covered, *options.ignore, *options.renames.values()}
    before: dict[str, tuple[Mapping[str, Value], str]] = {
        form: ({name: value for name, value in settings.items() if name not in aside}, "in runs imported earlier")
        for form, settings in former.items()}
    for row in rows:
        here = settings_of(row, aside)
        _check_fixed(row, here, fixed)
        if row.failure:  # it may say less
            continue
        first, source = before.setdefault(row.provenance.format, (here, "in rows before it"))
        for name in dict.fromkeys([*first, *here]):
            if not _equal(first.get(name), here.get(name)):
                raise StudyError(
                    f"{row.provenance.where}: {name} is {_said(here.get(name))} here and {_said(first.get(name))} "
                    f"{source}, and is not an axis of the study; add the axis, choose with {_choice(name)}, or add "
                    f"--ignore {name} if it does not matter")


def _check_fixed(row: Row, here: Mapping[str, Value], fixed: Mapping[str, Any]) -> None:
    for name, value in here.items():
        if name in fixed and not _equal(fixed[name], value):
            raise StudyError(f"{row.provenance.where}: {name} is {value} where the study's runner has {fixed[name]}; "
                             f"if they are the same, add --ignore {name}")


def _equal(one: Value | None, other: Value | None) -> bool:
    if one is None or other is None:
        return one is other
    return same(one, other) or same(other, one)


def _said(value: Value | None) -> str:
    return "not set" if value is None else str(value)


def _choice(name: str) -> str:
    return f"--where \"{quoted(name)} == …\" (or == '' for rows without it)"
