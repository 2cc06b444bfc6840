"""The Pareto fronts of a recommendation."""

from __future__ import annotations

from collections.abc import Mapping

from planner.analysis.pareto import Figure, nondominated
from planner.analysis.quality_front import quality_front, quality_metric
from planner.evaluation.metric_posterior import MetricPosterior
from planner.evaluation.mix import Candidates
from planner.models.latency_model import batch_of
from planner.space.grid import Grid
from planner.space.question import Question
from planner.space.types import BoolArray, FloatArray, IntArray, Metric, Role

__all__ = ["TOKENS", "as_asked", "fronts_of"]

TOKENS = "output_throughput"


def fronts_of(
    question: Question, candidates: Candidates, runs: BoolArray, metrics: Mapping[str, Metric]
) -> dict[str, IntArray]:
    """The objective against each condition's metric; throughput an accelerator against tokens/s a user, and both with
    quality."""
    known, accelerators = candidates.known, candidates.accelerators
    objective = Figure(
        question.objective_text, as_asked(question, known[question.objective].value, accelerators), question.maximise)
    fronts = {}
    for condition in question.conditions:
        if condition.metric != question.objective:
            metric = known[condition.metric]
            fronts[f"{objective.name} against {metric.name}"] = nondominated(
                [objective, Figure(metric.name, metric.value, not condition.is_upper)], runs)
    tokens = known.get(TOKENS)
    user = None if tokens is None else _per_user(known, tokens, candidates.grid)
    if tokens is not None and user is not None:
        rates = [Figure(f"{TOKENS} per accelerator", tokens.value / accelerators, True), user]
        fronts[" against ".join(one.name for one in rates)] = nondominated(rates, runs)
        if (good := quality_metric(metrics.values())) is not None:
            fronts[" against ".join(one.name for one in rates) + f" against {good.name}"] = quality_front(
                good, known[good.name].value, rates, runs).front
    return fronts


def as_asked(question: Question, value: FloatArray, accelerators: FloatArray) -> FloatArray:
    """The objective as asked: of the whole engine, or per accelerator."""
    if not question.per_accelerator:
        return value
    return value / accelerators if question.maximise else value * accelerators


def _per_user(known: Mapping[str, MetricPosterior], tokens: MetricPosterior, grid: Grid) -> Figure | None:
    """Tokens a second that one user sees: 1/tpot, else the throughput shared by the requests of the batch."""
    if "tpot_ms" in known:
        return Figure("tokens/s per user", 1000 / known["tpot_ms"].value, True)
    if grid.by_role(Role.BATCH) is None:
        return None
    return Figure("tokens/s per user", tokens.value / batch_of(grid), True)
