"""What we believe about every target at every grid point, and how far that belief has proved right.

Notation: N grid points; T targets; σ standard deviation of a target's logarithm (or of the target, where it can be
zero or negative), the noise of a measurement included unless said; z an error in units of the σ that foretold it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from planner.ledger.observations import Observations
from planner.models.ensemble import Ensemble, Regressor
from planner.models.latency_model import Covers, LatencyModel, batch_of
from planner.models.quantities import Data, Quantity, Target, data_of, merged, targets_of
from planner.space.grid import Grid
from planner.space.metrics import higher_is_better, is_first, is_step
from planner.space.types import Z90, BoolArray, Features, FloatArray, IntArray, Role, Scale

__all__ = ["Forecasts", "GridModel", "Prediction", "expected_ape", "small_sample_inflation"]

_SMALL_SAMPLE_INFLATION = 5.0
_LARGEST_Z = 4.0
# Beyond an error of e² the mean of a log-normal is all tail.
_LARGEST_SPREAD = 2.0
_MEAN_ABSOLUTE = float(np.sqrt(2 / np.pi))
# The prior belief that σ is right counts as so many runs.
_CALIBRATION_WEIGHT = 8.0


@dataclass(frozen=True, eq=False)
class Prediction:
    """Each target at each grid point: value (median), 90 % interval, and σ; arrays (N,) by target's name.

    NaN where nothing can be said. Measured points carry the prediction too: what was measured is in the record.
    """

    value: Mapping[str, FloatArray]
    low: Mapping[str, FloatArray]
    high: Mapping[str, FloatArray]
    std: Mapping[str, FloatArray]


@dataclass(frozen=True, eq=False)
class Forecasts:
    """One target at the readings of the later half of the runs, as the runs before told it: absolute percentage error,
    the error that the model expected, z, and the run of each; arrays (n,)."""

    ape: FloatArray
    expected: FloatArray
    z: FloatArray
    runs: IntArray


class GridModel:
    """A learner for each quantity, combined into targets. `fit` may be called again and starts warm."""

    def __init__(
        self, grid: Grid, trajectory: str | None, make: Callable[[Features], Regressor] = Ensemble
    ) -> None:
        self.grid = grid
        self.trajectory = trajectory
        self._make = make
        self._lines = grid.lines(trajectory) if trajectory else None
        self._length_independent_features = grid.features_without(trajectory) if trajectory else grid.features
        self.regressors_: dict[str, Regressor] = {}
        self._latency_models: dict[str, LatencyModel] = {}

    def fit(self, observations: Observations) -> GridModel:
        """Learn from at least one measured point."""
        self.observations_, self.fitted_runs_ = observations, len(observations.runs)
        self.targets_ = merged(targets_of(observations, self.trajectory), observations, self._lines)
        self.data_ = {q.name: data_of(q, observations, self._lines) for q in self.quantities}
        for quantity in self.quantities:
            data = self.data_[quantity.name]
            if len(data.rows):
                if quantity.name not in self.regressors_:
                    self.regressors_[quantity.name] = self._make(self._features(quantity))
                # The readings of one run share its luck: taken as independent, they promise too much.
                run_effect = self.trajectory is not None and not quantity.length_independent
                self.regressors_[quantity.name].fit(
                    data.rows, data.values, data.runs, data.noise, run_effect, self._latency_model(quantity, data))
        # A quantity that no run has measured yet is unknown, and so is its noise.
        self._noises = {q.name: self.regressors_[q.name].noise_ if q.name in self.regressors_ else 0.0
                        for q in self.quantities}
        self._means, self._stds = self._predict_quantities()
        self._combined = {t.name: t.combine(self._means, self._stds, self._noises) for t in self.targets_}
        self.forecasts_ = {target.name: self._forecasts(target) for target in self.targets_}
        return self

    @property
    def quantities(self) -> list[Quantity]:
        """Each quantity that some target needs, once."""
        return list({q.name: q for target in self.targets_ for q in target.quantities}.values())

    def weights(self, rows: IntArray) -> dict[str, FloatArray]:
        """What the variance of each quantity adds to the sum of the targets' variances at `rows`."""
        total: dict[str, FloatArray] = {}
        means = {name: mean[rows] for name, mean in self._means.items()}
        for target in self.targets_:
            for name, share in target.shares(means, rows).items():
                total[name] = total.get(name, np.zeros(len(rows))) + share**2
        return total

    def observes(self, quantity: Quantity) -> BoolArray:
        """Whether a run at each point measures the quantity, (N,): one token has no time between tokens."""
        single = self.grid.single_token
        # Where every output is one token, whatever is called a time per token there is measured by every run.
        if single.all() or not is_step(quantity.name.partition(" ")[2]):
            return np.ones(len(self.grid), dtype=bool)
        return np.logical_not(single)

    def predict(self) -> Prediction:
        """All targets at all points, intervals calibrated by foresight."""
        value, low, high, std = {}, {}, {}, {}
        for target in self.targets_:
            mean, sigma = self._combined[target.name]
            few = small_sample_inflation(self.calibration_count(target.name))
            few = few / small_sample_inflation(self._forecast_runs(target.name))
            width = Z90 * sigma * self.calibration(target.name) * few
            back = np.exp if target.log else np.asarray
            value[target.name], std[target.name] = back(mean), sigma
            low[target.name], high[target.name] = back(mean - width), back(mean + width)
        return Prediction(value, low, high, std)

    def calibration(self, target: str) -> float:
        """The factor on σ that foresight asks for, drawn towards 1 while it saw few runs."""
        forecasts = self.forecasts_[target]
        runs, of_run = np.unique(forecasts.runs, return_inverse=True)
        # Each run counts once however long its trajectory; one outlier must not widen every interval.
        squares = np.bincount(of_run, np.minimum(forecasts.z**2, _LARGEST_Z**2)) / np.bincount(of_run)
        observations = float(np.sqrt((np.sum(squares) + _CALIBRATION_WEIGHT) / (len(runs) + _CALIBRATION_WEIGHT)))
        return float(observations * small_sample_inflation(len(runs)))

    def calibration_count(self, target: str) -> FloatArray:
        """How many cases judge what is said of each point, (N,): the runs that were foretold; where a category has not
        been tried, the categories of that axis that have been measured: how unlike the next one will be, only they can
        tell. One that was tried and failed is not waited for: its points count by their probability to run."""
        measured = np.isfinite(self.observations_.column(target))
        count = np.full(len(self.grid), float(self._forecast_runs(target)))
        for place, axis in enumerate(self.grid.axes):
            if axis.scale is Scale.CATEGORY:
                codes = self.grid.codes[:, place]
                untried = ~np.isin(codes, codes[measured | self.observations_.failed])
                count[untried] = np.minimum(count[untried], len(np.unique(codes[measured])))
        return count

    def _forecast_runs(self, target: str) -> int:
        return len(np.unique(self.forecasts_[target].runs))

    def ceiling(self, target: str) -> float:
        """The accuracy that noise leaves to a perfect prediction, on average over the grid."""
        found = next(t for t in self.targets_ if t.name == target)
        value = self._combined[target][0]
        noises = {name: np.full(len(self.grid), noise) for name, noise in self._noises.items()}
        noise = found.combine(self._means, noises, self._noises)[1]
        ape = expected_ape(noise) if found.log else noise * _MEAN_ABSOLUTE / np.maximum(np.abs(value), 1e-12)
        return 1 - float(np.nanmean(ape))

    def _predict_quantities(self) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
        means, stds = {}, {}
        for quantity in self.quantities:
            regressor = self.regressors_.get(quantity.name)
            if regressor is None:
                nothing = np.full(len(self.grid), np.nan)
                means[quantity.name], stds[quantity.name] = nothing, nothing
                continue
            means[quantity.name], stds[quantity.name] = regressor.predict()
        return means, stds

    def _features(self, quantity: Quantity) -> Features:
        if quantity.length_independent:
            return self._length_independent_features
        return self.grid.step_features if is_step(quantity.name.partition(" ")[2]) else self.grid.features

    def _latency_model(self, quantity: Quantity, data: Data) -> FloatArray | None:
        """The logarithm of the quantity as a latency law has it at every point; None where none can be fitted."""
        scale, _, metric = quantity.name.partition(" ")
        if scale != "log":
            return None
        if quantity.name not in self._latency_models:
            covers: Covers = "first" if is_first(metric) else "step" if is_step(metric) else "output"
            self._latency_models[quantity.name] = LatencyModel(self.grid, covers, quantity.length_independent)
        latency_model = self._latency_models[quantity.name]
        if latency_model.is_trivial:
            return None
        if not higher_is_better(metric):
            return latency_model.fit(data.rows, np.exp(data.values))
        # A throughput is work over latency; work in requests × output tokens, to a constant.
        work = np.log(batch_of(self.grid) * self.grid.size_column(Role.OUTPUT_TOKENS))
        return work - latency_model.fit(data.rows, np.exp(work[data.rows] - data.values))

    def _forecasts(self, target: Target) -> Forecasts:
        actual = self.observations_.column(target.name)
        rows = np.flatnonzero(np.isfinite(actual))
        means, stds = {}, {}
        for quantity in target.quantities:
            mean, std = self._one_step_ahead(quantity)
            means[quantity.name], stds[quantity.name] = mean[rows], std[rows]
        mean, std = target.combine(means, stds, self._noises, rows)
        known = np.isfinite(mean) & np.isfinite(std)
        rows, mean, std = rows[known], mean[known], std[known]
        truth = np.log(actual[rows]) if target.log else actual[rows]
        error = mean - truth
        if target.log:
            ape, expected = np.abs(np.expm1(error)), expected_ape(std)
        else:
            scale = np.maximum(np.abs(truth), 1e-12)
            ape, expected = np.abs(error) / scale, std * _MEAN_ABSOLUTE / scale
        return Forecasts(ape, expected, error / std, self.observations_.run_of[rows])

    def _one_step_ahead(self, quantity: Quantity) -> tuple[FloatArray, FloatArray]:
        """Mean and σ at every grid row that a later reading covers, from the runs before; NaN elsewhere, (N,)."""
        mean, std = np.full(len(self.grid), np.nan), np.full(len(self.grid), np.nan)
        regressor, data = self.regressors_.get(quantity.name), self.data_[quantity.name]
        said = regressor.one_step_ahead() if regressor and len(np.unique(data.runs)) >= 3 else None
        if said is None:
            return mean, std
        if not (quantity.length_independent and self._lines is not None):
            mean[data.rows], std[data.rows] = said
            return mean, std
        # One reading a line tells a flat quantity; it holds for all that the line has measured.
        of_line = np.full(int(self._lines.max()) + 1, -1)
        of_line[self._lines[data.rows]] = np.arange(len(data.rows))
        measured = np.flatnonzero(self.observations_.measured)
        position = of_line[self._lines[measured]]
        measured, position = measured[position >= 0], position[position >= 0]
        mean[measured], std[measured] = said[0][position], said[1][position]
        return mean, std


def small_sample_inflation(runs: FloatArray | int) -> FloatArray:
    """The factor on errors that so few runs could not show, () or of the shape of `runs`: the model learned from the
    runs that judge it, and knows neither σ nor how the grid bends where they have not been."""
    return 1 + _SMALL_SAMPLE_INFLATION / np.maximum(np.asarray(runs, dtype=np.float64), 1.0)


def expected_ape(std: FloatArray) -> FloatArray:
    """E|e^z − 1| for z ~ N(0, std²): the absolute percentage error of a median whose log is off by z."""
    std = np.minimum(std, _LARGEST_SPREAD)
    expected: FloatArray = np.exp(std**2 / 2) * (2 * ndtr(std) - 1)
    return expected
