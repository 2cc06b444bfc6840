"""The verb report: the whole study on one page, for people who were not there; or one decision on one screen."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

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
from planner.cli.question import (
    BaselineOption,
    ConfidenceOption,
    MaximizeOption,
    MinimizeOption,
    PerAcceleratorOption,
    ShareOption,
    SloOption,
    WorkloadOption,
)
from planner.space.types import StudyError

if TYPE_CHECKING:
    from planner.study import Study

__all__: list[str] = []


class Format(StrEnum):
    """What a report can be written as."""

    HTML = "html"
    PNG = "png"
    SVG = "svg"
    MD = "md"


_ENDINGS = {".html": Format.HTML, ".htm": Format.HTML, ".png": Format.PNG, ".svg": Format.SVG, ".md": Format.MD}


_NO_QUESTION: Final[dict[str, Any]] = {
    "maximize": None, "minimize": None, "slo": None, "confidence": 0.9, "per_accelerator": False, "workload": (),
    "share": 1.0, "baseline": None}


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
    decision: Annotated[bool, typer.Option(
        "--decision", help="Write one screen on one decision instead: the question, the answer and how sure it is, "
                           "what separates the runner-up. Takes the options of `recommend` that follow.")] = False,
    maximize: MaximizeOption = None, minimize: MinimizeOption = None, slo: SloOption = None,
    confidence: ConfidenceOption = 0.9, per_accelerator: PerAcceleratorOption = False,
    workload: WorkloadOption = None, share: ShareOption = 1.0, baseline: BaselineOption = None,
    json_file: JsonOption = None, quiet: QuietOption = False, seed: SeedOption = 0,
) -> None:
    """Write the whole study as one page: what it cost, how accurate it is, the surface, the trade-off, its history."""
    from planner.views.page.files import check_writable, write_report

    chosen = form or _ENDINGS.get(output.suffix.lower())
    if chosen is None:
        raise StudyError(f"--output: {output} ends in none of {', '.join(_ENDINGS)}; name one, or give --format")
    check_writable(chosen.value)
    subject = opened(study, storage, name, seed)
    question = {"maximize": maximize, "minimize": minimize, "slo": slo, "confidence": confidence,
                "per_accelerator": per_accelerator, "workload": workload or (), "share": share, "baseline": baseline}
    if decision:
        written = _decision(subject, question, output, chosen.value, json_file)
    else:
        _check_unasked(question)
        made = subject.report(
            truth=truth, any_fingerprint=allow_other_fingerprint, baselines=not (no_baselines or no_rivals),
            curves=chosen is not Format.MD, arguments=sys.argv[2:])
        written = write_report(made, output, chosen.value)
        write_json(json_file, made.to_json())
    for path in written:
        console(quiet).print(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB)", soft_wrap=True)


def _decision(study: Study, question: dict[str, Any], output: Path, form: str, json_file: Path | None) -> list[Path]:
    """Write the page on one decision."""
    from planner.views.page.decision import page_json, write_decision

    page = study.decision_page(**question)
    written = write_decision(page, output, form)
    write_json(json_file, page_json(page))
    return written


def _check_unasked(question: dict[str, Any]) -> None:
    """Raises StudyError for an option of a question without --decision, which would be ignored."""
    for name, value in question.items():
        if value != _NO_QUESTION[name]:
            raise StudyError(f"--{name.replace('_', '-')}: belongs to --decision; add that, or leave this out")
