"""The command `sweepwise`: a file a group of verbs; each verb only reads arguments, calls, and shows."""

from __future__ import annotations

import sys

# Importing a file of verbs registers them.
import planner.cli.answers
import planner.cli.campaign
import planner.cli.files
import planner.cli.simulations  # noqa: F401
from planner.cli.app import app
from planner.space.types import RunnerError, StudyError

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line. Exit codes: 0 done, 1 failed, 2 bad input, 130 interrupted."""
    try:
        app(standalone_mode=True)
    except StudyError as error:
        print(f"sweepwise: {error}", file=sys.stderr)
        sys.exit(2)
    except RunnerError as error:
        print(f"sweepwise: {error}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:
        sys.exit(1)
    except KeyboardInterrupt:
        print("sweepwise: interrupted", file=sys.stderr)
        sys.exit(130)
