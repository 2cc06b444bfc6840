"""A report as one page: no network, Plotly and the data inside, all user text escaped.

The data is sent once, as axis codes and numbers of four digits; the page's own script builds the surface from them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from planner.analysis.report import Report
from planner.views.figures.attainment import attainment
from planner.views.figures.history import history
from planner.views.figures.load import load
from planner.views.figures.savings import savings
from planner.views.figures.style import labelled, rounded, scale_of
from planner.views.figures.tradeoff import tradeoff
from planner.views.page.words import boundary_tables, headline, paragraphs, tables

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from jinja2 import Environment

__all__ = ["bare", "environment", "figures_of", "page", "payload", "script_safe"]


def page(report: Report) -> str:
    """The whole HTML text."""
    from plotly.offline import get_plotlyjs

    return environment().get_template("report.html").render(
        report=report, headline=headline(report), say=paragraphs(report), tables=tables(report),
        boundary=boundary_tables(report), plotly=get_plotlyjs(), data=script_safe(payload(report)),
        failed=bool(report.observations.failed.any()),
    )


def environment() -> Environment:
    """Where our templates are; they escape what they are given."""
    from jinja2 import Environment, PackageLoader

    return Environment(
        loader=PackageLoader("planner.views.page"), autoescape=True, trim_blocks=True, lstrip_blocks=True)


def payload(report: Report) -> dict[str, Any]:
    """The data for the page's script."""
    observations, grid, start = report.observations, report.observations.grid, report.start
    some_failed = bool(observations.failed.any())
    return {
        "axes": [{"name": axis.name, "values": [str(value) for value in axis.values],
                  "scale": scale_of(axis)} for axis in grid.axes],
        "codes": [grid.codes[:, i].tolist() for i in range(len(grid.axes))],
        "targets": [_target(report, target) for target in report.study.targets],
        "measured": np.flatnonzero(observations.measured).tolist(),
        "failed": np.flatnonzero(observations.failed).tolist(),
        "failure": rounded(1 - report.posterior.feasibility, 2) if some_failed else None,
        "start": {"target": report.study.targets.index(report.shown), "x": start.x, "y": start.y,
                  "fixed": list(start.fixed)},
        "figures": {name: bare(figure) for name, figure in figures_of(report).items() if figure is not None},
    }


def figures_of(report: Report) -> dict[str, go.Figure | None]:
    """The figures that Python draws, by name; None if there is nothing to draw."""
    study = report.study
    return {
        "load": None if report.load_curves is None else load(report.load_curves),
        "attainment": attainment(report.boundaries, report.observations.grid) if report.boundaries else None,
        "tradeoff": None if isinstance(report.rates, str) else tradeoff(report.observations, report.rates),
        "course": history(report.checkpoints, report.costs, study.targets, study.spec.stop.accuracy)
        if report.checkpoints else None,
        "bargain": savings(report.estimates, report.curves, report.plain[0]) if report.checkpoints else None,
    }


def _target(report: Report, target: str) -> dict[str, Any]:
    found = report.surfaces[target]
    repeats = {str(row): rounded(np.array(values)) for row, values in report.observations.repeats(target).items()}
    # At measured points the value is the measured one; the line of predictions needs the model's own values.
    rows = np.flatnonzero(report.observations.measured)
    model = [rounded(column[rows]) for column in found.model]
    return {"name": target, "label": labelled(report.observations.metric(target)), "value": rounded(found.value),
            "low": rounded(found.low), "high": rounded(found.high), "log": found.positive, "repeats": repeats,
            "model": dict(zip(map(str, rows.tolist()), zip(*model, strict=True), strict=True))}


def bare(figure: go.Figure) -> dict[str, Any]:
    """Traces and layout without title and template: the page has its own, and themes."""
    figure.update_layout(template=None, title=None)
    found: dict[str, Any] = json.loads(figure.to_json())
    found["layout"].pop("template", None)
    return found


def script_safe(data: Any) -> str:
    """JSON that may stand inside a script element."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return (text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
            .replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))
