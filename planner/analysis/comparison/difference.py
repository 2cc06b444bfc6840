"""Where a new version differs from an old one, by engine configuration: the answer that people and pipelines read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from planner.analysis import settings
from planner.campaign.difference import MeasuredDifference
from planner.evaluation.change import Change, TargetChange
from planner.evaluation.machine_drift import MachineDrift
from planner.ledger.observations import Observations
from planner.space.grid import Grid
from planner.space.text import point_json
from planner.space.types import BoolArray, IntArray, Point, Scope, Value

__all__ = ["ChangedPoint", "ChangedRegion", "Difference", "difference_of"]


@dataclass(frozen=True, slots=True)
class ChangedPoint:
    """A point that changed: new over old with its interval; whether it was measured."""

    point: Point
    ratio: float
    low: float
    high: float
    measured: bool


@dataclass(frozen=True, eq=False)
class ChangedRegion:
    """The points of one engine configuration where one target is worse, or better. spans: axis → its smallest and
    largest value among them, or the two ends of a category. ratio, low, high: new over old at the middle point by
    ratio; all: the points, the one that changed most first."""

    target: str
    is_worse: bool
    engine: Point
    spans: dict[str, tuple[Value, Value]]
    ratio: float
    low: float
    high: float
    all: tuple[ChangedPoint, ...]

    @property
    def measured(self) -> int:
        """How many of its points were measured."""
        return sum(one.measured for one in self.all)


@dataclass(frozen=True, eq=False)
class Difference:
    """The answer. reason: why measuring ended (planner.campaign.loop). spent: accelerator-seconds; whole_cost: of the
    plain sweep. counted: points that can be compared. rest: the most by which a point of which nothing is said may
    differ, as a share, with the confidence asked for, for all but one in twenty of them."""

    name: str
    prior: str
    reason: str
    change: Change
    observations: Observations
    whole_cost: float
    rest: float
    regions: tuple[ChangedRegion, ...]

    @property
    def counted(self) -> int:
        """Points that can be compared."""
        return int(self.change.counts.sum())

    @property
    def worse(self) -> int:
        """Points where some target is worse."""
        return int(self.change.any_worse.sum())

    @property
    def changed(self) -> int:
        """Points where some target is worse or better."""
        return int(self.change.changed.sum())

    @property
    def undecided(self) -> int:
        """Points of which nothing can be said."""
        return int((self.change.undecided & self.change.counts).sum())

    @property
    def is_known(self) -> bool:
        """Whether measuring ended because the answer is known."""
        return self.change.is_known

    @property
    def drift(self) -> MachineDrift | None:
        """How the machine has changed since the first run, which is taken out of all ratios."""
        return self.change.drift

    @cached_property
    def shared(self) -> dict[str, tuple[float, float, float]]:
        """Target → what all points have in common of new over old, where that alone is a change: with its interval."""
        found = {}
        for name, one in self.change.targets.items():
            half = 1.96 * one.level.std
            if abs(one.level.log) - half > self.change.question.log / 2:
                found[name] = (math.exp(one.level.log), math.exp(one.level.log - half), math.exp(one.level.log + half))
        return found

    def to_json(self) -> dict[str, Any]:
        """The form of `compare --prior --json`."""
        question, seen = self.change.question, self.observations
        return {
            "study": self.name, "prior": self.prior, "more_than": question.amount, "confidence": question.confidence,
            "stopped": self.reason, "known": self.is_known, "runs": seen.finished, "spent_s": seen.spent,
            "whole_cost_s": self.whole_cost, "points": self.counted, "worse": self.worse, "changed": self.changed,
            "undecided": self.undecided, "rest_differs_by_less_than": self.rest,
            "machine_drift": None if self.drift is None else self.drift.to_json(),
            "common": {name: dict(zip(("ratio", "low", "high"), found, strict=True))
                       for name, found in self.shared.items()},
            "regions": [_region_json(region) for region in self.regions],
        }


def _region_json(region: ChangedRegion) -> dict[str, Any]:
    return {
        "target": region.target, "worse": region.is_worse, "engine": point_json(region.engine),
        "spans": {axis: list(ends) for axis, ends in region.spans.items()}, "ratio": region.ratio, "low": region.low,
        "high": region.high, "measured": region.measured,
        "points": [{"point": point_json(one.point), "ratio": one.ratio, "low": one.low, "high": one.high,
                    "measured": one.measured} for one in region.all],
    }


def difference_of(name: str, found: MeasuredDifference) -> Difference | None:
    """The answer of a campaign; None if no run succeeded. name: of the new study."""
    change, result = found.change, found.result
    if change is None or result.posterior is None:
        return None
    regions = [region for target, one in change.targets.items()
               for is_worse, mask in ((True, change.worse(target)), (False, change.better(target)))
               for region in _regions(target, one, is_worse, mask, change, result.observations)]
    regions.sort(key=lambda region: (not region.is_worse, -len(region.all), region.target))
    return Difference(name, found.prior, result.reason, change, result.observations,
                      float(result.posterior.plain.cost[0]), _rest(change), tuple(regions))


def _regions(
    target: str, one: TargetChange, is_worse: bool, mask: BoolArray, change: Change, observations: Observations
) -> list[ChangedRegion]:
    grid = observations.grid
    low, high = one.interval(change.question.confidence)
    found = []
    for engine in np.unique(grid.engine[mask]):
        rows = np.flatnonzero(mask & (grid.engine == engine))
        rows = rows[np.argsort(-np.abs(one.log[rows]), kind="stable")]
        points = tuple(ChangedPoint(grid.point(int(row)), float(np.exp(one.log[row])), float(low[row]),
                                    float(high[row]), bool(observations.measured[row])) for row in rows)
        middle = points[len(points) // 2]
        found.append(ChangedRegion(target, is_worse, _engine_point(grid, int(rows[0])), _spans(grid, rows),
                                   middle.ratio, middle.low, middle.high, points))
    return found


def _engine_point(grid: Grid, row: int) -> Point:
    point = grid.point(row)
    return {axis.name: point[axis.name] for axis in grid.axes if axis.scope is Scope.ENGINE and len(axis.values) > 1}


def _spans(grid: Grid, rows: IntArray) -> dict[str, tuple[Value, Value]]:
    codes = grid.codes[rows]
    return {axis.name: (axis.values[codes[:, i].min()], axis.values[codes[:, i].max()])
            for i, axis in enumerate(grid.axes) if axis.scope is not Scope.ENGINE and len(axis.values) > 1}


def _rest(change: Change) -> float:
    """See Difference."""
    ends = []
    for name, one in change.targets.items():
        quiet = change.counts & ~change.worse(name) & ~change.better(name) & np.isfinite(one.log)
        low, high = one.interval(change.question.confidence)
        ends.append(np.maximum(np.log(high[quiet]), -np.log(low[quiet])))
    largest = np.concatenate(ends) if ends else np.zeros(0)
    return float(np.expm1(np.quantile(largest, settings.REST_QUANTILE))) if len(largest) else 0.0
