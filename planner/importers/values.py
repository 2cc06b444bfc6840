"""Single values of other tools' files, as they are written."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from planner.importers.rows import usable
from planner.space.types import Value

__all__ = ["plain", "plain_values", "usable_from_zero", "whole_number"]

_LARGEST: Final = 2**53


def plain(value: Any, any_number: bool = False) -> Value | None:
    """One number, text or truth value as it is written; None for anything else. any_number: also a number that is not
    finite, which no setting is."""
    if isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return value if abs(value) < _LARGEST else None
    return value if isinstance(value, float) and (any_number or math.isfinite(value)) else None


def plain_values(record: Mapping[str, Any], without: frozenset[str] | set[str]) -> dict[str, Value]:
    """Everything in a record that is one number, text or truth value, except the names in `without`."""
    return {key: value for key, given in record.items()
            if key not in without and (value := plain(given, any_number=True)) is not None}


def usable_from_zero(value: Any, key: str, notes: list[str]) -> float | None:
    """As planner.importers.rows.usable, but 0 is a figure: no request need meet its goals."""
    if isinstance(value, int | float) and not isinstance(value, bool) and value == 0:
        return 0.0
    return usable(value, key, notes)


def whole_number(value: Any, lowest: int = 1) -> int | None:
    """The value if it is a whole number from `lowest`, and not too large to be one of tokens or devices; else None."""
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if lowest <= value < _LARGEST else None
