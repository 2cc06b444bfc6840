"""A comparison as tables, as JSON, and as a figure."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from rich.console import Group, RenderableType

from planner.analysis.comparison.compare import Comparison
from planner.analysis.comparison.gate import Judgement
from planner.analysis.comparison.ratios import Ratios, Slice
from planner.space.text import point_text
from planner.space.types import IntArray
from planner.views.listing import Listing

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["comparison_figure", "comparison_json", "comparison_table", "judgement_text"]

_LISTED: Final = 5
_SLICES_SHOWN: Final = 8
_NAMED: Final = 20
_MOST_POINTS: Final = 3_000
_MAX_DIFFERENCE: Final = 160
_TICKS: Final = (0.001, 0.01, 0.1, 0.2, 0.5, 0.8, 1.0, 1.25, 2.0, 5.0, 10.0, 100.0, 1000.0)


def comparison_json(found: Comparison) -> dict[str, Any]:
    """The form of `compare --json`."""
    sides = {
        key: {"name": side.name, "runs": side.observations.finished, "points": len(side.observations.grid),
              "measured": int(side.observations.measured.sum()), "fingerprint": dict(side.fingerprint)}
        for key, side in (("a", found.a), ("b", found.b))
    }
    grid = found.a.observations.grid
    return {
        **sides, "confidence": found.confidence,
        "points": {"common": found.common, "only_a": found.only_a, "only_b": found.only_b, "unlikely": found.unlikely,
                   "fails_now": [grid.point(int(row)) for row in found.fails_now[:_NAMED]],
                   "fails_now_count": len(found.fails_now), "runs_now_count": len(found.runs_now)},
        "targets": {target: _target_json(ratios) for target, ratios in found.ratios.items()},
        "fail_if": [judgement.to_json() for judgement in found.judgements],
    }


def _target_json(ratios: Ratios) -> dict[str, Any]:
    ratio, low, high = ratios.mean().ratio
    return {
        "points": len(ratios.rows), "measured_on_both": int(ratios.measured.sum()),
        "more_is_better": ratios.higher_is_better, "ratio": ratio, "low": low, "high": high,
        "better": int(ratios.better.sum()), "worse": int(ratios.worse.sum()),
        "false_discovery_rate": 1 - ratios.confidence,
        "outside_own_interval": int(ratios.outside.sum()),
        "outside_expected_by_chance": ratios.expected_by_chance(len(ratios.rows)),
        "worst": _points_json(ratios, ratios.extremes(ratios.worse, _NAMED)),
        "best": _points_json(ratios, ratios.extremes(ratios.better, _NAMED)),
        "slices": [_slice_json(part) for part in ratios.slices()],
    }


def _points_json(ratios: Ratios, positions: IntArray) -> list[dict[str, Any]]:
    return [asdict(one) for one in ratios.at(positions)]


def _slice_json(part: Slice) -> dict[str, Any]:
    ratio, low, high = part.mean.ratio
    return {"slice": dict(part.point), "points": part.mean.points, "ratio": ratio, "low": low, "high": high,
            "better": part.better, "worse": part.worse}


def comparison_table(found: Comparison) -> RenderableType:
    """The comparison as tables: the sides, each target's mean, the most significant differences and slices."""
    parts: list[RenderableType] = [*_head(found), _means(found)]
    parts += [line for ratios in found.ratios.values() for line in _chance(ratios)]
    for ratios in found.ratios.values():
        for title, mask in (("worse", ratios.worse), ("better", ratios.better)):
            if mask.any():
                parts.append(_surest(ratios, title, ratios.extremes(mask, _LISTED)))
        parts += _slices(ratios)
    return Group(*parts)


def _head(found: Comparison) -> list[str]:
    lines = [f"{key}: {side.name} ({side.observations.finished:,} runs, {int(side.observations.measured.sum()):,} of "
             f"{len(side.observations.grid):,} points measured)" for key, side in (("A", found.a), ("B", found.b))]
    if changed := found.changed:
        said = "; ".join(changed)
        lines.append(f"from A to B: {said if len(said) <= _MAX_DIFFERENCE else said[:_MAX_DIFFERENCE] + ' …'}")
    alone = [f"{count:,} only in {key}" for key, count in (("A", found.only_a), ("B", found.only_b)) if count]
    alone += [f"{found.unlikely:,} left out as likely to fail"] if found.unlikely else []
    lines.append(f"{found.common:,} points in common{f' ({chr(44).join(alone)})'.replace(',', ', ') if alone else ''}")
    grid = found.a.observations.grid
    for rows, what in ((found.fails_now, "ran in A and failed in B"), (found.runs_now, "failed in A and ran in B")):
        if len(rows):
            lines.append(f"{len(rows):,} measured points {what}, such as {point_text(grid.point(int(rows[0])))}")
    return lines


def _means(found: Comparison) -> Listing:
    confidence = found.confidence
    table = Listing("B against A", ["target", "points", "B/A", f"{confidence * 100:.3g} % interval", "better", "worse",
                                    "better if"], ["target"])
    for target, ratios in found.ratios.items():
        mean = ratios.mean()
        ratio, low, high = mean.ratio
        table.add_row(target, f"{mean.points:,}", f"{ratio:.3f}", f"{low:.3f} … {high:.3f}",
                      _share(int(ratios.better.sum()), mean.points), _share(int(ratios.worse.sum()), mean.points),
                      "above 1" if ratios.higher_is_better else "below 1")
    table.caption = (f"B/A: geometric mean over the points; better, worse: points that differ beyond their intervals, "
                     f"of which {(1 - confidence) * 100:.3g} % at most are expected to be chance (Benjamini–Hochberg)")
    return table


def _share(count: int, points: int) -> str:
    return f"{count:,} ({count / points * 100:.1f} %)"


def _chance(ratios: Ratios) -> list[str]:
    return [f"{ratios.target}: {int(ratios.outside.sum()):,} of {len(ratios.rows):,} points outside their own "
            f"interval, where chance alone would put up to {ratios.expected_by_chance(len(ratios.rows)):,.0f}; "
            f"{int(ratios.measured.sum()):,} measured on both sides"]


def _surest(ratios: Ratios, title: str, positions: IntArray) -> Listing:
    axes = [axis.name for axis in ratios.grid.axes if len(axis.values) > 1]
    table = Listing(f"{ratios.target}: surely {title}", [*axes, "A", "B", "B/A", "interval", "known"], ["known"])
    for one in ratios.at(positions):
        table.add_row(*(str(one.point[axis]) for axis in axes), f"{one.a:.4g}", f"{one.b:.4g}", f"{one.ratio:.3f}",
                      f"{one.low:.3f} … {one.high:.3f}", _source(one.measured_a, one.measured_b))
    return table


def _source(measured_a: bool, measured_b: bool) -> str:
    said = {True: "measured", False: "predicted"}
    a, b = said[measured_a], said[measured_b]
    return a if a == b else f"A {a}, B {b}"


def _slices(ratios: Ratios) -> list[RenderableType]:
    parts = ratios.slices()
    apart = ratios.apart(parts)
    line = f"{ratios.target}: the mean of {len(apart)} of {len(parts)} slices is outside its interval; chance alone " \
           f"would put up to {ratios.expected_by_chance(len(parts)):.0f} there"
    if not apart:
        return [line]
    table = Listing(line, ["slice", "points", "B/A", "interval", "better", "worse"], ["slice"])
    for part in apart[:_SLICES_SHOWN]:
        ratio, low, high = part.mean.ratio
        table.add_row(point_text(part.point), f"{part.mean.points:,}", f"{ratio:.3f}", f"{low:.3f} … {high:.3f}",
                      f"{part.better:,}", f"{part.worse:,}")
    return [table]


def judgement_text(judgement: Judgement) -> str:
    """A condition, its answer, and the reason."""
    return f"{judgement.gate.text}: {judgement.answer.value}; {judgement.why}"


def comparison_figure(found: Comparison) -> go.Figure:
    """The ratio B/A at every point, smallest first, each in its interval: a strip for each target."""
    from plotly.subplots import make_subplots

    from planner.views.figures.style import FAINT, GREY, layout

    figure = make_subplots(len(found.ratios), 1, subplot_titles=[_headline(r) for r in found.ratios.values()],
                           vertical_spacing=0.22 / len(found.ratios))
    for number, ratios in enumerate(found.ratios.values(), 1):
        _strip(figure, ratios, number)
        figure.add_hline(y=1.0, line={"color": GREY, "width": 1, "dash": "dot"}, row=number, col=1)
    figure.update_yaxes(type="log", title_text="B/A", gridcolor=FAINT, tickvals=_TICKS,
                        ticktext=[f"{value:g}" for value in _TICKS])
    figure.update_xaxes(showgrid=False)
    figure.update_xaxes(title_text="common points, smallest ratio first", row=len(found.ratios), col=1)
    figure.update_layout(layout(
        title={"text": f"B against A: {found.b.name} / {found.a.name}", "x": 0.01},
        height=180 + 300 * len(found.ratios), margin={"l": 72, "r": 24, "t": 96, "b": 104},
        legend={"orientation": "h", "yref": "container", "y": 0.01, "yanchor": "bottom", "x": 0}))
    return figure


def _headline(ratios: Ratios) -> str:
    ratio, low, high = ratios.mean().ratio
    return (f"{ratios.target}: {ratio:.3f} ({low:.3f} … {high:.3f}) on the mean; {int(ratios.better.sum()):,} points "
            f"better, {int(ratios.worse.sum()):,} worse, of {len(ratios.rows):,}")


def _strip(figure: go.Figure, ratios: Ratios, row: int) -> None:
    import plotly.graph_objects as go

    from planner.views.figures.style import ESTIMATED, GREY, faint, rounded

    order = np.argsort(ratios.log, kind="stable")
    kept = _thinned(len(order))
    order, rank = order[kept], kept + 1
    low, high = (end[order] for end in ratios.interval)
    figure.add_trace(go.Scatter(
        x=[*rank.tolist(), *rank[::-1].tolist()], y=[*rounded(low), *rounded(high[::-1])], fill="toself",
        fillcolor=faint(GREY, 0.25), line={"width": 0}, hoverinfo="skip", showlegend=row == 1, legendgroup="interval",
        name=f"{ratios.confidence * 100:.3g} % interval"), row, 1)
    kinds = (("no sure difference", GREY, ~ratios.differs), ("better", "#009e73", ratios.better),
             ("worse", ESTIMATED, ratios.worse))
    for name, colour, mask in kinds:
        chosen = mask[order]
        hover = [f"{point_text(ratios.grid.point(int(ratios.rows[i])))}<br>"
                 f"{_source(bool(ratios.sides[0].own[i]), bool(ratios.sides[1].own[i]))}<br>"
                 f"{one:.3g} … {other:.3g}" for i, one, other in zip(order[chosen], low[chosen], high[chosen],
                                                                     strict=True)]
        figure.add_trace(go.Scatter(
            x=rank[chosen].tolist() or [None], y=rounded(np.exp(ratios.log[order[chosen]])) or [None], mode="markers",
            name=name, legendgroup=name, showlegend=row == 1, marker={"color": colour, "size": 5}, text=hover,
            hovertemplate="%{y:.3f}  %{text}<extra>" + name + "</extra>"), row, 1)


def _thinned(count: int) -> IntArray:
    """Positions among `count` sorted points, both ends among them: more dots than a screen has make no difference."""
    return np.unique(np.linspace(0, count - 1, min(count, _MOST_POINTS)).round().astype(np.int64))
