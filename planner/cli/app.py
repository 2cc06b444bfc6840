"""The application object, and the options that commands share."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from typer.core import TyperGroup

from planner.space.address import command_without_passwords, hidden, password_help
from planner.space.text import printable
from planner.space.types import StudyError
from planner.views.console import SafeConsole

if TYPE_CHECKING:
    from rich.console import Console

    from planner.study import Study

__all__ = ["JsonOption", "NameOption", "QuietOption", "SeedOption", "StorageOption", "StudyArgument", "app",
           "complain", "console", "numbers", "opened", "pairs", "resume_hint", "say_notes", "writable", "write_json"]

# As a study goes: begin, look, measure, ask, decide, show, exchange, try.
_ORDER: Final = ("init", "validate", "doctor", "plan", "run", "status", "discard", "predict", "evaluate", "recommend",
                 "capacity", "idealize", "compare", "report", "dashboard", "import", "export", "simulate")


class _Verbs(TyperGroup):
    """The verbs in the order of their use, each with its whole first sentence."""

    def list_commands(self, ctx: Any) -> list[str]:
        known = list(self.commands)
        return [verb for verb in _ORDER if verb in known] + [verb for verb in known if verb not in _ORDER]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Click would cut each line where the terminal ends."""
        with formatter.section("Commands"):
            formatter.write_dl([(verb, _sentence(self.commands[verb].help)) for verb in self.list_commands(ctx)])


def _sentence(text: str | None) -> str:
    return " ".join((text or "").split("\n\n")[0].split()).split(". ")[0].rstrip(".")


app = typer.Typer(
    cls=_Verbs, name="sweepwise", no_args_is_help=True, add_completion=False, rich_markup_mode=None,
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
    str | None, typer.Option(
        "--storage", metavar="URL", help="Optuna storage in place of the study file's.", show_default=False)]
NameOption = Annotated[
    str | None, typer.Option(
        "--name", metavar="NAME", help="Study name in place of the study file's.", show_default=False)]
JsonOption = Annotated[
    Path | None, typer.Option(
        "--json", metavar="FILE", help="Write the result to this file too, as JSON.", show_default=False,
                              callback=writable("--json"))]
PriorOption = Annotated[
    list[str] | None, typer.Option(
        "--prior", metavar="FILE", show_default=False, help=(
            "Start from what this old study file or result table says; kept with the study. Repeatable."))]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
SeedOption = Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Seed of everything random.")]


def opened(
    path: Path, storage: str | None = None, name: str | None = None, seed: int = 0, priors: Iterable[str] | None = None
) -> Study:
    """The study. Nothing of it is imported before it is asked for: help must be there at once. Raises StudyError."""
    from planner.study import open_study

    return open_study(path, storage=storage, name=name, seed=seed, priors=priors or ())


def console(quiet: bool = False) -> Console:
    """Where answers go: standard output, or nowhere."""
    return SafeConsole(quiet)


def complain(text: str) -> None:
    """Print an error. It may quote other programs: their terminal codes, and passwords of addresses, are taken out."""
    given = [part for argument in sys.argv[1:] for part in (argument, argument.partition("=")[2]) if "://" in part]
    print(f"sweepwise: {printable(hidden(text, *given))}", file=sys.stderr)


def resume_hint() -> str:
    """The command to go on with after an interruption."""
    arguments = ["sweepwise", *sys.argv[1:]]
    return f"resume with: {command_without_passwords(arguments)}{password_help(arguments)}"


def say_notes(out: Console, notes: Iterable[str]) -> None:
    """Print what the user should know of a table, one line each."""
    for note in notes:
        out.print(f"note: {note}", soft_wrap=True)


def pairs(texts: list[str] | None, option: str) -> dict[str, str]:
    """The pairs of a repeatable option: the text before the first '=' and the text after it. Raises StudyError."""
    found = {}
    for text in texts or []:
        name, equals, value = text.partition("=")
        if not (equals and name.strip() and value.strip()):
            raise StudyError(f"{option}: cannot read '{text}'; write it like name=value")
        found[name.strip()] = value.strip()
    return found


def numbers(texts: list[str] | None, option: str) -> dict[str, float]:
    """The pairs of a repeatable option whose values are numbers above 0. Raises StudyError."""
    found = {}
    for name, text in pairs(texts, option).items():
        try:
            found[name] = float(text)
        except ValueError:
            found[name] = math.nan
        if not 0 < found[name] < math.inf:
            raise StudyError(f"{option}: '{text}' is no number above 0; write it like {name}=4800")
    return found


def write_json(path: Path | None, data: Any) -> None:
    """Write `data` to `path`, where one is given; NaN becomes null. Raises StudyError."""
    if path is None:
        return
    from planner.space.text import as_json

    try:
        path.write_text(json.dumps(as_json(data), indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise StudyError(f"--json: cannot write {path} ({error.strerror}); give another path") from error
