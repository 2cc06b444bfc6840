"""A Gaussian process for readings of which a few are far off: servers that stalled, queues that overflowed.

With normal noise one such reading pulls its neighbours along, by factors where y is a logarithm, and teaches rough
hyper-parameters. Here a reading that the others do not expect is taken to have noise as large as its error, and counts
for little; what several readings agree on is no error, and stays.

Notation: n readings; e, s error and standard deviation (n,) of each reading as all others predict it.

Sources: leaving one out in closed form, Rasmussen & Williams (2006), eq. 5.10 to 5.12; reweighting in place of a
Student-t likelihood, West, J. R. Statist. Soc. B 46 (1984).
"""

from __future__ import annotations

import math
from typing import Self

import numpy as np

from planner.models import settings
from planner.models.gp import GaussianProcess
from planner.models.kernels import inverse_of_factor
from planner.space.types import Features, FloatArray, IntArray

__all__ = ["HeavyTailedProcess"]


class HeavyTailedProcess(GaussianProcess):
    """A Gaussian process that sets outliers aside. Learned besides: `known_noise_` (n,), without what it added.

    `noise_` is the noise of usual readings: how often one is far off shows in the forecasts that calibrate.
    """

    known_noise_: FloatArray

    def fit(
        self, features: Features, y: FloatArray, noise: FloatArray | None = None, groups: IntArray | None = None
    ) -> Self:
        """Return self, fitted as a Gaussian process is, and again with more noise where a reading is an outlier."""
        known = np.zeros(len(y)) if noise is None else noise
        super().fit(features, y, known, groups)
        usual, added = self.noise_, np.zeros(len(y))
        for _ in range(settings.OUTLIER_ROUNDS):
            error = self._unexpected()
            if len(y) < settings.LEAST_RUNS_TO_WEIGH or not (error > added).any():
                break
            added = np.maximum(added, error)
            self._learned_rows = 0  # hyper-parameters that explain outliers are too rough
            super().fit(features, y, np.hypot(known, added), groups)
            usual = math.sqrt(max(self.noise_**2 - float(np.mean(added**2)), settings.TINY))
        self.known_noise_, self.noise_ = known, usual
        return self

    def one_step_ahead(self, runs: IntArray, features: Features | None = None) -> tuple[FloatArray, FloatArray]:
        """As a Gaussian process has it: a deviation includes the row's known noise, not what its own error added."""
        mean, std = super().one_step_ahead(runs, features)
        added = self._noise**2 - self.known_noise_**2
        usual: FloatArray = np.sqrt(np.maximum(std**2 - added, settings.TINY))
        return mean, usual

    def given(self, rows: IntArray) -> Self:
        """A copy fitted to `rows` of the data alone, one or more, with the same hyper-parameters."""
        other = super().given(rows)
        other.known_noise_ = self.known_noise_[rows]
        return other

    def _unexpected(self) -> FloatArray:
        """|e| of each reading that is an outlier among the others, (n,), in y's units; 0 for any other reading."""
        found = np.zeros(len(self._y))
        inverse = np.diag(inverse_of_factor(self._L))
        error, deviation = np.abs(self._alpha) / inverse, 1 / np.sqrt(inverse)
        outlier = error > settings.OUTLIER * deviation
        found[self.rows_] = np.where(outlier, self.scale_ * error, 0.0)
        return found
