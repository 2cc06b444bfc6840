"""The command `sweepwise`: arguments and exit codes only; each verb calls the Python API and shows what it returns."""

from __future__ import annotations

import sys
import traceback
from typing import Any, Final

import typer

# Importing a file of verbs registers them.
import planner.cli.answers
import planner.cli.campaign
import planner.cli.compare
import planner.cli.dashboard
import planner.cli.decisions
import planner.cli.exchange
import planner.cli.files
import planner.cli.report
import planner.cli.simulations  # noqa: F401
from planner.cli.app import app, complain
from planner.space.types import RecordError, RunnerError, StudyError

__all__ = ["app", "main"]

# Click's, or that of the Click which newer versions of Typer carry inside.
_UsageError: Final[type[Exception]] = typer.BadParameter.__mro__[1]


def main() -> None:
    """Run the command line. Exit codes: 0 done, 1 failed, 2 bad input, 130 interrupted."""
    try:
        sys.exit(app(sys.argv[1:] or ["--help"], standalone_mode=False))
    except _UsageError as error:
        sys.exit(_misused(error))
    except StudyError as error:
        complain(str(error))
        sys.exit(2)
    except (RecordError, RunnerError) as error:
        complain(str(error))
        sys.exit(1)
    except BrokenPipeError:
        sys.exit(1)
    except (KeyboardInterrupt, typer.Abort):
        complain("interrupted")
        sys.exit(130)
    except Exception:  # a fault of ours: its traceback is shown, but may quote a database's address
        complain(f"failed; please report this\n{traceback.format_exc().rstrip()}")
        sys.exit(1)


def _misused(error: Any) -> int:
    """Say in one line which argument or option is wrong, where Click would say it in four."""
    said = " ".join(error.format_message().split()).rstrip(".")
    command = error.ctx.command_path if error.ctx else "sweepwise"
    complain(f"{said}; see `{command} --help`")
    return 2
