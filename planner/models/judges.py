"""Which runs judge the predictions: those that are like what is left to predict.

A run on a device that is measured throughout says nothing of how well another device is predicted, and an imported run
was made elsewhere. Both are evidence for the model. What is claimed of the points left is judged by runs like them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from planner.ledger.observations import Observations
from planner.models.calibration import Forecasts
from planner.models.settings import JUDGED_TWICE
from planner.space.types import BoolArray, FloatArray, IntArray, Scale

__all__ = ["judged"]


def judged(forecasts: Forecasts, observations: Observations) -> Forecasts:
    """The forecasts of the runs that judge, each with its weight from above 0 to 1.

    An imported run judges only while the study has no run of its own. Runs in a category weigh less where their share
    of all forecast runs is much above the category's share of the points left.
    """
    runs, of_run = np.unique(forecasts.runs, return_inverse=True)
    made_here = np.array([not observations.runs[run].imported for run in runs], dtype=bool)
    if all(run.imported for run in observations.runs):
        made_here[:] = True
    weights = _representative(runs, made_here, observations)[of_run]
    kept = weights > 0
    parts = {name: getattr(forecasts, name)[kept] for name in ("ape", "expected", "z", "runs")}
    return replace(forecasts, **parts, weights=weights[kept])


def _representative(runs: IntArray, made_here: BoolArray, observations: Observations) -> FloatArray:
    """The weight of each of the forecast `runs`, (R,); 0 for those not made here."""
    weights = made_here.astype(np.float64)
    grid, left = observations.grid, ~observations.known
    rows = np.array([observations.grid.find(observations.runs[run].point) for run in runs], dtype=object)
    inside = np.array([row is not None for row in rows], dtype=bool) & made_here
    if not left.any() or not inside.any():
        return weights
    at = rows[inside].astype(np.int64)
    for place, axis in enumerate(grid.axes):
        if axis.scale is Scale.CATEGORY and len(axis.values) > 1:
            codes = grid.codes[:, place]
            share_left = np.bincount(codes[left], minlength=len(axis.values)) / left.sum()
            share_run = np.bincount(codes[at], minlength=len(axis.values)) / len(at)
            weights[inside] *= np.minimum(1.0, JUDGED_TWICE * share_left[codes[at]] / share_run[codes[at]])
    return weights
