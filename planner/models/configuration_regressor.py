"""A regressor of what some axes alone can change, such as the quality of a model, which no load changes.

Where one of a combination's points has a reading, all of its points have that value, and nothing is left to measure
there: what is uncertain is the sampling error of the reading. All other combinations are predicted by an ordinary
regressor, which knows no other axes, and with its interval.
"""

from __future__ import annotations

import copy
from typing import Self

import numpy as np

from planner.models.regressor import ALL, DriftEstimate, Regressor
from planner.models.settings import TINY
from planner.space.types import BoolArray, FloatArray, IntArray

__all__ = ["ConfigurationRegressor"]


class ConfigurationRegressor:
    """Regressor by another one, built with the features of those axes. combinations: (N,), equal for points that share
    a value. Learned: `known_`, (N,), whether a point's combination has a reading; `noise_`."""

    noise_: float

    def __init__(self, regressor: Regressor, combinations: IntArray) -> None:
        self._regressor, self._combinations = regressor, combinations

    def __copy__(self) -> Self:
        other = object.__new__(type(self))
        vars(other).update(vars(self))
        other._regressor = copy.copy(self._regressor)
        return other

    def fit(
        self, rows: IntArray, y: FloatArray, runs: IntArray, noise: FloatArray | None = None,
        run_effect: bool = False, latency_model: FloatArray | None = None, ages: FloatArray | None = None,
    ) -> Self:
        """Return self, fitted as in the contract. No latency model and no drift change what no load changes."""
        self._regressor.fit(rows, y, runs, noise)
        self.noise_ = self._regressor.noise_
        count = int(self._combinations.max()) + 1
        self._value, self._std = np.full(count, np.nan), np.full(count, TINY)
        first = slice(None, None, -1)  # of several readings of one combination the first stays
        of_reading = self._combinations[rows][first]
        self._value[of_reading] = y[first]
        if noise is not None:
            self._std[of_reading] = np.maximum(noise[first], TINY)
        self.known_: BoolArray = np.isfinite(self._value)[self._combinations]
        return self

    def predict(self, rows: IntArray | slice = ALL) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation of the value at `rows`, its sampling error included, (n,) each."""
        mean, std = self._regressor.predict(rows)
        known, here = self.known_[rows], self._combinations[rows]
        return np.where(known, self._value[here], mean), np.where(known, self._std[here], std)

    def one_step_ahead(self) -> tuple[FloatArray, FloatArray] | None:
        """Those of the regressor: each reading is of a combination that had none before."""
        return self._regressor.one_step_ahead()

    def covariance(self, rows: IntArray, others: IntArray) -> FloatArray | None:
        """That of the regressor, and 0 where a combination has a reading: no run there tells more."""
        found = self._regressor.covariance(rows, others)
        return None if found is None else found * np.outer(~self.known_[rows], ~self.known_[others])

    @property
    def drift_(self) -> DriftEstimate | None:
        """None."""
        return None
