"""Plug-ins of other packages, found by entry point, so that the planner imports none of them by name.

All runners are found here, ours too. Our strategies and importers are listed in code; their groups are for other
packages. A plug-in is imported only when it is used, so that a broken one does no harm elsewhere.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from typing import Any, Final

from planner.space.executor import Executor
from planner.space.expressions import suggestion
from planner.space.types import Runner, StudyError

__all__ = ["EXECUTORS", "IMPORTERS", "RUNNERS", "STRATEGIES", "dashboard_installed", "executor_class", "load_plugin",
           "plugin_names", "plugin_package", "runner_class", "runner_kinds"]

RUNNERS: Final = "sweepwise.runners"
STRATEGIES: Final = "sweepwise.strategies"
IMPORTERS: Final = "sweepwise.importers"
EXECUTORS: Final = "sweepwise.executors"
_OURS: Final = "sweepwise"


def plugin_names(group: str) -> list[str]:
    """Names that installed packages register in the group, sorted. Nothing is imported."""
    return sorted({entry.name for entry in entry_points(group=group)})


def plugin_package(group: str, name: str) -> str:
    """The package that registers `name`, as messages call it."""
    entry = _entry(group, name)
    return _package(entry) if entry is not None else "an unknown package"


def load_plugin(group: str, name: str, key: str) -> Any:
    """The object that an installed package registers as `name`; None if no package does.

    Raises StudyError, which starts with `key` and names the package, if it cannot be imported.
    """
    entry = _entry(group, name)
    if entry is None:
        return None
    try:
        return entry.load()
    except Exception as error:  # another package's module may raise anything
        why = str(error) or type(error).__name__
        fix = "install what it needs" if isinstance(error, ImportError) else "update or uninstall that package"
        raise StudyError(f"{key}: '{name}' of {_package(entry)} cannot be loaded ({why}); {fix}") from error


def runner_kinds() -> list[str]:
    """The runner kinds that a study file may name."""
    return plugin_names(RUNNERS)


def runner_class(kind: str) -> type[Runner]:
    """The class behind `runner.kind`. Raises StudyError."""
    found: type[Runner] | None = load_plugin(RUNNERS, kind, "runner.kind")
    if found is None:
        raise StudyError(f"runner.kind: unknown runner '{kind}'{suggestion(kind, runner_kinds())}")
    return found


def executor_class(name: str) -> type[Executor]:
    """The class behind `--executor`. Raises StudyError."""
    found: type[Executor] | None = load_plugin(EXECUTORS, name, "--executor")
    if found is None:
        raise StudyError(f"--executor: unknown executor '{name}'{suggestion(name, plugin_names(EXECUTORS))}")
    return found


def _entry(group: str, name: str) -> EntryPoint | None:
    """The entry point called `name`: ours if there is one, else that of the first package in order of names."""
    found = entry_points(group=group, name=name)
    return min(found, key=lambda entry: (_name(entry) != _OURS, _name(entry)), default=None)


def _name(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else ""


def _package(entry: EntryPoint) -> str:
    return f"the package {_name(entry)}" if _name(entry) else "an unknown package"


def dashboard_installed() -> bool:
    """Whether the extra `dashboard` is installed."""
    return find_spec("optuna_dashboard") is not None
