"""Finds runners by entry point, so that the planner imports none."""

from __future__ import annotations

from importlib.metadata import entry_points

from planner.space.expressions import suggestion
from planner.space.types import Runner, StudyError

__all__ = ["runner_class", "runner_kinds"]

_GROUP = "sweepwise.runners"


def runner_kinds() -> list[str]:
    """The kinds that a study file may name."""
    return sorted(entry.name for entry in entry_points(group=_GROUP))


def runner_class(kind: str) -> type[Runner]:
    """The class behind `runner.kind`. Raises StudyError."""
    for entry in entry_points(group=_GROUP, name=kind):
        try:
            loaded: type[Runner] = entry.load()
        except ImportError as error:
            raise StudyError(f"runner.kind: '{kind}' cannot be loaded ({error}); install what it needs") from error
        return loaded
    raise StudyError(f"runner.kind: unknown runner '{kind}'{suggestion(kind, runner_kinds())}")
