"""Runs that a model has not learned from yet: those under way, and those that ended after it was fitted.

A posterior covariance does not depend on the values that are measured, only on where. So a choice can count on these
runs before their values are known: what they will tell is not bought twice.

Notation: n rows of a covariance; k readings.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from planner.ledger.observations import Observations
from planner.models.grid_model import GridModel
from planner.models.settings import TINY
from planner.space.grid import Grid
from planner.space.types import FloatArray, IntArray, Status

__all__ = ["executed", "given_readings", "rows_underway"]


def rows_underway(model: GridModel, observations: Observations) -> IntArray:
    """The points that the runs execute which `model` was not fitted to, (k,) rows: those that have succeeded since its
    fit, in order, then those that are pending, ascending."""
    since = [observations.grid.find(run.point) for run in observations.runs[model.fitted_runs_:]
             if run.measurement.status is Status.OK]
    return np.array([*(row for row in since if row is not None),
                     *executed(observations.grid, model.trajectory, observations.pending)], dtype=np.int64)


def executed(grid: Grid, trajectory: str | None, pending: Iterable[int]) -> list[int]:
    """The pending rows that a run executes, ascending: along a trajectory the longest of each line.

    The shorter rows are readings of the same run, and share its noise. A batch counts on the executed point of each of
    its runs alone; counting on every reading as on a run of its own would expect too much of pending runs.
    """
    rows = sorted(pending)
    if trajectory is None:
        return rows
    shorter = {int(other) for row in rows for other in grid.shorter(trajectory, row)}
    return [row for row in rows if row not in shorter]


def given_readings(covariance: FloatArray, readings: Iterable[int], noise: float) -> FloatArray:
    """The covariance, (n, m) with m ≥ n, after a noisy reading at each of some rows; itself where there are none.

    covariance: its first n columns are its rows. noise: standard deviation of one reading.
    """
    for c in readings:
        column = covariance[:, c]
        noisy = max(float(column[c]), 0.0) + noise**2 + TINY
        covariance = covariance - np.outer(column / noisy, covariance[c])
    return covariance
