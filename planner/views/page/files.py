"""A report as files: one page, Markdown, or pictures."""

from __future__ import annotations

from pathlib import Path

from planner.analysis.report import Report
from planner.space.types import StudyError
from planner.views.page.html import page
from planner.views.page.images import check_exporter, write_images
from planner.views.page.markdown import markdown

__all__ = ["check_writable", "write_report"]

_PICTURES = frozenset({"png", "svg"})


def check_writable(form: str) -> None:
    """Raises StudyError if a report of that form cannot be made here."""
    if form in _PICTURES:
        check_exporter()


def write_report(report: Report, output: Path, form: str) -> list[Path]:
    """The files written. form: html, md, png or svg. Raises StudyError if `output` cannot be written."""
    if form in _PICTURES:
        return write_images(report, output, form)
    text = markdown(report) if form == "md" else page(report)
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StudyError(f"--output: cannot write {output} ({error.strerror}); give another path") from error
    return [output]
