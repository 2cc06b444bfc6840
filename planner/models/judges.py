"""Which runs judge the predictions: those that are like what is left to predict.

A run on a device that is measured throughout says nothing of how well another device is predicted, and an imported run
was made elsewhere. Both are evidence for the model. What is claimed of the points left is judged by runs like them.
"""

from __future__ import annotations

import numpy as np

from planner.ledger.observations import Observations
from planner.models.calibration import Forecasts
from planner.models.settings import JUDGES_LEAST_SHARE
from planner.space.types import BoolArray, IntArray, Scale

__all__ = ["judged", "made_here"]


def made_here(observations: Observations) -> BoolArray:
    """Which runs the study made itself, (R,); all of them where every run was imported."""
    imported = np.array([run.imported for run in observations.runs], dtype=bool)
    here: BoolArray = ~imported | imported.all()
    return here


def judged(forecasts: Forecasts, observations: Observations) -> Forecasts:
    """The forecasts of the runs that judge.

    An imported run judges only while the study has no run of its own; a run in a category of which little is left, in
    proportion, does not.
    """
    runs, of_run = np.unique(forecasts.runs, return_inverse=True)
    kept = _like_what_is_left(runs, made_here(observations)[runs], observations)[of_run]
    return Forecasts(*(getattr(forecasts, name)[kept] for name in ("ape", "expected", "z", "runs")))


def _like_what_is_left(runs: IntArray, own: BoolArray, observations: Observations) -> BoolArray:
    """Which of the forecast `runs` judge, (R,), of the `own` ones."""
    grid, left = observations.grid, ~observations.known
    rows = np.array([-1 if row is None else row for row in (grid.find(observations.runs[run].point) for run in runs)],
                    dtype=np.int64)
    judges, inside = own.copy(), own & (rows >= 0)
    if not left.any() or not inside.any():
        return judges
    for place, axis in enumerate(grid.axes):
        if axis.scale is Scale.CATEGORY and len(axis.values) > 1:
            codes = grid.codes[:, place]
            share_left = np.bincount(codes[left], minlength=len(axis.values)) / left.sum()
            share_run = np.bincount(codes[rows[inside]], minlength=len(axis.values)) / inside.sum()
            done = share_left < JUDGES_LEAST_SHARE * share_run
            judges[inside] &= ~done[codes[rows[inside]]]
    return judges if judges.any() else own
