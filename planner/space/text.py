"""Numbers, durations, points and values as text for people, and numbers for JSON."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from typing import Any, Final

from planner.space.types import Point, Value

__all__ = ["about_percent", "as_json", "duration", "listed", "percent", "point_json", "point_text", "printable"]


_POINTS: Final = frozenset({"point", "slice", "engine"})
"""Keys of our JSON whose value is a point, or some of its axes."""


def duration(seconds: float) -> str:
    """Seconds as text: 8.3 s, 4 min 10 s, 2 h 05 min."""
    if not math.isfinite(seconds):
        return "unknown"
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 100:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def percent(share: float) -> str:
    """0.9512 → 95.1 %. An accuracy below 0 (errors larger than the values) is shown without digits."""
    if share < 0:
        return "below 0 %"
    return f"{share * 100:.1f} %" if math.isfinite(share) else "–"


def about_percent(share: float) -> str:
    """A rough share: "about 95.1 %", or "below 0 %"."""
    return percent(share) if share < 0 else f"about {percent(share)}"


def point_json(point: Point) -> dict[str, Value]:
    """A point for JSON: an infinite rate is "inf", vLLM's own spelling."""
    return {name: "inf" if value == math.inf else value for name, value in point.items()}


def point_text(point: Point, between: str = "  ") -> str:
    """A point, or some of its axes, on one line: name=value, and `between` them; empty without any."""
    return between.join(f"{name}={value}" for name, value in point.items())


def listed(values: Sequence[Value], most: int = 8) -> str:
    """Values for a message, at most so many, and a sign where there are more."""
    return ", ".join(map(str, values[:most])) + (" …" if len(values) > most else "")


def printable(text: str) -> str:
    """The text without control characters, which a terminal obeys, and invisible ones; lines and blanks stay."""
    return text if text.isprintable() else "".join(
        character for character in text
        if character.isprintable() or character in "\n\t" or unicodedata.category(character) == "Zs")


def as_json(value: Any) -> Any:
    """The value for JSON: NaN and infinities become null, except an infinite rate in a point, which becomes "inf"."""
    if isinstance(value, dict):
        return {key: point_json(part) if key in _POINTS and isinstance(part, dict) else as_json(part)
                for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
