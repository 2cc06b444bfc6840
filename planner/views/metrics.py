"""What is taken for granted of a study's targets, for its author to check."""

from __future__ import annotations

from collections.abc import Sequence

from planner.space.metrics import said
from planner.space.types import Metric

__all__ = ["metric_lines"]


def metric_lines(metrics: Sequence[Metric]) -> list[str]:
    """A line for each metric, and one more if the direction of some is unknown."""
    lines = [f"  {metric.name}: {said(metric)}" for metric in metrics]
    if unsaid := [metric.name for metric in metrics if metric.direction is None]:
        lines.append(f"to recommend or compare, say of {', '.join(unsaid)} whether more or less is better, as in "
                     f"{{metric: {unsaid[0]}, direction: maximize}}")
    return lines
