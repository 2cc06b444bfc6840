"""Runs that a model has not learned from yet: those under way, and those that ended after it was fitted.

A posterior covariance does not depend on the values that are measured, only on where. So a choice can count on these
runs before their values are known: what they will tell is not bought twice.

Prices are another matter. Of runs that began together the short ones end first, so that a cost model has learned from
short runs only, and takes the others for much cheaper than they are.

Notation: n rows of a covariance; k readings.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy import linalg

from planner.acquisition.settings import CAUTION
from planner.ledger.observations import Observations
from planner.models.cost import CostModel
from planner.models.grid_model import GridModel
from planner.models.settings import TINY
from planner.space.grid import Grid
from planner.space.types import FloatArray, IntArray, Status

__all__ = ["executed", "given_readings", "of_known_price", "prices", "rows_underway"]


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
    rows = list(readings)
    if not rows:
        return covariance
    # All at once: 256 readings one after the other take 30 times as long.
    among = covariance[np.ix_(rows, rows)] + (noise**2 + TINY) * np.eye(len(rows))
    gain: FloatArray = linalg.solve(among, covariance[rows], assume_a="pos")
    given: FloatArray = covariance - covariance[:, rows] @ gain
    return given


def prices(cost: CostModel, rows: IntArray, observations: Observations) -> FloatArray:
    """Accelerator-seconds of a run at each of `rows`, (n,): expected ones; while others measure, the upper end."""
    return cost.high_price(rows, CAUTION) if observations.underway else cost.price(rows)


def of_known_price(rows: IntArray, observations: Observations) -> IntArray:
    """While others measure, those of `rows` whose every category has a run that has ended; all if there is none."""
    if not observations.underway:
        return rows
    told = np.ones(len(rows), dtype=bool)
    for column in observations.grid.features.category.T:
        told &= np.isin(column[rows], column[observations.known])
    return rows[told] if told.any() else rows
