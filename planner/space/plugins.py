"""What other packages bring, found by entry point, so that the planner imports none of them by name.

Runners are found here only, ours too. Strategies and importers of ours are in code; their groups are for guests.
Nothing of a package is imported before it is asked for: one that is broken is in nobody's way.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from planner.space.expressions import suggestion
from planner.space.types import Runner, StudyError

__all__ = ["IMPORTERS", "RUNNERS", "STRATEGIES", "load_plugin", "plugin_names", "plugin_package", "runner_class",
           "runner_kinds"]

RUNNERS: Final = "sweepwise.runners"
STRATEGIES: Final = "sweepwise.strategies"
IMPORTERS: Final = "sweepwise.importers"
_OURS: Final = "sweepwise"


def plugin_names(group: str) -> list[str]:
    """Names that installed packages bring to the group, sorted. Nothing is imported."""
    return sorted({entry.name for entry in entry_points(group=group)})


def plugin_package(group: str, name: str) -> str:
    """The package that brings `name`, as a message calls it."""
    entry = _entry(group, name)
    return _package(entry) if entry is not None else "an unknown package"


def load_plugin(group: str, name: str, key: str) -> Any:
    """What an installed package brings under `name`; None where none brings it.

    Raises StudyError, which opens with `key` and names the package, where it cannot be imported.
    """
    entry = _entry(group, name)
    if entry is None:
        return None
    try:
        return entry.load()
    except Exception as error:  # a module of somebody else's may raise anything at all
        why = str(error) or type(error).__name__
        mend = "install what it needs" if isinstance(error, ImportError) else "update or uninstall that package"
        raise StudyError(f"{key}: '{name}' of {_package(entry)} cannot be loaded ({why}); {mend}") from error


def runner_kinds() -> list[str]:
    """The kinds that a study file may name."""
    return plugin_names(RUNNERS)


def runner_class(kind: str) -> type[Runner]:
    """The class behind `runner.kind`. Raises StudyError."""
    found: type[Runner] | None = load_plugin(RUNNERS, kind, "runner.kind")
    if found is None:
        raise StudyError(f"runner.kind: unknown runner '{kind}'{suggestion(kind, runner_kinds())}")
    return found


def _entry(group: str, name: str) -> EntryPoint | None:
    """The entry point of that name: ours before a guest's, else the first package's by its name."""
    found = entry_points(group=group, name=name)
    return min(found, key=lambda entry: (_name(entry) != _OURS, _name(entry)), default=None)


def _name(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else ""


def _package(entry: EntryPoint) -> str:
    return f"the package {_name(entry)}" if _name(entry) else "an unknown package"
