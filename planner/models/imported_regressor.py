"""A regressor of a grid on which some values of a category axis were measured elsewhere: they are priors of the rest.

Notation: N grid points; n readings.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Self

import numpy as np

from planner.models.imported_values import ImportedValue
from planner.models.prior_regressor import PriorColumn, PriorRegressor
from planner.models.regressor import ALL, DriftEstimate, Regressor, check_readings
from planner.models.settings import TINY
from planner.space.grid import Grid
from planner.space.types import BoolArray, FloatArray, IntArray, Scale

__all__ = ["ImportedRegressor", "OldSurface"]


class OldSurface:
    """What the readings of one imported value say of every point, as if its axis were not there.

    regressor: fitted on `grid`, that without the axis, at `read` (n,), in the order of the study's readings. rows: of
    each point there, (N,). column: the same as a prior of the other values, noise taken out, NaN at categories that
    were never run.
    """

    def __init__(self, value: ImportedValue, regressor: Regressor, grid: Grid, rows: IntArray, read: IntArray) -> None:
        self.value, self.regressor, self._rows = value, regressor, rows
        mean, std = regressor.predict(rows)
        known, exact = _known(grid, rows, read), np.sqrt(np.maximum(std**2 - regressor.noise_**2, TINY))
        self.column = PriorColumn(value.name, np.where(known, mean, np.nan), np.where(known, exact, np.nan))

    def predict(self, rows: IntArray) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation of one more reading, (n,) each."""
        return self.regressor.predict(self._rows[rows])

    def covariance(self, rows: IntArray, others: IntArray) -> FloatArray | None:
        """Posterior covariance, (len(rows), len(others))."""
        return self.regressor.covariance(self._rows[rows], self._rows[others])


class ImportedRegressor:
    """Regressor that predicts an imported value by its old surface, and all other points by `new`, which takes the old
    surfaces for priors. `fit` is given all readings and learns from those of the other points, of which there must be
    one: the old surfaces were learned before.
    """

    noise_: float

    def __init__(self, old: Sequence[OldSurface], new: PriorRegressor) -> None:
        self._old, self._new = tuple(old), new
        self._inside: BoolArray = np.any([surface.value.inside for surface in old], axis=0)

    def __copy__(self) -> Self:
        return type(self)._of(self, copy.copy(self._new))

    def _of(self, new: PriorRegressor) -> Self:
        other = object.__new__(type(self))
        vars(other).update(vars(self))
        other._new = new
        return other

    def is_of(self, old: Sequence[OldSurface]) -> bool:
        """Whether it was built for these surfaces."""
        return len(old) == len(self._old) and all(one is other for one, other in zip(old, self._old, strict=True))

    def fit(
        self, rows: IntArray, y: FloatArray, runs: IntArray, noise: FloatArray | None = None,
        run_effect: bool = False, latency_model: FloatArray | None = None, ages: FloatArray | None = None,
    ) -> Self:
        """Return self, fitted as in the contract. latency_model: of the readings of the other points."""
        check_readings(len(self._inside), rows, y, runs, noise, latency_model, ages)
        self._read, here = rows, ~self._inside[rows]
        known, aged = (None if part is None else part[here] for part in (noise, ages))
        if aged is not None:
            aged = aged / aged.max() if aged.max() > 0 else None
        self._new.fit(rows[here], y[here], runs[here], known, run_effect, latency_model, aged)
        self.noise_ = self._new.noise_
        return self

    @property
    def prior_weight(self) -> float:
        """As of a PriorRegressor."""
        return self._new.prior_weight

    def weight_of(self, name: str) -> float | None:
        """As of a PriorRegressor; of an imported value by its name too."""
        return self._new.weight_of(name)

    @property
    def drift_(self) -> DriftEstimate | None:
        """As the readings of the other points have it."""
        return self._new.drift_

    def predict(self, rows: IntArray | slice = ALL) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation of one more reading at `rows`, each (n,)."""
        asked = np.arange(len(self._inside))[rows]
        mean, std = self._new.predict(asked)
        for surface in self._old:
            inside = surface.value.inside[asked]
            if inside.any():
                mean[inside], std[inside] = surface.predict(asked[inside])
        return mean, std

    def one_step_ahead(self) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation, each (n,), of each later reading from the runs before it, at an imported value
        from those there."""
        mean, std = np.full(len(self._read), np.nan), np.full(len(self._read), np.nan)
        parts = [(~self._inside, self._new), *((surface.value.inside, surface.regressor) for surface in self._old)]
        for inside, regressor in parts:
            there = inside[self._read]
            if there.any() and (found := regressor.one_step_ahead()) is not None:
                mean[there], std[there] = found
        return mean, std

    def covariance(self, rows: IntArray, others: IntArray) -> FloatArray | None:
        """Posterior covariance, (len(rows), len(others)): a run at one of the other points tells nothing of an
        imported value, nor the reverse."""
        total = np.zeros((len(rows), len(others)))
        outside = ~self._inside
        parts = [(outside, self._new.covariance), *((s.value.inside, s.covariance) for s in self._old)]
        for inside, covariance in parts:
            one, other = np.flatnonzero(inside[rows]), np.flatnonzero(inside[others])
            if len(one) and len(other):
                found = covariance(rows[one], others[other])
                if found is None:
                    return None
                total[np.ix_(one, other)] = found
        return total


def _known(grid: Grid, rows: IntArray, read: IntArray) -> BoolArray:
    """Which points have only categories that were run, (N,)."""
    known = np.ones(len(rows), dtype=bool)
    for place, axis in enumerate(grid.axes):
        if axis.scale is Scale.CATEGORY:
            codes = grid.codes[:, place]
            known &= np.isin(codes[rows], codes[read])
    return known
