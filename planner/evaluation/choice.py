"""How sure it is which configuration is the best one: for a workload or, without one, for each combination of given
values.

Notation
--------
case        the configurations under one workload (planner.evaluation.mix); what can be chosen there are candidates
chosen      the candidate of the best objective among those that meet every condition with the question's confidence,
            or else the most probable to meet them: what a recommendation names
contenders  the chosen candidate and those that may still beat it; K of them
P           probability that the chosen one meets every condition, and that no other which does is better by more than
            settings.CHOICE_TOLERANCE; or, where that is more probable, that none meets every condition
rival       the contender that most often is the better one

P is a share of joint draws: neighbouring configurations err alike, and so do the parts of one (planner.evaluation.
joint). Whether candidates can run is drawn with one number for all: where memory ends for one, it does for the larger.

A case is *decided* if P is what was asked for. It is *tied* if noise alone stands in the way: readings taken as exact
would decide it for one of the contenders, and as many runs of each as are made of a point at most would not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
from scipy.special import ndtr

from planner.evaluation import settings
from planner.evaluation.joint import JointMetric, joint_metric
from planner.evaluation.metric_posterior import metric_posterior
from planner.evaluation.mix import Candidates, Mix, candidates_of, probability_of_parts, together
from planner.ledger.observations import Observations
from planner.models.joint_errors import JointErrors
from planner.models.prediction import Prediction
from planner.models.transforms import back
from planner.space.question import Question
from planner.space.types import BoolArray, FloatArray, IntArray, Metric, Transform

__all__ = ["Case", "Choice", "ChoiceQuestion", "choice_of"]


def _nothing() -> IntArray:
    return np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class ChoiceQuestion:
    """What a study must decide. mixes: its cases. accelerators: of a run of each grid point, (N,). probability: with
    which each case is to be decided."""

    question: Question
    mixes: tuple[Mix, ...]
    accelerators: FloatArray
    probability: float


@dataclass(frozen=True, eq=False)
class Case:
    """What is known of one case.

    mix. chosen, rival: candidates, numbered as the mix's grid; None where nothing is known, or there is no other.
    probability: P. none: whether it is that of none meeting every condition. if_exact: P of the best choice if readings
    had no noise. if_repeated: the same after as many runs of each measured contender as are made at most. runs: of each
    of the two, in all, that would decide a tie; None if more than are worth asking for. regret: expected share of the
    objective that is lost. ahead: by what share the rival is better: median and 90 % interval. contenders: (K,) candidates. places: (K, parts) their places among the rows of the joint
    metrics. loss: what each contender adds to the regret, (K,). asked: the probability that decides.
    """

    mix: Mix
    chosen: int | None = None
    rival: int | None = None
    probability: float = 0.0
    none: bool = False
    if_exact: float = 0.0
    if_repeated: float = 0.0
    runs: int | None = None
    regret: float = 1.0
    ahead: tuple[float, float, float] = (0.0, 0.0, 0.0)
    contenders: IntArray = field(default_factory=_nothing)
    places: IntArray = field(default_factory=_nothing)
    loss: FloatArray = field(default_factory=lambda: np.zeros(0))
    asked: float = 1.0
    can_run: bool = False
    can_repeat: bool = False

    @property
    def state(self) -> Literal["decided", "tied", "open"]:
        """Whether the case is decided, tied, or worth more runs."""
        if self.chosen is None or self.probability >= self.asked:
            return "decided"
        if self.if_exact >= self.asked:
            return "open" if self.can_repeat and self.if_repeated >= self.asked else "tied"
        return "open" if self.can_run else "tied"


@dataclass(frozen=True, eq=False)
class Choice:
    """What is known of every case. joint: each metric of the question at the rows of all contenders."""

    question: ChoiceQuestion
    cases: tuple[Case, ...]
    joint: Mapping[str, JointMetric]

    @property
    def open_count(self) -> int:
        """Number of cases that are worth more runs."""
        return sum(case.state == "open" for case in self.cases)

    @property
    def decided_count(self) -> int:
        """Number of cases that are decided."""
        return sum(case.state == "decided" for case in self.cases)

    @cached_property
    def conclusion(self) -> Literal["decision", "tie"] | None:
        """Why no more runs are worth making: every case is decided, or the others are tied; None if one is open."""
        if self.open_count:
            return None
        return "decision" if self.decided_count == len(self.cases) else "tie"


def choice_of(
    asked: ChoiceQuestion, prediction: Prediction, feasibility: FloatArray, errors: JointErrors | None,
    observations: Observations, chosen: Sequence[int | None] | None = None,
) -> Choice:
    """What is known. feasibility: probability that each point can run, (N,). chosen: the candidate of each case, in
    place of our own choice. The metrics of the question are targets of `observations`."""
    question = asked.question
    known = {name: metric_posterior(name, prediction, observations) for name in question.metrics}
    metrics = {name: observations.metric(name) for name in known}
    options = [_Options.of(candidates_of(mix, known, metrics, feasibility, asked.accelerators), question, metrics)
              for mix in asked.mixes]
    most = max(2, min(settings.CONTENDERS, settings.CONTENDER_ROWS // sum(mix.rows.shape[1] for mix in asked.mixes)))
    picked = [one.chosen if chosen is None else chosen[i] for i, one in enumerate(options)]
    contenders = [_nothing() if pick is None else one.contenders(pick, most)
                  for one, pick in zip(options, picked, strict=True)]
    wanted = [one.mix.rows[some].ravel() for one, some in zip(options, contenders, strict=True)]
    rows = np.unique(np.concatenate(wanted)) if wanted else _nothing()
    if not len(rows):
        return Choice(asked, tuple(map(Case, asked.mixes)), {})
    joint = {name: joint_metric(one, errors, observations, rows) for name, one in known.items()}
    draws = _Draws(joint, rows, observations)
    cases = [Case(one.mix) if pick is None else draws.case(one, pick, some, asked.probability)
             for one, pick, some in zip(options, picked, contenders, strict=True)]
    return Choice(asked, tuple(cases), joint)


@dataclass(frozen=True, eq=False)
class _Options:
    """The candidates of a case, C of them. meets: probability that each can run and meets every condition. score: the
    maximised value, NaN where nothing is known of it; both (C,)."""

    candidates: Candidates
    question: Question
    metrics: Mapping[str, Metric]
    meets: FloatArray
    score: FloatArray

    @classmethod
    def of(cls, candidates: Candidates, question: Question, metrics: Mapping[str, Metric]) -> _Options:
        each = [candidates.probability(condition) for condition in question.conditions]
        parts = np.prod(each, axis=0) if each else np.ones((len(candidates.mix.weights), len(candidates.feasibility)))
        objective = candidates.known[question.objective]
        score = _asked(question, back(objective.transform, objective.mean), candidates.accelerators)
        score = np.where(question.maximise, 1.0, -1.0) * score
        unknown = np.any([np.isnan(candidates.known[name].mean) for name in question.metrics], axis=0)
        score = np.where(unknown, np.nan, score)
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
        hope = np.where(np.isfinite(self.score), np.nan_to_num(ndtr(z)) * self.meets, 0.0)
        hope[chosen] = np.inf
        order = np.argsort(-hope, kind="stable")[:most]
        return np.asarray(order[hope[order] > settings.LEAST_HOPE])


class _Draws:
    """Joint draws of every metric at the rows of all contenders, S of them."""

    def __init__(self, joint: Mapping[str, JointMetric], rows: IntArray, observations: Observations) -> None:
        rng = np.random.default_rng(0)
        self._joint, self._rows, self._seen = joint, rows, observations
        self._errors = {name: one.errors(rng.standard_normal((settings.CHOICE_DRAWS, len(rows))))
                        for name, one in joint.items()}
        self._able = rng.random(settings.CHOICE_DRAWS)
        self._drawn: dict[float, dict[str, FloatArray]] = {}

    def case(self, options: _Options, chosen: int, contenders: IntArray, asked: float) -> Case:
        """The case. contenders: the chosen one first."""
        places = np.searchsorted(self._rows, options.mix.rows[contenders])
        value, serves = self._outcome(options, contenders, places, 1.0)
        here = self._rows[places]
        new = ~self._seen.known[here]
        limit = float(settings.MOST_RUNS_A_POINT)
        repeats = self._seen.measured[here] & (self._seen.run_counts[here] < limit)
        exact = _attainable(*self._outcome(options, contenders, places, np.inf))
        loss = _loss(value, serves)
        rival = _rival(value, serves)
        right = _right(value, serves)
        return Case(
            options.mix, chosen, None if rival is None else int(contenders[rival]), right,
            0 < right <= _no_one(serves), exact,
            _attainable(*self._outcome(options, contenders, places, limit)),
            self._runs(options, contenders, places, asked) if exact >= asked else None, float(loss.sum()),
            _ahead(value, rival), contenders, places, loss, asked, bool(new.any()), bool(repeats.any()))

    def _runs(self, options: _Options, contenders: IntArray, places: IntArray, asked: float) -> int | None:
        return next((runs for runs in settings.RUNS_TO_TELL
                     if _attainable(*self._outcome(options, contenders, places, float(runs))) >= asked), None)

    def _outcome(self, options: _Options, contenders: IntArray, places: IntArray, runs: float
                 ) -> tuple[FloatArray, BoolArray]:
        """The maximised objective of each contender in each draw, and whether it serves as asked, (S, K) each. runs: of
        each measured row at least, as if they had been made."""
        question, mix = options.question, options.mix
        drawn = self._at(runs)
        parts = {name: np.moveaxis(drawn[name][:, places], 2, 0) for name in question.metrics}
        value = _asked(question, together(mix, options.metrics[question.objective], parts[question.objective]),
                       options.candidates.accelerators[contenders])
        holds = np.ones((len(mix.weights), *value.shape), dtype=bool)
        for condition in question.conditions:
            x = parts[condition.metric]
            for part, defined in enumerate(options.candidates.defined[condition.metric]):
                if defined:
                    holds[part] &= x[part] <= condition.bound if condition.is_upper else x[part] >= condition.bound
        served = np.tensordot(mix.weights, holds, axes=1)
        able = self._able[:, None] < options.candidates.feasibility[contenders]
        return value if question.maximise else -value, able & (served >= question.share - 1e-9)

    def _at(self, runs: float) -> dict[str, FloatArray]:
        if runs not in self._drawn:
            self._drawn[runs] = {name: one.values(self._errors[name], runs) for name, one in self._joint.items()}
        return self._drawn[runs]


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
    top = np.max(np.where(serves, value, -np.inf), axis=1, keepdims=True)
    least = top - settings.CHOICE_TOLERANCE * np.abs(top)
    return max(float(np.mean(serves & (value >= least), axis=0).max()), _no_one(serves))


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


def _rival(value: FloatArray, serves: BoolArray) -> int | None:
    """The contender that is most often the better one by more than the tolerance, else the best of the others."""
    if value.shape[1] < 2:
        return None
    short, best = _shortfall(value, serves)
    better = np.bincount(best, (short > settings.CHOICE_TOLERANCE) & serves[:, 0], minlength=value.shape[1])
    better[0] = 0
    if better.any():
        return int(np.argmax(better))
    return 1 + int(np.argmax(np.mean(np.where(serves, value, value.min()), axis=0)[1:]))


def _ahead(value: FloatArray, rival: int | None) -> tuple[float, float, float]:
    if rival is None:
        return 0.0, 0.0, 0.0
    ahead = (value[:, rival] - value[:, 0]) / np.maximum(np.abs(value[:, 0]), 1e-300)
    low, middle, high = np.quantile(ahead, [0.05, 0.5, 0.95])
    return float(middle), float(low), float(high)
