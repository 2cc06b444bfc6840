"""The application object, and the options that commands share."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from planner.space.types import StudyError

__all__ = ["JsonOption", "NameOption", "QuietOption", "SeedOption", "StorageOption", "StudyArgument", "app", "console",
           "writable", "write_json"]

app = typer.Typer(
    name="sweepwise", no_args_is_help=True, add_completion=False, rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Measure the few benchmark points that tell most, predict the rest, and be honest about it.",
)


def writable(option: str) -> Callable[[Path | None], Path | None]:
    """A check of an option's path before anything runs: hours of measuring must not end at a wrong one."""

    def check(path: Path | None) -> Path | None:
        if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
            raise StudyError(f"{option}: cannot write {path}; name a file in a directory that exists")
        return path

    return check


StudyArgument = Annotated[Path, typer.Argument(metavar="STUDY", help="The study file (YAML).", show_default=False)]
StorageOption = Annotated[
    str | None, typer.Option("--storage", help="Optuna storage in place of the study file's.", show_default=False)]
NameOption = Annotated[
    str | None, typer.Option("--name", help="Study name in place of the study file's.", show_default=False)]
JsonOption = Annotated[
    Path | None, typer.Option("--json", help="Write the result to this file too, as JSON.", show_default=False,
                              callback=writable("--json"))]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Seed of everything random.")]


def console(quiet: bool = False) -> Console:
    """Where answers go: standard output, or nowhere. No markup: a benchmark's message may hold brackets."""
    return Console(quiet=quiet, highlight=False, markup=False)


def write_json(path: Path | None, data: Any) -> None:
    """Write `data` to `path`, where one is given; NaN becomes null. Raises StudyError."""
    if path is None:
        return
    from planner.reporting.terminal import as_json

    try:
        path.write_text(json.dumps(as_json(data), indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise StudyError(f"--json: cannot write {path} ({error.strerror}); give another path") from error
