"""Cost against interactivity over the candidates of one decision.

Interactivity is tokens per second of one user, 1 / time per token; without such a metric the first latency of the
question. Cost is money for a million output tokens; without a price tokens per second of each accelerator; without that
the objective. Notation: C candidates; arrays (C,).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from planner.analysis import settings
from planner.analysis.pareto import Figure, nondominated
from planner.analysis.quality_front import QualityFront, quality_front, quality_metric
from planner.analysis.rates import Band
from planner.analysis.recommendation.fronts import TOKENS
from planner.analysis.recommendation.recommend import Recommendation
from planner.space.types import BoolArray, IntArray, Kind, Metric

__all__ = ["Scale", "Tradeoff", "tradeoff_of"]


@dataclass(frozen=True, eq=False)
class Scale:
    """One axis of the figure: its name, values with 90 % intervals, and whether more is better."""

    name: str
    band: Band
    higher_is_better: bool

    @property
    def figure(self) -> Figure:
        """Its values alone."""
        return Figure(self.name, self.band.value, self.higher_is_better)


@dataclass(frozen=True, eq=False)
class Tradeoff:
    """The two axes. usable: candidates that rather run than not and have both. front: their Pareto front, the most
    interactive first. quality: None where the study measures none."""

    interactivity: Scale
    cost: Scale
    usable: BoolArray
    front: IntArray
    quality: QualityFront | None


def tradeoff_of(answer: Recommendation, metrics: Mapping[str, Metric]) -> Tradeoff | None:
    """The trade-off; None where there are no two figures to draw. metrics: of the question, and of all that is known,
    by name."""
    cost, interactivity = _cost(answer), _interactivity(answer, metrics)
    if interactivity is None or interactivity.name == cost.name:
        return None
    figures = [interactivity.figure, cost.figure]
    runs = np.isfinite(answer.score) & (answer.feasibility >= settings.LIKELY)
    usable = runs & np.isfinite(figures[0].value) & np.isfinite(figures[1].value)
    if not usable.any():
        return None
    good = quality_metric(metrics[name] for name in answer.known)
    quality = None
    if good is not None and good.name not in (cost.name, interactivity.name):
        quality = quality_front(good, answer.known[good.name].value, figures, usable)
    return Tradeoff(interactivity, cost, usable, nondominated(figures, usable), quality)


def _band(answer: Recommendation, metric: str) -> Band:
    return Band(answer.known[metric].value, *answer.known[metric].interval)


def _cost(answer: Recommendation) -> Scale:
    question = answer.question
    if TOKENS in answer.known:
        tokens = _band(answer, TOKENS)
        if answer.price is not None:
            a_second = answer.price * answer.accelerators / 3600
            return Scale("cost of a million output tokens ($)", tokens.inverse(a_second * 1_000_000), False)
        return Scale("tokens/s per accelerator", tokens.scaled(1 / answer.accelerators), True)
    devices = answer.accelerators if question.per_accelerator else np.ones(len(answer.score))
    return Scale(question.objective_text, _band(answer, question.objective).scaled(
        1 / devices if question.maximise else devices), question.maximise)


def _interactivity(answer: Recommendation, metrics: Mapping[str, Metric]) -> Scale | None:
    steps = [name for name in answer.known if metrics[name].kind is Kind.STEP]
    if "tpot_ms" in steps or steps:
        step = "tpot_ms" if "tpot_ms" in steps else steps[0]
        a_second = 1.0 if metrics[step].unit == "s" else 1000.0
        name = "tokens/s per user" + ("" if step == "tpot_ms" else f", from {step}")
        return Scale(name, _band(answer, step).inverse(a_second), True)
    latencies = [name for name in answer.known if metrics[name].kind in (Kind.FIRST, Kind.WHOLE)]
    asked = [condition.metric for condition in answer.question.conditions if condition.metric in latencies]
    first = next(iter((*asked, *latencies)), None)
    return None if first is None else Scale(first, _band(answer, first), False)
