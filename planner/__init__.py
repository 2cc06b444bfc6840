"""sweepwise: plans LLM-inference benchmarks.

::

    import planner

    study = planner.open_study("study.yaml")
    result = study.run()

`import planner` loads nothing heavy: what a name needs is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from planner.analysis.installed import Installed, installed
    from planner.space.schema import study_schema
    from planner.space.templates import study_template
    from planner.space.types import RecordError, RunnerError, StudyError
    from planner.study import Study, open_study

__all__ = ["Installed", "RecordError", "RunnerError", "Study", "StudyError", "installed", "open_study", "study_schema",
           "study_template"]


def __getattr__(name: str) -> Any:
    """One of `__all__`, imported now. Raises AttributeError."""
    found: dict[str, Any] = {}
    if name in {"Study", "open_study"}:
        from planner.study import Study, open_study

        found = {"Study": Study, "open_study": open_study}
    elif name in {"RecordError", "RunnerError", "StudyError"}:
        from planner.space.types import RecordError, RunnerError, StudyError

        found = {"RecordError": RecordError, "RunnerError": RunnerError, "StudyError": StudyError}
    elif name in {"Installed", "installed"}:
        from planner.analysis.installed import Installed, installed

        found = {"Installed": Installed, "installed": installed}
    elif name == "study_schema":
        from planner.space.schema import study_schema

        found = {name: study_schema}
    elif name == "study_template":
        from planner.space.templates import study_template

        found = {name: study_template}
    if name not in found:
        raise AttributeError(f"module 'planner' has no attribute '{name}'")
    return found[name]


def __dir__() -> list[str]:
    return __all__
