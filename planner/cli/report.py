"""The verb report: the whole study on one page, for people who were not there."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from planner.cli.app import (
    JsonOption,
    NameOption,
    QuietOption,
    SeedOption,
    StorageOption,
    StudyArgument,
    app,
    console,
    writable,
    write_json,
)
from planner.cli.record import opened
from planner.space.types import StudyError

if TYPE_CHECKING:
    from planner.analysis.report import Report

__all__: list[str] = []


class Format(StrEnum):
    """What a report can be written as."""

    HTML = "html"
    PNG = "png"
    SVG = "svg"
    MD = "md"


_ENDINGS = {".html": Format.HTML, ".htm": Format.HTML, ".png": Format.PNG, ".svg": Format.SVG, ".md": Format.MD}


@app.command()
def report(
    study: StudyArgument, storage: StorageOption = None, name: NameOption = None,
    output: Annotated[Path, typer.Option(
        "--output", "-o", metavar="FILE", help="The file to write.", callback=writable("--output"))]
    = Path("report.html"),
    form: Annotated[Format | None, typer.Option("--format", help="By the file's ending where not given.")] = None,
    truth: Annotated[Path | None, typer.Option(
        "--truth", metavar="TABLE", help="A measured grid to check against.")] = None,
    allow_other_fingerprint: Annotated[
        bool, typer.Option("--allow-other-fingerprint", help="Check against another machine's truth.")] = False,
    no_baselines: Annotated[
        bool, typer.Option("--no-rivals", help="Play no other strategies against a recorded grid.")] = False,
    json_file: JsonOption = None, quiet: QuietOption = False, seed: SeedOption = 0,
) -> None:
    """Write the whole study as one page: what it cost, how accurate it is, the surface, the trade-off, its history."""
    from planner.analysis.provenance import provenance_of
    from planner.analysis.report import ReportOptions, report_of

    chosen = form or _ENDINGS.get(output.suffix.lower())
    if chosen is None:
        raise StudyError(f"--output: {output} ends in none of {', '.join(_ENDINGS)}; name one, or give --format")
    pictures = chosen in {Format.PNG, Format.SVG}
    if pictures:
        from planner.views.page.images import check_exporter

        check_exporter()
    subject, observations, posterior = opened(study, storage, name, seed)
    record = subject.ledger().study
    provenance = provenance_of(subject, observations, record, study, sys.argv[2:])
    options = ReportOptions(truth, allow_other_fingerprint, not no_baselines, chosen is not Format.MD)
    made = report_of(subject, observations, posterior, provenance, record.user_attrs.get("stopped"), options)
    written = _write(made, output, chosen)
    write_json(json_file, made.to_json())
    for path in written:
        console(quiet).print(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB)", soft_wrap=True)


def _write(made: Report, output: Path, chosen: Format) -> list[Path]:
    if chosen in {Format.PNG, Format.SVG}:
        from planner.views.page.images import write_images

        return write_images(made, output, chosen.value)
    if chosen is Format.MD:
        from planner.views.page.markdown import markdown

        text = markdown(made)
    else:
        from planner.views.page.html import page

        text = page(made)
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StudyError(f"--output: cannot write {output} ({error.strerror}); give another path") from error
    return [output]
