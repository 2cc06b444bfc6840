"""What we believe about every target at every grid point, and how far that belief has proved right.

Notation: N grid points; T targets; σ standard deviation of a target's logarithm (or of the target, where it can be
zero or negative), the noise of a measurement included unless said; z a left-out run's standardised error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from planner.ledger.observations import Observations
from planner.space.grid import Grid
from planner.space.metrics import is_gain, is_per_token
from planner.space.types import Features, FloatArray, IntArray, Role
from planner.surrogates.committee import Committee, Learner
from planner.surrogates.physics import LatencyLaw, batch_of
from planner.surrogates.quantities import Data, Quantity, Target, data_of, merged, targets_of

__all__ = ["GridModel", "LeftOut", "Prediction", "expected_ape"]

_Z90 = 1.6448536269514722
_FEW_RUNS = 20.0
_FEW_RUNS_WIDTH = 10.0
# A left-out run counts as so many in the calibration of the intervals: the prior belief that the model is right.
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
class LeftOut:
    """One target at measured rows, predicted with the row's whole run left out: absolute percentage error,
    the error that the model expected there, σ, z, and the run of each row; arrays (n,)."""

    ape: FloatArray
    expected: FloatArray
    std: FloatArray
    z: FloatArray
    runs: IntArray


class GridModel:
    """A learner for each quantity, combined into targets. `fit` may be called again and starts warm."""

    def __init__(
        self, grid: Grid, trajectory: str | None, make: Callable[[Features], Learner] = Committee
    ) -> None:
        self.grid = grid
        self.trajectory = trajectory
        self._make = make
        self._lines = grid.lines(trajectory) if trajectory else None
        self._flat_features = grid.features_without(trajectory)
        self.learners_: dict[str, Learner] = {}
        self._laws: dict[str, LatencyLaw] = {}

    def fit(self, seen: Observations) -> GridModel:
        """Learn from at least one measured point."""
        self.seen_ = seen
        self.targets_ = merged(targets_of(seen, self.trajectory), seen, self._lines)
        self.data_ = {q.name: data_of(q, seen, self._lines) for q in self.quantities}
        for quantity in self.quantities:
            data = self.data_[quantity.name]
            if len(data.rows):
                if quantity.name not in self.learners_:
                    features = self._flat_features if quantity.flat else self.grid.features
                    self.learners_[quantity.name] = self._make(features)
                # The readings of one run share its luck: taken as independent, they promise too much.
                runs = data.runs if self.trajectory and not quantity.flat else None
                self.learners_[quantity.name].fit(data.rows, data.values, runs, self._law(quantity, data))
        self._noises = {name: learner.noise_ for name, learner in self.learners_.items()}
        self._means, self._stds = self._predict_quantities()
        self._combined = {t.name: t.combine(self._means, self._stds, self._noises) for t in self.targets_}
        self.left_out_ = {target.name: self._left_out(target) for target in self.targets_}
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

    def predict(self) -> Prediction:
        """All targets at all points, intervals calibrated by the left-out runs."""
        value, low, high, std = {}, {}, {}, {}
        for target in self.targets_:
            mean, sigma = self._combined[target.name]
            width = _Z90 * sigma * self.calibration(target.name)
            back = np.exp if target.log else np.asarray
            value[target.name], std[target.name] = back(mean), sigma
            low[target.name], high[target.name] = back(mean - width), back(mean + width)
        return Prediction(value, low, high, std)

    def calibration(self, target: str) -> float:
        """The factor on σ that left-out runs ask for, drawn towards 1 while they are few."""
        left_out = self.left_out_[target]
        runs = np.unique(left_out.runs)
        # Each run counts once however long its trajectory; one outlier must not widen every interval.
        squares = [float(np.mean(np.minimum(left_out.z[left_out.runs == run] ** 2, 16.0))) for run in runs]
        weight = _CALIBRATION_WEIGHT
        left_out_says = float(np.sqrt((np.sum(squares) + weight) / (len(runs) + weight)))
        # Few runs know neither σ nor how the grid bends where they have not been.
        return left_out_says * self.flattery(target) * (1 + _FEW_RUNS_WIDTH / max(len(runs), 1))

    def flattery(self, target: str) -> float:
        """How much larger errors prove on the rest of the grid than left-out runs make one expect, 1 and above.

        The first runs are cheap and near each other, so that a run left out is easier to predict than a point out
        there. Replaying recorded grids, log(true / expected error) was 0.3 to 0.6 on average at 12 to 70 runs and
        nothing from 120 on; where runs are spread like the grid itself there is nothing to correct.
        """
        left_out = self.left_out_[target]
        runs = len(np.unique(left_out.runs))
        sigma = self._combined[target][1]
        rest = ~self.seen_.known & np.isfinite(sigma)
        if not runs or not rest.any():
            return 1.0
        # How much less certain the model is of the rest than it was of the left-out runs; log targets compare alike.
        beyond = float(np.median(sigma[rest]) / np.median(left_out.std)) - 1
        return 1 + _FEW_RUNS / runs * float(np.clip(2 * beyond, 0, 1))

    def _predict_quantities(self) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
        means, stds = {}, {}
        for quantity in self.quantities:
            learner = self.learners_.get(quantity.name)
            if learner is None:
                nothing = np.full(len(self.grid), np.nan)
                means[quantity.name], stds[quantity.name] = nothing, nothing
                continue
            mean, std = learner.predict()
            means[quantity.name], stds[quantity.name] = mean, np.hypot(std, learner.noise_)
        return means, stds

    def _law(self, quantity: Quantity, data: Data) -> FloatArray | None:
        """The logarithm of the quantity as a latency law has it at every point; None where none can be fitted."""
        scale, _, metric = quantity.name.partition(" ")
        if scale != "log":
            return None
        if quantity.name not in self._laws:
            whole = not is_per_token(metric) and metric not in {"first", "step"}
            self._laws[quantity.name] = LatencyLaw(self.grid, whole, quantity.flat)
        law = self._laws[quantity.name]
        if law.is_trivial:
            return None
        if not is_gain(metric):
            return law.fit(data.rows, np.exp(data.values))
        # A throughput is work over latency; work in requests × output tokens, to a constant.
        work = np.log(batch_of(self.grid) * self.grid.size_column(Role.OUTPUT_TOKENS))
        return work - law.fit(data.rows, np.exp(work[data.rows] - data.values))

    def _left_out(self, target: Target) -> LeftOut:
        actual = self.seen_.column(target.name)
        rows = np.flatnonzero(np.isfinite(actual))
        means, stds = {}, {}
        for quantity in target.quantities:
            mean, std = self._leave_runs_out(quantity)
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
            ape, expected = np.abs(error) / scale, std * np.sqrt(2 / np.pi) / scale
        return LeftOut(ape, expected, std, error / std, self.seen_.run_of[rows])

    def _leave_runs_out(self, quantity: Quantity) -> tuple[FloatArray, FloatArray]:
        """Mean and σ at every grid row that a reading covers, from the other runs; NaN elsewhere, (N,)."""
        mean, std = np.full(len(self.grid), np.nan), np.full(len(self.grid), np.nan)
        learner, data = self.learners_.get(quantity.name), self.data_[quantity.name]
        left_out = learner.leave_group_out(data.runs) if learner and len(np.unique(data.runs)) >= 3 else None
        if left_out is None:
            return mean, std
        out_mean, out_std = left_out
        if not (quantity.flat and self._lines is not None):
            mean[data.rows], std[data.rows] = out_mean, out_std
            return mean, std
        position = {int(line): i for i, line in enumerate(self._lines[data.rows])}
        measured = np.flatnonzero(self.seen_.measured)
        for row in measured:
            i = position.get(int(self._lines[row]))
            if i is not None:
                mean[row], std[row] = out_mean[i], out_std[i]
        return mean, std


def expected_ape(std: FloatArray) -> FloatArray:
    """E|e^z − 1| for z ~ N(0, std²): the absolute percentage error of a median whose log is off by z."""
    std = np.minimum(std, 5.0)
    expected: FloatArray = np.exp(std**2 / 2) * (2 * ndtr(std) - 1)
    return expected
