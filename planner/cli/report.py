"""The verb report: the whole study on one page, for people who were not there."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

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
    opened,
    writable,
    write_json,
)
from planner.space.types import StudyError

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
    form: Annotated[Format | None, typer.Option(
        "--format", help="What to write. [default: by the file's ending]")] = None,
    truth: Annotated[Path | None, typer.Option(
        "--truth", metavar="TABLE", help="A measured grid to check against.")] = None,
    allow_other_fingerprint: Annotated[
        bool, typer.Option("--allow-other-fingerprint", help="Check against another machine's truth.")] = False,
    no_baselines: Annotated[bool, typer.Option(
        "--no-baselines", help="Play no other strategies against a recorded grid.")] = False,
    no_rivals: Annotated[bool, typer.Option("--no-rivals", hidden=True)] = False,  # its name before
    json_file: JsonOption = None, quiet: QuietOption = False, seed: SeedOption = 0,
) -> None:
    """Write the whole study as one page: what it cost, how accurate it is, the surface, the trade-off, its history."""
    from planner.views.page.files import check_writable, write_report

    chosen = form or _ENDINGS.get(output.suffix.lower())
    if chosen is None:
        raise StudyError(f"--output: {output} ends in none of {', '.join(_ENDINGS)}; name one, or give --format")
    check_writable(chosen.value)
    made = opened(study, storage, name, seed).report(
        truth=truth, any_fingerprint=allow_other_fingerprint, baselines=not (no_baselines or no_rivals),
        curves=chosen is not Format.MD, arguments=sys.argv[2:])
    written = write_report(made, output, chosen.value)
    write_json(json_file, made.to_json())
    for path in written:
        console(quiet).print(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB)", soft_wrap=True)
