"""Cells of tables, and parts of lines, that several answers share: numbers, intervals, probabilities, points."""

from __future__ import annotations

import math
from typing import Any, Final

from planner.analysis.recommendation.recommend import Recommendation
from planner.space.grid import Grid
from planner.space.text import percent
from planner.space.types import Axis, Scope

__all__ = ["MOST_ROWS", "described", "engine_text", "interval", "likelihood", "number", "thinned"]

MOST_ROWS: Final = 12
"""Rows that a table in the terminal has."""
_CERTAIN: Final = 0.9995  # above it, a tenth of a percent rounds to 100 %


def number(value: float) -> str:
    """A number with three digits, or all before the point."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def interval(answer: Recommendation, metric: str, row: int) -> str:
    """A metric at `row` with its 90 % interval."""
    known = answer.known[metric]
    value, low, high = (float(array[row]) for array in (known.value, *known.interval))
    return f"{number(value)} ({number(low)} … {number(high)})" if math.isfinite(value) else "–"


def likelihood(answer: Recommendation, row: int) -> str:
    """The probability as text; never 100 % for a point that was only predicted."""
    probability = float(answer.probability[row])
    return "above 99.9 %" if probability >= _CERTAIN and not answer.measured[row] else percent(probability)


def described(grid: Grid, row: int, axes: tuple[Axis, ...]) -> str:
    """The values at a row of those of the axes that vary, in one line; empty where none does."""
    point = grid.point(row)
    return "  ".join(f"{axis.name}={point[axis.name]}" for axis in axes if len(axis.values) > 1)


def engine_text(grid: Grid, row: int) -> str:
    """The engine configuration at a row; axes of one value are left out."""
    return described(grid, row, tuple(axis for axis in grid.axes if axis.scope is Scope.ENGINE)) or "the one engine"


def thinned(items: list[Any], most: int = MOST_ROWS) -> list[Any]:
    """At most so many of them, evenly, both ends included."""
    if len(items) <= most:
        return items
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]
