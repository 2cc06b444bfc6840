"""Accuracy against cost: estimated, and true if there is a truth, with the baselines."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from planner.analysis.baselines import BASELINES, Curve
from planner.evaluation.estimate import Estimate
from planner.views.figures.style import FAINT, GREY, PREDICTED, SEQUENCE, faint, layout, log_axis

__all__ = ["savings"]


def savings(estimates: Sequence[tuple[float, Estimate]], curves: Sequence[Curve], plain: float) -> go.Figure:
    """Least accurate target over cost. estimates: cost and estimate at each checkpoint. plain: accelerator-seconds of
    the plain sweep, of which costs are shares."""
    figure = go.Figure()
    _estimated(figure, estimates, plain)
    baselines = list(dict.fromkeys(curve.strategy for curve in curves if curve.strategy != "sweepwise"))
    colours = dict(zip(baselines, SEQUENCE[1:], strict=False)) | {"sweepwise": PREDICTED}
    named: set[str] = set()
    for curve in curves:
        known = [(100 * c / plain, a) for c, a in zip(curve.cost, curve.accuracy, strict=True) if a is not None]
        if not known:
            continue
        ours = curve.strategy == "sweepwise"
        label = "sweepwise, true" if ours else BASELINES[curve.strategy]
        figure.add_trace(go.Scatter(
            x=[c for c, _ in known], y=[max(0.0, a) for _, a in known], mode="lines+markers", name=label,
            legendgroup=curve.strategy, showlegend=curve.strategy not in named,
            line={"color": colours[curve.strategy], "width": 3 if ours else 1.5}, marker={"size": 8 if ours else 6},
            hovertemplate="%{y:.1%} at %{x:.3g} % of the cost<extra>" + label + "</extra>"))
        named.add(curve.strategy)
    figure.update_layout(layout(title={"text": "Accuracy against cost", "x": 0.01}, height=480,
                                margin={"l": 72, "r": 24, "t": 84, "b": 56}))
    costs = np.array([cost for trace in figure.data for cost in trace.x], dtype=float)
    figure.update_xaxes(title_text="cost, % of the plain sweep", gridcolor=FAINT, **log_axis(costs))
    figure.update_yaxes(title_text="accuracy", tickformat=".0%", gridcolor=FAINT, range=[_floor(figure), 1.0])
    return figure


def _estimated(figure: go.Figure, estimates: Sequence[tuple[float, Estimate]], plain: float) -> None:
    known = [(100 * cost / plain, estimate) for cost, estimate in estimates]
    if not known:
        return
    x = [cost for cost, _ in known]
    hidden = {"x": x, "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
    figure.add_trace(go.Scatter(y=[max(0.0, e.low) for _, e in known], **hidden))
    figure.add_trace(go.Scatter(y=[e.high for _, e in known], fill="tonexty", fillcolor=faint(GREY, 0.18), **hidden))
    figure.add_trace(go.Scatter(
        x=x, y=[max(0.0, e.estimated) for _, e in known], mode="lines+markers",
        name="sweepwise, estimated (90 % interval)",
        line={"color": GREY, "dash": "dot", "width": 2}, marker={"size": 6},
        hovertemplate="%{y:.1%} at %{x:.3g} % of the cost<extra>estimated</extra>"))


def _floor(figure: go.Figure) -> float:
    """The lower end of the axis: room for the later half of each line; estimates of very few runs may be below it."""
    lines = [value for trace in figure.data if trace.mode == "lines+markers" for value in trace.y[len(trace.y) // 2:]]
    return max(0.0, float(np.floor(min(lines, default=0.0) * 10 - 1)) / 10)
