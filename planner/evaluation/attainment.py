"""How probably each tier of conditions is met at each grid point, and where that is still undecided.

Notation
--------
N, T        grid points; tiers
line        the points that differ by the load alone (planner.space.load)
P           probability that a point can run and meets every condition of a tier, (T, N)
m, σ        distance of a metric inside its bound, and its standard deviation, on the scale of the metric's transform;
            of a prediction σ is the model's own, widened (settings.BOUNDARY_WIDENING), more while runs are few

A point is *decided* for a tier if P is at least the confidence or at most 1 − confidence. What is measured and still in
between lies on the boundary within its noise. It is measured again where readings have a known noise, up to a limit
and as long as the runs up to it could decide; then it counts as *settled*: more runs would not tell.

More load meets fewer conditions. Where the predicted margins along a line say so too, P is made to fall along it:
isotonic regression, each P weighted by 1 / (P (1 − P)), so that what is certain moves least (Barlow et al., Statistical
Inference under Order Restrictions, 1972).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import ndtri

from planner.evaluation import settings
from planner.evaluation.metric_posterior import MetricPosterior, metric_posterior
from planner.ledger.observations import Observations
from planner.models.calibration import small_sample_inflation
from planner.models.grid_model import Prediction
from planner.models.quantities import Quantity, data_of
from planner.space.load import load_lines
from planner.space.slo import Boundary, Condition, Tier
from planner.space.types import BoolArray, FloatArray, IntArray, Kind

__all__ = ["Attainment", "attainment_of", "falling"]


@dataclass(frozen=True, eq=False)
class Attainment:
    """P(met) of each tier of `boundary` at each point.

    probability: P, (T, N). settled: measured as well as it can be for the tier, (T, N). repeatable: measured, not
    settled, and a further run there would narrow the reading, (T, N). metrics: each metric by name.
    """

    boundary: Boundary
    probability: FloatArray
    settled: BoolArray
    repeatable: BoolArray
    metrics: Mapping[str, MetricPosterior]

    @cached_property
    def margins(self) -> Mapping[Condition, FloatArray]:
        """m of each condition at each point, (N,)."""
        return {condition: self.metrics[condition.metric].margin(condition)
                for tier in self.boundary.tiers for condition in tier.conditions}

    @property
    def undecided(self) -> BoolArray:
        """Whether P is between 1 − confidence and confidence and runs can change that, (T, N)."""
        least = self.boundary.confidence
        between = (self.probability < least) & (self.probability > 1 - least)
        undecided: BoolArray = between & ~self.settled
        return undecided

    @property
    def open_count(self) -> int:
        """Number of undecided pairs of a point and a tier."""
        return int(self.undecided.sum())

    @property
    def total(self) -> int:
        """Number of pairs."""
        return self.probability.size


def attainment_of(
    boundary: Boundary, prediction: Prediction, feasibility: FloatArray, observations: Observations
) -> Attainment:
    """The attainment by predictions and measurements. feasibility: probability that each point can run, (N,). The
    metrics of all tiers are targets of `observations`."""
    metrics = {name: metric_posterior(name, prediction, observations, calibrated=False) for name in boundary.metrics}
    absent = {name: _absent(name, observations) for name in boundary.metrics}
    widening = {name: _widening(name, observations) for name in boundary.metrics}
    probability = np.array([_met(tier, metrics, absent, widening) for tier in boundary.tiers]) * feasibility
    for _, rows in load_lines(observations.grid):
        for t, tier in enumerate(boundary.tiers):
            if all(_falls(metrics[c.metric].margin(c)[rows]) for c in tier.conditions):
                probability[t, rows] = falling(probability[t, rows])
    noisy = {name: _noisy(name, observations) for name in boundary.metrics}
    measured = np.array([_measured(tier, metrics, absent) for tier in boundary.tiers])
    again = np.array([np.any([noisy[name] for name in tier.metrics], axis=0) for tier in boundary.tiers])
    repeatable = measured & again & _promising(probability, boundary.confidence, observations.run_counts)
    return Attainment(boundary, probability, (measured & ~repeatable) | observations.failed, repeatable, metrics)


def falling(probability: FloatArray) -> FloatArray:
    """The probabilities (n,) nearest to those given that fall from one to the next."""
    if not len(probability) or bool((np.diff(probability) <= 0).all()):
        return probability
    from scipy.optimize import isotonic_regression

    weights = 1 / (probability * (1 - probability) + settings.LEAST_BERNOULLI)
    fitted: FloatArray = isotonic_regression(probability, weights=weights, increasing=False).x
    return fitted


def _absent(metric: str, observations: Observations) -> BoolArray:
    """Where there is no such metric, (N,): a time between tokens needs two. No condition on it can be missed there."""
    grid = observations.grid
    steps = observations.metric(metric).kind is Kind.STEP and not grid.single_token.all()
    return grid.single_token if steps else np.zeros(len(grid), dtype=bool)


def _measured(tier: Tier, metrics: Mapping[str, MetricPosterior], absent: Mapping[str, BoolArray]) -> BoolArray:
    """Whether every metric that there is was measured, (N,)."""
    told: BoolArray = np.all([metrics[name].measured | absent[name] for name in tier.metrics], axis=0)
    return told


def _met(
    tier: Tier, metrics: Mapping[str, MetricPosterior], absent: Mapping[str, BoolArray], widening: Mapping[str, float]
) -> FloatArray:
    """Probability that all conditions hold, (N,): their product, as in a recommendation."""
    parts = [np.where(absent[c.metric], 1.0, metrics[c.metric].probability(c, widening[c.metric]))
             for c in tier.conditions]
    met: FloatArray = np.prod(parts, axis=0)
    return met


def _widening(metric: str, observations: Observations) -> float:
    """Factor on the model's σ of a metric. Half of its runs are forecasts of what the others say."""
    runs = np.unique(observations.run_of[np.isfinite(observations.column(metric))])
    return max(settings.BOUNDARY_WIDENING, float(small_sample_inflation(np.array(len(runs) / 2))))


def _falls(margin: FloatArray) -> bool:
    """Whether margins along a line, (n,), nearly fall: what they rise by is a small part of all their movement."""
    steps = np.diff(margin[np.isfinite(margin)])
    return float(np.maximum(steps, 0).sum()) <= settings.NEARLY_FALLING * float(np.abs(steps).sum())


def _promising(probability: FloatArray, confidence: float, runs: IntArray) -> BoolArray:
    """Whether a point's further runs, up to the limit, would decide if its mean stayed where it is, (T, N)."""
    away = np.abs(ndtri(np.clip(probability, settings.LEAST_BERNOULLI, 1 - settings.LEAST_BERNOULLI)))
    # The deviation of a mean of k runs is 1/√k of one's.
    then = away * np.sqrt(settings.MOST_RUNS_A_POINT / np.maximum(runs, 1))
    promising: BoolArray = (runs < settings.MOST_RUNS_A_POINT) & (then >= ndtri(confidence))
    return promising


def _noisy(metric: str, observations: Observations) -> BoolArray:
    """Whether each point has a reading of known noise, (N,)."""
    about = observations.metric(metric)
    data = data_of(Quantity(metric, about.kind, about.transform, False), observations, None)
    noisy = np.zeros(len(observations.grid), dtype=bool)
    noisy[data.rows] = data.noise > 0
    return noisy

