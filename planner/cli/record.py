"""What most verbs begin with: the study file read, its record, and what the record makes us believe."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from planner.space.types import Status, StudyError

if TYPE_CHECKING:
    from planner.campaign.setup import StudySetup
    from planner.ledger.observations import Observations
    from planner.strategies.strategy import Posterior

__all__ = ["load_posterior", "opened", "read_study"]


def read_study(path: Path, storage: str | None = None, name: str | None = None, seed: int = 0) -> StudySetup:
    """The study file, read and checked. Nothing of it is imported before it is asked for: help must be there at once.

    Raises StudyError.
    """
    from planner.campaign.setup import open_setup

    return open_setup(path, storage, name, seed)


def opened(path: Path, storage: str | None, name: str | None, seed: int) -> tuple[StudySetup, Observations, Posterior]:
    """The study, what it has measured, and the belief about its targets. Raises StudyError."""
    study = read_study(path, storage, name, seed)
    return study, *load_posterior(study, path)


def load_posterior(study: StudySetup, path: Path, also: Iterable[str] = ()) -> tuple[Observations, Posterior]:
    """What the study in `path` has measured, and the belief about its targets and about the metrics in `also`.

    Raises StudyError where nothing is measured yet, or where no run gave a metric of `also`.
    """
    from planner.space.expressions import suggestion

    observations = study.ledger().observations(study.grid)
    if not observations.measured.any():
        raise StudyError(f"study '{study.name}': {_nothing(observations, path)}")
    for metric in also:
        if metric not in observations.metrics:
            raise StudyError(f"study '{study.name}': no run gave '{metric}'{suggestion(metric, observations.metrics)}")
    wanted = tuple(dict.fromkeys((*study.targets, *also)))
    if wanted != observations.targets:
        observations = observations.with_targets(wanted)
    return observations, study.posterior(observations)


def _nothing(observations: Observations, path: Path) -> str:
    """Why there is nothing to answer from, and what to do."""
    failed = [run.measurement for run in observations.runs if run.measurement.status is Status.FAILED]
    if not failed:
        return f"has measured nothing yet; `sweepwise run {path}` first"
    return (f"none of its {len(observations.runs)} runs succeeded; the last said: {failed[-1].reason or 'nothing'}; "
            "mend that, "
            f"then `sweepwise run {path} --name NEW` begins afresh")
