"""The distribution of one metric at each grid point, measured or predicted.

Notation: N grid points; σ standard deviation of the metric's logarithm (of the metric, where it can be zero or
negative); x the metric itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.special import logit, ndtr, ndtri, stdtr, stdtrit

from planner.evaluation import settings
from planner.ledger.observations import Observations
from planner.models.grid_model import Prediction
from planner.models.quantities import Quantity, data_of
from planner.models.settings import LEAST_SHARE
from planner.models.transforms import back, forward
from planner.space.slo import Condition
from planner.space.types import Z90, BoolArray, FloatArray, Kind, Transform

__all__ = ["TAIL_SCALE", "MetricPosterior", "metric_posterior", "undefined"]

TAIL_SCALE: Final = float(stdtrit(settings.TAIL_FREEDOM, 0.9) / ndtri(0.9))
"""Student's distribution, scaled by this, meets a normal one at 0.9; beyond, its tails are heavier."""


@dataclass(frozen=True, eq=False)
class MetricPosterior:
    """A metric at each point, (N,): NaN where it is undefined or unknown.

    value: the measured value, or else the predicted median. mean, std: on the scale of the transform.
    """

    name: str
    value: FloatArray
    mean: FloatArray
    std: FloatArray
    transform: Transform
    measured: BoolArray

    @property
    def interval(self) -> tuple[FloatArray, FloatArray]:
        """Low and high of the 90 % interval, (N,) each; a measured value is always inside."""
        low = back(self.transform, self.mean - Z90 * self.std)
        high = back(self.transform, self.mean + Z90 * self.std)
        return np.fmin(low, self.value), np.fmax(high, self.value)

    def margin(self, condition: Condition) -> FloatArray:
        """Expected distance inside the bound at each point, (N,), on the scale of the metric's transform."""
        bound = condition.bound
        if self.transform is Transform.LOG:
            bound = np.log(bound) if bound > 0 else -np.inf
        elif self.transform is Transform.LOGIT:
            bound = float(logit(np.clip(bound, 0.0, 1.0)))
        margin: FloatArray = bound - self.mean if condition.is_upper else self.mean - bound
        if self.transform is Transform.LOGIT and not LEAST_SHARE <= condition.bound <= 1 - LEAST_SHARE:
            # The scale cannot tell such a share from 0 or 1; a measurement can.
            holds = self.value <= condition.bound if condition.is_upper else self.value >= condition.bound
            margin = np.where(self.measured, np.where(holds, np.inf, -np.inf), margin)
        return margin

    def probability(self, condition: Condition, widening: float = settings.UNMEASURED_WIDENING) -> FloatArray:
        """Probability that the condition holds at each point, (N,); 0 where the metric is undefined.

        widening: factor on σ where nothing was measured, for points selected from many.
        """
        std = np.where(self.measured, 1.0, widening) * self.std
        z = self.margin(condition) / np.maximum(std, 1e-12)
        right = np.minimum(ndtr(np.abs(z)), stdtr(settings.TAIL_FREEDOM, TAIL_SCALE * np.abs(z)))
        probability = np.where(z > 0, right, 1 - right)
        return np.where(np.isfinite(self.mean), probability, 0.0)


def metric_posterior(
    metric: str, prediction: Prediction, observations: Observations, calibrated: bool = True
) -> MetricPosterior:
    """The posterior of a modelled metric, from measurements and predictions.

    A reading with repeats has a known noise, and is shrunk towards the model's value accordingly: the best of many
    noisy readings is too good. Its σ is then the reading's own, since the model has used this reading already. Without
    repeats, noise cannot be separated from roughness: the reading is used as it is, with the model's σ.

    calibrated: σ is that of the 90 % interval, which is made to hold far from anything measured too; otherwise the
    model's own.
    """
    column = observations.column(metric)
    measured = np.isfinite(column)
    about = observations.metric(metric)
    transform = about.transform
    mean = forward(transform, prediction.value[metric]).copy()
    if calibrated:
        std = (forward(transform, prediction.high[metric]) - forward(transform, prediction.low[metric])) / (2 * Z90)
    else:
        # A prediction without a deviation decides nothing.
        std = np.where(np.isfinite(prediction.std[metric]), prediction.std[metric], np.inf)
    data = data_of(Quantity(metric, about.kind, transform, False), observations, None)
    _take_readings(mean, std, data.rows, data.values, data.noise)
    value = np.where(measured, column, back(transform, mean))
    nothing = observations.failed | undefined(metric, observations)
    for array in (value, mean, std):
        array[nothing] = np.nan
    return MetricPosterior(metric, value, mean, std, transform, measured & ~nothing)


def undefined(metric: str, observations: Observations) -> BoolArray:
    """Whether the metric is undefined at each point, (N,): measured without it, or a time between tokens at one output
    token. What some axes alone can change is defined everywhere: another run may have told it, or none yet."""
    if observations.metric(metric).depends_on is not None:
        return np.zeros(len(observations.grid), dtype=bool)
    nowhere: BoolArray = observations.measured & ~np.isfinite(observations.column(metric))
    if observations.metric(metric).kind is Kind.STEP:
        nowhere |= observations.grid.single_token
    return nowhere


def _take_readings(mean: FloatArray, std: FloatArray, rows: np.ndarray, y: FloatArray, noise: FloatArray) -> None:
    """Replace predictions at `rows` by readings y (n,) with their noise (n,), 0 where unknown."""
    model = np.isfinite(mean[rows])
    noisy = (noise > 0) & model
    total = np.where(noisy, std[rows] ** 2 + noise**2, 1.0)
    weight = np.where(noisy, std[rows] ** 2 / total, 1.0)
    mean[rows] = np.where(noisy, weight * y + (1 - weight) * mean[rows], y)
    std[rows] = np.where(noise > 0, noise, np.where(model, std[rows], 0.0))
