"""What simulations are played on."""

from __future__ import annotations

from dataclasses import dataclass

from planner.evaluation.choice import ChoiceQuestion
from planner.models.prior import Prior
from planner.space.slo import Boundary
from planner.space.types import Metric
from planner.tables.recorded_grid import RecordedGrid
from planner.tables.workload import PointWeights

__all__ = ["Replay"]


@dataclass(frozen=True, eq=False)
class Replay:
    """The input of simulations: a recorded grid, the metrics to predict, the boundary to find, if any, what old
    studies say of the grid, how much each point counts for a workload, and what must be decided, if anything."""

    recorded: RecordedGrid
    metrics: tuple[Metric, ...]
    boundary: Boundary | None = None
    priors: tuple[Prior, ...] = ()
    weights: PointWeights | None = None
    choice: ChoiceQuestion | None = None

    @property
    def targets(self) -> tuple[str, ...]:
        """The metrics' names."""
        return tuple(metric.name for metric in self.metrics)

    @property
    def full_cost(self) -> float:
        """Accelerator-seconds of the plain sweep."""
        return self.recorded.plain_sweep.cost[0]
