"""Which configuration to run: the best points that meet every condition with the requested probability.

The probability that a point meets a condition is that of a heavy-tailed distribution of the metric's logarithm, whose
σ is that of the calibrated interval, or of the repeats if it was measured (`metric_posterior`). `joint` combines
several conditions; the result is multiplied by the probability that the point can run at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from planner.analysis import settings
from planner.analysis.boundary import Boundaries, boundary_of
from planner.analysis.pareto import Figure, nondominated
from planner.analysis.recommendation.saturation import Saturation, batch_axis, largest, saturation
from planner.campaign.verify import Verification
from planner.evaluation.metric_posterior import MetricPosterior, metric_posterior
from planner.ledger.observations import Observations
from planner.models.latency_model import batch_of
from planner.models.transforms import back
from planner.space.load import load_axis
from planner.space.slo import Condition, Tier
from planner.space.types import Axis, BoolArray, FloatArray, IntArray, Kind, Role, Transform
from planner.strategies.strategy import Posterior

__all__ = ["Question", "Recommendation", "extra_metrics", "recommend"]

_TOKENS = "output_throughput"


@dataclass(frozen=True, slots=True)
class Question:
    """The question. confidence: the least probability of meeting every condition.

    per_accelerator: the objective is divided by the accelerators that a point occupies (multiplied, where less is
    better). tiers: conditions whose highest loads are asked for.
    """

    objective: str
    maximise: bool
    conditions: tuple[Condition, ...] = ()
    confidence: float = 0.9
    per_accelerator: bool = False
    tiers: tuple[Tier, ...] = ()

    @property
    def metrics(self) -> tuple[str, ...]:
        """Every metric that must be known, the objective first."""
        return tuple(dict.fromkeys((self.objective, *(condition.metric for condition in self.conditions))))

    @property
    def modelled(self) -> tuple[str, ...]:
        """`metrics`, and those of the tiers."""
        return tuple(dict.fromkeys((*self.metrics, *(metric for tier in self.tiers for metric in tier.metrics))))

    @property
    def objective_text(self) -> str:
        """The objective in words."""
        if not self.per_accelerator:
            return self.objective
        return f"{self.objective} {'per accelerator' if self.maximise else '× accelerators'}"


@dataclass(frozen=True, eq=False)
class Recommendation:
    """The answer; arrays are (N,) over the grid, row numbers refer to it.

    known: each metric by name. probabilities: of each condition. probability: of all of them and of running at all; 0
    if unknown. score: the maximised value, NaN if unknown. best: rows of at least the confidence, best
    first. fronts: Pareto fronts by name. largest: a row of each line along `batch`, and that of the largest batch that
    meets every condition. feasibility: probability of running. accelerators: devices of each point. price: of an
    accelerator-hour. verified: the cost of measuring the winner, if requested. boundaries: of the question's tiers;
    None without tiers or without an axis that is a load.
    """

    question: Question
    known: Mapping[str, MetricPosterior]
    probabilities: tuple[FloatArray, ...]
    probability: FloatArray
    score: FloatArray
    best: IntArray
    fronts: Mapping[str, IntArray]
    batch: Axis | None
    largest: tuple[tuple[int, int | None], ...]
    saturation: tuple[Saturation, ...]
    feasibility: FloatArray
    accelerators: FloatArray
    price: float | None = None
    verified: Verification | None = None
    boundaries: Boundaries | None = None

    @property
    def considered(self) -> int:
        """Points whose objective and conditions are defined and which have not failed."""
        return int(np.isfinite(self.score).sum())

    @property
    def measured(self) -> BoolArray:
        """Whether every metric of the question was measured at each point, (N,)."""
        measured: BoolArray = np.all([self.known[metric].measured for metric in self.question.metrics], axis=0)
        return measured

    @property
    def winner(self) -> int | None:
        """The best row, or else the most probable one; None if nothing is known."""
        return int(self.best[0]) if len(self.best) else self.most_probable

    @property
    def most_probable(self) -> int | None:
        """The row, of those likely to run, that most probably meets every condition, or comes nearest to it; None where
        none is known."""
        if not self.considered:
            return None
        likely = np.isfinite(self.score) & (self.feasibility >= settings.LIKELY)
        rows = np.flatnonzero(likely if likely.any() else np.isfinite(self.score))
        hope = self.probability
        if self.question.conditions and hope[rows].max() < settings.HOPELESS:
            # Far out in the tail the most uncertain point is the likeliest; the nearest to the bounds is more useful.
            hope = np.min([self.known[c.metric].margin(c) for c in self.question.conditions], axis=0)
        return int(rows[np.lexsort((-self.score[rows], -hope[rows]))[0]])

    @property
    def obstacle(self) -> Condition | None:
        """The least likely condition at the point that is most likely to meet all of them."""
        row = self.most_probable
        if row is None or not self.probabilities:
            return None
        return self.question.conditions[int(np.argmin([probability[row] for probability in self.probabilities]))]

    def cost_per_million(self, row: int) -> tuple[float, float, float] | None:
        """Money for a million output tokens at `row`: value and 90 % interval; None without a price or tokens/s."""
        tokens = self.known.get(_TOKENS)
        if tokens is None or self.price is None or not tokens.value[row] > 0:
            return None
        low, high = tokens.interval
        a_second = self.price * self.accelerators[row] / 3600 * 1_000_000
        return (float(a_second / tokens.value[row]), float(a_second / high[row]),
                float(a_second / low[row]) if low[row] > 0 else float("inf"))

    def tokens_per_accelerator(self, row: int) -> float | None:
        """Output tokens per second of each accelerator at `row`; None if the study has no such metric."""
        tokens = self.known.get(_TOKENS)
        return None if tokens is None else float(tokens.value[row] / self.accelerators[row])

    def asked(self, row: int) -> float:
        """The objective at `row` as asked, per accelerator if requested."""
        return abs(float(self.score[row]))

    def runner_up(self, winner: int) -> int | None:
        """The unmeasured row, other than `winner`, with the largest expected improvement of the objective (of its
        logarithm, if it has one) times the probability of meeting every condition."""
        objective = self.known[self.question.objective]
        sign = 1.0 if self.question.maximise else -1.0
        middle = sign * objective.mean
        if self.question.per_accelerator and objective.transform is Transform.LOG:
            middle = middle - np.log(self.accelerators)
        better = _improvement(middle - middle[winner], objective.std) * self.probability
        open_rows = np.isfinite(self.score) & ~self.measured & np.isfinite(better)
        open_rows[winner] = False
        if not open_rows.any():
            return None
        return int(np.argmax(np.where(open_rows, better, -np.inf)))


def recommend(
    question: Question, posterior: Posterior, observations: Observations, accelerators: FloatArray,
    price: float | None = None,
) -> Recommendation:
    """The answer. posterior: of every metric of the question, which are targets of `observations`. accelerators: of a
    run of each point, (N,). price: of an accelerator-hour."""
    grid = observations.grid
    known = {metric: metric_posterior(metric, posterior.prediction, observations) for metric in observations.targets}
    probabilities = tuple(known[condition.metric].probability(condition) for condition in question.conditions)
    score = _score(question, known[question.objective], accelerators)
    score[np.any([np.isnan(known[metric].mean) for metric in question.metrics], axis=0)] = np.nan
    probability = np.where(np.isfinite(score), posterior.feasibility * joint(probabilities, len(grid)), 0.0)
    good = np.flatnonzero(probability >= question.confidence)
    best = good[np.lexsort((-probability[good], -score[good]))]
    runs = np.isfinite(score) & (posterior.feasibility >= settings.LIKELY)
    axis = batch_axis(grid)
    throughput = _throughput(question, known, observations)
    return Recommendation(
        question, known, probabilities, probability, score, best, _fronts(question, known, accelerators, observations,
            runs), axis,
        tuple(largest(grid, axis, runs, probability >= question.confidence)) if axis and question.conditions else (),
        tuple(saturation(grid, axis, throughput, runs)) if axis and throughput else (),
        posterior.feasibility, accelerators, price, boundaries=boundary_of(question.tiers, posterior, observations)
        if question.tiers and load_axis(grid) else None)


def joint(probabilities: tuple[FloatArray, ...], points: int) -> FloatArray:
    """Probability that all conditions hold, (points,): their product, as if errors were independent.

    The correlation of errors is unknown. The smallest probability is an upper bound, 1 − Σ(1 − probability) a lower.
    Replayed over recorded grids with two conditions, at stated values of 0.9 and more all three agreed to 0.002
    with each other, and each with the truth to 0.03; at 0.3 the product was nearest to it (0.29, true 0.29 to 0.33).
    """
    together: FloatArray = np.prod(probabilities, axis=0) if probabilities else np.ones(points)
    return together


def extra_metrics(metrics: list[str]) -> tuple[str, ...]:
    """The measured metrics that an answer shows in addition to the study's targets: token throughput, and time per
    output token."""
    return tuple(metric for metric in (_TOKENS, "tpot_ms") if metric in metrics)


def _score(question: Question, objective: MetricPosterior, accelerators: FloatArray) -> FloatArray:
    """The maximised value at each point, measured or predicted, (N,)."""
    value = _asked(question, back(objective.transform, objective.mean).copy(), accelerators)
    return value if question.maximise else -value


def _improvement(margin: FloatArray, std: FloatArray) -> FloatArray:
    """E[max(0, ahead + std·z)], z standard normal."""
    from scipy.special import ndtr

    z = margin / np.maximum(std, 1e-12)
    improvement: FloatArray = margin * ndtr(z) + std * np.exp(-z**2 / 2) / np.sqrt(2 * np.pi)
    return improvement


def _throughput(
    question: Question, known: Mapping[str, MetricPosterior], observations: Observations
) -> MetricPosterior | None:
    """The throughput in the question, or else the first that is known."""
    names = (question.objective, *known)
    return next((known[name] for name in names if observations.metric(name).kind is Kind.THROUGHPUT), None)


def _fronts(
    question: Question, known: Mapping[str, MetricPosterior], accelerators: FloatArray, observations: Observations,
    runs: BoolArray,
) -> dict[str, IntArray]:
    """The objective against each condition's metric, and throughput an accelerator against tokens/s a user."""
    objective = Figure(
        question.objective_text, _asked(question, known[question.objective].value, accelerators), question.maximise)
    pairs = {}
    for condition in question.conditions:
        if condition.metric != question.objective:
            metric = known[condition.metric]
            pairs[f"{objective.name} against {metric.name}"] = (
                objective, Figure(metric.name, metric.value, not condition.is_upper))
    tokens = known.get(_TOKENS)
    if tokens is not None:
        user = _per_user(known, tokens, observations)
        an_accelerator = Figure(f"{_TOKENS} per accelerator", tokens.value / accelerators, True)
        if user is not None:
            pairs[f"{an_accelerator.name} against {user.name}"] = (an_accelerator, user)
    return {name: nondominated(*pair, runs) for name, pair in pairs.items()}


def _asked(question: Question, value: FloatArray, accelerators: FloatArray) -> FloatArray:
    """The objective as asked: of the whole engine, or per accelerator."""
    if not question.per_accelerator:
        return value
    return value / accelerators if question.maximise else value * accelerators


def _per_user(
    known: Mapping[str, MetricPosterior], tokens: MetricPosterior, observations: Observations
) -> Figure | None:
    """Tokens a second that one user sees: 1/tpot, else the throughput shared by the requests of the batch."""
    if "tpot_ms" in known:
        return Figure("tokens/s per user", 1000 / known["tpot_ms"].value, True)
    if observations.grid.by_role(Role.BATCH) is None:
        return None
    return Figure("tokens/s per user", tokens.value / batch_of(observations.grid), True)
