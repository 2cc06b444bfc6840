"""A regressor that also knows what old studies found: by their surfaces, each with a difference that is learned.

For each prior one Gaussian process learns what the new quantity has more than the old one: a level and a tilt, shared
and by category, and what else there is, smooth in the sizes. The usual regressor learns the new quantity alone. All of
them are averaged as an ensemble is, by one-step-ahead forecasts: a prior that forecasts much worse than the readings
alone is left out, and a good one counts for less as the readings tell more.

Notation: N grid points; n readings; J priors; π weights (1 + J,), the usual regressor's first.

Sources: Kennedy & O'Hagan, Biometrika 87 (2000), for old surface + difference; Le Gratiet & Garnier, International
Journal for Uncertainty Quantification 4 (2014), for learning them one after the other.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol, Self, runtime_checkable

import numpy as np

from planner.models import settings
from planner.models.ensemble import mixture, squared_error, standardised
from planner.models.heavy_tails import HeavyTailedProcess
from planner.models.kernels import Priors
from planner.models.regressor import ALL, DriftEstimate, Regressor, check_readings
from planner.space.types import BoolArray, Features, FloatArray, IntArray

__all__ = ["KnowsPriors", "PriorColumn", "PriorRegressor", "with_priors"]

# Of what differs, in units of the quantity's scale, which is in most cases a logarithm.
_DIFFERENCE: Final = Priors(
    lengthscale=settings.DIFFERENCE_LENGTHSCALE_PRIOR, linear=settings.DIFFERENCE_LINEAR_PRIOR,
    matern=settings.DIFFERENCE_MATERN_PRIOR, slope=settings.DIFFERENCE_SLOPE_PRIOR,
    residual=settings.DIFFERENCE_RESIDUAL_PRIOR)

_Forecasts = tuple[FloatArray, FloatArray]


@dataclass(frozen=True, eq=False)
class PriorColumn:
    """What one prior says of a quantity at each grid point: mean and standard deviation, (N,) each, NaN where it says
    nothing. name: the prior's."""

    name: str
    mean: FloatArray
    std: FloatArray

    @property
    def known(self) -> BoolArray:
        """Where it says something, (N,)."""
        return np.isfinite(self.mean)


@runtime_checkable
class KnowsPriors(Protocol):
    """A regressor that weighs priors."""

    @property
    def prior_weight(self) -> float:
        """Weight of all priors together, 0 to 1."""
        ...

    def weight_of(self, name: str) -> float | None:
        """Weight of the prior called `name`, 0 if it is left out; None if it says nothing of this quantity."""
        ...


class _Difference:
    """What the quantity has more than one prior says of it. Learned: `process`, on the rows that the prior knows."""

    def __init__(self, features: Features, prior: PriorColumn, heavy_tails: bool) -> None:
        self.prior, self.known = prior, prior.known
        self._mean = np.where(self.known, prior.mean, float(np.mean(prior.mean[self.known])))
        self._plain = features
        width = features.numeric.shape[1]
        self.process = HeavyTailedProcess(
            priors=_DIFFERENCE, linear_only=(width, width + 1), unit=1.0,
            least_gain=0.0 if heavy_tails else settings.OUTLIERS_LEAST_GAIN)

    def fit(self, rows: IntArray, y: FloatArray, noise: FloatArray | None, groups: IntArray | None,
            ages: FloatArray | None, latency_model: FloatArray | None) -> bool:
        """Whether there was a reading to learn from.

        The linear parts know the old surface, and how the latency model of the new readings differs from it: without
        that, what cheap points show is carried too far to expensive ones.
        """
        ratio = np.zeros(len(self._mean)) if latency_model is None else latency_model - self._mean
        columns = [self._plain.numeric, standardised(self._mean), standardised(ratio)]
        self.features = Features(np.column_stack(columns), self._plain.category, self._plain.levels)
        self.rows, self.there = rows, self.known[rows]
        if not self.there.any():
            return False
        part = [None if given is None else given[self.there] for given in (noise, groups, ages)]
        here = rows[self.there]
        self.process.fit(self.features[here], (y - self._mean[rows])[self.there], *part)  # type: ignore[arg-type]
        return True

    def predict(self, rows: IntArray | slice) -> _Forecasts:
        """Mean and standard deviation of one more reading, (n,) each; NaN where the prior says nothing."""
        mean, std = self.process.predict(self.features[rows])
        return mean + self.prior.mean[rows], np.sqrt(std**2 + self.process.noise_**2 + self.prior.std[rows] ** 2)

    def contradicts(self, y: FloatArray) -> bool:
        """Whether the readings y (n,) of the fit vary as much about the prior as about their own mean: it explains
        nothing of them, even if what it says can be learned away."""
        here = self.rows[self.there]
        if len(np.unique(here)) < settings.CONTRADICTING_RUNS:
            return False
        away = np.std(y[self.there] - self.prior.mean[here])
        return bool(away > settings.CONTRADICTION * np.std(y[self.there]))

    def covariance(self, rows: IntArray, others: IntArray) -> FloatArray:
        """Posterior covariance of the difference, (len(rows), len(others))."""
        return self.process.covariance(self.features[rows], self.features[others])

    def one_step_ahead(self, runs: IntArray) -> _Forecasts:
        """Forecasts of the readings, (n,) each; NaN where the prior is not known."""
        mean, std = np.full(len(runs), np.nan), np.full(len(runs), np.nan)
        found, deviation = self.process.one_step_ahead(runs[self.there])
        here = self.rows[self.there]
        mean[self.there], std[self.there] = found + self._mean[here], np.hypot(deviation, self.prior.std[here])
        return mean, std


class PriorRegressor:
    """Regressor that averages `own`, which knows the readings alone, and one difference for each prior.

    Learned: `weights_` (1 + J,), 0 for a prior that is left out; `noise_`.
    """

    noise_: float

    def __init__(self, features: Features, own: Regressor, priors: Sequence[PriorColumn], heavy_tails: bool = False
                 ) -> None:
        self._points = len(features)
        self._own = own
        self._differences = [_Difference(features, prior, heavy_tails) for prior in priors]

    def __copy__(self) -> Self:
        other = object.__new__(type(self))
        vars(other).update(vars(self))
        other._own = copy.copy(self._own)
        other._differences = []
        for one in self._differences:
            twin = copy.copy(one)
            twin.process = copy.copy(one.process)
            other._differences.append(twin)
        return other

    def fit(
        self, rows: IntArray, y: FloatArray, runs: IntArray, noise: FloatArray | None = None,
        run_effect: bool = False, latency_model: FloatArray | None = None, ages: FloatArray | None = None,
    ) -> Self:
        """Return self, fitted as in the contract."""
        check_readings(self._points, rows, y, runs, noise, latency_model, ages)
        self._own.fit(rows, y, runs, noise, run_effect, latency_model, ages)
        groups = runs if run_effect else None
        fitted = [one.fit(rows, y, noise, groups, ages, latency_model) for one in self._differences]
        distinct = np.unique(runs)
        early = runs < distinct[len(distinct) // 2]
        nothing = np.full(len(rows), np.nan)
        self._forecasts = [self._own.one_step_ahead() or (nothing, nothing)]
        for one, there in zip(self._differences, fitted, strict=True):
            found = one.one_step_ahead(runs) if there else (nothing, nothing)
            self._forecasts.append(tuple(np.where(early, np.nan, part) for part in found))  # type: ignore[arg-type]
        self.weights_ = self._weights(y, runs, np.array([True, *fitted]))
        noises = [self._own.noise_, *(one.process.noise_ if there else 0.0
                                      for one, there in zip(self._differences, fitted, strict=True))]
        self.noise_ = float(self.weights_ @ noises)
        variances = [np.nanmean(std**2) if np.isfinite(std).any() else np.inf for _, std in self._forecasts]
        self._shares = self.weights_ / np.array(variances)
        self._shares = self._shares / self._shares.sum() if self._shares.sum() else self.weights_
        return self

    @property
    def _members(self) -> list[Regressor | _Difference]:
        return [self._own, *self._differences]

    @property
    def prior_weight(self) -> float:
        """Weight of all priors together, 0 to 1."""
        return float(self.weights_[1:].sum())

    def weight_of(self, name: str) -> float | None:
        """Weight of the prior called `name`, 0 if it is left out; None if it says nothing of this quantity."""
        weights = {one.prior.name: float(weight) for one, weight in
                   zip(self._differences, self.weights_[1:], strict=True)}
        return weights.get(name)

    @property
    def drift_(self) -> DriftEstimate | None:
        """As the readings alone have it."""
        return self._own.drift_

    def predict(self, rows: IntArray | slice = ALL) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation of the mixture, each (n,), of one more reading at `rows`."""
        used = np.flatnonzero(self.weights_)
        own = self._own.predict(rows)
        return mixture([_or_own(self._members[i].predict(rows), own) if i else own for i in used], self.weights_[used])

    def one_step_ahead(self) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation of the mixture, each (n,), of each later reading from the runs before it."""
        used = np.flatnonzero(self.weights_)
        return mixture([_or_own(self._forecasts[i], self._forecasts[0]) for i in used], self.weights_[used])

    def covariance(self, rows: IntArray, others: IntArray) -> FloatArray | None:
        """Posterior covariance, (len(rows), len(others)): the mean of the members', by weight over variance."""
        total = np.zeros((len(rows), len(others)))
        for member, weight in zip(self._members, self._shares, strict=True):
            if weight:
                found = member.covariance(rows, others)
                if found is None:
                    return None
                total += weight * found
        return total

    def _weights(self, y: FloatArray, runs: IntArray, fitted: BoolArray) -> FloatArray:
        """π: equal while there are few runs; 0 for a prior that contradicts the readings, or forecasts much worse."""
        count = len(np.unique(runs))
        few = np.where(np.arange(len(fitted)) == 0, count / (count + settings.OWN_RUNS), 1.0)
        weights: FloatArray = fitted * few / float(fitted @ few)
        both = np.all([np.isfinite(mean) for (mean, _), there in zip(self._forecasts, fitted, strict=True) if there],
                      axis=0)
        if count < settings.LEAST_RUNS_TO_WEIGH or not both.any():
            return weights
        errors = np.array([squared_error(np.where(both, y - mean, np.nan), runs) if there else np.inf
                           for (mean, _), there in zip(self._forecasts, fitted, strict=True)])
        worse = errors > settings.PRIOR_LEFT_OUT**2 * errors[0]
        worse[1:] |= [one.contradicts(y) for one in self._differences]
        weights = np.asarray(np.where(worse, 0.0, few / errors), dtype=np.float64)
        return weights / float(weights.sum())


def with_priors(own: Regressor, features: Features, priors: Sequence[PriorColumn], heavy_tails: bool = False
                ) -> Regressor:
    """The regressor that also knows the priors; `own` where there are none."""
    return PriorRegressor(features, own, priors, heavy_tails) if priors else own


def _or_own(found: _Forecasts, own: _Forecasts) -> _Forecasts:
    """A member's means and standard deviations; the readings' own where it has none."""
    mean, std = found
    missing = np.isnan(mean)
    return np.where(missing, own[0], mean), np.where(missing, own[1], std)
