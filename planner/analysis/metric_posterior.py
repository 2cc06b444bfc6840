"""What is known of one metric at each grid point, measured or predicted, as a distribution.

Notation: N grid points; σ standard deviation of the metric's logarithm (of the metric, where it can be zero or
negative); x the metric itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from planner.analysis.predict import undefined
from planner.ledger.observations import Observations
from planner.models.quantities import Quantity, data_of
from planner.space.slo import Condition
from planner.space.types import Z90, BoolArray, FloatArray
from planner.strategies.strategy import Posterior

__all__ = ["MetricPosterior", "metric_posterior"]

# The best predicted point is one whose prediction flatters it, with a larger error than those of other points.
# Replayed over recorded grids (studies/compare/recommend.py), predicted winners that were said to hold with 0.9
# and more did so in 0.61 to 0.89 of cases on the noisy quickstart grid. So widened (1.5 was tried too and cost more) it
# is 0.86 to 1; of studies of some 40 single readings still 0.78. Chosen on that grid; of five others one broke 0.9,
# before as after: one in seven of its early predicted winners could not run or was slow.
_FLATTERY = 1.25
# Large errors are likelier than a normal distribution has them: of winners predicted on that grid to hold with 0.97 or
# 0.99 and more, 0.96 did. Beyond 0.9 the tails are therefore those of Student's t, scaled to meet the normal ones so:
# 0.98 and 0.99 of them do (6 seeds, 6 to 80 runs).
_TAIL_FREEDOM = 4
_TAIL_SCALE = float(stdtrit(_TAIL_FREEDOM, 0.9) / ndtri(0.9))


@dataclass(frozen=True, eq=False)
class MetricPosterior:
    """A metric at each point, (N,): NaN where it is undefined or nothing can be said.

    value: what was measured where it was, else the predicted median. mean, std: of log x where `log`, else of x.
    """

    name: str
    value: FloatArray
    mean: FloatArray
    std: FloatArray
    log: bool
    measured: BoolArray

    @property
    def interval(self) -> tuple[FloatArray, FloatArray]:
        """The ends of the 90 % interval; what was measured is always inside."""
        back = np.exp if self.log else np.asarray
        low, high = back(self.mean - Z90 * self.std), back(self.mean + Z90 * self.std)
        return np.fmin(low, self.value), np.fmax(high, self.value)

    def margin(self, condition: Condition) -> FloatArray:
        """How far inside the bound each point is expected to be, (N,): in logarithms where the metric has them."""
        bound = condition.bound
        if self.log:
            bound = np.log(bound) if bound > 0 else -np.inf
        margin: FloatArray = bound - self.mean if condition.is_upper else self.mean - bound
        return margin

    def probability(self, condition: Condition) -> FloatArray:
        """Probability that the condition holds at each point, (N,); 0 where the metric is undefined.

        Meant for points that were picked from many: σ is widened where nothing was measured.
        """
        std = np.where(self.measured, 1.0, _FLATTERY) * self.std
        z = self.margin(condition) / np.maximum(std, 1e-12)
        right = np.minimum(ndtr(np.abs(z)), stdtr(_TAIL_FREEDOM, _TAIL_SCALE * np.abs(z)))
        probability = np.where(z > 0, right, 1 - right)
        return np.where(np.isfinite(self.mean), probability, 0.0)


def metric_posterior(metric: str, posterior: Posterior, observations: Observations) -> MetricPosterior:
    """A modelled metric, measurements and predictions joined.

    Where it was measured with repeats, they say how noisy the reading is, and it is drawn towards the model's value by
    as much as that noise warrants: the best of many noisy readings is too good. σ is the reading's own then; the
    model has seen this reading already and may not narrow it twice. Without repeats, noise cannot be separated from
    roughness: the reading stands as it is, and its σ is the model's there.
    """
    column = observations.column(metric)
    measured = np.isfinite(column)
    log = bool(np.all(column[measured] > 0))
    prediction = posterior.prediction
    with np.errstate(divide="ignore", invalid="ignore"):
        forward = np.log if log else np.asarray
        mean = forward(prediction.value[metric]).astype(float)
        width = forward(prediction.high[metric]) - forward(prediction.low[metric])
    std = width / (2 * Z90)
    data = data_of(Quantity(f"log {metric}" if log else metric, False), observations, None)
    _take_readings(mean, std, data.rows, data.values, data.noise)
    value = np.where(measured, column, np.exp(mean) if log else mean)
    nothing = observations.failed | undefined(metric, observations)
    for array in (value, mean, std):
        array[nothing] = np.nan
    return MetricPosterior(metric, value, mean, std, log, measured & ~nothing)


def _take_readings(mean: FloatArray, std: FloatArray, rows: np.ndarray, y: FloatArray, noise: FloatArray) -> None:
    """Put readings y (n,) with their noise (n,), 0 where unknown, in the place of predictions at `rows`."""
    model = np.isfinite(mean[rows])
    noisy = (noise > 0) & model
    weight = np.where(noisy, std[rows] ** 2 / (std[rows] ** 2 + noise**2), 1.0)
    mean[rows] = np.where(noisy, weight * y + (1 - weight) * mean[rows], y)
    std[rows] = np.where(noise > 0, noise, np.where(model, std[rows], 0.0))
