"""The priors of a study: old points placed beside its own, and the old surface learned.

An axis that only the new study has, or that `set` names, is left out: the old surface is the same for all its values,
and the new study learns how they differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from planner.campaign.prior_sources import OldStudy, Receiver, old_study, old_table, rows_of, unique_points
from planner.ledger.observations import Observations
from planner.models.learned_prior import learn_prior
from planner.models.prior import Prior
from planner.space.grid import Grid, grid_of_rows
from planner.space.prior_spec import PriorSpec
from planner.space.types import IntArray, Metric, StudyError

__all__ = ["learn_priors"]


def learn_priors(
    entries: Sequence[PriorSpec], grid: Grid, metrics: tuple[Metric, ...], directory: Path
) -> tuple[Prior, ...]:
    """The surfaces of the entries at every point of the grid, in their order. directory: of the study file. Raises
    StudyError that names the entry and the fix."""
    return tuple(_learn(entry, Receiver(grid, metrics, f"prior[{i}]"), directory) for i, entry in enumerate(entries))


def _learn(entry: PriorSpec, study: Receiver, directory: Path) -> Prior:
    old = _read(entry, study, directory)
    if not old.axes:
        raise StudyError(f"{study.key}: {entry.label} has no axis of this study; name its axes by `map`, as in "
                         f"`map: {{{study.grid.axes[0].name}: its name}}`")
    joint, rows = _joint_grid(old, study.grid)
    observations = Observations(joint, study.metrics, old.runs)
    if not any(np.isfinite(observations.column(name)).any() for name in observations.targets):
        raise StudyError(f"{study.key}: {entry.label} measured none of {', '.join(observations.targets)}; name its "
                         f"metric by `map`, as in `map: {{{observations.targets[0]}: its name}}`")
    shared = {axis.name for axis in old.axes}
    alone = [f"{entry.label}: says the same for every {axis.name}, which it does not have" for axis in study.grid.axes
             if axis.name not in shared and len(axis.values) > 1]
    return learn_prior(entry.label, observations, old.trajectory, rows, [*old.notes, *alone])


def _read(entry: PriorSpec, study: Receiver, directory: Path) -> OldStudy:
    from planner.campaign.setup import open_setup

    try:
        if entry.table is not None:
            return old_table(entry, rows_of(entry, directory / entry.table), study)
        old = open_setup(directory / str(entry.study), entry.storage, entry.name)
        runs = old.ledger().observations(old.grid).runs
    except StudyError as error:
        raise error if str(error).startswith(study.key) else StudyError(f"{study.key}: {error}") from None
    return old_study(entry, old.grid, runs, old.runner.trajectory_axis, study)


def _joint_grid(old: OldStudy, grid: Grid) -> tuple[Grid, IntArray]:
    """The old points and the new ones on the shared axes, and the row there of each new point, (N,)."""
    names = [axis.name for axis in old.axes]
    new = [{name: point[name] for name in names} for point in map(grid.point, range(len(grid)))]
    before = [dict(reading.point) for run in old.runs for reading in run.measurement.readings]
    joint = grid_of_rows(old.axes, unique_points([*new, *before]), [])
    return joint, np.array([joint.find(point) for point in new], dtype=np.int64)
