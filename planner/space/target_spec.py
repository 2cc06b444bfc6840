"""A target of a study file that is described by more than its name."""

from __future__ import annotations

from typing import Final

from pydantic import Field

from planner.space.metrics import metric_named
from planner.space.types import Direction, Kind, Metric, Transform
from planner.space.validation import StrictModel

__all__ = ["TargetSpec"]

_USUAL_DIRECTION: Final = {
    Kind.FIRST: Direction.MINIMIZE, Kind.STEP: Direction.MINIMIZE, Kind.WHOLE: Direction.MINIMIZE,
    Kind.THROUGHPUT: Direction.MAXIMIZE}


class TargetSpec(StrictModel):
    """A target described by more than its name."""

    metric: str
    """The metric's name."""
    direction: Direction | None = None
    """maximize if higher is better, minimize if lower is."""
    kind: Kind | None = None
    """first (token), step (a token after it), whole (request), throughput, share (between 0 and 1), or other."""
    unit: str | None = Field(default=None, max_length=40)
    """As people write it: ms, tokens/s, …"""
    transform: Transform | None = None
    """How it is learned: log (the default), linear where it can be zero or negative, logit for a share."""

    depends_on: list[str] | None = None
    """The only axes that can change it, as of a model's quality: one reading holds for all points that share their
    values. Default: all axes."""

    def resolve(self) -> Metric:
        """The metric: the keys given here; for the others, what is known about its name."""
        known = metric_named(self.metric)
        kind = self.kind or known.kind
        usual = _USUAL_DIRECTION.get(kind) if self.kind else known.direction
        return Metric(
            self.metric, known.unit if self.unit is None else self.unit, self.direction or usual, kind,
            self.transform or (Transform.LOGIT if kind is Kind.SHARE else known.transform),
            None if self.depends_on is None else tuple(self.depends_on))
