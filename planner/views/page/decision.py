"""A decision on one screen: page, Markdown, picture, JSON."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any, Final

from planner.analysis.recommendation.page import DecisionPage
from planner.space.types import StudyError
from planner.views.decision import decision_json
from planner.views.figures.decision import decision_figure
from planner.views.figures.tradeoff import plain
from planner.views.markdown_text import escaped
from planner.views.page.decision_words import compared, headline, notes, paragraphs
from planner.views.page.html import bare, environment, script_safe
from planner.views.page.images import SIZE, export
from planner.views.page.markdown import markdown_table

__all__ = ["decision_html", "decision_markdown", "page_json", "write_decision"]

_TITLE_WIDTH: Final = 90


def write_decision(page: DecisionPage, output: Path, form: str) -> list[Path]:
    """The files written. form: html, md, png or svg. Raises StudyError if `output` cannot be written, or there is
    nothing to draw."""
    if form in ("png", "svg"):
        return _picture(page, output, form)
    text = decision_markdown(page) if form == "md" else decision_html(page)
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StudyError(f"--output: cannot write {output} ({error.strerror}); give another path") from error
    return [output]


def decision_html(page: DecisionPage) -> str:
    """The whole HTML text: no network, all user text escaped."""
    from plotly.offline import get_plotlyjs

    figure = decision_figure(page)
    return environment().get_template("decision.html").render(
        name=page.study.name, headline=headline(page), say=paragraphs(page), table=compared(page), notes=notes(page),
        plotly=get_plotlyjs() if figure else "", data=script_safe(bare(figure)) if figure else "")


def decision_markdown(page: DecisionPage) -> str:
    """Words and the table, for a pull request."""
    said = [f"**{escaped(one.label)}.** {escaped(one.text)}" for one in paragraphs(page)]
    table = compared(page)
    parts = [f"## {escaped(headline(page))}", *said, *([markdown_table(table)] if table.rows else []),
             escaped("; ".join(notes(page))) + "."]
    return "\n\n".join(parts) + "\n"


def _picture(page: DecisionPage, output: Path, form: str) -> list[Path]:
    figure = decision_figure(page)
    if figure is None:
        raise StudyError("--output: there is no figure to draw, which takes one workload and two metrics; add "
                         "--workload, or write html or md")
    title = "<br>".join(plain(line) for line in textwrap.wrap(headline(page), _TITLE_WIDTH))
    about = "<br>".join(plain(line) for line in textwrap.wrap(paragraphs(page)[0].text, 2 * _TITLE_WIDTH))
    figure.update_layout(title={"text": f"{title}<br><sub>{about}</sub>", "x": 0.01, "y": 0.97, "yanchor": "top"},
                         margin={"t": 150}, height=SIZE["height"])
    return export([figure], [output], form)


def page_json(page: DecisionPage, top: int = 5) -> dict[str, Any]:
    """The form of `report --decision --json`: that of `recommend`, and what the page says besides."""
    marked, surer, answer = page.marked, page.surer, page.answer
    gaps = {name: found for name in ("runner-up", "baseline") if (found := page.separation(name)) is not None}
    return {
        "study": page.study.name, "headline": headline(page),
        **decision_json(page.decision, page.observations.grid, top),
        "marked": {} if answer is None else {name: {"point": answer.grid.point(row)} for name, row in marked.items()},
        "separation": {name: {gap.metric: [gap.more, gap.low, gap.high] for gap in found.gaps}
                       for name, found in gaps.items()},
        "to_be_surer": None if surer is None else {"runs": surer.runs, "cost_s": surer.cost_s, "money": surer.money},
    }
