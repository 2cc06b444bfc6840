"""Where a new version differs from an old one by more than an amount: what may be said, and what is still open.

Notation: N grid points; P the posterior probability that a point is worse, or better, by more than the amount.

What is said is the largest set of points (and targets) whose mean 1 − P is at most 1 − confidence: the posterior
expected share of wrong ones in it, the Bayesian false discovery rate (Newton, Noueiry, Sarkar & Ahlquist, Biostatistics
5, 2004; Müller, Parmigiani, Robert & Rousseau, JASA 99, 2004). A point that nobody would call sure by itself is left
out. P has the tails of Student's t, since large errors are likelier than a normal distribution has them.

A posterior does not depend on when one stops, but a model may be wrong, and many checkpoints give it many chances. So
what rests on one run alone is no finding: the run is made again first (planner.acquisition.change_search).

A point that nothing suggests to have changed is left alone once a change of twice the amount is improbable: to tell
from the amount itself what differs by nearly that would cost without end.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.stats import t as student

from planner.evaluation import settings
from planner.evaluation.change_model import ChangeModel, ChangeReadings, Level
from planner.evaluation.machine_drift import MachineDrift
from planner.ledger.observations import Observations
from planner.ledger.run import beginnings
from planner.models.prior import Prior
from planner.space.types import Z90, BoolArray, FloatArray, IntArray, Kind, Metric, StudyError

__all__ = ["Change", "ChangeQuestion", "TargetChange", "change_models", "change_of", "check_question"]

_TAIL_SCALE = float(student.ppf(0.95, settings.TAIL_FREEDOM)) / Z90


@dataclass(frozen=True, slots=True)
class ChangeQuestion:
    """amount: the share by which a point must differ to count, as 0.05. confidence: 1 − the expected share of wrong
    findings."""

    amount: float = 0.05
    confidence: float = 0.9

    @property
    def log(self) -> float:
        """The amount as a logarithm."""
        return math.log1p(self.amount)


@dataclass(frozen=True, eq=False)
class TargetChange:
    """One target. log, std: of new over old, (N,), NaN where the old study says nothing. worse, better: P, (N,). level:
    what all points have in common. noise: standard deviation of one reading's difference. large: probability that a
    point differs by twice the amount or more, (N,). doubted: points with a reading that is far off, (N,)."""

    metric: Metric
    log: FloatArray
    std: FloatArray
    worse: FloatArray
    better: FloatArray
    level: Level
    noise: float
    large: FloatArray
    doubted: BoolArray

    def interval(self, confidence: float) -> tuple[FloatArray, FloatArray]:
        """Low and high of new over old at each point, (N,) each."""
        half = float(student.ppf((1 + confidence) / 2, settings.TAIL_FREEDOM)) / _TAIL_SCALE * self.std
        return np.exp(self.log - half), np.exp(self.log + half)


@dataclass(frozen=True, eq=False)
class Change:
    """What some runs say. counts: points that both can run, as far as is known, (N,). runs, engines: number of runs and
    engine configuration of each point, (N,). drift: of the machine since the first run."""

    question: ChangeQuestion
    targets: Mapping[str, TargetChange]
    counts: BoolArray
    runs: IntArray
    engines: IntArray
    drift: MachineDrift | None

    @cached_property
    def _found(self) -> Mapping[str, tuple[BoolArray, BoolArray]]:
        """The points that are worse, and those that are better, by target."""
        columns = [np.where(self.counts, part, 0.0) for one in self.targets.values()
                   for part in (one.worse, one.better)]
        flat = np.concatenate(columns)
        order = np.argsort(-flat, kind="stable")
        rate = np.cumsum(1 - flat[order]) / np.arange(1, len(flat) + 1)
        said = order[: int(np.searchsorted(rate, 1 - self.question.confidence, side="right"))]
        inside = np.zeros(len(flat), dtype=bool)
        inside[said[flat[said] >= settings.CHANGE_LEAST_PROBABILITY]] = True
        parts = np.split(inside, len(columns))
        return {name: (parts[2 * i], parts[2 * i + 1]) for i, name in enumerate(self.targets)}

    def worse(self, target: str) -> BoolArray:
        """The points where the new version is worse, (N,)."""
        return self._found[target][0]

    def better(self, target: str) -> BoolArray:
        """The points where the new version is better, (N,)."""
        return self._found[target][1]

    @cached_property
    def changed(self) -> BoolArray:
        """The points where any target is worse or better, (N,)."""
        found: BoolArray = np.any([part for pair in self._found.values() for part in pair], axis=0)
        return found

    @cached_property
    def any_worse(self) -> BoolArray:
        """The points where any target is worse, (N,)."""
        found: BoolArray = np.any([pair[0] for pair in self._found.values()], axis=0)
        return found

    @cached_property
    def open_probability(self) -> FloatArray:
        """Largest probability over the targets that a point differs by twice the amount where nothing is said, (N,)."""
        return self._open([one.large for one in self.targets.values()])

    @cached_property
    def undecided(self) -> BoolArray:
        """Points of which nothing can be said yet, (N,)."""
        found: BoolArray = self.open_probability > settings.CHANGE_UNDECIDED
        return found

    @cached_property
    def suspects(self) -> BoolArray:
        """Points that may well have changed, or have a reading that nothing else explains, and of which more runs
        would tell, (N,): on engines without a finding. Beside a finding there are always points that are as likely as
        not to differ by the amount."""
        likely = self._open([one.worse + one.better for one in self.targets.values()]) > settings.CHANGE_SUSPECT
        likely |= self.counts & np.any([one.doubted for one in self.targets.values()], axis=0)
        likely &= ~np.isin(self.engines, self.engines[self.changed])
        found: BoolArray = likely & (self.runs < settings.CHANGE_RUNS_A_SUSPECT)
        return found

    def _open(self, probabilities: Sequence[FloatArray]) -> FloatArray:
        found = np.zeros(len(self.counts))
        for name, probability in zip(self.targets, probabilities, strict=True):
            said = self.worse(name) | self.better(name)
            found = np.maximum(found, np.where(said | ~self.counts, 0.0, probability))
        return found

    @property
    def excess(self) -> int:
        """How many more points are undecided than may stay so; 0 where nearly none is."""
        most = int(settings.CHANGE_OPEN_SHARE * max(int(self.counts.sum()), 1))
        return max(int(self.undecided.sum()) - most, 0)

    @property
    def is_known(self) -> bool:
        """Whether it is known of nearly every point whether it has changed."""
        return not self.excess and not self.suspects.any()


def check_question(priors: Sequence[Prior], metrics: Sequence[Metric]) -> None:
    """Raises StudyError if the priors do not say what to compare with, or a target has no better and worse."""
    if not priors:
        raise StudyError("stop.difference: compares with an old study; name it by `prior`, as in `prior: [{study: "
                         "old.yaml}]`")
    if not any(metric.name in prior.old for metric in metrics for prior in priors[:1]):
        raise StudyError(f"prior[0]: says nothing of {metrics[0].name} that has a ratio; compare a target that both "
                         "measured")
    for metric in metrics:
        if metric.name in priors[0].old:
            _ = metric.higher_is_better


def change_models(
    priors: Sequence[Prior], observations: Observations, trajectory: str | None, question: ChangeQuestion
) -> dict[str, ChangeModel]:
    """A model of each target that the first prior and some run know, fitted."""
    found = {}
    for target in observations.targets:
        old = priors[0].old.get(target) if priors else None
        if old is None:
            continue
        model = ChangeModel(observations.grid, old, trajectory, question.log)
        readings = _readings(observations, target, model.known)
        if len(readings.rows):
            found[target] = model.fit(readings)
    return found


def change_of(
    models: Mapping[str, ChangeModel], observations: Observations, question: ChangeQuestion, feasibility: FloatArray
) -> Change:
    """What may be said. models: fitted to the observations. feasibility: probability that each point can run, (N,)."""
    targets = {}
    counts = np.zeros(len(observations.grid), dtype=bool)
    for name, model in models.items():
        metric = observations.metric(name)
        log, std = model.posterior()
        (up, down), twice = _beyond(model, log, std, question.log), _beyond(model, log, std, 2 * question.log)
        worse, better = (down, up) if metric.higher_is_better else (up, down)
        doubted = np.isin(np.arange(len(log)), model.doubted)
        targets[name] = TargetChange(metric, log, std, worse, better, model.level(), model.noise, twice[0] + twice[1],
                                     doubted)
        counts |= model.known
    counts &= ~observations.failed & (observations.measured | (feasibility >= settings.FEASIBLE))
    return Change(question, targets, counts, observations.run_counts.copy(), observations.grid.engine,
                  _drift(models, observations))


def _beyond(model: ChangeModel, log: FloatArray, std: FloatArray, bound: float) -> tuple[FloatArray, FloatArray]:
    """Probability that a point is above the bound, and below its negative, (N,) each."""
    up, down = (student.sf((bound - sign * log) / std * _TAIL_SCALE, settings.TAIL_FREEDOM) for sign in (1, -1))
    return np.where(model.known, up, 0.0), np.where(model.known, down, 0.0)


def _readings(observations: Observations, target: str, known: BoolArray) -> ChangeReadings:
    """The readings of a target where the old study knows it: of one run, three at most along its trajectory."""
    of_run: dict[int, list[tuple[int, float]]] = {}
    for (row, run), repeats in observations.readings(target).items():
        if known[row] and min(repeats) > 0:
            of_run.setdefault(run, []).append((row, float(np.median(np.log(repeats)))))
    rows, y, runs = [], [], []
    for run, found in sorted(of_run.items()):
        found.sort()
        kept = sorted({0, len(found) // 2, len(found) - 1})
        rows += [found[i][0] for i in kept]
        y += [found[i][1] for i in kept]
        runs += [run] * len(kept)
    begun, which = beginnings(observations.runs), np.array(runs, dtype=np.int64)
    times = begun[which] / max(float(begun.max(initial=0.0)), settings.LEAST_VARIANCE)
    return ChangeReadings(np.array(rows, dtype=np.int64), np.array(y), which, times)


def _drift(models: Mapping[str, ChangeModel], observations: Observations) -> MachineDrift | None:
    """As the target shows it that has learned the largest."""
    if not models:
        return None
    name = max(models, key=lambda target: models[target].drift_scale)
    drift = models[name].drift()
    sign = -1 if observations.metric(name).kind is Kind.THROUGHPUT else 1
    return MachineDrift(*(math.exp(sign * drift.log + ends * Z90 * drift.std) for ends in (0, -1, 1)))
