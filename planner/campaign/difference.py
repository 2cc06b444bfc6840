"""A study that is measured until it is known where it differs from an old one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from planner.campaign.observers import Observer
from planner.campaign.run import RunResult, run
from planner.campaign.settings import DEFAULT_DIFFERENCE
from planner.campaign.setup import StudySetup
from planner.evaluation.change import Change, change_models, change_of
from planner.models.feasibility import probability_of_feasibility
from planner.space.prior_spec import prior_of_file
from planner.space.types import StudyError

__all__ = ["MeasuredDifference", "asked", "measure_difference"]


@dataclass(frozen=True, eq=False)
class MeasuredDifference:
    """What a campaign that asks for a difference gave. change: None if no run succeeded."""

    prior: str
    result: RunResult
    change: Change | None


def asked(study: StudySetup, prior: Path | None, amount: float | None, confidence: float | None) -> StudySetup:
    """The study that asks where it differs. prior: a study file or a table, in place of those of the study file.
    amount, confidence: as `stop.difference` and `stop.confidence`, which they replace. Raises StudyError."""
    if prior is not None:  # first, so that it is what is compared with; and kept with the study
        entry = prior_of_file(str(prior), study.directory)
        study = replace(study, spec=study.spec.model_copy(update={"prior": [entry]}),
                        more_priors=(*study.more_priors, entry))
    elif not study.priors:
        raise StudyError("compare: with what? name a second study, or the old one by --prior")
    stop = study.spec.stop
    update = {"difference": amount or stop.difference or DEFAULT_DIFFERENCE, "accuracy": None, "boundary": None,
              "decision": None, "shortlist": 1, "confidence": confidence or stop.difference_confidence}
    new = stop.model_copy(update=update)
    return replace(study, spec=study.spec.model_copy(update={"stop": new}))


def measure_difference(
    study: StudySetup, observer: Observer | None = None, stop_requested: Callable[[], bool] = lambda: False
) -> MeasuredDifference:
    """The answer, after the study has been measured until it is known, or a limit is reached. study: one that is
    `asked`. Raises as `run` does."""
    question = study.difference
    assert question is not None
    found = run(study, "sweepwise", observer, stop_requested)
    seen = found.observations
    models = change_models(study.priors, seen, study.runner.trajectory_axis, question)
    change = change_of(models, seen, question, probability_of_feasibility(study.grid, seen)) if models else None
    return MeasuredDifference(study.priors[0].name, found, change)
