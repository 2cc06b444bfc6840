"""Plain values out of nested JSON, for `Row.fields` and `Row.others`."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from planner.space.types import Value

__all__ = ["flattened", "json_beside", "settings_of"]

_DEEPEST: Final = 6


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
