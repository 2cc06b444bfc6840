"""The application object, and the options that commands share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from planner.space.types import StudyError

__all__ = ["JsonOption", "NameOption", "QuietOption", "SeedOption", "StorageOption", "StudyArgument", "app", "console",
           "write_json"]

app = typer.Typer(
    name="sweepwise", no_args_is_help=True, add_completion=False, rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Measure the few benchmark points that tell most, predict the rest, and be honest about it.",
)

StudyArgument = Annotated[Path, typer.Argument(metavar="STUDY", help="The study file (YAML).", show_default=False)]
StorageOption = Annotated[
    str | None, typer.Option("--storage", help="Optuna storage in place of the study file's.", show_default=False)]
NameOption = Annotated[
    str | None, typer.Option("--name", help="Study name in place of the study file's.", show_default=False)]
JsonOption = Annotated[
    Path | None, typer.Option("--json", help="Write the result to this file too, as JSON.", show_default=False)]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
SeedOption = Annotated[int, typer.Option("--seed", help="Seed of everything random.")]


def console(quiet: bool = False) -> Console:
    """Where answers go: standard output, or nowhere."""
    return Console(quiet=quiet, highlight=False)


def write_json(path: Path | None, data: Any) -> None:
    """Write `data` to `path`, where one is given; NaN becomes null. Raises StudyError."""
    if path is None:
        return
    from planner.reporting.terminal import as_json

    try:
        path.write_text(json.dumps(as_json(data), indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise StudyError(f"--json: cannot write {path} ({error.strerror}); give another path") from error
