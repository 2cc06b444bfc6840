"""Cost against interactivity with the best, the runner-up and the baseline marked."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import plotly.graph_objects as go

from planner.analysis.recommendation.page import DecisionPage
from planner.analysis.recommendation.recommend import Recommendation
from planner.analysis.recommendation.tradeoff import Scale, Tradeoff
from planner.space.types import IntArray
from planner.views.figures.style import FAINT, GREY, MEASURED, PREDICTED, faint, layout, log_axis, rounded
from planner.views.figures.tradeoff import colours, hovers, plain

__all__ = ["MARKS", "decision_figure"]

_MOST_POINTS: Final = 2_000
MARKS: Final = {"best": ("#d55e00", "star", 17), "most probable": ("#d55e00", "star-open", 17),
                "runner-up": ("#009e73", "diamond", 12), "baseline": (MEASURED, "square", 11)}
"""Colour, symbol and size of what is marked."""


def decision_figure(page: DecisionPage) -> go.Figure | None:
    """The figure; None where there is nothing to draw."""
    answer, found = page.answer, page.tradeoff
    if answer is None or found is None:
        return None
    figure = go.Figure([*_clouds(answer, found), _line(answer, found)])
    for name, row in page.marked.items():
        if found.usable[row]:
            figure.add_trace(_mark(answer, found, name, row))
    figure.update_layout(layout(margin={"l": 64, "r": 16, "t": 40, "b": 48}, height=480))
    if found.quality is not None:
        figure.update_layout(coloraxis=colours(found.quality, found.usable))
    for axis, scale in ((figure.update_xaxes, found.interactivity), (figure.update_yaxes, found.cost)):
        better = "more" if scale.higher_is_better else "less"
        axis(title_text=f"{plain(scale.name)}, {better} is better", gridcolor=FAINT,
             **log_axis(scale.band.value[found.usable]))
    return figure


def _clouds(answer: Recommendation, found: Tradeoff) -> list[go.Scatter]:
    """All other candidates: where there are conditions, filled where they are met with the confidence asked for; where
    quality is measured, large where no other is at least as good in all three."""
    rest = np.setdiff1d(np.flatnonzero(found.usable), found.front)
    if len(rest) > _MOST_POINTS:
        rest = rest[np.linspace(0, len(rest) - 1, _MOST_POINTS).astype(np.int64)]
    meets = answer.probability[rest] >= answer.question.confidence
    if not answer.question.conditions:
        return [_points(answer, found, rest, "other configurations", _marker(found, rest, GREY))]
    return [_points(answer, found, rows, name, {**_marker(found, rows, colour), "symbol": symbol})
            for rows, name, colour, symbol in ((rest[meets], "meets every condition", PREDICTED, "circle"),
                                               (rest[~meets], "does not, or not surely", GREY, "circle-open"))]


def _marker(found: Tradeoff, rows: IntArray, colour: str) -> dict[str, Any]:
    if found.quality is None:
        return {"color": colour, "size": 6, "opacity": 0.6}
    among = np.isin(rows, found.quality.front)
    return {"color": rounded(found.quality.figure.value[rows]), "coloraxis": "coloraxis",
            "size": np.where(among, 10, 5).tolist()}


def _points(answer: Recommendation, found: Tradeoff, rows: IntArray, name: str, marker: dict[str, Any]) -> go.Scatter:
    return go.Scatter(
        x=rounded(found.interactivity.band.value[rows]), y=rounded(found.cost.band.value[rows]), mode="markers",
        name=name, marker=marker, text=hovers(answer.grid, rows), hovertemplate=_hover(found))


def _line(answer: Recommendation, found: Tradeoff) -> go.Scatter:
    rows = found.front[::-1]
    trace = _points(answer, found, rows, "Pareto front", {**_marker(found, rows, PREDICTED), "opacity": 1.0})
    return trace.update(mode="lines+markers", line={"color": PREDICTED, "width": 2})


def _mark(answer: Recommendation, found: Tradeoff, name: str, row: int) -> go.Scatter:
    colour, symbol, size = MARKS[name]
    rows = np.array([row])
    trace = _points(answer, found, rows, name, {
        "color": colour, "symbol": symbol, "size": size, "line": {"color": "#ffffff", "width": 1}})
    return trace.update(error_x=_bar(found.interactivity, row, colour), error_y=_bar(found.cost, row, colour))


def _bar(scale: Scale, row: int, colour: str) -> dict[str, Any]:
    band, rows = scale.band, np.array([row])
    value = band.value[rows]
    return {"type": "data", "symmetric": False, "array": rounded(band.high[rows] - value),
            "arrayminus": rounded(value - band.low[rows]), "thickness": 1.5, "width": 4, "color": faint(colour, 0.8)}


def _hover(found: Tradeoff) -> str:
    x, y = (plain(scale.name).replace("%{", "% {") for scale in (found.interactivity, found.cost))
    return f"%{{text}}<br>{x}: %{{x:.4g}}<br>{y}: %{{y:.4g}}<extra></extra>"
