"""The boundary: for each engine configuration and workload, the highest load that meets each tier of conditions.

Notation
--------
line        the points that differ by the load alone; L loads, ascending
P           probability that a load can run and meets a tier (planner.evaluation.attainment), (T, L)
m           distance inside the nearest bound, on the scale of the metric's transform

The boundary is where P crosses one half: between two loads of the grid it is interpolated on the logarithmic load axis,
as if m were straight there. The interval names loads of the grid only, since between them nothing is known: up to `low`
the tier is met with a probability of 95 % at least, from `high` on with 5 % at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from planner.analysis import settings
from planner.evaluation.attainment import Attainment, attainment_of
from planner.ledger.observations import Observations
from planner.space.grid import Grid
from planner.space.load import load_lines
from planner.space.slo import Boundary, Tier
from planner.space.types import FloatArray, IntArray, StudyError, Value
from planner.strategies.strategy import Posterior

__all__ = ["Boundaries", "HighestLoad", "Line", "Position", "boundaries_of", "boundary_of", "crossing"]

Position: TypeAlias = Literal["within", "below the grid", "above the grid"]


@dataclass(frozen=True, slots=True)
class HighestLoad:
    """The highest load of a line that meets a tier.

    load: None unless `position` is "within". low: the largest load that is met with 95 % at least, None if there is
    none. high: the smallest from which every load is met with 5 % at most, None if there is none.
    """

    load: float | None
    position: Position
    low: float | None
    high: float | None


@dataclass(frozen=True, eq=False)
class Line:
    """One engine configuration and workload. rows: of the grid, by ascending load, (L,). loads: (L,), an infinite rate
    as twice the largest finite one. values: the same as the axis has them. probability: P, (T, L). highest: by tier.
    load: name of the axis."""

    rows: IntArray
    loads: FloatArray
    values: tuple[Value, ...]
    probability: FloatArray
    highest: tuple[HighestLoad, ...]
    load: str = ""

    def value_of(self, load: float | None) -> Value | None:
        """The axis' own value of one of the loads."""
        return None if load is None else self.values[int(np.searchsorted(self.loads, load))]


@dataclass(frozen=True, eq=False)
class Boundaries:
    """The answer: every line of the grid."""

    lines: tuple[Line, ...]
    attainment: Attainment

    @property
    def loads(self) -> tuple[str, ...]:
        """Names of the axes that are a load: two in a grid of closed and open loops."""
        return tuple(dict.fromkeys(line.load for line in self.lines))

    @property
    def tiers(self) -> tuple[Tier, ...]:
        """The tiers, in the order asked."""
        return self.attainment.boundary.tiers


def boundary_of(
    tiers: Sequence[Tier], posterior: Posterior, observations: Observations, confidence: float = settings.DECIDED
) -> Boundaries:
    """The boundary of every tier, from what was measured so far: a new tier needs no new run. The tiers' metrics are
    targets of `observations`. Raises StudyError if no axis of the grid is a load."""
    boundary = Boundary(tuple(tiers), confidence)
    return boundaries_of(
        attainment_of(boundary, posterior.prediction, posterior.feasibility, observations), observations.grid)


def boundaries_of(attainment: Attainment, grid: Grid) -> Boundaries:
    """The boundary of each line and tier. Raises StudyError if no axis of the grid is a load."""
    found_lines = load_lines(grid)
    if not found_lines:
        raise StudyError("space.axes: no axis is a load, so no load is the highest; give one `role: concurrency`, "
                         "`role: rate` or `role: batch`, and several values")
    margins = [_nearest(attainment, tier) for tier in attainment.boundary.tiers]
    lines = []
    for axis, rows in found_lines:
        size = grid.numbers(axis.name)
        found = tuple(_highest(size[rows], probability[rows], margin[rows])
                      for probability, margin in zip(attainment.probability, margins, strict=True))
        values = tuple(axis.values[code] for code in grid.codes[rows, grid.position(axis.name)])
        lines.append(Line(rows, size[rows], values, attainment.probability[:, rows], found, axis.name))
    return Boundaries(tuple(lines), attainment)


def crossing(loads: FloatArray, inside: FloatArray, margin: FloatArray) -> tuple[float | None, Position]:
    """The highest load at which `inside` (L,), between −1 and 1, is not negative, and whether it is within the grid.

    margin: (L,) finite where known; interpolated where it changes its sign beside the crossing, else `inside` is.
    """
    good = np.flatnonzero(inside >= 0)
    if not len(good):
        return None, "below the grid"
    i = int(good[-1])
    if i == len(loads) - 1:
        return None, "above the grid"
    left, right = float(margin[i]), float(margin[i + 1])
    if not (np.isfinite(left) and np.isfinite(right) and left >= 0 > right):
        left, right = float(inside[i]), float(inside[i + 1])
    share = left / (left - right)
    if loads[i] <= 0:  # no logarithm
        return float(loads[i] + share * (loads[i + 1] - loads[i])), "within"
    return float(loads[i] * (loads[i + 1] / loads[i]) ** share), "within"


def _highest(loads: FloatArray, probability: FloatArray, margin: FloatArray) -> HighestLoad:
    load, position = crossing(loads, 2 * probability - 1, margin)
    sure = np.flatnonzero(probability >= settings.DECIDED)
    possible = np.flatnonzero(probability > 1 - settings.DECIDED)
    first_missed = int(possible[-1]) + 1 if len(possible) else 0
    return HighestLoad(load, position, float(loads[sure[-1]]) if len(sure) else None,
                       float(loads[first_missed]) if first_missed < len(loads) else None)


def _nearest(attainment: Attainment, tier: Tier) -> FloatArray:
    """m of the nearest bound at each point, (N,); NaN where no metric is known."""
    nearest: FloatArray = np.fmin.reduce([attainment.metrics[c.metric].margin(c) for c in tier.conditions], axis=0)
    return nearest
