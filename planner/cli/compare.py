"""The verb that sets two studies side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from planner.cli.app import (
    JsonOption,
    QuietOption,
    SeedOption,
    app,
    complain,
    console,
    opened,
    resume_hint,
    say_notes,
    writable,
    write_json,
)
from planner.space.types import StudyError

if TYPE_CHECKING:
    from planner.study import Study

__all__: list[str] = []


def _html(path: Path | None) -> Path | None:
    if path is not None and path.suffix != ".html":
        raise StudyError(f"--output: {path} does not end in .html; give it this ending")
    return writable("--output")(path)


_PriorOption = Annotated[
    Path | None, typer.Option(
        "--prior", metavar="OLD", help="Measure A and compare it with this old study file or table; exit 1 where "
        "anything got worse. [default: A's `prior`]", show_default=False)]
_MoreThanOption = Annotated[
    float | None, typer.Option(
        "--more-than", metavar="SHARE", min=0.005, max=1.0, help="With --prior: the share by which a point must differ "
        "to count.", show_default="0.05")]
_FailIfOption = Annotated[
    list[str] | None, typer.Option("--fail-if", metavar="CONDITION", help=(
        "Exit 1 where it holds: 'METRIC drops|rises N%', of the mean; with 'anywhere' at the end, of any point. "
        "Repeatable."))]


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="The study file to compare with.", show_default=False)],
    b: Annotated[Path | None, typer.Argument(
        metavar="B", help="The study file that is compared. Without it A is measured, until it is known where it "
        "differs from --prior.", show_default=False)] = None,
    prior: _PriorOption = None, more_than: _MoreThanOption = None,
    target: Annotated[list[str] | None, typer.Option(
        "--target", metavar="METRIC", help="Compare this metric; repeatable. [default: common targets]")] = None,
    fail_if: _FailIfOption = None,
    confidence: Annotated[float, typer.Option(
        "--confidence", metavar="SHARE", min=0.5, max=0.999,
        help="Confidence of the intervals and of --fail-if.")] = 0.9,
    output: Annotated[Path | None, typer.Option(
        "--output", "-o", metavar="FILE", help="HTML file for the figure.", callback=_html)] = None,
    storage: Annotated[str | None, typer.Option(
        "--storage", metavar="URL", help="Optuna storage in place of the study files'.")] = None,
    name: Annotated[str | None, typer.Option(
        "--name", metavar="NAME", help="A's study name in place of the study file's.")] = None,
    storage_b: Annotated[str | None, typer.Option(
        "--storage-b", metavar="URL", help="B's storage, where it is another.")] = None,
    name_b: Annotated[str | None, typer.Option(
        "--name-b", metavar="NAME", help="B's study name in place of the study file's.")] = None,
    json_file: JsonOption = None, quiet: QuietOption = False, seed: SeedOption = 0,
) -> None:
    """Show where study B differs from study A of the same grid, or what a new version changed."""
    if b is None:
        _without_rest(target, fail_if, output, storage_b, name_b)
        _measured(opened(a, storage, name, seed), prior, more_than, confidence, json_file, quiet)
        return
    if prior is not None or more_than is not None:
        raise StudyError("--prior: takes one study, which is measured; leave out B, or --prior and --more-than")
    from planner.views.comparison import comparison_figure, comparison_json, comparison_table, judgement_text
    from planner.views.files import write_figure

    one, other = opened(a, storage, name, seed), opened(b, storage_b or storage, name_b, seed)
    found = one.compare(other, targets=target, fail_if=fail_if or (), confidence=confidence)
    out = console(quiet)
    if output is not None:
        write_figure(comparison_figure(found), output)
    write_json(json_file, comparison_json(found))
    out.print(comparison_table(found))
    if output is not None:
        out.print(f"wrote {output}", soft_wrap=True)
    for judgement in found.judgements:
        if judgement not in found.held:
            out.print(judgement_text(judgement), soft_wrap=True)
    for judgement in found.held:
        complain(judgement_text(judgement))
    if found.held:
        raise typer.Exit(1)


def _without_rest(*given: object) -> None:
    """Raises StudyError if an option was given that needs B."""
    names = ("--target", "--fail-if", "--output", "--storage-b", "--name-b")
    for name, value in zip(names, given, strict=True):
        if value:
            raise StudyError(f"{name}: belongs to a comparison of two studies; name B, or leave it out: without B any "
                             "point that got worse exits with 1")


def _measured(
    study: Study, prior: Path | None, more_than: float | None, confidence: float, json_file: Path | None, quiet: bool
) -> None:
    from planner.campaign.observers import Observers
    from planner.cli.interrupt import CtrlC
    from planner.views.difference import difference_table
    from planner.views.progress import Progress

    out = console(quiet)
    say_notes(out, study.notes)
    with CtrlC() as stop, Progress(out, study.outlook(), quiet) as progress:
        found = study.difference(prior=prior, amount=more_than, confidence=confidence,
                                 observer=Observers(stop, progress), stop_requested=stop.requested)
    if found is None:
        raise StudyError(f"compare: no run of {study.path} succeeded; `sweepwise status {study.path} --runs` says why")
    write_json(json_file, found.to_json())
    out.print(difference_table(found))
    if found.reason == "interrupted":
        out.print(resume_hint(), soft_wrap=True)
        raise typer.Exit(130)
    if found.worse:
        complain(f"{found.worse} points got worse")
        raise typer.Exit(1)
