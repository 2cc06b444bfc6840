"""The verb that sets two studies side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from planner.cli.app import JsonOption, QuietOption, SeedOption, app, complain, console, opened, writable, write_json
from planner.space.types import StudyError

__all__: list[str] = []


def _html(path: Path | None) -> Path | None:
    if path is not None and path.suffix != ".html":
        raise StudyError(f"--output: {path} does not end in .html; give it this ending")
    return writable("--output")(path)


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="The study file to compare with.", show_default=False)],
    b: Annotated[Path, typer.Argument(metavar="B", help="The study file that is compared.", show_default=False)],
    target: Annotated[list[str] | None, typer.Option(
        "--target", metavar="METRIC", help="Compare this metric; repeatable. [default: common targets]")] = None,
    fail_if: Annotated[
        list[str] | None, typer.Option("--fail-if", metavar="CONDITION", help=(
            "Exit 1 where it holds: 'METRIC drops|rises N%', of the mean; with 'anywhere' at the end, of any point. "
            "Repeatable."))] = None,
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
    """Show where study B differs from study A of the same grid by more than their intervals."""
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
