"""The verb that sets two studies side by side."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from planner.cli.app import JsonOption, QuietOption, SeedOption, app, console, writable, write_json
from planner.cli.record import load_posterior, read_study
from planner.space.types import StudyError

if TYPE_CHECKING:
    from planner.analysis.comparison.gate import Judgement

__all__: list[str] = []


def _html(path: Path | None) -> Path | None:
    if path is not None and path.suffix != ".html":
        raise StudyError(f"--output: {path} does not end in .html; give it this ending")
    return writable("--output")(path)


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="The study file to compare with.", show_default=False)],
    b: Annotated[Path, typer.Argument(metavar="B", help="The study file to judge.", show_default=False)],
    target: Annotated[list[str] | None, typer.Option(
        "--target", metavar="METRIC", help="Compare this metric; repeatable. [default: common targets]")] = None,
    fail_if: Annotated[
        list[str] | None, typer.Option("--fail-if", metavar="CONDITION", help=(
            "Exit 1 where it holds: 'METRIC drops|rises N%', of the mean; with 'anywhere' at the end, of any point. "
            "Repeatable."))] = None,
    confidence: Annotated[float, typer.Option(
        "--confidence", metavar="SHARE", min=0.5, max=0.999, help="Of intervals and of --fail-if.")] = 0.9,
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
    """Say where study B differs from study A of the same grid by more than their intervals."""
    from planner.analysis.comparison.compare import compare as compared
    from planner.analysis.comparison.gate import judge, parse_gate
    from planner.views.comparison import comparison_figure, comparison_json, comparison_table

    gates = [parse_gate(text) for text in fail_if or []]
    wanted = [*(target or []), *(gate.metric for gate in gates)]
    one = _side(a, storage, name, seed, wanted)
    other = _side(b, storage_b or storage, name_b, seed, wanted)
    common = target or [metric for metric in one.observations.targets if metric in other.observations.targets]
    metrics = list(dict.fromkeys([*common, *(gate.metric for gate in gates)]))
    if not metrics:
        raise StudyError("--target: the two studies have no target in common; name a metric that both measured")
    found = compared(one, other, metrics, confidence)
    judgements = [judge(gate, found) for gate in gates]
    out = console(quiet)
    if output is not None:
        _write_figure(comparison_figure(found), output)
    write_json(json_file, comparison_json(found, judgements, confidence))
    out.print(comparison_table(found))
    if output is not None:
        out.print(f"wrote {output}", soft_wrap=True)
    _end(judgements, out)


def _side(path: Path, storage: str | None, name: str | None, seed: int, wanted: list[str]) -> Any:
    from planner.analysis.comparison.compare import Side

    study = read_study(path, storage, name, seed)
    observations, posterior = load_posterior(study, path, wanted)
    return Side(study.name, observations, posterior, study.ledger().fingerprint)


def _write_figure(figure: Any, path: Path) -> None:
    try:
        figure.write_html(path, include_plotlyjs=True, config={"responsive": True})
    except OSError as error:
        raise StudyError(f"--output: cannot write {path} ({error.strerror}); give another path") from error


def _end(judgements: list[Judgement], out: Any) -> None:
    """Say each condition's answer; exit 1 where one holds."""
    from planner.analysis.comparison.gate import Answer

    held = [judgement for judgement in judgements if judgement.answer is Answer.HOLDS]
    for judgement in judgements:
        if judgement not in held:
            out.print(f"{judgement.gate.text}: {judgement.answer.value}; {judgement.why}", soft_wrap=True)
    for judgement in held:
        print(f"sweepwise: {judgement.gate.text}: {judgement.answer.value}; {judgement.why}", file=sys.stderr)
    if held:
        raise typer.Exit(1)
