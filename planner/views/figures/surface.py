"""The performance surface of one target: value and uncertainty over any two axes; a slider for the others.

Notation: S slices (combinations of the other axes' values); X, Y values of the two axes shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from planner.analysis.surface import Surface, others
from planner.ledger.observations import Observations
from planner.space.grid import Grid
from planner.space.types import FloatArray
from planner.views.figures.style import (
    FAINT,
    MEASURED,
    PREDICTED,
    UNSURE,
    VALUES,
    faint,
    labelled,
    layout,
    log_ticks,
    rounded,
    scale_of,
)

__all__ = ["surface"]

# Cells of all slices of all pairs of axes together: some 25 bytes each.
_MOST_CELLS: Final = 36_000
_TRACES: Final = list(range(6))


@dataclass(frozen=True, eq=False)
class _Field:
    """The drawn columns, (N,) each: value for the colour, value shown, relative half-width of its interval."""

    colour: FloatArray
    value: FloatArray
    unsure: FloatArray


@dataclass(frozen=True, eq=False)
class _Pair:
    """Two axes shown, and the other axes' combinations: codes of each (S, A − 2), and each grid row's slice (N,).

    kept: the slices in the figure; first: the one of them with most measurements.
    """

    x: int
    y: int
    others: list[int]
    slices: Any
    of_row: Any
    kept: list[int]
    first: int

    def name(self, grid: Grid, number: int) -> str:
        """The slice as text."""
        codes = self.slices[number]
        return " · ".join(f"{grid.axes[i].name} {grid.axes[i].values[code]}"
                          for i, code in zip(self.others, codes, strict=True) if len(grid.axes[i].values) > 1)


def surface(name: str, found: Surface) -> go.Figure:
    """Two heat maps, value and uncertainty, with a menu of axes and a slider over the rest; one axis: a line. name: of
    the study."""
    observations, target, grid = found.observations, found.target, found.observations.grid
    if len(found.axes) < 2:
        return _line(found, found.axes[0] if found.axes else 0)
    by_log, there = found.positive, found.value[np.isfinite(found.value)]
    field = _Field(np.log10(np.where(found.value > 0, found.value, np.nan)) if by_log else found.value, found.value,
                   found.uncertainty)
    pairs = _pairs(found)
    figure = make_subplots(1, 2, subplot_titles=[labelled(observations.metric(target)),
                                                 "relative half-width of the 90 % interval"],
                           horizontal_spacing=0.16)
    _draw(figure, field, by_log, there)
    first = _content(grid, observations, field, pairs[0], pairs[0].first)
    for trace, number in zip(figure.data, _TRACES, strict=True):
        trace.update({key: values[number] for key, values in first.items() if values[number] is not None})
    _controls(figure, grid, observations, field, pairs)
    cut = len(pairs[0].kept) < len(pairs[0].slices)
    note = f" · {len(pairs[0].kept):,} of {len(pairs[0].slices):,} slices, those measured most" if cut else ""
    figure.update_layout(layout(
        title={"text": f"{_plain(name)}: {target}<br><sub>dots: measured · crosses: failed · all else predicted"
                       f"{note}</sub>", "x": 0.01, "y": 0.97},
        height=560, margin={"l": 64, "r": 24, "t": 130, "b": 120}, showlegend=False))
    return figure


def _pairs(found: Surface) -> list[_Pair]:
    """Pairs of axes in the surface's order, as many as fit; each starts at the slice with most measurements."""
    size = [len(axis.values) for axis in found.observations.grid.axes]
    pairs: list[_Pair] = []
    room = _MOST_CELLS
    for a, b in combinations(found.axes, 2):
        x, y = (a, b) if size[a] >= size[b] else (b, a)
        slices, of_row = found.slices(x, y)
        fits = room // (size[x] * size[y])
        if pairs and fits < len(slices):
            continue
        best = np.argsort(-np.bincount(of_row[found.known], minlength=len(slices)), kind="stable")
        kept = sorted(best[:max(fits, 1)].tolist())
        pairs.append(_Pair(x, y, others(len(size), x, y), slices, of_row, kept, int(best[0])))
        room -= len(kept) * size[x] * size[y]
    return pairs


def _content(grid: Grid, observations: Observations, field: _Field, pair: _Pair, number: int) -> dict[str, list[Any]]:
    """The data of the six traces for one slice."""
    rows = np.flatnonzero(pair.of_row == number)
    x, y = grid.axes[pair.x].values, grid.axes[pair.y].values
    shape = (len(y), len(x))
    maps = []
    for column in (field.colour, field.unsure, field.value):
        cells = np.full(shape, np.nan)
        cells[grid.codes[rows, pair.y], grid.codes[rows, pair.x]] = column[rows]
        maps.append(rounded(cells))
    columns, lines = [str(value) for value in x], [str(value) for value in y]
    dots = [([columns[c] for c in grid.codes[some, pair.x]], [lines[c] for c in grid.codes[some, pair.y]])
            for some in (rows[observations.measured[rows]], rows[observations.failed[rows]])]
    (mx, my), (fx, fy) = dots
    return {"z": [maps[0], maps[1], None, None, None, None], "customdata": [maps[2], None, None, None, None, None],
            "x": [columns, columns, mx, mx, fx, fx], "y": [lines, lines, my, my, fy, fy]}


def _draw(figure: go.Figure, field: _Field, by_log: bool, there: FloatArray) -> None:
    """The six traces, empty: two heat maps, measured points on both, failed ones on both."""
    bar = {"len": 0.9, "thickness": 12, "outlinewidth": 0}
    ticks: dict[str, Any] = {}
    if by_log:
        positions, texts = log_ticks(float(there.min()), float(there.max()))
        ticks = {"tickvals": positions, "ticktext": texts}
    ends = (np.nanmin(field.colour), np.nanmax(field.colour)) if len(there) else (0.0, 1.0)
    widths = field.unsure[np.isfinite(field.unsure)]
    widest = float(np.quantile(widths, 0.98)) if len(widths) else 1.0
    figure.add_trace(go.Heatmap(
        z=[[None]], zmin=float(ends[0]), zmax=float(ends[1]), colorscale=VALUES, xgap=1, ygap=1,
        colorbar={**bar, **ticks, "x": 0.425}, hovertemplate="%{x} × %{y}: %{customdata:.4g}<extra></extra>"), 1, 1)
    figure.add_trace(go.Heatmap(
        z=[[None]], zmin=0.0, zmax=widest or 1.0, colorscale=UNSURE, xgap=1, ygap=1,
        colorbar={**bar, "x": 1.0, "tickformat": ".0%"}, hovertemplate="%{x} × %{y}: ± %{z:.1%}<extra></extra>"), 1, 2)
    for symbol, size, skip in (("circle", 7, "measured"), ("x", 8, "failed")):
        for column in (1, 2):
            figure.add_trace(go.Scatter(
                x=[], y=[], mode="markers", hoverinfo="skip", name=skip,
                marker={"symbol": symbol, "size": size, "color": "white", "line": {"width": 1.5, "color": MEASURED}},
            ), 1, column)


def _controls(figure: go.Figure, grid: Grid, observations: Observations, field: _Field, pairs: list[_Pair]) -> None:
    """A menu of pairs, each of which brings its own slider."""
    buttons: list[dict[str, Any]] = []
    for pair in pairs:
        steps = [{"method": "restyle", "label": pair.name(grid, number) or "all",
                  "args": [_content(grid, observations, field, pair, number), _TRACES]} for number in pair.kept]
        active = pair.kept.index(pair.first)
        slider: dict[str, Any] = {
            "active": active, "steps": steps, "visible": len(steps) > 1, "pad": {"t": 56},
            "ticklen": 0, "minorticklen": 0, "font": {"color": "rgba(0, 0, 0, 0)"},
            "currentvalue": {"prefix": "", "font": {"color": "#444", "size": 13}}}
        names = {"x": grid.axes[pair.x].name, "y": grid.axes[pair.y].name}
        titles = {f"{letter}axis{panel}.title.text": name for letter, name in names.items() for panel in ("", "2")}
        buttons.append({"method": "update", "label": f"{names['x']} × {names['y']}",
                        "args": [steps[active]["args"][0], {**titles, "sliders": [slider]}]})
    figure.update_layout(
        sliders=buttons[0]["args"][1]["sliders"],
        updatemenus=[{"buttons": buttons, "x": 1.0, "xanchor": "right", "y": 1.32, "yanchor": "top",
                      "visible": len(buttons) > 1}])
    figure.update_xaxes(type="category", title_text=grid.axes[pairs[0].x].name, showgrid=False)
    figure.update_yaxes(type="category", title_text=grid.axes[pairs[0].y].name, showgrid=False)


def _line(found: Surface, axis: int) -> go.Figure:
    """A grid of one axis: a line with its band."""
    observations = found.observations
    order = np.argsort(observations.grid.codes[:, axis])
    swept = observations.grid.axes[axis]
    named = scale_of(swept) == "category"
    x = [str(swept.values[code]) if named else swept.values[code] for code in observations.grid.codes[order, axis]]
    value, low, high = (column[order] for column in (found.value, found.low, found.high))
    measured = observations.measured[order]
    hidden = {"x": x, "mode": "lines", "line": {"width": 0}, "showlegend": False, "hoverinfo": "skip"}
    figure = go.Figure([
        go.Scatter(y=rounded(low), **hidden),
        go.Scatter(y=rounded(high), fill="tonexty", fillcolor=faint(PREDICTED), **hidden),
        go.Scatter(x=x, y=rounded(value), mode="lines", name="predicted", line={"color": PREDICTED}),
        go.Scatter(x=[v for v, there in zip(x, measured, strict=True) if there], y=rounded(value[measured]),
                   mode="markers", name="measured", marker={"color": MEASURED, "size": 8}),
    ])
    figure.update_layout(layout(title=labelled(found.observations.metric(found.target))))
    figure.update_xaxes(title_text=swept.name, gridcolor=FAINT, type="category" if named else None)
    figure.update_yaxes(gridcolor=FAINT)
    return figure


def _plain(text: str) -> str:
    """The text escaped, since Plotly interprets a few HTML tags."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
