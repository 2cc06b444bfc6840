"""The best of the candidates: those that meet every condition with the requested probability.

The probability that a candidate meets a condition at one part of a workload is that of a heavy-tailed distribution of
the metric's logarithm, whose σ is that of the calibrated interval, or of the repeats if it was measured
(`metric_posterior`). `joint` combines several conditions, `planner.evaluation.mix` several parts; the result is
multiplied by the probability that every part can run at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from planner.analysis import settings
from planner.analysis.recommendation.fronts import TOKENS, as_asked, fronts_of
from planner.evaluation.apart import beside_baseline, difference_of, ratio_of
from planner.evaluation.choice_case import Draws
from planner.evaluation.metric_posterior import MetricPosterior, metric_posterior
from planner.evaluation.mix import Candidates, Mix, candidates_of, every_point
from planner.evaluation.parts import probability_of_parts
from planner.ledger.observations import Observations
from planner.models.transforms import back
from planner.space.baseline import baseline_points
from planner.space.grid import Grid
from planner.space.question import Question
from planner.space.slo import Condition
from planner.space.types import BoolArray, FloatArray, IntArray, Role, Transform
from planner.strategies.strategy import Posterior

__all__ = ["Recommendation", "chosen", "recommend"]


@dataclass(frozen=True, eq=False)
class Recommendation:
    """The best of C candidates; arrays are (C,), row numbers refer to them.

    probabilities: of each condition, at every part. probability: of all of them and of running at all; 0 if unknown.
    score: the maximised value, NaN if unknown. best: rows of at least the confidence, best first. fronts: Pareto fronts
    by name. price: of an accelerator-hour. draws: of what the answer shows, for intervals of differences; None where
    nobody drew. tied_with: a row that only noise hides the winner's lead over; None where there is none.
    """

    question: Question
    candidates: Candidates
    probabilities: tuple[FloatArray, ...]
    probability: FloatArray
    score: FloatArray
    best: IntArray
    fronts: Mapping[str, IntArray]
    price: float | None = None
    draws: Draws | None = None
    tied_with: int | None = None

    @property
    def known(self) -> Mapping[str, MetricPosterior]:
        """Each metric, by name."""
        return self.candidates.known

    @property
    def grid(self) -> Grid:
        """The chosen axes: a point for each candidate."""
        return self.candidates.grid

    @property
    def feasibility(self) -> FloatArray:
        """Probability that every part can run."""
        return self.candidates.feasibility

    @property
    def accelerators(self) -> FloatArray:
        """Devices that a candidate occupies."""
        return self.candidates.accelerators

    @property
    def considered(self) -> int:
        """Candidates whose objective and conditions are defined and of which no part has failed."""
        return int(np.isfinite(self.score).sum())

    @property
    def measured(self) -> BoolArray:
        """Whether every metric of the question was measured at every part, (C,)."""
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
            hope = np.min([self.candidates.margin(condition) for condition in self.question.conditions], axis=0)
        return int(rows[np.lexsort((-self.score[rows], -hope[rows]))[0]])

    @property
    def obstacle(self) -> Condition | None:
        """The least likely condition at the point that is most likely to meet all of them."""
        row = self.most_probable
        if row is None or not self.probabilities:
            return None
        return self.question.conditions[int(np.argmin([probability[row] for probability in self.probabilities]))]

    def cost_per_million(self, row: int, role: Role = Role.OUTPUT_TOKENS) -> tuple[float, float, float] | None:
        """Money for a million output tokens at `row`, or input tokens: value and 90 % interval. The whole cost is
        counted on them. None without a price, tokens/s, or lengths of the requests."""
        tokens = self.known.get(TOKENS)
        if tokens is None or self.price is None or not tokens.value[row] > 0:
            return None
        per_output = 1.0
        if role is not Role.OUTPUT_TOKENS:
            mix = self.candidates.mix
            these, outputs = mix.tokens_a_request(role), mix.tokens_a_request(Role.OUTPUT_TOKENS)
            if these is None or outputs is None:
                return None
            per_output = these / outputs
        low, high = tokens.interval
        a_second = self.price * self.accelerators[row] / 3600 * 1_000_000 / per_output
        return (float(a_second / tokens.value[row]), float(a_second / high[row]),
                float(a_second / low[row]) if low[row] > 0 else float("inf"))

    def tokens_per_accelerator(self, row: int) -> float | None:
        """Output tokens per second of each accelerator at `row`; None if the study has no such metric."""
        tokens = self.known.get(TOKENS)
        return None if tokens is None else float(tokens.value[row] / self.accelerators[row])

    def asked(self, row: int) -> float:
        """The objective at `row` as asked, per accelerator if requested."""
        return abs(float(self.score[row]))

    def gain(self, row: int, base: int | None = None) -> tuple[float, float, float] | None:
        """How many times as good the objective is at `row` as at `base`, the baseline by default, with the ends of its
        90 % interval: above 1 is better. None without a baseline, and for an objective that has no ratio."""
        base = self.candidates.baseline if base is None else base
        found = None if base is None else self.ratio(self.question.objective, row, base)
        if found is None:
            return None
        devices = float(self.accelerators[base] / self.accelerators[row]) if self.question.per_accelerator else 1.0
        value, low, high = found if self.question.maximise else (1 / found[0], 1 / found[2], 1 / found[1])
        return value * devices, low * devices, high * devices

    def ratio(self, metric: str, row: int, base: int) -> tuple[float, float, float] | None:
        """A metric at `row` over that at `base`, with the ends of its 90 % interval; None if it has no ratio."""
        return ratio_of(self.candidates, metric, row, base, self.draws)

    def difference(self, metric: str, row: int, base: int) -> tuple[float, float, float]:
        """A metric at `row` less that at `base`, with the ends of its 90 % interval."""
        return difference_of(self.candidates, metric, row, base, self.draws)

    @property
    def second(self) -> int | None:
        """The runner-up: the row that is tied with the best, else the next best one that meets every condition; where
        there is none, the one that could still overtake the best. None where none meets every condition."""
        if self.tied_with is not None or not len(self.best):
            return self.tied_with
        return int(self.best[1]) if len(self.best) > 1 else self.runner_up(int(self.best[0]))

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
    price: float | None = None, mix: Mix | None = None,
) -> Recommendation:
    """The best of the configurations of `mix`; of all grid points where there is none.

    posterior: of every metric of the question, which are targets of `observations`. accelerators: of a run of each
    point, (N,). price: of an accelerator-hour."""
    known = {metric: metric_posterior(metric, posterior.prediction, observations) for metric in observations.targets}
    return chosen(question, known, posterior, observations, accelerators, price, mix or every_point(observations.grid))


def chosen(
    question: Question, known: Mapping[str, MetricPosterior], posterior: Posterior, observations: Observations,
    accelerators: FloatArray, price: float | None, mix: Mix,
) -> Recommendation:
    """As `recommend`. known: each target at each grid point."""
    metrics = {name: observations.metric(name) for name in known}
    candidates = candidates_of(mix, known, metrics, posterior.feasibility, accelerators)
    score = _score(question, candidates.known[question.objective], candidates.accelerators)
    score[np.any([np.isnan(candidates.known[metric].mean) for metric in question.metrics], axis=0)] = np.nan
    candidates = replace(candidates, baseline=_baseline(question, candidates, score))
    if candidates.baseline is None and any(condition.of_baseline for condition in question.conditions):
        score[:] = np.nan  # a bound relative to what nobody knows is met by nothing
    relative = {one.metric: known[one.metric] for one in question.conditions if one.of_baseline}
    candidates = beside_baseline(candidates, relative, posterior.errors, observations)
    each = [candidates.probability(condition) for condition in question.conditions]
    probabilities = tuple(probability_of_parts(one, mix.weights, question.share) for one in each)
    count = len(mix.rows)
    together = probability_of_parts(
        np.array([joint(tuple(one[part] for one in each), count) for part in range(len(mix.weights))]),
        mix.weights, question.share)
    probability = np.where(np.isfinite(score), candidates.feasibility * together, 0.0)
    good = np.flatnonzero(probability >= question.confidence)
    best = good[np.lexsort((-probability[good], -score[good]))]
    runs = np.isfinite(score) & (candidates.feasibility >= settings.LIKELY)
    return Recommendation(question, candidates, probabilities, probability, score, best,
                          fronts_of(question, candidates, runs, metrics), price)


def _baseline(question: Question, candidates: Candidates, score: FloatArray) -> int | None:
    """The candidate that others are compared with: the best of those that have the baseline's values, rather run than
    not, and meet the conditions, as far as some do: a baseline that leaves the load open would otherwise be that of
    the highest load, which meets nothing. None without one."""
    if not question.baseline:
        return None
    there = baseline_points(question.baseline, candidates.grid) & np.isfinite(score)
    able = there & (candidates.feasibility >= settings.LIKELY)
    meets = able.copy()
    for condition in question.conditions:
        if not condition.of_baseline:
            each = candidates.probability(condition)
            meets &= probability_of_parts(each, candidates.mix.weights, question.share) >= question.confidence
    rows = next((np.flatnonzero(some) for some in (meets, able, there) if some.any()), None)
    return None if rows is None else int(rows[np.argmax(score[rows])])


def joint(probabilities: tuple[FloatArray, ...], points: int) -> FloatArray:
    """Probability that all conditions hold, (points,): their product, as if errors were independent.

    The correlation of errors is unknown. The smallest probability is an upper bound, 1 − Σ(1 − probability) a lower.
    Replayed over recorded grids with two conditions, at stated values of 0.9 and more all three agreed to 0.002
    with each other, and each with the truth to 0.03; at 0.3 the product was nearest to it (0.29, true 0.29 to 0.33).
    """
    together: FloatArray = np.prod(probabilities, axis=0) if probabilities else np.ones(points)
    return together


def _score(question: Question, objective: MetricPosterior, accelerators: FloatArray) -> FloatArray:
    """The maximised value at each point, measured or predicted, (N,)."""
    value = as_asked(question, back(objective.transform, objective.mean).copy(), accelerators)
    return value if question.maximise else -value


def _improvement(margin: FloatArray, std: FloatArray) -> FloatArray:
    """E[max(0, ahead + std·z)], z standard normal."""
    from scipy.special import ndtr

    z = margin / np.maximum(std, 1e-12)
    improvement: FloatArray = margin * ndtr(z) + std * np.exp(-z**2 / 2) / np.sqrt(2 * np.pi)
    return improvement
