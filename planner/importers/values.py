"""What several importers share: single values of files, files beside a file, vLLM's statistics of values."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from planner.importers.rows import usable
from planner.space.types import Value

__all__ = ["distribution", "flattened", "json_beside", "plain", "plain_values", "settings_of", "usable_from_zero",
           "whole_number"]

_LARGEST: Final = 2**53
_DEEPEST: Final = 6
_MOST_MS: Final = 1e100


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


def flattened(data: Any, prefix: str = "", aside: Iterable[str] = ()) -> dict[str, Value]:
    """Each number, text and truth value of an object and of the objects in it, named by its keys joined with "_".

    Lists and nulls are left out, and so are the keys in `aside`, at any depth."""
    found: dict[str, Value] = {}
    _collect(data, prefix, frozenset(aside), found, 0)
    return found


def _collect(data: Any, name: str, aside: frozenset[str], found: dict[str, Value], depth: int) -> None:
    if isinstance(data, dict):
        for key, value in data.items():
            if key not in aside and depth < _DEEPEST:
                _collect(value, f"{name}_{key}" if name else str(key), aside, found, depth + 1)
    elif isinstance(data, str | bool | float) or (isinstance(data, int) and abs(data) < 2**63):
        found[name] = data


def settings_of(data: Mapping[str, Value]) -> dict[str, Value]:
    """The values that a setting can have: all but numbers that are not finite."""
    return {key: value for key, value in data.items() if not isinstance(value, float) or math.isfinite(value)}


def json_beside(path: Path) -> Any:
    """The JSON value of a file that need not be there; None if there is none."""
    try:
        return json.loads(path.read_bytes().decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return None


def distribution(name: str, values: Sequence[float]) -> dict[str, tuple[float, ...]]:
    """vLLM's statistics of a metric's values in milliseconds. Nothing if there is none, or one makes no sense."""
    found = np.array(values, dtype=float)
    if not found.size or not (found < _MOST_MS).all():
        return {}
    middle = (float(np.median(found)),)
    return {f"{name}_ms": middle, f"median_{name}_ms": middle, f"p50_{name}_ms": middle,
            f"mean_{name}_ms": (float(np.mean(found)),), f"std_{name}_ms": (float(np.std(found)),),
            **{f"p{p}_{name}_ms": (float(np.percentile(found, p)),) for p in (90, 95, 99)}}
