"""What most verbs begin with: the study file read, its record, and what the record makes us believe."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from planner.space.types import Status, StudyError

if TYPE_CHECKING:
    from planner.acquisition.strategy import Belief
    from planner.ledger.observations import Observations
    from planner.study import Study

__all__ = ["believed", "opened", "read_study"]


def read_study(path: Path, storage: str | None = None, name: str | None = None, seed: int = 0) -> Study:
    """The study file, read and checked. Nothing of it is imported before it is asked for: help must be there at once.

    Raises StudyError.
    """
    from planner.study import open_study

    return open_study(path, storage, name, seed)


def opened(path: Path, storage: str | None, name: str | None, seed: int) -> tuple[Study, Observations, Belief]:
    """The study, what it has measured, and the belief about its targets. Raises StudyError."""
    study = read_study(path, storage, name, seed)
    return study, *believed(study, path)


def believed(study: Study, path: Path, also: Iterable[str] = ()) -> tuple[Observations, Belief]:
    """What the study in `path` has measured, and the belief about its targets and about the metrics in `also`.

    Raises StudyError where nothing is measured yet, or where no run gave a metric of `also`.
    """
    from planner.ledger.observations import Observations
    from planner.space.expressions import suggestion

    seen = study.ledger().observations(study.grid)
    if not seen.measured.any():
        raise StudyError(f"study '{study.name}': {_nothing(seen, path)}")
    for metric in also:
        if metric not in seen.metrics:
            raise StudyError(f"study '{study.name}': no run gave '{metric}'{suggestion(metric, seen.metrics)}")
    wanted = tuple(dict.fromkeys((*study.targets, *also)))
    if wanted != seen.targets:
        seen = Observations(study.grid, wanted, seen.runs)
    return seen, study.believe(seen)


def _nothing(seen: Observations, path: Path) -> str:
    """Why there is nothing to answer from, and what to do."""
    failed = [run.measurement for run in seen.runs if run.measurement.status is Status.FAILED]
    if not failed:
        return f"has measured nothing yet; `sweepwise run {path}` first"
    return (f"none of its {len(seen.runs)} runs succeeded; the last said: {failed[-1].reason or 'nothing'}; mend that, "
            f"then `sweepwise run {path} --name NEW` begins afresh")
