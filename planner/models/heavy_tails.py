"""A Gaussian process for readings of which a few are far off: servers that stalled, a machine that was busy.

With normal noise one such reading pulls its neighbours along, by factors where y is a logarithm, and teaches rough
hyper-parameters. Here a reading that the others do not expect is taken to have noise as large as its error, and counts
for little; what several readings agree on is no error, and stays.

Notation: n readings; e, s error and standard deviation (n,) of each reading as all others predict it; z = e/s.

Sources: leaving one out in closed form, Rasmussen & Williams (2006), eq. 5.10 to 5.12; reweighting in place of a
Student-t likelihood, West, J. R. Statist. Soc. B 46 (1984).
"""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np
from scipy.stats import chi2

from planner.models import settings
from planner.models.gp import GaussianProcess
from planner.models.kernels import diagonal_of_inverse, inverse_of_factor
from planner.space.types import BoolArray, Features, FloatArray, IntArray

__all__ = ["HeavyTailedProcess"]


class HeavyTailedProcess(GaussianProcess):
    """A Gaussian process that sets outliers aside. Learned besides: `known_noise_` (n,), without what it added.

    least_gain : only where that makes the median |e| of all other readings so many times smaller; 0 for always. A
        reading that is wildly off is always set aside. The other parameters are those of a Gaussian process.
    steady : hyper-parameters that were learned with outliers set aside are kept as long as a Gaussian process keeps
        its own. Otherwise they are learned again at each fit that finds an outlier.

    `noise_` is the noise of usual readings: how often one is far off shows in the forecasts that calibrate.
    """

    known_noise_: FloatArray
    _is_kept: bool

    def __init__(self, *, least_gain: float = 0.0, steady: bool = False, **given: Any) -> None:
        super().__init__(**given)
        self.least_gain = least_gain
        self.steady = steady

    def fit(
        self, features: Features, y: FloatArray, noise: FloatArray | None = None, groups: IntArray | None = None,
        ages: FloatArray | None = None,
    ) -> Self:
        """Return self, fitted as a Gaussian process is, and again with more noise where a reading is an outlier."""
        known = np.zeros(len(y)) if noise is None else noise
        before_learning = getattr(self, "_theta", None)
        super().fit(features, y, known, groups, ages)
        self._is_kept = self.steady and self._theta is before_learning
        self.known_noise_ = known
        if len(y) < settings.LEAST_RUNS_TO_WEIGH:
            return self
        added = np.zeros(len(y))
        if len(self.rows_) < settings.MAX_POINTS:  # it takes an inverse; among so many readings one has many neighbours
            added = self._set_wild_aside(features, y, known)
        if not self._may_gain():
            return self
        plain, before = vars(self).copy(), self._errors()[0]
        kept = self._set_aside(features, y, known, added)
        if np.median(before[kept]) < self.least_gain * np.median(self._errors()[0][kept]):
            vars(self).update(plain)
        return self

    def _may_gain(self) -> bool:
        """Whether it is worth trying, which takes several fits: the mean of z² is well above that of normal errors with
        the same median."""
        error, deviation = self._errors()
        squares = (error / deviation) ** 2
        return not self.least_gain or bool(
            np.mean(squares) > settings.HEAVY_TAILS * np.median(squares) / chi2.median(1))

    def _set_wild_aside(self, features: Features, y: FloatArray, known: FloatArray) -> FloatArray:
        """Set aside the run that the others predict worst where that makes the data far more probable, then the next.
        Returns the noise added to each reading, (n,).

        A reading that is off by factors need not show in its z: short lengthscales explain it, and roughen the rest.
        """
        added = np.zeros(len(y))
        for _ in range(settings.OUTLIER_ROUNDS):
            members, error = self._worst_run(added)
            if np.mean(error) < settings.WILD:
                break
            plain, more = vars(self).copy(), added.copy()
            more[members] = error
            if not self._is_kept:
                self._learned_rows = self._cold_rows = 0  # learned anew: rough ones would be where the search begins
            usual = self._fit_again(features, y, known, more)
            if self.log_posterior_ - plain["log_posterior_"] < settings.WILD_EVIDENCE:
                vars(self).update(plain)
                break
            self.noise_, added = usual, more
        return added

    def _set_aside(self, features: Features, y: FloatArray, known: FloatArray, added: FloatArray) -> BoolArray:
        """Fit again with the outliers set aside, besides the wild ones, which have noise `added`. Returns which of the
        readings in use are neither, (m,)."""
        usual = self.noise_
        for _ in range(settings.OUTLIER_ROUNDS):
            error = self._unexpected()
            if not (error > added).any():
                break
            added = np.maximum(added, error)
            if not self._is_kept:
                self._learned_rows = 0  # hyper-parameters that explain outliers are too rough
            usual = self._fit_again(features, y, known, added)
        self.noise_ = usual
        kept: BoolArray = added[self.rows_] == 0
        return kept

    def _fit_again(self, features: Features, y: FloatArray, known: FloatArray, added: FloatArray) -> float:
        """Fit with noise `added` to some readings. Returns the noise of usual ones."""
        super().fit(features, y, np.hypot(known, added), self._groups, self._ages)
        self._is_kept = self.steady
        return math.sqrt(max(self.noise_**2 - float(np.mean(added**2)), settings.TINY))

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
        error, deviation = self._errors()
        found[self.rows_] = np.where(error > settings.OUTLIER * deviation, error, 0.0)
        return found

    def _worst_run(self, added: FloatArray) -> tuple[IntArray, FloatArray]:
        """The readings of the run with the largest mean error of those without noise `added`, and the |e| of each, all
        of them left out together, (k,) each."""
        inverse, alpha = inverse_of_factor(self._L), self._alpha
        runs = np.arange(len(self.rows_)) if self._groups is None else self._groups[self.rows_]
        worst, largest = np.zeros(0, dtype=np.int64), np.zeros(1)
        for run in np.unique(runs[added[self.rows_] == 0]):
            inside = np.flatnonzero(runs == run)
            error = self.scale_ * np.abs(np.linalg.solve(inverse[np.ix_(inside, inside)], alpha[inside]))
            if np.mean(error) > np.mean(largest):
                worst, largest = self.rows_[inside], error
        return worst, largest

    def _errors(self) -> tuple[FloatArray, FloatArray]:
        """|e| and s of each reading in use, in y's units."""
        inverse = diagonal_of_inverse(self._L)
        return self.scale_ * np.abs(self._alpha) / inverse, self.scale_ / np.sqrt(inverse)
