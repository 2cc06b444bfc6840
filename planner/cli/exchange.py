"""Verbs that trade with other tools: import, export."""

from __future__ import annotations

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
    opened,
    pairs,
    writable,
    write_json,
)
from planner.space.types import StudyError

if TYPE_CHECKING:
    from planner.study import Study

__all__: list[str] = []

_ENDINGS = (".csv", ".parquet", ".jsonl")
_Map = Annotated[list[str] | None, typer.Option(
    "--map", metavar="NAME=COLUMN", help="Column or expression of an axis or a metric; repeatable.")]


@app.command("import")
def import_(
    study: StudyArgument,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Result files, or a sweep's folder.")],
    storage: StorageOption = None, name: NameOption = None,
    form: Annotated[
        str, typer.Option(
            "--format", metavar="FORMAT", help="auto, table, or a tool's; a wrong name lists them all.")]
    = "auto",
    renames: _Map = None,
    given: Annotated[
        list[str] | None, typer.Option(
            "--set", metavar="AXIS=VALUE", help="An axis value for rows that do not say it; repeatable.")] = None,
    where: Annotated[str | None, typer.Option(
        "--where", metavar="CONDITION", help="Only rows that meet this condition.")] = None,
    ok: Annotated[str | None, typer.Option(
        "--ok", metavar="CONDITION", help="Condition of successful rows; the others are failed runs.")] = None,
    ignore: Annotated[list[str] | None, typer.Option(
        "--ignore", metavar="SETTING", help="A setting that may differ and is no axis; repeatable.")] = None,
    skip_unknown: Annotated[
        bool, typer.Option("--skip-unknown", help="Leave out rows that have no place in the study.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be added, and write nothing.")] = False,
    json_file: JsonOption = None, quiet: QuietOption = False,
) -> None:
    """Add other tools' results to the study as measurements, at no further cost."""
    from planner.views.importing import show_import

    subject = opened(study, storage, name)
    found = subject.import_files(files, form=form, renames=pairs(renames, "--map"), given=pairs(given, "--set"),
                                 where=where, ok=ok, ignore=ignore or (), skip_unknown=skip_unknown, dry_run=dry_run)
    write_json(json_file, found.to_json())
    show_import(console(quiet), subject.name, found)


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
        "--next", metavar="N", min=1, help="Number of points to write for vllm-sweep.")] = 10,
    renames: _Map = None,
    metrics: Annotated[str | None, typer.Option(
        "--metrics", metavar="METRICS", help="Only these, separated by commas.")] = None,
    json_file: JsonOption = None, quiet: QuietOption = False, seed: SeedOption = 0,
) -> None:
    """Write what was measured, a row for each repeat of each point; or what to measure next, for vLLM's sweep."""
    if form == "vllm-sweep":
        _export_next(opened(study, storage, name, seed), output, following, pairs(renames, "--map"), json_file, quiet)
        return
    if form != "table":
        raise StudyError(f"--format: unknown format '{form}'; use one of: table, vllm-sweep")
    if renames:
        raise StudyError("--map: an exported table has the study's own names; leave it out, or add --format vllm-sweep")
    if output.suffix not in _ENDINGS:
        raise StudyError(f"--output: {output} is neither .csv nor .parquet nor .jsonl; give one of these endings")
    writable("--output")(output)
    from planner.views.files import write_table

    subject = opened(study, storage, name)
    table = subject.measurements(None if metrics is None else [metric.strip() for metric in metrics.split(",")])
    write_table(table, output)
    points = int(subject.observations().measured.sum())
    write_json(json_file, {"rows": len(table), "points": points, "output": str(output)})
    console(quiet).print(f"wrote {len(table):,} rows to {output}", soft_wrap=True)


def _export_next(
    subject: Study, folder: Path, most: int, names: dict[str, str], json_file: Path | None, quiet: bool,
) -> None:
    from planner.views.files import write_pairs

    if folder.suffix or folder.is_file():
        raise StudyError(f"--output: {folder} is no folder; vllm-sweep writes a pair of files for each engine "
                         "configuration, so name a folder")
    found = subject.next_points(most, names=names)
    written = write_pairs(found.pairs, folder)
    write_json(json_file, {
        "points": list(found.points),
        "pairs": [{"serve_params": str(serve), "bench_params": str(bench), "points": len(pair.bench)}
                  for pair, (serve, bench) in zip(found.pairs, written, strict=True)]})
    out = console(quiet)
    out.print(f"{len(found.rows)} points on {len(found.pairs)} engine configurations; a pair of files each, since a "
              "sweep runs every entry of one with every entry of the other:", soft_wrap=True)
    for serve, bench in written:
        out.print(f"vllm bench sweep serve --serve-cmd 'vllm serve …' --bench-cmd 'vllm bench serve --dataset-name "
                  f"random …' --serve-params {serve} --bench-params {bench} -o results", soft_wrap=True)
