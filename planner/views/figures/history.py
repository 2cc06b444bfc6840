"""The history of a study: its estimated accuracy and its cost over its runs."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from planner.analysis.checkpoints import Checkpoint
from planner.space.types import FloatArray
from planner.views.figures.style import FAINT, GREY, SEQUENCE, faint, layout, rounded

__all__ = ["history"]


def history(
    taken: Sequence[Checkpoint], cost: FloatArray, targets: Sequence[str], goal: float | None
) -> go.Figure:
    """Estimated accuracy of each target with its 90 % interval, and cost, over the runs made. cost: accelerator-seconds
    after each run. goal: the requested accuracy."""
    figure = make_subplots(2, 1, shared_xaxes=True, row_heights=[0.7, 0.3], vertical_spacing=0.06)
    for target, colour in zip(targets, SEQUENCE * (1 + len(targets) // len(SEQUENCE)), strict=False):
        _accuracy(figure, taken, target, colour)
    if goal is not None:
        figure.add_hline(y=goal, line={"color": GREY, "dash": "dot", "width": 1}, row=1, col=1,
                         annotation={"text": "asked for", "font": {"color": GREY}},
                         annotation_position="bottom right")
    figure.add_trace(go.Scatter(x=list(range(1, len(cost) + 1)), y=rounded(cost), mode="lines", showlegend=False,
                                line={"color": GREY, "width": 2, "shape": "hv"}, fill="tozeroy", name="cost",
                                hovertemplate="run %{x}: %{y:.4g} s<extra></extra>"), 2, 1)
    figure.update_layout(layout(title={"text": "How the study went", "x": 0.01}, height=560,
                                margin={"l": 72, "r": 24, "t": 84, "b": 56}))
    figure.update_yaxes(title_text="estimated accuracy", tickformat=".0%", gridcolor=FAINT, row=1, col=1)
    figure.update_yaxes(title_text="spent (s)", gridcolor=FAINT, rangemode="tozero", row=2, col=1)
    figure.update_xaxes(title_text="runs made", row=2, col=1)
    return figure


def _accuracy(figure: go.Figure, taken: Sequence[Checkpoint], target: str, colour: str) -> None:
    known = [(checkpoint.runs,
             estimate) for checkpoint in taken if (estimate := checkpoint.accuracy.get(target)) is not None]
    if not known:
        return
    runs = [number for number, _ in known]
    # An interval may reach below zero (errors larger than the values); the figure does not show that.
    low, high = [max(0.0, e.low) for _, e in known], [e.high for _, e in known]
    hidden = {"x": runs, "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False,
              "legendgroup": target}
    figure.add_trace(go.Scatter(y=low, **hidden), 1, 1)
    figure.add_trace(go.Scatter(y=high, fill="tonexty", fillcolor=faint(colour), **hidden), 1, 1)
    figure.add_trace(go.Scatter(
        x=runs, y=[max(0.0, e.estimated) for _, e in known], mode="lines+markers", name=target, legendgroup=target,
        line={"color": colour, "width": 2}, hovertemplate=f"after %{{x}} runs: %{{y:.1%}}<extra>{target}</extra>",
    ), 1, 1)
