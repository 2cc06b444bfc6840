"""Latency over load: a line for each engine configuration and workload, its 90 % band, and the SLO's bound."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from planner.analysis.load_curves import LoadCurve, LoadCurves, LoadPanel
from planner.analysis.rates import Band
from planner.space.metrics import metric_named
from planner.space.types import FloatArray
from planner.views.figures.style import ESTIMATED, FAINT, SEQUENCE, faint, labelled, layout, log_axis, rounded

__all__ = ["load"]

_MOST_CURVES: Final = 6
"""Curves drawn at first; more would hide each other. The others are one click away in the legend."""
_MOST_IN_LEGEND: Final = 16


def load(found: LoadCurves) -> go.Figure:
    """A row of panels for each latency, a column for each kind of load."""
    names, panels = list(found.latencies), found.panels
    figure = make_subplots(len(names), len(panels), shared_xaxes="columns", vertical_spacing=0.06,
                           horizontal_spacing=0.08)
    for column, panel in enumerate(panels, 1):
        for number, curve in enumerate(panel.curves[:_MOST_IN_LEGEND]):
            for row, name in enumerate(names, 1):
                _draw(figure, found, panel, curve, found.latencies[name], (row, column), number)
    for row, name in enumerate(names, 1):
        values = found.latencies[name].value
        figure.update_yaxes(title_text=labelled(metric_named(name)), gridcolor=FAINT, row=row, col=1)
        for column, panel in enumerate(panels, 1):
            figure.update_yaxes(**log_axis(values), gridcolor=FAINT, row=row, col=column)
            figure.update_xaxes(**_load_axis(panel), gridcolor=FAINT, row=row, col=column)
            if (bound := found.bounds[name]) is not None:
                figure.add_hline(bound, line={"color": ESTIMATED, "dash": "dash", "width": 1.5}, row=row, col=column)
                figure.add_annotation(
                    text=f"SLO {bound:g}", font={"color": ESTIMATED, "size": 11}, showarrow=False, xref="x domain",
                    x=0.01, xanchor="left", y=float(np.log10(bound)), yanchor="bottom", row=row, col=column)
    for column, panel in enumerate(panels, 1):
        figure.update_xaxes(title_text=panel.axis.name, row=len(names), col=column)
    figure.update_layout(layout(
        title={"text": "Latency against load", "x": 0.01}, height=140 + 250 * len(names),
        legend={"orientation": "v", "x": 1.02, "y": 1, "font": {"size": 11}},
        margin={"l": 72, "r": 24, "t": 48, "b": 56}))
    return figure


def _load_axis(panel: LoadPanel) -> dict[str, Any]:
    rows = np.concatenate([curve.rows for curve in panel.curves])
    return log_axis(panel.loads[rows])


def _draw(
    figure: go.Figure, found: LoadCurves, panel: LoadPanel, curve: LoadCurve, band: Band, place: tuple[int, int],
    number: int,
) -> None:
    """One curve in one panel: band, line, measured points, and crosses where a run was saturated."""
    colour = SEQUENCE[number % len(SEQUENCE)]
    x, rows = panel.loads[curve.rows], curve.rows
    there = np.isfinite(band.value[rows])
    shown: dict[str, Any] = {"legendgroup": f"{place[1]}:{curve.name}",
                             "visible": True if number < _MOST_CURVES else "legendonly"}
    hidden = {**shown, "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
    cell = {"row": place[0], "col": place[1]}
    figure.add_trace(go.Scatter(x=rounded(x[there]), y=rounded(band.low[rows][there]), **hidden), **cell)
    figure.add_trace(go.Scatter(x=rounded(x[there]), y=rounded(band.high[rows][there]), fill="tonexty",
                                fillcolor=faint(colour, 0.12), **hidden), **cell)
    figure.add_trace(go.Scatter(
        x=rounded(x[there]), y=rounded(band.value[rows][there]), mode="lines", line={"color": colour, "width": 2},
        name=_plain(curve.name), showlegend=place[0] == 1, hovertemplate="%{y:.4g} at %{x:.4g}<extra></extra>",
        **shown), **cell)
    dots = there & found.measured[rows]
    figure.add_trace(_marks(x[dots], band.value[rows][dots], colour, "circle", "measured", shown), **cell)
    crosses = found.saturated[rows]
    if crosses.any() and there.any():
        level = np.full(int(crosses.sum()), float(band.value[rows][there][-1]))
        figure.add_trace(_marks(x[crosses], level, colour, "x", "saturated: no latency", shown), **cell)


def _marks(x: FloatArray, y: FloatArray, colour: str, symbol: str, what: str, shown: dict[str, Any]) -> go.Scatter:
    return go.Scatter(x=rounded(x), y=rounded(y), mode="markers", showlegend=False, **shown,
                      marker={"color": colour, "symbol": symbol, "size": 8, "line": {"width": 1, "color": "white"}},
                      hovertemplate=f"%{{y:.4g}} at %{{x:.4g}}, {what}<extra></extra>")


def _plain(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
