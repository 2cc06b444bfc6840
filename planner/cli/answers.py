"""Verbs that answer from the record: predict, evaluate."""

from __future__ import annotations

import re
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
    numbers,
    opened,
    pairs,
    say_notes,
    writable,
    write_json,
)
from planner.space.types import StudyError

__all__: list[str] = []


def _table_path(path: Path | None) -> Path | None:
    if path is not None and path.suffix not in {".csv", ".parquet"}:
        raise StudyError(f"--output: {path} is neither .csv nor .parquet; give one of these endings")
    return writable("--output")(path)


@app.command()
def predict(
    study: StudyArgument, storage: StorageOption = None, name: NameOption = None,
    output: Annotated[
        Path | None, typer.Option(
            "--output", "-o", metavar="FILE", help="CSV or Parquet file to write.", callback=_table_path)] = None,
    point: Annotated[list[str] | None, typer.Option(
        "--point", metavar="POINT", help="One point, as axis=value,axis=value; repeatable.")] = None,
    describe: Annotated[list[str] | None, typer.Option(
        "--describe", metavar="AXIS.NAME=NUMBER", help="A number of --point's model or device that is on no axis, as "
        "gpu.bandwidth_gb_s=4800; repeatable.")] = None,
    json_file: JsonOption = None, quiet: QuietOption = False, seed: SeedOption = 0,
) -> None:
    """Write every grid point, measured or predicted, with 90 % intervals; or show some points."""
    from planner.space.text import point_json
    from planner.views.files import write_table
    from planner.views.terminal import frame_table

    subject = opened(study, storage, name, seed)
    table = subject.predict(point or None, numbers(describe, "--describe"))
    if describe and not point:
        raise StudyError("--describe: describes a value in --point; add --point axis=value,…")
    if not point and output is None and json_file is None:
        output = Path(re.sub(r"[^\w .()-]", "_", f"{subject.name}_predictions.csv"))  # a name is no path
    if output is not None:
        write_table(table, output)
    axes = [axis.name for axis in subject.grid.axes]
    write_json(json_file, [{**row, **point_json({axis: row[axis] for axis in axes})}
                           for row in table.to_dict(orient="records")])
    out = console(quiet)
    if point:
        out.print(frame_table(table))
    if output is not None:
        out.print(f"wrote {len(table):,} points to {output}", soft_wrap=True)


@app.command()
def evaluate(
    study: StudyArgument, storage: StorageOption = None, name: NameOption = None,
    truth: Annotated[Path | None, typer.Option(
        "--truth", metavar="TABLE", help="A measured grid to score against.")] = None,
    audit: Annotated[int | None, typer.Option(
        "--audit", metavar="N", min=1, help="Number of random points to measure now.")] = None,
    allow_other_fingerprint: Annotated[
        bool, typer.Option("--allow-other-fingerprint", help="Score against another machine's truth.")] = False,
    renames: Annotated[list[str] | None, typer.Option(
        "--map", metavar="NAME=COLUMN", help="Column or expression of an axis or a target in TABLE; repeatable.")]
    = None,
    ok: Annotated[str | None, typer.Option(
        "--ok", metavar="CONDITION", help="Condition of the table's successful rows.")] = None,
    where: Annotated[str | None, typer.Option(
        "--where", metavar="CONDITION", help="Only rows of the table that meet this condition.")] = None,
    json_file: JsonOption = None, quiet: QuietOption = False, seed: SeedOption = 0,
) -> None:
    """Score the predictions against a measured grid, or against random points measured now."""
    from planner.views.progress import AuditProgress
    from planner.views.terminal import evaluation_table

    if (truth is None) == (audit is None):
        raise StudyError("--truth: name a measured grid, or ask for --audit N; one of the two")
    subject, out = opened(study, storage, name, seed), console(quiet)
    if truth is not None:
        evaluation = subject.evaluate(truth, any_fingerprint=allow_other_fingerprint, renames=pairs(renames, "--map"),
                                      ok=ok, where=where)
    else:
        assert audit is not None
        evaluation = subject.audit(audit, observer=AuditProgress(out, audit))
    write_json(json_file, evaluation.to_json())
    say_notes(out, evaluation.notes)
    out.print(evaluation_table(evaluation))
