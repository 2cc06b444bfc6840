"""Learning the surface of an old study, and reading it at the points of a new one.

Notation: N points of the new grid; U the grid that holds the old study's points and the new ones, without the axes that
only one of them has.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from planner.ledger.observations import Observations
from planner.models.cost import CostModel
from planner.models.grid_model import GridModel
from planner.models.prior import OldTarget, Prior
from planner.models.prior_regressor import PriorColumn
from planner.models.settings import TINY
from planner.space.grid import Grid
from planner.space.types import BoolArray, FloatArray, IntArray, Scale, Transform

__all__ = ["learn_prior"]


def learn_prior(
    name: str, observations: Observations, trajectory: str | None, rows: IntArray, notes: Sequence[str] = ()
) -> Prior:
    """What the old study says of the new grid.

    observations: of U, with at least one measured point. trajectory: the axis of U along which its runs measured, if
    any. rows: the row of U of each point of the new grid, (N,). A category that the old study never ran is unknown.
    """
    model = GridModel(observations.grid, trajectory).learn(observations)
    known = _known(observations, rows)
    quantities = {}
    for quantity, regressor in model.regressors_.items():
        mean, std = regressor.predict(rows)
        exact = np.sqrt(np.maximum(std**2 - regressor.noise_**2, TINY))
        if known.any():
            quantities[quantity] = _column(name, mean, exact, known)
    old = _old_targets(model, observations, rows, known)
    values = {target: np.where(known, found, np.nan) for target, found in model.values(rows).items()}
    for target, found in values.items():
        measured = observations.column(target)[rows]
        values[target] = np.where(np.isfinite(measured), measured, found)
    return Prior(name, int(observations.measured.sum()), quantities, values,
                 _seconds(name, observations, rows, known), old, tuple(notes))


def _old_targets(model: GridModel, observations: Observations, rows: IntArray, known: BoolArray
                 ) -> dict[str, OldTarget]:
    """The targets that were measured and are learned as logarithms. Their σ: of the quantities that they are made of,
    noise taken out."""
    learned, found = model.values(rows), {}
    for target in model.targets_:
        if target.transform is not Transform.LOG or not np.isfinite(observations.column(target.name)).any():
            continue
        shares = model.shares(target, rows)
        variance = np.zeros(len(rows))
        for quantity, share in shares.items():
            regressor = model.regressors_[quantity]
            std = regressor.predict(rows)[1]
            variance += share**2 * np.maximum(std**2 - regressor.noise_**2, TINY)
        with np.errstate(divide="ignore", invalid="ignore"):
            measured = np.log(observations.column(target.name)[rows])
            surface = np.where(known & (learned[target.name] > 0), np.log(learned[target.name]), np.nan)
        found[target.name] = OldTarget(measured, surface, np.where(np.isfinite(surface), np.sqrt(variance), np.nan))
    return found


def _seconds(name: str, observations: Observations, rows: IntArray, known: BoolArray) -> PriorColumn | None:
    cost = CostModel(observations.grid, np.ones(len(observations.grid))).fit(observations)
    return _column(name, *cost.log_seconds(rows), known) if cost.learned_ else None


def _column(name: str, mean: FloatArray, std: FloatArray, known: BoolArray) -> PriorColumn:
    return PriorColumn(name, np.where(known, mean, np.nan), np.where(known, std, np.nan))


def _known(observations: Observations, rows: IntArray) -> BoolArray:
    """Which points of the new grid have only categories that the old study ran, (N,)."""
    grid: Grid = observations.grid
    known = np.ones(len(rows), dtype=bool)
    for place, axis in enumerate(grid.axes):
        if axis.scale is Scale.CATEGORY:
            codes = grid.codes[:, place]
            known &= np.isin(codes[rows], codes[observations.measured])
    return known
