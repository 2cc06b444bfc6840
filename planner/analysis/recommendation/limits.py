"""How far each line of the grid can be loaded: the largest batch that meets the conditions, saturation, boundaries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from planner.analysis import settings
from planner.analysis.boundary import Boundaries, boundary_of
from planner.analysis.recommendation.saturation import Saturation, batch_axis, largest, saturation
from planner.evaluation.metric_posterior import MetricPosterior
from planner.ledger.observations import Observations
from planner.space.load import load_axis
from planner.space.question import Question
from planner.space.types import Axis, BoolArray, Kind
from planner.strategies.strategy import Posterior

__all__ = ["LoadLimits", "load_limits"]


@dataclass(frozen=True, eq=False)
class LoadLimits:
    """Rows are those of the study's grid. largest: of each line along `batch`, a row and that of the largest batch that
    meets every condition. boundaries: of the question's tiers; None without tiers or without an axis that is a load."""

    batch: Axis | None
    largest: tuple[tuple[int, int | None], ...]
    saturation: tuple[Saturation, ...]
    boundaries: Boundaries | None


def load_limits(
    question: Question, known: Mapping[str, MetricPosterior], posterior: Posterior, observations: Observations,
    meets: BoolArray,
) -> LoadLimits:
    """The limits. known: each metric at each point. meets: whether a point meets every condition, (N,)."""
    grid = observations.grid
    axis = batch_axis(grid)
    defined = np.all([np.isfinite(known[metric].mean) for metric in question.metrics], axis=0)
    runs = defined & (posterior.feasibility >= settings.LIKELY)
    names = (question.objective, *known)
    throughput = next((known[name] for name in names if observations.metric(name).kind is Kind.THROUGHPUT), None)
    return LoadLimits(
        axis, tuple(largest(grid, axis, runs, meets)) if axis and question.conditions else (),
        tuple(saturation(grid, axis, throughput, runs)) if axis and throughput else (),
        boundary_of(question.tiers, posterior, observations) if question.tiers and load_axis(grid) else None)
