"""Throughput against latency: tokens/s of each accelerator over tokens/s of each user, and the Pareto front."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import plotly.graph_objects as go

from planner.analysis.rates import Band, Rates
from planner.ledger.observations import Observations
from planner.space.grid import Grid
from planner.space.types import FloatArray, IntArray
from planner.views.figures.style import (
    FAINT,
    GREY,
    MEASURED,
    PREDICTED,
    faint,
    layout,
    log_axis,
    rounded,
)

__all__ = ["tradeoff", "user_label"]

# The cloud below the front: more points than this add bytes but no information.
_MOST_POINTS: Final = 4_000
ACCELERATOR_LABEL: Final = "tokens/s per accelerator"


def tradeoff(observations: Observations, rates: Rates) -> go.Figure:
    """The two rates at each point, with their Pareto front."""
    front = rates.front[::-1]
    rest = np.setdiff1d(np.flatnonzero(rates.usable), front)
    if len(rest) > _MOST_POINTS:
        rest = rest[np.linspace(0, len(rest) - 1, _MOST_POINTS).astype(np.int64)]
    figure = go.Figure([
        _points(observations, rates, rest, "other points", {"color": GREY, "size": 4, "opacity": 0.45}),
        _front(observations, rates, front),
        _points(observations, rates, front[observations.measured[front]], "measured", {"color": MEASURED, "size": 9}),
    ])
    figure.update_layout(layout(title={"text": "Throughput against latency", "x": 0.01}, height=560,
                                margin={"l": 72, "r": 24, "t": 84, "b": 56}))
    for axis, band, text in ((figure.update_xaxes, rates.user, user_label(rates)),
                             (figure.update_yaxes, rates.accelerator, ACCELERATOR_LABEL)):
        axis(title_text=text, gridcolor=FAINT, **log_axis(band.value[rates.usable]))
    return figure


def user_label(rates: Rates) -> str:
    """The label of the user's rate."""
    return "tokens/s per user, from 2nd token" if rates.decoding else "tokens/s per user, whole request"


def _points(observations: Observations, rates: Rates, rows: IntArray, name: str, marker: dict[str, Any]) -> go.Scatter:
    return go.Scatter(
        x=rounded(rates.user.value[rows]), y=rounded(rates.accelerator.value[rows]), mode="markers", name=name,
        marker=marker, text=_hovers(observations.grid,
                                    rows), hovertemplate="%{text}<br>%{x:.4g} per user<br>%{y:.4g} per "
        "accelerator<extra></extra>")


def _front(observations: Observations, rates: Rates, rows: IntArray) -> go.Scatter:
    return go.Scatter(
        x=rounded(rates.user.value[rows]), y=rounded(rates.accelerator.value[rows]), mode="lines+markers",
        name="Pareto front, 90 % intervals", line={"color": PREDICTED, "width": 2}, marker={"size": 7},
        error_x=_bars(rates.user, rows), error_y=_bars(rates.accelerator, rows), text=_hovers(observations.grid, rows),
        hovertemplate="%{text}<br>%{x:.4g} per user<br>%{y:.4g} per accelerator<extra></extra>")


def _bars(band: Band, rows: IntArray) -> dict[str, Any]:
    value: FloatArray = band.value[rows]
    return {"type": "data", "symmetric": False, "array": rounded(band.high[rows] - value),
            "arrayminus": rounded(value - band.low[rows]), "thickness": 1, "width": 0, "color": faint(PREDICTED, 0.4)}


def _hovers(grid: Grid, rows: IntArray) -> list[str]:
    """Each point's configuration, one line for each axis."""
    named = [(axis.name, [_plain(str(value)) for value in axis.values]) for axis in grid.axes if len(axis.values) > 1]
    columns = [[f"{name} {values[code]}" for code in grid.codes[rows, grid.position(name)]] for name, values in named]
    return ["<br>".join(parts) for parts in zip(*columns, strict=True)]


def _plain(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
