"""A report as Markdown for a pull request: words and tables, no pictures."""

from __future__ import annotations

import re

from planner.analysis.report import Report
from planner.space.text import printable
from planner.views.markdown_text import escaped
from planner.views.page.words import Table, boundary_tables, headline, paragraphs, tables

__all__ = ["markdown"]


def markdown(report: Report) -> str:
    """The report as Markdown: the summary, the four headline figures, and the tables for a reviewer."""
    found, said = tables(report), paragraphs(report)
    parts = [f"## {escaped(report.study.name)}: sweepwise report", escaped(said["summary"]),
             _table(Table(("", "", ""), [(one.label, one.value, "; ".join(one.notes)) for one in headline(report)]))]
    for title, table in boundary_tables(report):
        parts += [f"### Highest load that meets {escaped(title or 'each')}", _table(table)]
    titles = {"accuracy": "Accuracy on the points not measured", "gains": "Gain over the plain sweep",
              "quality": "Quality of each configuration",
              "spending": "Where the time went", "starts": "What engine starts consist of",
              "failures": "Runs that failed"}
    for name, title in titles.items():
        if found[name].rows:
            parts += [f"### {title}", _table(found[name])]
    if said["priors"]:
        parts += ["### What was known before the first run", escaped(said["priors"])]
    if said["machine"]:
        parts += ["### Whether the machine changed", escaped(said["machine"])]
    if report.provenance.fingerprint:
        parts += ["### Measured under", _table(found["fingerprint"])]
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].rows)
    parts += ["### Reproduce this", _code("\n".join(report.provenance.commands)), f"With {escaped(versions)}."]
    return "\n\n".join(parts) + "\n"


def _table(table: Table) -> str:
    lines = [table.head, ["---"] * len(table.head), *table.rows]
    written = (" | ".join(cell if cell == "---" else escaped(cell) for cell in line) for line in lines)
    return "\n".join(f"| {line} |" for line in written)


def _code(text: str) -> str:
    """A code block that its text cannot end."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}console\n{printable(text)}\n{fence}"
