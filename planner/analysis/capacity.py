"""How many accelerators serve a load: configuration × replicas, the cheapest first.

All replicas of a fleet have one configuration, and each gets an equal share of the requests, at random. So each sees a
Poisson stream of that share of the rate, as planner.analysis.replica takes it to. The number of replicas is the
smallest whose share is borne with the stated probability. That probability is the fleet's, too: where the model is
wrong about one replica, it is as wrong about all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from planner.analysis import settings
from planner.analysis.recommendation.question import question_of
from planner.analysis.replica import Replica, replicas_of, throughput_metric
from planner.campaign.setup import StudySetup
from planner.evaluation.metric_posterior import metric_posterior
from planner.evaluation.mix import Mix, candidates_of, mixes
from planner.evaluation.waiting import probability_to_wait, waiting
from planner.ledger.observations import Observations
from planner.space.metrics import described
from planner.space.question import Question
from planner.space.types import Kind, Role, StudyError
from planner.strategies.strategy import Posterior
from planner.tables.workload import PlacedWorkload, given_axes

__all__ = ["Capacity", "Fleet", "Step", "capacity_of"]

_POWER = "mean_power_w"


@dataclass(frozen=True, eq=False)
class Fleet:
    """So many equal replicas for a load. rate: requests per second of the whole service. bears: the rate that a replica
    bears with the stated probability. price: of an accelerator-hour."""

    replica: Replica
    replicas: int
    rate: float
    bears: float
    price: float | None = None

    @property
    def accelerators(self) -> float:
        """Accelerators of all replicas."""
        return self.replicas * self.replica.accelerators

    @property
    def share(self) -> float:
        """Requests per second of each replica."""
        return self.rate / self.replicas

    @property
    def limit(self) -> float:
        """The highest rate that so many replicas bear."""
        return self.replicas * self.bears

    @property
    def spare(self) -> float:
        """By which share of the load it may rise before another replica is needed."""
        return self.limit / self.rate - 1

    @property
    def probability(self) -> float:
        """That every condition holds at this load."""
        return float(self.replica.probability[self.replica.at(self.share)])

    @property
    def interval(self) -> tuple[float, float]:
        """The rate that a replica bears: with 95 % at least, and with 5 % at most beyond."""
        return self.replica.bears(settings.DECIDED), self.replica.bears(1 - settings.DECIDED)

    @property
    def price_an_hour(self) -> float | None:
        """Of all accelerators; None without a price."""
        return None if self.price is None else self.price * self.accelerators

    @property
    def watts(self) -> float | None:
        """Mean power of all replicas; None where it is not known."""
        watts = self.replica.watts
        if watts is None:
            return None
        found = float(watts[self.replica.at(self.share)])
        return self.replicas * found if math.isfinite(found) else None

    @property
    def waiting(self) -> tuple[float, float] | None:
        """Share of the requests that wait for a slot, and mean seconds that a request waits; None where an open loop
        measured it with the latency, and for static batches, of which it is not known."""
        slots, capacity = self.replica.slots, self.replica.capacity
        if self.replica.loop != "closed loop" or slots is None or capacity is None:
            return None
        rate, full = np.array([self.share]), np.array([capacity])
        return float(probability_to_wait(rate, slots, full)[0]), float(waiting(rate, slots, full, None)[0])


@dataclass(frozen=True, slots=True)
class Step:
    """Where the cheapest fleet no longer bears the load. rate: up to there it does. then: the cheapest just above."""

    rate: float
    then: Fleet


@dataclass(frozen=True, eq=False)
class Capacity:
    """The answer. rate: requests per second asked for. fleets: one for each configuration that bears any load, the
    cheapest first. others: at other loads the cheapest, None where no configuration bears any. step: the next step of
    the cheapest. considered: configurations of which something is known.
    """

    question: Question
    rate: float
    mix: Mix
    workload: PlacedWorkload | None
    fleets: tuple[Fleet, ...]
    considered: int
    loads: tuple[float, ...]
    price: float | None

    @property
    def best(self) -> Fleet | None:
        """The cheapest fleet."""
        return self.fleets[0] if self.fleets else None

    def cheapest(self, rate: float) -> Fleet | None:
        """The cheapest fleet at another load."""
        return next(iter(_ordered(_at_rate(fleet, rate) for fleet in self.fleets)), None)

    @cached_property
    def sensitivity(self) -> tuple[Fleet, ...]:
        """The cheapest fleet at each of `loads`; empty where there is none."""
        return tuple(fleet for rate in self.loads if (fleet := self.cheapest(rate)) is not None)

    @cached_property
    def step(self) -> Step | None:
        """The next step up in load."""
        if self.best is None or (then := self.cheapest(self.best.limit * (1 + 1e-6))) is None:
            return None
        return Step(self.best.limit, then)

    def cost_per_million(self, fleet: Fleet) -> float | None:
        """Money for a million output tokens of the load; None without a price or lengths of the requests."""
        tokens = self.mix.tokens_a_request(Role.OUTPUT_TOKENS)
        if tokens is None or fleet.price_an_hour is None:
            return None
        return fleet.price_an_hour / (3600 * fleet.rate * tokens) * 1_000_000


def capacity_of(
    study: StudySetup, learn: Callable[[Iterable[str]], tuple[Observations, Posterior]], measured: Sequence[str],
    rates: Sequence[float], slo: Sequence[str] | None, confidence: float, workload: Sequence[str], share: float,
    price: float | None,
) -> Capacity:
    """The answer for a study. learn: the posterior of metrics. measured: metrics that some run gave. rates: the load,
    then others for comparison; multiples of it where there are none. Raises StudyError that names the option."""
    for rate in rates:
        if not 0 < rate < math.inf:
            raise StudyError(f"--rate: {rate:g} is no number of requests per second; write one above 0")
    if not rates:
        raise StudyError("--rate: is missing; write the requests per second to serve, as in --rate 40")
    question = _question(study, slo, confidence, share)
    placed = _placed(study, workload)
    shown = [name for name in (throughput_metric(measured), _POWER) if name is not None and name in measured]
    wanted = tuple(dict.fromkeys((*question.metrics, *shown)))
    observations, posterior = learn(wanted)
    known = {name: metric_posterior(name, posterior.prediction, observations) for name in wanted}
    metrics = {name: observations.metric(name) for name in known}
    (mix,) = mixes(observations.grid, placed)
    found = replicas_of(
        question, candidates_of(mix, known, metrics, posterior.feasibility, study.accelerators), metrics)
    fleets = _ordered(fleet for one in found if (fleet := _fleet(one, rates[0], confidence, price)) is not None)
    loads = tuple(rates) if len(rates) > 1 else tuple(factor * rates[0] for factor in settings.SENSITIVITY)
    return Capacity(question, rates[0], mix, placed, _one_each(fleets), len(found), loads, price)


def _question(study: StudySetup, slo: Sequence[str] | None, confidence: float, share: float) -> Question:
    """The conditions: those given, else the study's `slo`, else its boundary, where that is one tier."""
    asked = question_of(study, None, study.targets[0], slo, confidence, False, (), share)
    tiers = study.boundary.tiers if study.boundary and not asked.conditions else ()
    conditions = tiers[0].conditions if len(tiers) == 1 else asked.conditions
    if not conditions:
        raise StudyError("--slo: without service levels any load is served; give one, as in 'p99_ttft_ms <= 500'")
    for condition in conditions:
        if described(condition.metric, study.metrics).kind is Kind.THROUGHPUT:
            raise StudyError(f"--slo: '{condition}' is asked of a server, not for a request; give service levels like "
                             "'p99_ttft_ms <= 500'")
    return replace(asked, objective=conditions[0].metric, maximise=False, conditions=conditions)


def _placed(study: StudySetup, workload: Sequence[str]) -> PlacedWorkload:
    """The workload, of which the rate is no part: it is what is asked for."""
    placed = study.placed_workload(workload)
    grid = study.grid
    if placed is None:
        open_axes = [axis.name for axis in given_axes(grid) if Role.RATE not in axis.roles]
        if open_axes:
            example = ",".join(f"{name}={grid.axis(name).values[0]}" for name in open_axes)
            raise StudyError(f"--workload: say for which requests, as in {example}, or name a trace")
        return PlacedWorkload((), np.zeros((1, 0), dtype=np.int64), np.ones(1))
    for name in placed.axes:
        if Role.RATE in grid.axis(name).roles:
            raise StudyError(f"workload: {name} is what --rate asks for; leave it out")
    return placed


def _fleet(replica: Replica, rate: float, confidence: float, price: float | None) -> Fleet | None:
    bears = replica.bears(confidence)
    return _at_rate(Fleet(replica, 1, rate, bears, price), rate) if bears > 0 else None


def _at_rate(fleet: Fleet, rate: float) -> Fleet:
    """As many replicas of the same configuration as another load needs."""
    return replace(fleet, rate=rate, replicas=max(1, math.ceil(rate / fleet.bears * (1 - 1e-9))))


def _ordered(fleets: Iterable[Fleet]) -> list[Fleet]:
    """The cheapest first: an accelerator-hour has one price. Then the one with most to spare."""
    return sorted(fleets, key=lambda fleet: (fleet.accelerators, -fleet.spare))


def _one_each(fleets: Iterable[Fleet]) -> tuple[Fleet, ...]:
    """Of each configuration the number of slots that serves the load cheapest."""
    found: dict[tuple[object, ...], Fleet] = {}
    for fleet in fleets:
        found.setdefault(tuple(fleet.replica.point.items()), fleet)
    return tuple(found.values())
