"""What is asked of a study: the best configuration for an objective, under conditions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from planner.space.slo import Condition, Tier
from planner.space.types import Direction, Metric, Value

__all__ = ["Question", "usual_objective"]


def usual_objective(metrics: Sequence[Metric]) -> Metric | None:
    """The first metric of which more is better, or else the first of which less is; None if nothing is said of any."""
    wanted = (Direction.MAXIMIZE, Direction.MINIMIZE)
    return next((metric for want in wanted for metric in metrics if metric.direction is want), None)


@dataclass(frozen=True, slots=True)
class Question:
    """The question. confidence: the least probability of meeting every condition.

    per_accelerator: the objective is divided by the accelerators that a point occupies (multiplied, where less is
    better). tiers: conditions whose highest loads are asked for. share: of a workload's requests, by parts, that must
    be served within every condition. baseline: chosen axes → the values of what others are compared with.
    """

    objective: str
    maximise: bool
    conditions: tuple[Condition, ...] = ()
    confidence: float = 0.9
    per_accelerator: bool = False
    tiers: tuple[Tier, ...] = ()
    share: float = 1.0
    baseline: Mapping[str, Value] = field(default_factory=dict)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Every metric that must be known, the objective first."""
        return tuple(dict.fromkeys((self.objective, *(condition.metric for condition in self.conditions))))

    @property
    def modelled(self) -> tuple[str, ...]:
        """`metrics`, and those of the tiers."""
        return tuple(dict.fromkeys((*self.metrics, *(metric for tier in self.tiers for metric in tier.metrics))))

    @property
    def own_tier(self) -> tuple[Tier, ...]:
        """All conditions as a tier: what `tiers` is where nothing else was asked for."""
        absolute = tuple(condition for condition in self.conditions if not condition.of_baseline)
        return (Tier(absolute),) if absolute else ()

    @property
    def objective_text(self) -> str:
        """The objective in words."""
        if not self.per_accelerator:
            return self.objective
        return f"{self.objective} {'per accelerator' if self.maximise else '× accelerators'}"
