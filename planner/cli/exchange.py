"""Verbs that trade with other tools: import, export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
from planner.cli.record import read_study
from planner.space.types import StudyError, Value

if TYPE_CHECKING:
    from planner.campaign.setup import StudySetup

__all__: list[str] = []

_ENDINGS = (".csv", ".parquet", ".jsonl")
_Map = Annotated[list[str] | None, typer.Option("--map", metavar="NAME=COLUMN", help="An axis' or metric's column.")]


@app.command("import")
def import_(
    study: StudyArgument,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Result files, or a sweep's folder.")],
    storage: StorageOption = None, name: NameOption = None,
    form: Annotated[
        str, typer.Option(
            "--format", metavar="FORMAT", help="auto, fmwork, vllm-bench, vllm-sweep, guidellm, aiperf or table.")]
    = "auto",
    renames: _Map = None,
    given: Annotated[
        list[str] | None, typer.Option("--set", metavar="AXIS=VALUE", help="What the files do not say.")] = None,
    where: Annotated[str | None, typer.Option(
        "--where", metavar="CONDITION", help="Only rows that meet this condition.")] = None,
    skip_unknown: Annotated[
        bool, typer.Option("--skip-unknown", help="Leave out rows that have no place in the study.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be added, and write nothing.")] = False,
    json_file: JsonOption = None, quiet: QuietOption = False,
) -> None:
    """Take other tools' results into the study as measurements, which cost nothing more."""
    from planner.campaign.importing import fresh_rows, record_runs, recorded_identities
    from planner.importers.placement import ImportOptions, runs_of
    from planner.importers.registry import check_format, read_rows

    check_format(form)
    subject = read_study(study, storage, name)
    options = ImportOptions(_pairs(renames, "--map"), {key: _value(text) for key, text in _pairs(given,
        "--set").items()},
                    where, skip_unknown)
    rows = [row for path in files for row in read_rows(path, form, options.given, options.renames)]
    fixed = {key: value for key, value in subject.spec.runner.settings.items() if isinstance(value, str | int | float)}
    # Everything is read, placed and checked before the first run is written.
    known = recorded_identities(subject.ledger()) if _exists(subject) else set()
    fresh = fresh_rows(rows, known)
    found = runs_of(fresh, subject.grid, subject.targets, options, fixed, subject.runner.accelerators)
    if not dry_run and found.runs:
        record_runs(subject.create_for_import(), found.runs)
    answer = {
        "files": [str(path) for path in files], "rows": len(rows), "known": len(rows) - len(fresh),
        "runs": len(found.runs), "failed": sum(not run.measurement.readings for run in found.runs),
        "points": len({tuple(reading.point.values()) for run in found.runs for reading in run.measurement.readings}),
        "skipped": dict(found.skipped), "cost_s": sum(r.measurement.cost.accelerator_seconds for r in found.runs),
        "notes": list(found.notes), "formats": sorted({row.provenance.format for row in rows}), "dry_run": dry_run,
    }
    write_json(json_file, answer)
    _show(console(quiet), subject, answer)


def _show(out: Any, subject: StudySetup, answer: dict[str, Any]) -> None:
    def say(text: str) -> None:
        out.print(text, soft_wrap=True)

    files = len(answer["files"])
    say(f"{files} {'file' if files == 1 else 'files'}, {answer['rows']:,} rows ({', '.join(answer['formats'])})")
    if answer["known"]:
        say(f"{answer['known']:,} rows are in the study already, or stand twice in the files: left out")
    for reason, count in answer["skipped"].items():
        say(f"{count:,} rows left out: {reason}")
    if not answer["runs"]:
        say(f"{subject.name}: nothing new, nothing added")
        return
    failed = f", {answer['failed']} of them failed" if answer["failed"] else ""
    verb = "would be added" if answer["dry_run"] else "added"
    say(f"{subject.name}: {answer['runs']:,} runs {verb}{failed}, {answer['points']:,} points measured, "
        f"{answer['cost_s']:.1f} accelerator-seconds, which count towards stop.cost")
    for note in answer["notes"]:
        say(f"note: {note}{'; counted as 0' if 'not in the' in note or 'what a row cost' in note else ''}")


@app.command()
def export(
    study: StudyArgument, storage: StorageOption = None, name: NameOption = None,
    output: Annotated[
        Path, typer.Option(
            "--output", "-o", metavar="PATH", help="File (.csv, .parquet, .jsonl), or folder for vllm-sweep.")]
    = Path("measurements.csv"),
    form: Annotated[str, typer.Option(
        "--format", metavar="FORMAT", help="table, or vllm-sweep: what to measure next.")] = "table",
    following: Annotated[int, typer.Option(
        "--next", metavar="N", min=1, help="How many points vllm-sweep is given.")] = 10,
    renames: _Map = None,
    metrics: Annotated[str | None, typer.Option(
        "--metrics", metavar="METRICS", help="Only these, separated by commas.")] = None,
    json_file: JsonOption = None, quiet: QuietOption = False, seed: SeedOption = 0,
) -> None:
    """Write what was measured, a row for each repeat of each point; or what to measure next, for vLLM's sweep."""
    if form == "vllm-sweep":
        _export_next(read_study(study, storage, name, seed), output, following, _pairs(renames, "--map"), json_file,
                     quiet)
        return
    if form != "table":
        raise StudyError(f"--format: unknown format '{form}'; use one of: table, vllm-sweep")
    if renames:
        raise StudyError("--map: an exported table has the study's own names; leave it out, or add --format vllm-sweep")
    if output.suffix not in _ENDINGS:
        raise StudyError(f"--output: {output} is neither .csv nor .parquet nor .jsonl; give one of these endings")
    writable("--output")(output)
    from planner.analysis.export import measurement_table, write_table
    from planner.space.expressions import suggestion

    subject = read_study(study, storage, name)
    observations = subject.ledger().observations(subject.grid)
    wanted = None if metrics is None else [metric.strip() for metric in metrics.split(",")]
    for metric in wanted or []:
        if metric not in observations.metrics:
            raise StudyError(f"--metrics: nothing measured '{metric}'{suggestion(metric, observations.metrics)}")
    table = measurement_table(observations, wanted)
    write_table(table, output)
    write_json(json_file, {"rows": len(table), "points": int(observations.measured.sum()), "output": str(output)})
    console(quiet).print(f"wrote {len(table):,} rows to {output}", soft_wrap=True)


def _export_next(
    subject: StudySetup, folder: Path, most: int, names: dict[str, str], json_file: Path | None, quiet: bool,
) -> None:
    from planner.analysis.next_points import next_rows, sweep_pairs, write_pairs
    from planner.ledger.observations import Observations
    from planner.strategies.strategy import StrategyContext

    if folder.suffix or folder.is_file():
        raise StudyError(f"--output: {folder} is no folder; vllm-sweep writes a pair of files for each engine "
                         "configuration, so name a folder")
    grid = subject.grid
    observations = subject.ledger().observations(grid) if _exists(subject) else Observations(grid, subject.metrics)
    context = StrategyContext(grid, subject.targets, None, subject.accelerators, subject.seed)
    sweep_pairs(grid, [0], names)  # an axis that vLLM has no option for is told before anything is fitted
    rows = next_rows(subject.strategy("sweepwise"), context, observations, most)
    if not rows:
        raise StudyError(f"study '{subject.name}': nothing is left to measure; add values to an axis")
    pairs = sweep_pairs(grid, rows, names)
    written = write_pairs(pairs, folder)
    write_json(json_file, {
        "points": [grid.point(row) for row in rows],
        "pairs": [{"serve_params": str(serve), "bench_params": str(bench), "points": len(pair.bench)}
                  for pair, (serve, bench) in zip(pairs, written, strict=True)]})
    out = console(quiet)
    out.print(f"{len(rows)} points on {len(pairs)} engine configurations; a pair of files each, since a sweep runs "
              "every entry of one with every entry of the other:", soft_wrap=True)
    for serve, bench in written:
        out.print(f"vllm bench sweep serve --serve-cmd 'vllm serve …' --bench-cmd 'vllm bench serve --dataset-name "
                  f"random …' --serve-params {serve} --bench-params {bench} -o results", soft_wrap=True)


def _exists(subject: StudySetup) -> bool:
    """Whether the study has a record. An unreadable storage is told by whoever opens it next."""
    try:
        subject.ledger()
    except StudyError:
        return False
    return True


def _pairs(texts: list[str] | None, option: str) -> dict[str, str]:
    pairs = {}
    for text in texts or []:
        name, equals, value = text.partition("=")
        if not (equals and name.strip() and value.strip()):
            raise StudyError(f"{option}: cannot read '{text}'; write it like name=value")
        pairs[name.strip()] = value.strip()
    return pairs


def _value(text: str) -> Value:
    from planner.importers.rows import scalar

    value = scalar(text)
    return text if value is None else value
