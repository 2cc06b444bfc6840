"""The style of our figures: a palette for colour-blind readers too, one layout, units of metrics."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from planner.space.types import Axis, FloatArray, Metric, Scale

__all__ = ["ESTIMATED", "FAINT", "GREY", "MEASURED", "PREDICTED", "QUALITY", "SEQUENCE", "UNSURE", "VALUES", "faint",
           "labelled", "layout", "log_axis", "log_ticks", "rounded", "scale_of"]

# Okabe and Ito's palette; measured points always have the dark colour, so that they differ from predictions.
PREDICTED: Final = "#0072b2"
ESTIMATED: Final = "#d55e00"
MEASURED: Final = "#1d2733"
GREY: Final = "#8a94a0"
FAINT: Final = "rgba(138, 148, 160, 0.25)"
SEQUENCE: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#8a94a0")
VALUES: Final = "Viridis"
QUALITY: Final = [[0.0, "#440154"], [0.5, "#31688e"], [1.0, "#4db85f"]]  # Viridis without its yellow, for small marks
UNSURE: Final = [[0.0, "#f7f4ee"], [0.35, "#f2c48d"], [0.7, "#d9722e"], [1.0, "#7a2d06"]]


def layout(**more: Any) -> dict[str, Any]:
    """The common layout of figures, with `more` added."""
    return {
        "template": "plotly_white", "font": {"family": "system-ui, sans-serif", "size": 13},
        "margin": {"l": 64, "r": 24, "t": 48, "b": 56}, "hoverlabel": {"align": "left"},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}, **more,
    }


def labelled(metric: Metric) -> str:
    """A metric with its unit, if known: ttft (ms) for ttft_ms."""
    return f"{metric.name.removesuffix(f'_{metric.unit}')} ({metric.unit})" if metric.unit else metric.name


def faint(colour: str, opacity: float = 0.15) -> str:
    """#rrggbb as a transparent colour."""
    red, green, blue = (int(colour[i:i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, {opacity})"


def rounded(values: FloatArray, digits: int = 4) -> list[Any]:
    """Nested lists with `digits` significant digits, None for NaN: a quarter of the bytes."""
    numbers: FloatArray = np.asarray(values, dtype=float)
    there = np.isfinite(numbers)
    safe = np.where(there & (numbers != 0), np.abs(numbers), 1.0)
    scale = 10.0 ** (digits - 1 - np.floor(np.log10(safe)))
    # Division by 10ⁿ, not multiplication by 10⁻ⁿ, gives the short decimal.
    kept = np.where(there, np.round(np.where(there, numbers, 0.0) * scale) / scale, np.nan)
    mixed = kept.astype(object)
    mixed[~there] = None
    listed: list[Any] = mixed.tolist()
    return listed


def scale_of(axis: Axis) -> str:
    """How an axis of the grid is drawn: category, log or linear. No number line has a place for an infinite rate."""
    if axis.scale is Scale.CATEGORY or any(isinstance(value, str | bool) or not math.isfinite(value)
                                           for value in axis.values):
        return "category"
    return "log" if axis.scale is Scale.LOG and min(map(float, axis.values)) > 0 else "linear"


def log_axis(values: FloatArray) -> dict[str, Any]:
    """A logarithmic axis over positive values, its ticks written out."""
    there = values[np.isfinite(values) & (values > 0)]
    if not len(there):
        return {"type": "log"}
    positions, texts = log_ticks(float(there.min()) / 2, float(there.max()) * 2)
    return {"type": "log", "tickvals": [10**position for position in positions], "ticktext": texts}


def log_ticks(low: float, high: float) -> tuple[list[float], list[str]]:
    """Positions (log10) and texts of ticks at 1, 2 and 5 in each decade from `low` to `high`."""
    steps = (1, 2, 5) if math.log10(high / low) < 3 else (1,)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    values = [step * 10.0**decade for decade in decades for step in steps]
    inside = [value for value in values if low * 0.999 <= value <= high * 1.001]
    values = inside if len(inside) > 1 else [low, high]
    return [math.log10(value) for value in values], [f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"
                                                     for value in values]
