"""What several importers share: plain values out of nested JSON, files beside a file, vLLM's statistics of values."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from planner.space.types import Value

__all__ = ["distribution", "flattened", "json_beside", "settings_of"]

_DEEPEST: Final = 6
_LARGEST: Final = 1e100


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
    if not found.size or not (found < _LARGEST).all():
        return {}
    middle = (float(np.median(found)),)
    return {f"{name}_ms": middle, f"median_{name}_ms": middle, f"p50_{name}_ms": middle,
            f"mean_{name}_ms": (float(np.mean(found)),), f"std_{name}_ms": (float(np.std(found)),),
            **{f"p{p}_{name}_ms": (float(np.percentile(found, p)),) for p in (90, 95, 99)}}
