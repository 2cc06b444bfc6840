"""The priors of a study: old points placed beside its own, and the old surface learned.

An axis that only the new study has, or that `set` names, is left out: the old surface is the same for all its values,
and the new study learns how they differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from planner.campaign.prior_sources import OldStudy, Receiver, old_study, old_table, rows_of, unique_points
from planner.ledger.archive import archived_studies
from planner.ledger.ledger import Ledger
from planner.ledger.observations import Observations
from planner.models.learned_prior import learn_prior
from planner.models.prior import Prior
from planner.space.grid import Grid, grid_of_rows
from planner.space.prior_spec import PriorSpec
from planner.space.types import IntArray, Metric, Runner, RunnerError, StudyError

__all__ = ["Opener", "learn_priors"]


class OldSetup(Protocol):
    """What is needed of an old study."""

    @property
    def storage(self) -> str:
        """Where its record is."""
        ...

    @property
    def name(self) -> str:
        """Its name there."""
        ...

    @property
    def grid(self) -> Grid:
        """Its points."""
        ...

    @property
    def runner(self) -> Runner:
        """Its runner. Raises StudyError or RunnerError if it cannot be built here."""
        ...

    def ledger(self) -> Ledger:
        """Its record. Raises StudyError if there is none."""
        ...


class Opener(Protocol):
    """Opens the study of a study file, or of the text of one, as `planner.campaign.setup.open_setup` does."""

    def __call__(self, path: Path, storage: str | None = None, name: str | None = None, *, text: str | None = None
                 ) -> OldSetup:
        """Raises StudyError."""
        ...


@dataclass(frozen=True, eq=False)
class _Place:
    """Where entries are read: the directory of the study file, how studies are opened, the storage and name of the
    study itself, which is no prior."""

    directory: Path
    opener: Opener
    own: tuple[str, str]

    def is_own(self, storage: str, name: str) -> bool:
        """Whether this is the study itself."""
        return (_file_of(storage), name) == (_file_of(self.own[0]), self.own[1])


def learn_priors(
    entries: Sequence[PriorSpec], grid: Grid, metrics: tuple[Metric, ...], directory: Path, opener: Opener,
    own: tuple[str, str],
) -> tuple[Prior, ...]:
    """The surfaces of the entries at every point of the grid, in their order. directory: of the study file. own:
    storage and name of the study itself, which is no prior. Raises StudyError that names the entry and the fix."""
    place = _Place(directory, opener, own)
    found: list[Prior] = []
    for i, entry in enumerate(entries):
        study = Receiver(grid, metrics, f"prior[{i}]")
        if entry.studies is not None:
            found += _archive(entry, study, place)
        else:
            found.append(_learn(entry, entry.label, _read(entry, study, place), study))
    return tuple(found)


def _read(entry: PriorSpec, study: Receiver, place: _Place) -> OldStudy:
    try:
        if entry.table is not None:
            return old_table(entry, rows_of(entry, place.directory / entry.table), study)
        old = place.opener(place.directory / str(entry.study), entry.storage, entry.name)
        if place.is_own(old.storage, old.name):
            raise StudyError(f"{study.key}: {entry.study} is this study itself, whose runs would count twice; name an "
                             "old study, or begin a new one by --name")
        return _of_setup(entry, old, study)
    except StudyError as error:
        raise error if str(error).startswith(study.key) else StudyError(f"{study.key}: {error}") from None


def _of_setup(entry: PriorSpec, old: OldSetup, study: Receiver) -> OldStudy:
    runs = old.ledger().observations(old.grid).runs
    try:
        trajectory = old.runner.trajectory_axis
    except (StudyError, RunnerError):  # a runner that cannot be built here: its runs are good all the same
        trajectory = None
    return old_study(entry, old.grid, runs, trajectory, study)


def _archive(entry: PriorSpec, study: Receiver, place: _Place) -> list[Prior]:
    """Every study of the databases that fits; what each other one lacks is a note on the first that does."""
    files = sorted(place.directory.glob(str(entry.studies)))
    if not files:
        raise StudyError(f"{study.key}: no file matches {entry.studies}; name databases such as '*.db'")
    found, left_out = [], []
    for file in files:
        try:
            archived = archived_studies(file)
        except StudyError as error:
            left_out.append(f"{file.name}: {error}")
            continue
        for one in archived:
            label = f"{file.name}: {one.name}"
            if place.is_own(str(file), one.name):
                continue
            try:
                old = place.opener(file, one.storage, one.name, text=one.text)
                found.append(_learn(entry, label, _of_setup(entry, old, study), study))
            except StudyError as error:
                left_out.append(f"{label} is left out: {str(error).removeprefix(f'{study.key}: ')}")
    if not found:
        raise StudyError(left_out[0] if left_out else f"{study.key}: {entry.studies} holds no other study; name "
                         "databases of earlier ones")
    return [replace(found[0], notes=(*found[0].notes, *left_out)), *found[1:]]


def _file_of(storage: str) -> str:
    return str(Path(storage.removeprefix("sqlite:///")).resolve())


def _learn(entry: PriorSpec, label: str, old: OldStudy, study: Receiver) -> Prior:
    if not old.axes:
        raise StudyError(f"{study.key}: {label} has no axis of this study; name its axes by `map`, as in "
                         f"`map: {{{study.grid.axes[0].name}: its name}}`")
    joint, rows = _joint_grid(old, study.grid)
    observations = Observations(joint, study.metrics, old.runs)
    if not any(np.isfinite(observations.column(name)).any() for name in observations.targets):
        raise StudyError(f"{study.key}: {label} measured none of {', '.join(observations.targets)}; name its "
                         f"metric by `map`, as in `map: {{{observations.targets[0]}: its name}}`")
    shared = {axis.name for axis in old.axes}
    alone = [f"{label}: says the same for every {axis.name}, which it does not have" for axis in study.grid.axes
             if axis.name not in shared and axis.name not in entry.set and len(axis.values) > 1]
    prior = learn_prior(label, observations, old.trajectory, rows, [*old.notes, *alone])
    if not prior.quantities:
        raise StudyError(f"{study.key}: {label} ran none of this study's categories; leave an axis out by `set`, as in "
                         f"`set: {{{old.axes[0].name}: its value there}}`, or delete the entry")
    return prior


def _joint_grid(old: OldStudy, grid: Grid) -> tuple[Grid, IntArray]:
    """The old points and the new ones on the shared axes, and the row there of each new point, (N,)."""
    names = [axis.name for axis in old.axes]
    new = [{name: point[name] for name in names} for point in map(grid.point, range(len(grid)))]
    before = [dict(reading.point) for run in old.runs for reading in run.measurement.readings]
    joint = grid_of_rows(old.axes, unique_points([*new, *before]), [])
    return joint, np.array([joint.find(point) for point in new], dtype=np.int64)
