"""Throughput against latency: tokens/s of each accelerator over tokens/s of each user, and the Pareto front."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import plotly.graph_objects as go

from planner.analysis.quality_front import QualityFront
from planner.analysis.rates import Band, Rates
from planner.ledger.observations import Observations
from planner.space.grid import Grid
from planner.space.types import BoolArray, FloatArray, IntArray
from planner.views.figures.style import (
    FAINT,
    GREY,
    MEASURED,
    PREDICTED,
    QUALITY,
    faint,
    layout,
    log_axis,
    rounded,
)

__all__ = ["colours", "hovers", "plain", "tradeoff", "user_label"]

# The cloud below the front: more points than this add bytes but no information.
_MOST_POINTS: Final = 4_000
ACCELERATOR_LABEL: Final = "tokens/s per accelerator"


def tradeoff(observations: Observations, rates: Rates) -> go.Figure:
    """The two rates at each point, with their Pareto front; where quality is measured, by colour, with the front of all
    three."""
    front, good = rates.front[::-1], rates.quality
    three = np.zeros(0, dtype=np.int64) if good is None else np.setdiff1d(good.front, front)
    rest = np.setdiff1d(np.setdiff1d(np.flatnonzero(rates.usable), front), three)
    if len(rest) > _MOST_POINTS:
        rest = rest[np.linspace(0, len(rest) - 1, _MOST_POINTS).astype(np.int64)]
    figure = go.Figure([
        _points(observations, rates, rest, "other points", {"color": GREY, "size": 4, "opacity": 0.45}),
        _front(observations, rates, front),
        _points(observations, rates, front[observations.measured[front]], "measured", {"color": MEASURED, "size": 9}),
    ])
    if good is not None:
        for trace, rows in zip(figure.data[:2], (rest, front), strict=True):
            trace.marker.update(color=rounded(good.figure.value[rows]), coloraxis="coloraxis")
        figure.data[2].marker = {"color": MEASURED, "size": 14, "symbol": "circle-open"}
        figure.add_trace(_points(observations, rates, three, f"on the front of three, with {plain(good.figure.name)}", {
            "color": rounded(good.figure.value[three]), "coloraxis": "coloraxis", "size": 9, "symbol": "diamond"}))
        figure.update_layout(coloraxis=colours(good, rates.usable))
    figure.update_layout(layout(title={"text": "Throughput against latency", "x": 0.01}, height=560,
                                margin={"l": 72, "r": 24, "t": 84, "b": 56}))
    for axis, band, text in ((figure.update_xaxes, rates.user, user_label(rates)),
                             (figure.update_yaxes, rates.accelerator, ACCELERATOR_LABEL)):
        axis(title_text=text, gridcolor=FAINT, **log_axis(band.value[rates.usable]))
    return figure


def colours(quality: QualityFront, usable: BoolArray) -> dict[str, Any]:
    """The scale of colours of a quality over the `usable` points, the same for all its markers."""
    there = quality.figure.value[usable & np.isfinite(quality.figure.value)]
    low, high = (float(there.min()), float(there.max())) if len(there) else (0.0, 1.0)
    return {"colorscale": QUALITY, "reversescale": not quality.figure.higher_is_better, "cmin": low, "cmax": high,
            "colorbar": {"title": {"text": plain(quality.figure.name), "side": "right"}, "thickness": 12}}


def user_label(rates: Rates) -> str:
    """The label of the user's rate."""
    return "tokens/s per user, from 2nd token" if rates.decoding else "tokens/s per user, whole request"


def _points(observations: Observations, rates: Rates, rows: IntArray, name: str, marker: dict[str, Any]) -> go.Scatter:
    return go.Scatter(
        x=rounded(rates.user.value[rows]), y=rounded(rates.accelerator.value[rows]), mode="markers", name=name,
        marker=marker, text=hovers(observations.grid, rows),
        hovertemplate="%{text}<br>%{x:.4g} per user<br>%{y:.4g} per accelerator<extra></extra>")


def _front(observations: Observations, rates: Rates, rows: IntArray) -> go.Scatter:
    return go.Scatter(
        x=rounded(rates.user.value[rows]), y=rounded(rates.accelerator.value[rows]), mode="lines+markers",
        name="Pareto front, 90 % intervals", line={"color": PREDICTED, "width": 2}, marker={"size": 7},
        error_x=_bars(rates.user, rows), error_y=_bars(rates.accelerator, rows), text=hovers(observations.grid, rows),
        hovertemplate="%{text}<br>%{x:.4g} per user<br>%{y:.4g} per accelerator<extra></extra>")


def _bars(band: Band, rows: IntArray) -> dict[str, Any]:
    value: FloatArray = band.value[rows]
    return {"type": "data", "symmetric": False, "array": rounded(band.high[rows] - value),
            "arrayminus": rounded(value - band.low[rows]), "thickness": 1, "width": 0, "color": faint(PREDICTED, 0.4)}


def hovers(grid: Grid, rows: IntArray) -> list[str]:
    """Each point's configuration, one line for each axis."""
    named = [(axis.name, [plain(str(value)) for value in axis.values]) for axis in grid.axes if len(axis.values) > 1]
    columns = [[f"{name} {values[code]}" for code in grid.codes[rows, grid.position(name)]] for name, values in named]
    return ["<br>".join(parts) for parts in zip(*columns, strict=True)]


def plain(text: str) -> str:
    """The text as Plotly shows it: it reads tags."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
