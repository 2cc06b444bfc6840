"""Attainment: how probably each load meets a tier, for each engine configuration."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go

from planner.analysis.boundary import Boundaries, Line
from planner.space.grid import Grid
from planner.views.boundary import load_name, workload_text
from planner.views.cells import engine_text
from planner.views.figures.style import FAINT, SEQUENCE, layout, log_axis, rounded

__all__ = ["attainment"]

_DASHES = ("solid", "dash", "dot", "dashdot")


def attainment(found: Boundaries, grid: Grid) -> go.Figure:
    """P(met) against load, a line for each engine configuration; a menu of tiers and workloads."""
    views: dict[tuple[int, str], list[Line]] = {}
    for t in range(len(found.tiers)):
        for line in found.lines:
            views.setdefault((t, workload_text(grid, line, found)), []).append(line)
    engines = list(dict.fromkeys(engine_text(grid, int(line.rows[0])) for line in found.lines))
    first = _most_varied(views)
    figure, owner = go.Figure(), []
    for view, lines in views.items():
        for line in lines:
            figure.add_trace(_curve(line, view[0], engines, grid, view == first))
            owner.append(view)
    buttons: list[dict[str, Any]] = [
        {"label": f"{workload} · {found.tiers[t]}" if len(found.tiers) > 1 else workload, "method": "restyle",
         "args": [{"visible": [one == (t, workload) for one in owner]}]} for t, workload in views]
    size = np.concatenate([line.loads for line in found.lines])
    figure.update_layout(layout(
        title={"text": "Attainment", "x": 0.01}, height=480, margin={"l": 72, "r": 24, "t": 84, "b": 56},
        updatemenus=[{"buttons": buttons, "active": list(views).index(first), "x": 1.0, "xanchor": "right", "y": -0.16,
                      "yanchor": "top", "visible": len(buttons) > 1}]))
    figure.update_xaxes(title_text=load_name(found), gridcolor=FAINT, **(log_axis(size) if (size > 0).all() else {}))
    figure.update_yaxes(title_text="probability that it is met", range=[-0.03, 1.03], tickformat=".0%",
                        gridcolor=FAINT)
    return figure


def _curve(line: Line, tier: int, engines: list[str], grid: Grid, visible: bool) -> go.Scatter:
    engine = engine_text(grid, int(line.rows[0]))
    number = engines.index(engine)
    style = {"color": SEQUENCE[number % len(SEQUENCE)], "dash": _DASHES[number // len(SEQUENCE) % len(_DASHES)]}
    return go.Scatter(x=rounded(line.loads), y=rounded(line.probability[tier]), mode="lines+markers",
                      name=engine.replace("<", "&lt;"), line=style, marker={"size": 5}, visible=visible,
                      hovertemplate="%{x:.4g}: %{y:.1%}<extra>%{fullData.name}</extra>")


def _most_varied(views: dict[tuple[int, str], list[Line]]) -> tuple[int, str]:
    """The view in which most engines have their boundary within the grid."""
    return max(views, key=lambda view: sum(line.highest[view[0]].position == "within" for line in views[view]))
