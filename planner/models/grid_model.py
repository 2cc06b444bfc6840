"""The posterior of every target at every grid point, calibrated by one-step-ahead forecasts.

Notation
--------
N, n        grid points; readings
σ           standard deviation of a target's logarithm (or of the target, where it can be zero or negative), the noise
            of a measurement included unless said
z           error of a forecast over its σ
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from planner.ledger.observations import Observations
from planner.models import settings
from planner.models.calibration import (
    Forecasts,
    calibration,
    calibration_count,
    forecast_runs,
    forecasts_of,
    rank_calibration,
    small_sample_inflation,
)
from planner.models.configuration_regressor import ConfigurationRegressor
from planner.models.ensemble import Ensemble
from planner.models.imported_values import imported_values
from planner.models.judges import judged
from planner.models.past_forecasts import Forecast, PastForecasts, joined
from planner.models.prediction import Prediction, predicted_later
from planner.models.prior import Prior
from planner.models.prior_regressor import KnowsPriors
from planner.models.quantities import Quantity, Target, data_of, merged, targets_of
from planner.models.quantity_regressors import QuantityRegressors
from planner.models.regressor import ALL, DriftEstimate, Regressor
from planner.models.sampled import is_large, sampled_rows, used_readings
from planner.models.transforms import back, expected_error
from planner.space.grid import Grid
from planner.space.types import Z90, BoolArray, Features, FloatArray, IntArray, Kind

__all__ = ["GridModel", "Prediction"]


@dataclass(frozen=True, eq=False)
class _Surface:
    """Means and standard deviations of all quantities at some rows, (n,) by name, and of the targets that follow."""

    means: Mapping[str, FloatArray]
    stds: Mapping[str, FloatArray]
    combined: Mapping[str, tuple[FloatArray, FloatArray]]


class GridModel:
    """A regressor for each quantity, combined into targets. `fit` may be called again and starts warm.

    A grid of more than `settings.EXACT_POINTS` points is predicted where it is asked for: its means are over a sample.

    make : builds a regressor for the features of the grid; our own where None.
    priors : what old studies say of the grid.
    rows : the points over which means are taken: all of them, or the sample.
    """

    def __init__(
        self, grid: Grid, trajectory: str | None, make: Callable[[Features], Regressor] | None = None,
        priors: Sequence[Prior] = (),
    ) -> None:
        self.grid, self.priors = grid, priors
        self.trajectory = trajectory
        self.rows = sampled_rows(grid)
        self._make = make or partial(Ensemble, heavy_tails=grid.is_served, steady=is_large(grid))
        self._lines = grid.lines(trajectory) if trajectory else None
        self._learner = QuantityRegressors(grid, trajectory, self._make, priors)
        self.regressors_: dict[str, Regressor] = {}
        self._past = PastForecasts(self._learned_anew) if grid.is_served else None
        self._at_rows: _Surface | None = None
        self._counts: dict[str, FloatArray] = {}
        self._earlier: GridModel | None = None
        self.past_forecasts_: dict[str, Forecasts] = {}

    def fit(self, observations: Observations) -> GridModel:
        """Return self, fitted to at least one measured point."""
        self.learn(observations)
        self.forecasts_ = {target.name: self._forecasts(target) for target in self.targets_}
        # On a served grid forecasts with the hyper-parameters of now are too good; see past_forecasts.py.
        self.past_forecasts_ = {} if self._past is None else {
            target.name: self._past.of(observations.metric(target.name), observations) for target in self.targets_}
        for name, past in self.past_forecasts_.items():
            self.forecasts_[name] = joined(self.forecasts_[name], past)
        self.forecasts_ = {name: judged(found, observations) for name, found in self.forecasts_.items()}
        self.past_forecasts_ = {name: judged(found, observations) for name, found in self.past_forecasts_.items()}
        return self

    def _learned_anew(self, observations: Observations) -> Forecast:
        model = GridModel(self.grid, self.trajectory, self._make, self.priors)
        before = self._earlier
        if before is not None and before.fitted_runs_ <= len(observations.runs):
            model = before.frozen()  # what earlier runs have taught: a start that takes a third of the time
        model.learn(observations)
        if not self.is_whole:
            self._earlier = model
            return lambda rows: model._computed(rows).combined
        known = model._surface(model.rows).combined
        return lambda rows: {name: (mean[rows], std[rows]) for name, (mean, std) in known.items()}

    def learn(self, observations: Observations) -> GridModel:
        """Return self, fitted without the forecasts that calibrate: for means and standard deviations alone."""
        self.observations_, self.fitted_runs_ = observations, len(observations.runs)
        self.targets_ = merged(targets_of(observations, self.trajectory), observations, self._lines)
        every = {q.name: data_of(q, observations, self._lines) for q in self.quantities}
        self.data_ = every if self.is_whole else {
            name: data.at(used_readings(self.grid, data.rows, data.runs, settings.MAX_POINTS))
            for name, data in every.items()}
        self.imported_ = imported_values(observations)
        for quantity in self.quantities:
            name = quantity.name
            if len(self.data_[name].rows):
                self.regressors_[name] = self._learner.fitted(
                    self.regressors_.get(name), quantity, self.data_[name], every[name], self.imported_)
        # A quantity that no run has measured yet is unknown, and so is its noise.
        self._noises = {q.name: self.regressors_[q.name].noise_ if q.name in self.regressors_ else 0.0
                        for q in self.quantities}
        # Truth is what the plain sweep would measure, with all repeats.
        self._plain_noises = {name: float(self.data_[name].of_plain(np.array(noise)))
                              for name, noise in self._noises.items()}
        self._at_rows = None
        return self

    def values(self, rows: IntArray) -> dict[str, FloatArray]:
        """The targets at `rows`, in their units, (n,) by name."""
        combined = self._computed(rows).combined
        return {target.name: back(target.transform, combined[target.name][0]) for target in self.targets_}

    @property
    def quantities(self) -> list[Quantity]:
        """Each quantity that some target needs, once."""
        return list({q.name: q for target in self.targets_ for q in target.quantities}.values())

    def weights(self, rows: IntArray) -> dict[str, FloatArray]:
        """Weight of each quantity's variance in the sum of the targets' variances at `rows`, (n,) by quantity."""
        total: dict[str, FloatArray] = {}
        means = self._means(rows)
        for target in self.targets_:
            for name, share in target.shares(means, rows).items():
                total[name] = total.get(name, np.zeros(len(rows))) + share**2
        return total

    def shares(self, target: Target, rows: IntArray) -> dict[str, FloatArray]:
        """What an error of each of its quantities does to the target at `rows`, (n,) by quantity."""
        return target.shares(self._means(rows), rows)

    def observes(self, quantity: Quantity) -> BoolArray:
        """Whether a run at each point measures the quantity, (N,): one token has no time between tokens."""
        single = self.grid.single_token
        # Where every output is one token, whatever is called a time per token there is measured by every run.
        if single.all() or quantity.kind is not Kind.STEP:
            return np.ones(len(self.grid), dtype=bool)
        return np.logical_not(single)

    def predict(self) -> Prediction:
        """All targets at all points, their intervals calibrated by one-step-ahead forecasts."""
        if self.is_whole:
            return self._prediction(ALL)
        kept = self.frozen()  # before anybody asks, this model is fitted again
        kept._counts = {target.name: self.calibration_count(target.name) for target in self.targets_}
        return predicted_later(tuple(kept._counts), kept._prediction)

    def frozen(self) -> GridModel:
        """This fit, which stays as it is when the model is fitted again."""
        other = copy.copy(self)
        other.regressors_ = {name: copy.copy(regressor) for name, regressor in self.regressors_.items()}
        return other

    @property
    def is_whole(self) -> bool:
        """Whether every point is predicted at each fit, which a large grid's are not."""
        return isinstance(self.rows, slice)

    def _prediction(self, rows: IntArray | slice) -> Prediction:
        surface = self._surface(rows)
        value, low, high, std = {}, {}, {}, {}
        for target in self.targets_:
            mean, sigma = surface.combined[target.name]
            count = self._counts[target.name] if self._counts else self.calibration_count(target.name)
            inflation = small_sample_inflation(count[rows])
            inflation = inflation / small_sample_inflation(forecast_runs(self.forecasts_[target.name]))
            width = Z90 * sigma * np.where(np.isinf(count[rows]), 1.0, self.calibration(target.name) * inflation)
            value[target.name], std[target.name] = back(target.transform, mean), sigma
            low[target.name] = back(target.transform, mean - width)
            high[target.name] = back(target.transform, mean + width)
        return Prediction(value, low, high, std)

    def calibration(self, target: str) -> float:
        """Factor on σ that the forecasts of a target ask for: on a served grid by their ranks."""
        past = self.past_forecasts_.get(target)
        if past is not None and len(past.z) >= settings.LEAST_RUNS_TO_FORECAST:
            return rank_calibration(past)
        return calibration(self.forecasts_[target])

    def calibration_count(self, target: str) -> FloatArray:
        """Effective sample size behind each point's calibration, (N,): see `calibration.calibration_count`. Infinite
        where the point has the value of another, whose sampling error is known."""
        count = calibration_count(self.observations_, target, self.forecasts_[target])
        count = count + settings.PRIOR_COUNT * self._prior_weight(target)
        settled = [one.known_ for one in self._learned(target) if isinstance(one, ConfigurationRegressor)]
        return np.where(settled[0], np.inf, count) if settled else count

    def _prior_weight(self, target: str) -> float:
        """Weight of the priors in a target, 0 to 1: the least of its quantities'."""
        weights = (one.prior_weight if isinstance(one, KnowsPriors) else 0.0 for one in self._learned(target))
        return min(weights, default=0.0)

    def _learned(self, target: str) -> list[Regressor]:
        quantities = next(t.quantities for t in self.targets_ if t.name == target)
        return [self.regressors_[q.name] for q in quantities if q.name in self.regressors_]

    def ceiling(self, target: str) -> float:
        """Accuracy that noise leaves to a perfect prediction, the mean over the grid; at most 1."""
        found = next(t for t in self.targets_ if t.name == target)
        surface = self._surface(self.rows)
        value = surface.combined[target][0]
        noises = {name: np.full(len(value), noise) for name, noise in self._plain_noises.items()}
        noise = found.combine(surface.means, noises, self._plain_noises, self.rows)[1]
        return 1 - float(np.nanmean(expected_error(found.transform, value, noise)))

    @property
    def drifts(self) -> list[tuple[Quantity, DriftEstimate]]:
        """How the machine has changed from the first run to the last, as each quantity shows it."""
        found = ((quantity, regressor.drift_) for quantity in self.quantities
                 if (regressor := self.regressors_.get(quantity.name)) is not None)
        return [(quantity, drift) for quantity, drift in found if drift is not None]

    def expected_error(self, target: Target) -> FloatArray:
        """What the model expects to be wrong by at each of `self.rows`, as errors are reported."""
        return expected_error(target.transform, *self._surface(self.rows).combined[target.name])

    def _surface(self, rows: IntArray | slice) -> _Surface:
        """What is predicted at `rows`; at `self.rows`, computed once."""
        if rows is not self.rows:
            return self._computed(rows)
        self._at_rows = self._at_rows or self._computed(rows)
        return self._at_rows

    def _computed(self, rows: IntArray | slice) -> _Surface:
        means, stds = self._predict_quantities(rows)
        return _Surface(means, stds, {t.name: t.combine(means, stds, self._plain_noises, rows) for t in self.targets_})

    def _means(self, rows: IntArray) -> dict[str, FloatArray]:
        return {name: mean[rows] for name, mean in self._surface(self.rows).means.items()} if self.is_whole else (
            self._predict_quantities(rows)[0])

    def _predict_quantities(self, rows: IntArray | slice) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
        means, stds = {}, {}
        for quantity in self.quantities:
            regressor = self.regressors_.get(quantity.name)
            if regressor is None:
                nothing = np.full(len(self.grid) if isinstance(rows, slice) else len(rows), np.nan)
                means[quantity.name], stds[quantity.name] = nothing, nothing
                continue
            means[quantity.name], std = regressor.predict(rows)
            stds[quantity.name] = self.data_[quantity.name].of_plain(std)
        return means, stds

    def _forecasts(self, target: Target) -> Forecasts:
        # What is measured again is known from the first time: only that tells how well unmeasured points are predicted.
        rows, runs, actual = self.observations_.first_readings(target.name)
        means, stds = {}, {}
        for quantity in target.quantities:
            means[quantity.name], stds[quantity.name] = self._one_step_ahead(quantity, rows, runs)
        mean, std = target.combine(means, stds, self._noises, rows)
        return forecasts_of(target.transform, mean, std, actual, runs)

    def _one_step_ahead(self, quantity: Quantity, rows: IntArray, runs: IntArray) -> tuple[FloatArray, FloatArray]:
        """Mean and σ of a quantity at `rows` in those `runs`, (n,) each, from earlier runs; NaN without a forecast."""
        mean, std = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
        regressor, data = self.regressors_.get(quantity.name), self.data_[quantity.name]
        enough = len(np.unique(data.runs)) >= settings.LEAST_RUNS_TO_FORECAST
        forecast = regressor.one_step_ahead() if regressor and enough else None
        if forecast is None:
            return mean, std
        # One reading gives a length-independent quantity for every measured point of its line.
        position = data.places(rows, runs, self._lines if quantity.length_independent else None)
        there = position >= 0
        mean[there], std[there] = forecast[0][position[there]], forecast[1][position[there]]
        return mean, std
