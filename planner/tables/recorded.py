"""A measured grid in memory: points, repeats, costs and truth.

The grid is the points of the table's rows: a combination without a row is not in it. Rows with equal axis values are
repeats of one point; the truth is the median of those that are ok, and a point without an ok row is a failure.

Notation: R rows in use, N points, A axes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from planner.space.types import FloatArray, IntArray, Kind, Metric, Point, Value

__all__ = ["BoolArray", "RecordedTable", "is_undefined"]

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class RecordedTable:
    """A measured grid. Immutable; holds only the rows in use.

    axes: distinct values of each axis, numbers ascending, others in order of first appearance. codes: (N, A),
    unique rows in order of first appearance. point: (R,) the point of each row. ok: (R,). status: (R,) why a row
    failed. metrics: (R,) each, in the file's units, NaN where a row failed or has no value. cost_s: (R,) seconds.
    devices: (R,). reading: (R,) the repeat of each row, None if the study names no `repeat` column.
    notes: what the user should know, one line each.
    """

    name: str
    sha256: str
    axes: Mapping[str, tuple[Value, ...]]
    codes: IntArray
    point: IntArray
    ok: BoolArray
    status: tuple[str, ...]
    metrics: Mapping[str, FloatArray]
    cost_s: FloatArray
    devices: FloatArray
    reading: IntArray | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.codes)

    def axis_values(self, name: str) -> tuple[Value, ...]:
        """The values of an axis: numbers ascending, others in order of first appearance. Raises KeyError."""
        return self.axes[name]

    def points(self) -> dict[str, list[Value]]:
        """Axis → its value at each point, N long, in order of first appearance."""
        return {name: [values[code] for code in self.codes[:, i].tolist()]
                for i, (name, values) in enumerate(self.axes.items())}

    def find(self, point: Point) -> int:
        """The number of `point`, 0 … N − 1. Raises KeyError if the table has no such row."""
        return self._number_of[tuple(point[name] for name in self.axes)]

    def rows(self, point: int) -> IntArray:
        """The rows of a point, ascending."""
        order, ends = self._by_point
        return order[ends[point]:ends[point + 1]]

    @cached_property
    def failed(self) -> BoolArray:
        """Whether each point has no ok row, (N,)."""
        failed: BoolArray = np.bincount(self.point[self.ok], minlength=len(self)) == 0
        return failed

    @cached_property
    def plain_seconds(self) -> FloatArray:
        """Median seconds of a row of each point, (N,), failed rows included, without overhead and engine start."""
        return _medians(self.cost_s, self.point, len(self))

    @cached_property
    def accelerators(self) -> FloatArray:
        """Devices that a run of each point occupies, (N,)."""
        return _medians(self.devices, self.point, len(self))

    def truth(self, target: str) -> FloatArray:
        """Median over the ok rows of each point, (N,); NaN where the point failed. Raises KeyError."""
        return _medians(self.metrics[target], self.point, len(self))

    def noise(self, target: str) -> float:
        """Mean of |row − median| / |median| over points with at least two ok rows; NaN if there are none."""
        values = self.metrics[target]
        readings = np.bincount(self.point[~np.isnan(values)], minlength=len(self))
        used = ~np.isnan(values) & (readings[self.point] > 1)
        truth = self.truth(target)[self.point]
        used &= truth != 0
        return float(np.mean(np.abs(values[used] / truth[used] - 1))) if used.any() else math.nan

    @cached_property
    def _number_of(self) -> dict[tuple[Value, ...], int]:
        return {point: i for i, point in enumerate(zip(*self.points().values(), strict=True))}

    @cached_property
    def _by_point(self) -> tuple[IntArray, IntArray]:
        counts = np.bincount(self.point, minlength=len(self))
        return np.argsort(self.point, kind="stable"), np.concatenate([[0], np.cumsum(counts)])


def is_undefined(metric: Metric, where: BoolArray, axes: Mapping[str, tuple[Value, ...]], codes: IntArray) -> bool:
    """Whether a metric without values at the rows `where` (R,) is undefined there, not forgotten: times between tokens
    at an axis value of 1 (one output token). codes: (R, A), those of the rows."""
    at_one = [codes[:, i] == values.index(1) for i, values in enumerate(axes.values()) if 1 in values]
    return metric.kind is Kind.STEP and any(bool(at[where].all()) for at in at_one)


def _medians(values: FloatArray, group: IntArray, n: int) -> FloatArray:
    """The median of each group, NaN ignored, (n,); NaN for a group without numbers."""
    there = ~np.isnan(values)
    values, group = values[there], group[there]
    values = values[np.lexsort((values, group))]
    counts = np.bincount(group, minlength=n)
    starts = np.cumsum(counts) - counts
    medians = np.full(n, np.nan)
    some = counts > 0
    low, high = (starts + (counts - 1) // 2)[some], (starts + counts // 2)[some]
    medians[some] = np.where(low == high, values[low], 0.5 * values[low] + 0.5 * values[high])
    return medians
