"""Accuracy against cost: one self-contained HTML file, a panel for each study and target."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pandas as pd
import plotly.graph_objects as go
from plotly.colors import qualitative
from plotly.subplots import make_subplots

__all__ = ["write_figure"]

_COLOURS: Final = qualitative.D3 + qualitative.Dark24
# A logarithmic axis labels values between powers of ten by their first digit alone, which is easily misread.
_TICKS: Final = [step * 10.0**power for power in range(-3, 3) for step in (1, 2, 5)]


def write_figure(table: pd.DataFrame, path: Path) -> None:
    """Median lines and 90 % bands of `curves.equal_cost`, cost in per cent of the full cost on a log axis; a panel
    for each study and target."""
    panels = list(table.groupby(["study", "target"], sort=False))
    columns = int(table.groupby("study")["target"].nunique().max())
    figure = make_subplots(
        -(-len(panels) // columns), columns, subplot_titles=[f"{study}: {target}" for (study, target), _ in panels],
        shared_yaxes=True)
    colour = {name: _COLOURS[i % len(_COLOURS)] for i, name in enumerate(dict.fromkeys(table["strategy"]))}
    named: set[str] = set()
    for i, (_, panel) in enumerate(panels):
        for name, curve in panel.groupby("strategy", sort=False):
            for trace in _curve(str(name), curve.sort_values("share"), colour[name], str(name) not in named):
                figure.add_trace(trace, row=i // columns + 1, col=i % columns + 1)
            named.add(str(name))
    lowest = float(table["median"].clip(lower=0).min())
    figure.update_xaxes(
        type="log", tickvals=_TICKS, ticktext=[f"{tick:g}" for tick in _TICKS], title_text="cost, % of the full cost")
    figure.update_yaxes(range=[lowest * 100 - 2, 100], title_text="accuracy, %", col=1)
    figure.update_layout(template="plotly_white", hovermode="x unified", height=420 * -(-len(panels) // columns),
                         title="Accuracy on the points not measured: median over seeds, 90 % bootstrap interval")
    figure.write_html(path, include_plotlyjs=True)


def _curve(name: str, curve: pd.DataFrame, colour: str, first: bool) -> list[Any]:
    x = 100 * curve["share"]
    hidden = {"x": x, "mode": "lines", "line": {"width": 0}, "legendgroup": name, "showlegend": False,
              "hoverinfo": "skip"}
    return [
        go.Scatter(y=100 * curve["low"], **hidden),
        go.Scatter(y=100 * curve["high"], fill="tonexty", fillcolor=_faint(colour), **hidden),
        go.Scatter(x=x, y=100 * curve["median"], mode="lines+markers", name=name, legendgroup=name, showlegend=first,
                   line={"color": colour}, hovertemplate="%{y:.1f} %"),
    ]


def _faint(colour: str) -> str:
    red, green, blue = (int(colour[i:i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, 0.15)"
