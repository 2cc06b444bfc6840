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

    Of several axes with such values, the first.
    """
    if not any(run.imported for run in observations.runs):
        return ()
    imported = _imported_points(observations)
    found = (_of_axis(axis, place, imported, observations) for place, axis in enumerate(observations.grid.axes)
             if axis.scale is Scale.CATEGORY and len(axis.values) > 1)
    return next(filter(None, found), ())


def without_axis(grid: Grid, name: str) -> tuple[Grid, IntArray]:
    """The grid without one of its axes, and the row there of each point, (N,)."""
    others = [place for place, axis in enumerate(grid.axes) if axis.name != name]
    codes, rows = np.unique(grid.codes[:, others], axis=0, return_inverse=True)
    return Grid(tuple(grid.axes[place] for place in others), codes), rows.reshape(-1).astype(np.int64)


def _of_axis(axis: Axis, place: int, imported: BoolArray, observations: Observations) -> tuple[ImportedValue, ...]:
    codes, here = observations.grid.codes[:, place], observations.measured & ~imported
    elsewhere, own = (np.bincount(codes[points], minlength=len(axis.values)) for points in (imported, here))
    is_prior = elsewhere > own
    if not own[~is_prior].any() or elsewhere[is_prior].sum() < IMPORTED_LEAST_SHARE * elsewhere.sum():
        return ()
    return tuple(ImportedValue(f"{axis.name}={axis.values[code]} (imported)", axis.name, codes == code,
                               int(elsewhere[code])) for code in np.flatnonzero(is_prior))


def _imported_points(observations: Observations) -> BoolArray:
    """Which points an imported run measured, (N,)."""
    imported = np.zeros(len(observations.grid), dtype=bool)
    for run in observations.runs:
        for reading in run.measurement.readings if run.imported else ():
            row = observations.grid.find(reading.point)
            if row is not None:
                imported[row] = observations.measured[row]
    return imported
