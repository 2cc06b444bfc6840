"""Values of a category axis that were measured elsewhere: another device's runs, imported into a study.

Such runs tell of the other values what an old study would. One surface over all values takes them for evidence of
those too, and is too sure where only the imported device was measured: large batches, long sequences. So a value most
of whose points were imported is learned apart, and is a prior of the others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.ledger.observations import Observations
from planner.models.settings import IMPORTED_LEAST_SHARE
from planner.space.grid import Grid
from planner.space.types import Axis, BoolArray, IntArray, Scale

__all__ = ["ImportedValue", "imported_values", "without_axis"]


@dataclass(frozen=True, eq=False)
class ImportedValue:
    """One value of a category axis. name: for messages. axis: the axis's name. inside: its points, (N,). points: how
    many of them were imported."""

    name: str
    axis: str
    inside: BoolArray
    points: int


def imported_values(observations: Observations) -> tuple[ImportedValue, ...]:
    """The values of one axis that are priors of its other values: nearly all imported points have them, and the study
    has measured others. None without imported runs, and where these are spread over all values.

    Of several axes with such values, the one where the study has measured fewest of their points.
    """
    is_imported = np.array([run.imported for run in observations.runs], dtype=bool)
    if not is_imported.any():
        return ()
    imported = observations.measured & is_imported[observations.run_of]
    here = observations.measured & ~imported
    found = [_of_axis(axis, observations.grid.codes[:, place], imported, here)
             for place, axis in enumerate(observations.grid.axes) if axis.scale is Scale.CATEGORY]
    return min(filter(None, found), key=lambda values: sum(here[value.inside].sum() for value in values), default=())


def without_axis(grid: Grid, name: str) -> tuple[Grid, IntArray]:
    """The grid without one of its axes, and the row there of each point, (N,)."""
    others = [place for place, axis in enumerate(grid.axes) if axis.name != name]
    codes, rows = np.unique(grid.codes[:, others], axis=0, return_inverse=True)
    return Grid(tuple(grid.axes[place] for place in others), codes), rows.reshape(-1).astype(np.int64)


def _of_axis(axis: Axis, codes: IntArray, imported: BoolArray, here: BoolArray) -> tuple[ImportedValue, ...]:
    """The values of an axis that are priors of its others. codes: of each point, (N,). imported, here: which points
    were measured elsewhere and by the study, (N,)."""
    elsewhere, own = (np.bincount(codes[points], minlength=len(axis.values)) for points in (imported, here))
    is_prior = elsewhere > own
    if not own[~is_prior].any() or elsewhere[is_prior].sum() < IMPORTED_LEAST_SHARE * elsewhere.sum():
        return ()
    return tuple(ImportedValue(f"{axis.name}={axis.values[code]} (imported)", axis.name, codes == code,
                               int(elsewhere[code])) for code in np.flatnonzero(is_prior))
