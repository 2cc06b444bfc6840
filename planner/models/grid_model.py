"""The posterior of every target at every grid point, calibrated by one-step-ahead forecasts.

Notation
--------
N, n        grid points; readings
σ           standard deviation of a target's logarithm (or of the target, where it can be zero or negative), the noise
            of a measurement included unless said
z           error of a forecast over its σ
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

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
from planner.models.ensemble import Ensemble
from planner.models.latency_model import Covers, batch_of
from planner.models.latency_models import AnyLatencyModel, latency_model_of
from planner.models.past_forecasts import Combined, PastForecasts, joined
from planner.models.quantities import Data, Quantity, Target, data_of, merged, targets_of
from planner.models.regressor import DriftEstimate, Regressor
from planner.models.transforms import back, expected_error
from planner.space.grid import Grid
from planner.space.types import Z90, BoolArray, Features, FloatArray, IntArray, Kind, Role, Transform

__all__ = ["GridModel", "Prediction"]

# What the latency model is of, by the kind of a metric; any other is taken for a whole latency.
_COVERS: Final[Mapping[Kind, Covers]] = {Kind.FIRST: "first", Kind.STEP: "step"}


@dataclass(frozen=True, eq=False)
class Prediction:
    """Value (median), 90 % interval in the target's unit, and σ of each target; arrays (N,) by the target's name.

    NaN where nothing can be predicted. Measured points have a prediction too: what was measured is in the record.
    """

    value: Mapping[str, FloatArray]
    low: Mapping[str, FloatArray]
    high: Mapping[str, FloatArray]
    std: Mapping[str, FloatArray]


class GridModel:
    """A regressor for each quantity, combined into targets. `fit` may be called again and starts warm.

    make : builds a regressor for the features of the grid; our own where None.
    """

    def __init__(
        self, grid: Grid, trajectory: str | None, make: Callable[[Features], Regressor] | None = None
    ) -> None:
        self.grid = grid
        self.trajectory = trajectory
        self._make = make or partial(Ensemble, heavy_tails=grid.is_served)
        self._lines = grid.lines(trajectory) if trajectory else None
        self._length_independent_features = grid.features_without(trajectory) if trajectory else grid.features
        self.regressors_: dict[str, Regressor] = {}
        self._latency_models: dict[str, AnyLatencyModel] = {}
        self._past = PastForecasts(self._learned_anew) if grid.is_served else None
        self.past_forecasts_: dict[str, Forecasts] = {}

    def fit(self, observations: Observations) -> GridModel:
        """Return self, fitted to at least one measured point."""
        self._learn(observations)
        self.forecasts_ = {target.name: self._forecasts(target) for target in self.targets_}
        # On a served grid forecasts with the hyper-parameters of now are too good; see past_forecasts.py.
        self.past_forecasts_ = {} if self._past is None else {
            target.name: self._past.of(observations.metric(target.name), observations) for target in self.targets_}
        for name, past in self.past_forecasts_.items():
            self.forecasts_[name] = joined(self.forecasts_[name], past)
        return self

    def _learned_anew(self, observations: Observations) -> Combined:
        model = GridModel(self.grid, self.trajectory, self._make)
        model._learn(observations)
        return model._combined

    def _learn(self, observations: Observations) -> None:
        self.observations_, self.fitted_runs_ = observations, len(observations.runs)
        self.targets_ = merged(targets_of(observations, self.trajectory), observations, self._lines)
        self.data_ = {q.name: data_of(q, observations, self._lines) for q in self.quantities}
        for quantity in self.quantities:
            data = self.data_[quantity.name]
            if len(data.rows):
                if quantity.name not in self.regressors_:
                    self.regressors_[quantity.name] = self._make(self._features(quantity))
                # The readings of one run share a run effect: taken as independent, they make intervals too narrow.
                run_effect = self.trajectory is not None and not quantity.length_independent
                self.regressors_[quantity.name].fit(
                    data.rows, data.values, data.runs, data.noise, run_effect, self._latency_model(quantity, data),
                    data.ages)
        # A quantity that no run has measured yet is unknown, and so is its noise.
        self._noises = {q.name: self.regressors_[q.name].noise_ if q.name in self.regressors_ else 0.0
                        for q in self.quantities}
        # Truth is what the plain sweep would measure, with all repeats.
        self._plain_noises = {name: float(self._of_plain(name, np.array(noise)))
                              for name, noise in self._noises.items()}
        self._means, self._stds = self._predict_quantities()
        self._combined = {t.name: t.combine(self._means, self._stds, self._plain_noises) for t in self.targets_}

    @property
    def quantities(self) -> list[Quantity]:
        """Each quantity that some target needs, once."""
        return list({q.name: q for target in self.targets_ for q in target.quantities}.values())

    def weights(self, rows: IntArray) -> dict[str, FloatArray]:
        """Weight of each quantity's variance in the sum of the targets' variances at `rows`, (n,) by quantity."""
        total: dict[str, FloatArray] = {}
        for target in self.targets_:
            for name, share in self.shares(target, rows).items():
                total[name] = total.get(name, np.zeros(len(rows))) + share**2
        return total

    def shares(self, target: Target, rows: IntArray) -> dict[str, FloatArray]:
        """What an error of each of its quantities does to the target at `rows`, (n,) by quantity."""
        return target.shares({name: mean[rows] for name, mean in self._means.items()}, rows)

    def observes(self, quantity: Quantity) -> BoolArray:
        """Whether a run at each point measures the quantity, (N,): one token has no time between tokens."""
        single = self.grid.single_token
        # Where every output is one token, whatever is called a time per token there is measured by every run.
        if single.all() or quantity.kind is not Kind.STEP:
            return np.ones(len(self.grid), dtype=bool)
        return np.logical_not(single)

    def predict(self) -> Prediction:
        """All targets at all points, their intervals calibrated by one-step-ahead forecasts."""
        value, low, high, std = {}, {}, {}, {}
        for target in self.targets_:
            mean, sigma = self._combined[target.name]
            inflation = small_sample_inflation(self.calibration_count(target.name))
            inflation = inflation / small_sample_inflation(forecast_runs(self.forecasts_[target.name]))
            width = Z90 * sigma * self.calibration(target.name) * inflation
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
        """Effective sample size behind each point's calibration, (N,): see `calibration.calibration_count`."""
        return calibration_count(self.observations_, target, self.forecasts_[target])

    def ceiling(self, target: str) -> float:
        """Accuracy that noise leaves to a perfect prediction, the mean over the grid; at most 1."""
        found = next(t for t in self.targets_ if t.name == target)
        value = self._combined[target][0]
        noises = {name: np.full(len(self.grid), noise) for name, noise in self._plain_noises.items()}
        noise = found.combine(self._means, noises, self._plain_noises)[1]
        return 1 - float(np.nanmean(expected_error(found.transform, value, noise)))

    @property
    def drifts(self) -> list[tuple[Quantity, DriftEstimate]]:
        """How the machine has changed from the first run to the last, as each quantity shows it."""
        found = ((quantity, regressor.drift_) for quantity in self.quantities
                 if (regressor := self.regressors_.get(quantity.name)) is not None)
        return [(quantity, drift) for quantity, drift in found if drift is not None]

    def expected_error(self, target: Target) -> FloatArray:
        """What the model expects to be wrong by at each point, (N,), as errors are reported."""
        return expected_error(target.transform, *self._combined[target.name])

    def _predict_quantities(self) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
        means, stds = {}, {}
        for quantity in self.quantities:
            regressor = self.regressors_.get(quantity.name)
            if regressor is None:
                nothing = np.full(len(self.grid), np.nan)
                means[quantity.name], stds[quantity.name] = nothing, nothing
                continue
            means[quantity.name], std = regressor.predict()
            stds[quantity.name] = self._of_plain(quantity.name, std)
        return means, stds

    def _of_plain(self, quantity: str, std: FloatArray) -> FloatArray:
        """The deviation of a reading of the plain sweep from `std`, that of a reading as most runs here give it."""
        data = self.data_[quantity]
        if data.excess <= 0:
            return std
        share = 1 - data.excess / float(np.mean(data.noise**2))
        plain: FloatArray = np.sqrt(np.maximum(std**2 - data.excess, share * std**2))
        return plain

    def _features(self, quantity: Quantity) -> Features:
        if quantity.length_independent:
            return self._length_independent_features
        return self.grid.step_features if quantity.kind is Kind.STEP else self.grid.features

    def _latency_model(self, quantity: Quantity, data: Data) -> FloatArray | None:
        """Logarithm of the quantity by a latency model at every point, (N,); None where none can be fitted."""
        if quantity.transform is not Transform.LOG:
            return None
        if quantity.name not in self._latency_models:
            covers = _COVERS.get(quantity.kind, "output")
            self._latency_models[quantity.name] = latency_model_of(
                self.grid, covers, quantity.length_independent)
        latency_model = self._latency_models[quantity.name]
        if latency_model.is_trivial:
            return None
        if quantity.kind is not Kind.THROUGHPUT:
            return latency_model.fit(data.rows, np.exp(data.values))
        # A throughput is work over latency; work in requests × output tokens, to a constant.
        work = np.log(batch_of(self.grid) * self.grid.size_column(Role.OUTPUT_TOKENS))
        return work - latency_model.fit(data.rows, np.exp(work[data.rows] - data.values))

    def _forecasts(self, target: Target) -> Forecasts:
        # What is measured again is known from the first time: only that tells how well unmeasured points are predicted.
        rows, runs, actual = self.observations_.first_readings(target.name)
        means, stds = {}, {}
        for quantity in target.quantities:
            means[quantity.name], stds[quantity.name] = self._one_step_ahead(quantity, rows, runs)
        mean, std = target.combine(means, stds, self._noises, rows)
        return forecasts_of(target.transform, mean, std, actual, runs)

    def _one_step_ahead(self, quantity: Quantity, rows: IntArray, runs: IntArray) -> tuple[FloatArray, FloatArray]:
        """Mean and σ of the quantity at `rows` in those `runs`, (n,) each, from earlier runs; NaN for early runs, and
        where the run did not read it."""
        mean, std = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
        regressor, data = self.regressors_.get(quantity.name), self.data_[quantity.name]
        enough = len(np.unique(data.runs)) >= settings.LEAST_RUNS_TO_FORECAST
        forecast = regressor.one_step_ahead() if regressor and enough else None
        if forecast is None:
            return mean, std
        # One reading gives a length-independent quantity for every measured point of its line.
        lines = self._lines if quantity.length_independent and self._lines is not None else np.arange(len(self.grid))
        places = {place: i for i, place in enumerate(zip(lines[data.rows].tolist(), data.runs.tolist(), strict=True))}
        found = [places.get(place, -1) for place in zip(lines[rows].tolist(), runs.tolist(), strict=True)]
        position = np.array(found, dtype=np.int64)
        there = position >= 0
        mean[there], std[there] = forecast[0][position[there]], forecast[1][position[there]]
        return mean, std
