"""One case of a choice: its candidates, and what joint draws say of them. Notation: that of choice.py; S draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
from scipy.special import stdtr

from planner.evaluation import settings
from planner.evaluation.joint import JointMetric
from planner.evaluation.metric_posterior import TAIL_SCALE
from planner.evaluation.mix import Candidates, Mix, together
from planner.evaluation.parts import probability_of_parts
from planner.ledger.observations import Observations
from planner.models.transforms import back
from planner.space.question import Question
from planner.space.slo import Condition
from planner.space.types import BoolArray, FloatArray, IntArray, Metric, Transform

__all__ = ["Case", "CaseState", "Draws", "Options"]

CaseState: TypeAlias = Literal["decided", "narrowed", "tied", "open"]
"""What is known of a case: see planner.evaluation.choice."""


def _nothing() -> IntArray:
    return np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Case:
    """What is known of one case.

    mix. chosen, runner_up: candidates, numbered as the mix's grid; None where nothing is known, or there is no other.
    probability: P. none: whether it is that of none meeting every condition. if_exact: P of the best choice if readings
    had no noise. runs: of each of the two, in all, that would decide a tie; None if more than are worth asking for.
    regret: expected share of the objective that is lost. ahead: by what share the runner-up is better: median and 90 %
    interval. contenders: (K,) candidates. places: (K, parts) their places among the rows of the joint metrics. loss:
    what each contender adds to the regret, (K,). asked: the probability that decides. can_run: whether a contender is
    left to be run; can_repeat: whether the chosen one or the runner-up may be run again. among: the fewest candidates,
    the chosen one and the runner-up first, of which one is as good as the best with the probability asked for, wherever
    any serves. held: the probability that one of them is. shortlist: how many may be left.
    """

    mix: Mix
    chosen: int | None = None
    runner_up: int | None = None
    probability: float = 0.0
    none: bool = False
    if_exact: float = 0.0
    runs: int | None = None
    regret: float = 1.0
    ahead: tuple[float, float, float] = (0.0, 0.0, 0.0)
    contenders: IntArray = field(default_factory=_nothing)
    places: IntArray = field(default_factory=_nothing)
    loss: FloatArray = field(default_factory=lambda: np.zeros(0))
    asked: float = 1.0
    can_run: bool = False
    can_repeat: bool = False
    among: IntArray = field(default_factory=_nothing)
    held: float = 0.0
    shortlist: int = 1

    @property
    def state(self) -> CaseState:
        """Whether the case is decided, narrowed, tied, or worth more runs."""
        if self.chosen is None or self.probability >= self.asked:
            return "decided"
        if len(self.among) <= self.shortlist and self.held >= self.asked:
            return "narrowed"
        if self.if_exact >= self.asked:
            return "open" if self.can_repeat else "tied"
        return "open" if self.can_run else "tied"

    @property
    def is_unsettled(self) -> bool:
        """Whether runs still tell of the case while others are open: a shortlist only ends a study sooner."""
        return self.state in {"open", "narrowed"}


@dataclass(frozen=True, eq=False)
class Options:
    """The candidates of a case, C of them. meets: probability that each can run and meets every condition. score: the
    maximised value, NaN where nothing is known of it; both (C,)."""

    candidates: Candidates
    question: Question
    metrics: Mapping[str, Metric]
    meets: FloatArray
    score: FloatArray

    @classmethod
    def of(cls, candidates: Candidates, question: Question, metrics: Mapping[str, Metric]) -> Options:
        each = [candidates.probability(condition) for condition in question.conditions]
        parts = np.prod(each, axis=0) if each else np.ones((len(candidates.mix.weights), len(candidates.feasibility)))
        objective = candidates.known[question.objective]
        score = _asked(question, back(objective.transform, objective.mean), candidates.accelerators)
        unknown = np.any([np.isnan(candidates.known[name].mean) for name in question.metrics], axis=0)
        score = np.where(unknown, np.nan, score if question.maximise else -score)
        all_parts = probability_of_parts(parts, candidates.mix.weights, question.share)
        meets = np.where(unknown, 0.0, candidates.feasibility * all_parts)
        return cls(candidates, question, metrics, meets, score)

    @property
    def mix(self) -> Mix:
        return self.candidates.mix

    @property
    def chosen(self) -> int | None:
        """The best of those that meet every condition with the confidence, else the most probable; None if nothing is
        known of any."""
        there = np.isfinite(self.score)
        if not there.any():
            return None
        good = there & (self.meets >= self.question.confidence)
        if good.any():
            return int(np.argmax(np.where(good, self.score, -np.inf)))
        return int(np.argmax(np.where(there, self.meets, -1.0)))

    def contenders(self, chosen: int, most: int) -> IntArray:
        """The chosen candidate first, then up to `most` others by their probability of beating it, (K,)."""
        objective = self.candidates.known[self.question.objective]
        middle = np.where(self.question.maximise, 1.0, -1.0) * objective.mean
        if self.question.per_accelerator and objective.transform is Transform.LOG:
            middle = middle - np.log(self.candidates.accelerators)
        std = settings.UNMEASURED_WIDENING * objective.std
        with np.errstate(invalid="ignore"):
            z = (middle - middle[chosen]) / np.sqrt(std**2 + std[chosen] ** 2 + 1e-12)
        beats = np.nan_to_num(stdtr(settings.TAIL_FREEDOM, TAIL_SCALE * z))
        hope = np.where(np.isfinite(self.score), beats * self.meets, 0.0)
        hope[chosen] = np.inf
        order = np.argsort(-hope, kind="stable")[:most]
        return np.asarray(order[hope[order] > settings.LEAST_HOPE])


class Draws:
    """Joint draws of every metric, S of them. rows: of all contenders, which the joint metrics begin with."""

    def __init__(self, joint: Mapping[str, JointMetric], rows: IntArray, observations: Observations) -> None:
        rng = np.random.default_rng(0)
        self._joint, self._rows, self._seen = joint, rows, observations
        self._errors = {name: one.errors(settings.CHOICE_DRAWS, own)
                        for (name, one), own in zip(joint.items(), rng.spawn(len(joint)), strict=True)}
        self._able = rng.random(settings.CHOICE_DRAWS)
        self._drawn: dict[tuple[str, float, bool], FloatArray] = {}

    def case(self, options: Options, chosen: int, contenders: IntArray, asked: float, shortlist: int) -> Case:
        """The case. contenders: the chosen one first."""
        places = np.searchsorted(self._rows, options.mix.rows[contenders])
        value, serves = self._outcome(options, contenders, places, 1.0)
        here = self._rows[places]
        new = ~self._seen.known[here]
        exact = _attainable(*self._outcome(options, contenders, places, np.inf))
        loss = _loss(value, serves)
        runner_up = _runner_up(value, serves)
        among, held = _among(value, serves, runner_up, asked)
        right = _right(value, serves)
        two = here[[0] if runner_up is None else [0, runner_up]]
        repeats = self._seen.measured[two] & (self._seen.run_counts[two] < settings.MOST_RUNS_A_POINT)
        return Case(
            options.mix, chosen, None if runner_up is None else int(contenders[runner_up]), right,
            0 < right <= _no_one(serves), exact,
            self._runs(options, contenders, places, asked) if exact >= asked else None, float(loss.sum()),
            _ahead(value, runner_up), contenders, places, loss, asked, bool(new.any()), bool(repeats.any()),
            contenders[among], held, shortlist)

    def of(self, metric: str, mix: Mix, candidate: int, widened: bool) -> FloatArray | None:
        """A metric of a candidate in its units, (S,); None where the metric or a part of it was not drawn. widened: as
        what is selected from many."""
        parts = self._parts(metric, mix.rows[candidate], 1.0, widened)
        return None if parts is None else together(mix, self._joint[metric].about, parts)

    def _parts(self, metric: str, rows: IntArray, runs: float, widened: bool = True) -> FloatArray | None:
        """A metric at rows of the study's grid, (P, S); None where the metric or one of them was not drawn."""
        joint = self._joint.get(metric)
        if joint is None or not np.isin(rows, joint.rows).all():
            return None
        order = np.argsort(joint.rows)
        return self._at(metric, runs, widened)[:, order[np.searchsorted(joint.rows, rows, sorter=order)]].T

    def _base(self, options: Options, condition: Condition, runs: float) -> FloatArray | None:
        """What a relative bound is a factor of in each draw, (P, S, 1); None where the baseline was not drawn."""
        if not condition.of_baseline or options.candidates.baseline is None:
            return None
        parts = self._parts(condition.metric, options.mix.rows[options.candidates.baseline], runs)
        return None if parts is None else parts[:, :, None]

    def _runs(self, options: Options, contenders: IntArray, places: IntArray, asked: float) -> int | None:
        return next((runs for runs in settings.RUNS_TO_TELL
                     if _attainable(*self._outcome(options, contenders, places, float(runs))) >= asked), None)

    def _outcome(self, options: Options, contenders: IntArray, places: IntArray, runs: float
                 ) -> tuple[FloatArray, BoolArray]:
        """The maximised objective of each contender in each draw, and whether it serves as asked, (S, K) each. runs: of
        each measured row at least, as if they had been made."""
        question, mix = options.question, options.mix
        parts = {name: np.moveaxis(self._at(name, runs)[:, places], 2, 0) for name in question.metrics}
        value = _asked(question, together(mix, options.metrics[question.objective], parts[question.objective]),
                       options.candidates.accelerators[contenders])
        holds = np.ones((len(mix.weights), *value.shape), dtype=bool)
        for condition in question.conditions:
            x = parts[condition.metric]
            for part, bound in options.candidates.bounds(condition, self._base(options, condition, runs)):
                holds[part] &= x[part] <= bound if condition.is_upper else x[part] >= bound
        served = np.tensordot(mix.weights, holds, axes=1)
        able = self._able[:, None] < options.candidates.feasibility[contenders]
        return value if question.maximise else -value, able & (served >= question.share - 1e-9)

    def _at(self, metric: str, runs: float, widened: bool = True) -> FloatArray:
        key = metric, runs, widened
        if key not in self._drawn:
            self._drawn[key] = self._joint[metric].values(self._errors[metric], runs, widened)
        return self._drawn[key]


def _asked(question: Question, value: FloatArray, accelerators: FloatArray) -> FloatArray:
    if not question.per_accelerator:
        return value
    return value / accelerators if question.maximise else value * accelerators


def _shortfall(value: FloatArray, serves: BoolArray) -> tuple[FloatArray, IntArray]:
    """By what share the best of each draw is better than the first contender, and which that is, (S,) each."""
    hoped = np.where(serves, value, -np.inf)
    best = np.argmax(hoped, axis=1)
    top = hoped[np.arange(len(hoped)), best]
    with np.errstate(invalid="ignore", divide="ignore"):
        short = np.where(np.isfinite(top), (top - value[:, 0]) / np.maximum(np.abs(top), 1e-300), 0.0)
    return np.maximum(short, 0.0), best


def _right(value: FloatArray, serves: BoolArray) -> float:
    """P, from the draws."""
    short, _ = _shortfall(value, serves)
    return max(float(np.mean(serves[:, 0] & (short <= settings.CHOICE_TOLERANCE))), _no_one(serves))


def _attainable(value: FloatArray, serves: BoolArray) -> float:
    """P of the contender for which it is largest."""
    return max(float(np.mean(_as_good(value, serves), axis=0).max()), _no_one(serves))


def _among(value: FloatArray, serves: BoolArray, runner_up: int | None, asked: float) -> tuple[IntArray, float]:
    """Contenders, of which one is right with the probability asked for wherever any serves: the chosen one, the
    runner-up, then the one that adds most, and so on; and the probability that one is, or that none serves where that
    is more probable."""
    good = _as_good(value, serves)[serves.any(axis=1)]
    found = [0]
    held = good[:, 0].copy()
    while len(held) and held.mean() < asked and len(found) < good.shape[1]:
        more = np.mean(good & ~held[:, None], axis=0)
        k = runner_up if len(found) == 1 and runner_up is not None else int(np.argmax(more))
        found.append(k)
        held |= good[:, k]
    return np.array(found), max(float(held.sum()) / len(value), _no_one(serves))


def _as_good(value: FloatArray, serves: BoolArray) -> BoolArray:
    """Whether each contender serves, and none that does is better by more than the tolerance, (S, K)."""
    top = np.max(np.where(serves, value, -np.inf), axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        good: BoolArray = serves & (value >= top - settings.CHOICE_TOLERANCE * np.abs(top))
    return good


def _no_one(serves: BoolArray) -> float:
    return float(np.mean(~serves.any(axis=1)))


def _loss(value: FloatArray, serves: BoolArray) -> FloatArray:
    """What each contender adds to the expected regret, (K,); the first one by missing a condition itself."""
    short, best = _shortfall(value, serves)
    missed = np.where(serves.any(axis=1), settings.MISSED_CONDITION, 0.0)
    short = np.where(serves[:, 0], np.where(short > settings.CHOICE_TOLERANCE, short, 0.0), missed)
    best = np.where(serves[:, 0], best, 0)
    loss: FloatArray = np.bincount(best, short, minlength=value.shape[1]) / len(value)
    return loss


def _runner_up(value: FloatArray, serves: BoolArray) -> int | None:
    """The contender that is most often the better one by more than the tolerance, else the best of the others."""
    if value.shape[1] < 2:
        return None
    short, best = _shortfall(value, serves)
    better = np.bincount(best, (short > settings.CHOICE_TOLERANCE) & serves[:, 0], minlength=value.shape[1])
    better[0] = 0
    if better.any():
        return int(np.argmax(better))
    return 1 + int(np.argmax(np.mean(np.where(serves, value, value.min()), axis=0)[1:]))


def _ahead(value: FloatArray, runner_up: int | None) -> tuple[float, float, float]:
    if runner_up is None:
        return 0.0, 0.0, 0.0
    ahead = (value[:, runner_up] - value[:, 0]) / np.maximum(np.abs(value[:, 0]), 1e-300)
    low, middle, high = np.quantile(ahead, [0.05, 0.5, 0.95])
    return float(middle), float(low), float(high)
