"""The joint distribution of one metric at some grid points: what a choice among them rests on.

Notation
--------
n           rows: measured ones, and ones that are predicted
m, σ        mean and standard deviation on the scale of the metric's transform, as `metric_posterior` has them; of a
            predicted row σ is widened (settings.UNMEASURED_WIDENING), since it is selected from many
r_ij        correlation of the errors at two predicted rows, by the model's covariance and the noise of a reading
e           standard deviation of one more run's reading
k           runs of a measured row

How large the errors of predictions are is itself uncertain: they have the tails of Student's distribution, with one
factor for all rows of a draw.

A measured row errs by the noise of its own reading alone, independently of all others: e / √k. Where the noise of a
reading is not known from repeats, e is what the surface leaves unexplained, which is an upper limit: it holds roughness
too. Rows that were run again tell how much of it is noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg
from scipy.special import ndtr

from planner.evaluation import settings
from planner.evaluation.metric_posterior import TAIL_SCALE, MetricPosterior
from planner.ledger.observations import Observations
from planner.models.joint_errors import JointErrors
from planner.models.quantities import Quantity, data_of
from planner.models.settings import TINY
from planner.models.transforms import back, forward
from planner.space.slo import Condition
from planner.space.types import BoolArray, FloatArray, IntArray, Metric

__all__ = ["JointMetric", "joint_metric"]


@dataclass(frozen=True, eq=False)
class JointMetric:
    """One metric, `about`, at n rows. mean: m, (n,). covariance: of the errors, (n, n). reading: e, (n,). measured,
    runs: (n,) each."""

    about: Metric
    rows: IntArray
    mean: FloatArray
    covariance: FloatArray
    reading: FloatArray
    measured: BoolArray
    runs: IntArray

    def errors(self, draws: int, rng: np.random.Generator) -> FloatArray:
        """Joint draws of the errors, (S, n). Those of the first rows are the same whatever rows follow: who asks for
        more sees no other numbers."""
        freedom = settings.TAIL_FREEDOM
        heavy = np.sqrt(freedom / rng.chisquare(freedom, (draws, 1))) / TAIL_SCALE
        z = rng.standard_normal((len(self.rows), draws)).T
        new = np.flatnonzero(~self.measured)
        errors: FloatArray = z * np.sqrt(np.diagonal(self.covariance))
        if len(new):
            errors[:, new] = heavy * (z[:, new] @ _root(self.covariance[np.ix_(new, new)]).T)
        return errors

    def values(self, errors: FloatArray, runs: float = 1.0, widened: bool = True) -> FloatArray:
        """The metric in its units with these errors, (S, n). runs: of each measured row at least, as if they had been
        made and had changed no mean. widened: whether predicted rows err as what is selected from many does."""
        less = np.where(self.measured, np.sqrt(self.runs / np.maximum(self.runs, runs)),
                        1.0 if widened else 1 / settings.UNMEASURED_WIDENING)
        return back(self.about.transform, self.mean + errors * less)

    def openness(self, condition: Condition) -> FloatArray:
        """How uncertain it is whether each row meets the condition, (n,): 4 p (1 − p), 1 at most."""
        bound = float(forward(self.about.transform, np.array(condition.bound)))
        if not np.isfinite(bound):
            return np.zeros(len(self.rows))
        p = ndtr((bound - self.mean) / np.sqrt(np.diagonal(self.covariance) + TINY))
        openness: FloatArray = 4 * p * (1 - p)
        return openness


def _root(covariance: FloatArray) -> FloatArray:
    """The lower triangular matrix whose product with its transpose is the covariance, (n, n)."""
    scale = np.sqrt(np.diagonal(covariance)) + TINY
    correlation = covariance / scale[:, None] / scale + settings.LEAST_EIGENVALUE * np.eye(len(scale))
    try:
        lower = linalg.cholesky(correlation, lower=True)
    except linalg.LinAlgError:  # rounding has left an eigenvalue below zero
        values, vectors = linalg.eigh(correlation)
        upper = linalg.qr((vectors * np.sqrt(np.maximum(values, settings.LEAST_EIGENVALUE))).T, mode="r")[0]
        lower = (upper * np.where(np.diagonal(upper) < 0, -1.0, 1.0)[:, None]).T
    root: FloatArray = scale[:, None] * lower
    return root


def joint_metric(
    known: MetricPosterior, errors: JointErrors | None, observations: Observations, rows: IntArray
) -> JointMetric:
    """The metric at `rows`. known: at each grid point, (N,). errors: of the model that predicted; None where it cannot
    tell, and errors are independent."""
    measured, runs = known.measured[rows], np.maximum(observations.run_counts[rows], 1)
    reading, own = _reading_noise(known, errors, observations, rows)
    std = np.where(measured, own, settings.UNMEASURED_WIDENING * known.std[rows])
    std = np.nan_to_num(std, nan=0.0, posinf=settings.HUGE_STD)
    correlation = np.eye(len(rows))
    latent = errors.covariance(known.name, rows) if errors else None
    if errors is not None and latent is not None:
        latent = latent + np.diag(errors.noise(known.name, rows) ** 2 + TINY)
        scale = np.sqrt(np.diagonal(latent))
        correlation = latent / scale[:, None] / scale
    correlation[measured] = correlation[:, measured] = 0.0
    np.fill_diagonal(correlation, 1.0)
    return JointMetric(observations.metric(known.name), rows, np.nan_to_num(known.mean[rows]),
                       correlation * std[:, None] * std, reading, measured, runs)


def _reading_noise(
    known: MetricPosterior, errors: JointErrors | None, observations: Observations, rows: IntArray
) -> tuple[FloatArray, FloatArray]:
    """e, and the standard deviation of what is known of each row if it is measured, (n,) each."""
    about = observations.metric(known.name)
    data = data_of(Quantity(known.name, about.kind, about.transform, False), observations, None)
    noise = np.zeros(len(observations.grid))
    noise[data.rows] = data.noise
    runs = np.maximum(observations.run_counts[rows], 1)
    if (data.noise > 0).any():
        usual = float(np.median(data.noise[data.noise > 0]))
        reading = np.where(noise[rows] > 0, noise[rows], usual)
        return reading, reading / np.sqrt(runs)
    unexplained = errors.noise(known.name, rows) if errors else known.std[rows]
    reading = unexplained * _share_of_noise(known, observations, unexplained)
    return reading, reading / np.sqrt(runs)


def _share_of_noise(
    known: MetricPosterior, observations: Observations, unexplained: FloatArray
) -> float:
    """How large the noise of a reading is beside what is unexplained, by the rows that were run again: a mean square
    in which the prior that all of it is noise counts as settings.NOISE_PRIOR runs."""
    usual = float(np.median(unexplained)) if len(unexplained) else 0.0
    squares, freedom = 0.0, 0
    for repeats in observations.repeats(known.name).values():
        if len(repeats) > 1:
            values = forward(known.transform, np.array(repeats))
            squares, freedom = squares + float(np.var(values)) * len(values), freedom + len(values) - 1
    if usual <= 0 or not freedom:
        return 1.0
    prior = settings.NOISE_PRIOR
    return float(np.sqrt((prior + squares / usual**2) / (prior + freedom)))
