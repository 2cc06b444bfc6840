"""The place of a workload in a grid: which given values it asks for, each with its share of the requests."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from planner.space.expressions import suggestion
from planner.space.grid import Grid
from planner.space.meaning import match
from planner.space.text import listed, percent, point_text
from planner.space.types import Axis, BoolArray, FloatArray, IntArray, Point, Role, Scale, StudyError
from planner.space.workload import Part, Workload, is_given
from planner.tables.traffic import Traffic
from planner.tables.traffic_file import read_traffic

__all__ = ["PlacedWorkload", "PointWeights", "given_axes", "placed", "point_weights"]

REST = 0.05
"""Weight of all points together that the workload does not ask for: enough that the surface around its own is learned,
and that a wrong prediction there is noticed. By judgement; not measured."""

_FARTHEST = math.sqrt(2)
"""A length that is more than this factor beyond the grid's ends is said to be beyond them. By judgement."""


@dataclass(frozen=True, eq=False)
class PlacedWorkload:
    """A workload on a grid. P parts.

    axes: names of the given axes that it sets. codes: (P, len(axes)) positions of their values. weights: (P,) shares of
    the requests, which sum to 1. notes: what was rounded or left out, one line each.
    """

    axes: tuple[str, ...]
    codes: IntArray
    weights: FloatArray
    notes: tuple[str, ...] = ()

    def points(self, grid: Grid) -> list[Point]:
        """The given values of each part."""
        return [{name: grid.axis(name).values[code] for name, code in zip(self.axes, row, strict=True)}
                for row in self.codes.tolist()]

    def parts_of(self, grid: Grid) -> IntArray:
        """The part that each grid point belongs to, (N,); -1 for none."""
        columns = grid.codes[:, [grid.position(name) for name in self.axes]]
        part = np.full(len(grid), -1, dtype=np.int64)
        for number, codes in enumerate(self.codes):
            part[(columns == codes).all(axis=1)] = number
        return part


@dataclass(frozen=True, eq=False)
class PointWeights:
    """How much each grid point counts for a workload. each: (N,) with a mean of 1. asked: whether the workload asks for
    a point, (N,)."""

    each: FloatArray
    asked: BoolArray

    def left(self, known: BoolArray) -> FloatArray:
        """How much each point counts while those that are `known` (N,) need no prediction, (N,). The points that the
        workload does not ask for keep their share of what counts: once all others are known, nothing counts."""
        remaining = float(self.each[self.asked & ~known].sum()) / float(self.each[self.asked].sum())
        return np.where(self.asked, self.each, remaining * self.each)


def point_weights(workload: PlacedWorkload, grid: Grid) -> PointWeights:
    """The points of a part share its weight, all others the little that is left for the rest."""
    part = workload.parts_of(grid)
    here = part >= 0
    counts = np.bincount(part[here], minlength=len(workload.weights))
    rest = 0.0 if here.all() else REST
    weights = np.full(len(grid), rest / max(1, int((~here).sum())))
    weights[here] = (1 - rest) * (workload.weights / np.maximum(counts, 1))[part[here]]
    return PointWeights(weights * (len(grid) / weights.sum()), here)


def given_axes(grid: Grid) -> tuple[Axis, ...]:
    """The axes of several values that traffic sets."""
    return tuple(axis for axis in grid.axes if len(axis.values) > 1 and is_given(axis))


def placed(workload: Workload, grid: Grid, directory: Path) -> PlacedWorkload:
    """The workload on the grid. directory: of a trace. Raises StudyError that starts with the workload's key.

    A rate that no part names stays open: it is chosen, as a load is. A trace sets lengths alone; each request counts at
    the nearest length of the grid, by its logarithm.
    """
    if workload.trace is not None:
        return _of_trace(read_traffic(directory / workload.trace), grid, workload)
    named = tuple(dict.fromkeys(name for part in workload.parts for name in part.given))
    for name in named:
        _check_name(name, grid, workload.key)
    axes = tuple(axis for axis in given_axes(grid) if axis.name in named or Role.RATE not in axis.roles)
    axes += tuple(axis for axis in grid.axes if axis.name in named and axis not in axes)
    if not axes:
        raise StudyError(f"{workload.key}: the study has no axis of lengths, rates or datasets; leave it out")
    codes = [[_code(part, axis, workload.key) for axis in axes] for part in workload.parts]
    return _checked(tuple(axis.name for axis in axes), codes, [part.weight for part in workload.parts], grid,
                    workload.key)


def _check_name(name: str, grid: Grid, key: str) -> None:
    names = [axis.name for axis in grid.axes]
    if name not in names:
        raise StudyError(f"{key}: '{name}' is no axis{suggestion(name, names)}; name one of "
                         f"{', '.join(axis.name for axis in given_axes(grid)) or ', '.join(names)}")
    if not is_given(grid.axis(name)):
        raise StudyError(f"{key}: '{name}' is chosen, not given by traffic; leave it out, or write `given: true` at "
                         f"space.axes.{name}")


def _code(part: Part, axis: Axis, key: str) -> int:
    if axis.name not in part.given:
        if len(axis.values) == 1:
            return 0
        raise StudyError(f"{key}: a part does not say {axis.name}; add one of {listed(axis.values)}")
    own = match(axis.values, part.given[axis.name])
    if own is None:
        raise StudyError(f"{key}: {axis.name}={part.given[axis.name]} is not on the axis; its values are "
                         f"{listed(axis.values)}")
    return axis.values.index(own)


def _of_trace(traffic: Traffic, grid: Grid, workload: Workload) -> PlacedWorkload:
    others = [axis.name for axis in given_axes(grid)
              if not set(axis.roles) & {Role.INPUT_TOKENS, Role.OUTPUT_TOKENS, Role.RATE}]
    if others:
        raise StudyError(f"{workload.key}: a trace does not say {others[0]}; write the mix down instead")
    lengths = {Role.INPUT_TOKENS: traffic.input_len, Role.OUTPUT_TOKENS: traffic.output_len}
    axes = [(axis, numbers) for role, numbers in lengths.items()
            if (axis := grid.by_role(role)) is not None and axis.scale is not Scale.CATEGORY]
    if not axes:
        raise StudyError(f"{workload.key}: a trace says lengths, and the study has no axis of lengths; leave it out")
    notes = list(traffic.notes)
    columns = []
    for axis, numbers in axes:
        codes, note = _nearest(axis, numbers)
        columns.append(codes)
        notes += note
    codes, counts = np.unique(np.column_stack(columns), axis=0, return_counts=True)
    names = tuple(axis.name for axis, _ in axes)
    there = PlacedWorkload(names, codes, counts / counts.sum()).parts_of(grid)
    on_grid = np.isin(np.arange(len(codes)), there)
    if not on_grid.any():
        raise StudyError(f"{workload.key}: no request of {workload.trace} has lengths of the grid; use another trace")
    if not on_grid.all():
        left_out = percent(float(counts[~on_grid].sum() / counts.sum()))
        notes.append(f"{left_out} of the requests have lengths that are together on no point of the grid; they are "
                     "left out")
    return _checked(names, codes[on_grid].tolist(), counts[on_grid].tolist(), grid, workload.key, tuple(notes))


def _nearest(axis: Axis, numbers: IntArray) -> tuple[IntArray, list[str]]:
    """The nearest value of each number, (n,), and a note if many are beyond the ends."""
    values = np.array(axis.values, dtype=np.float64)
    between = np.sqrt(values[1:] * values[:-1])
    codes: IntArray = np.searchsorted(between, numbers).astype(np.int64)
    notes = []
    for beyond, end, word in ((numbers > _FARTHEST * values[-1], values[-1], "above"),
                              (numbers < values[0] / _FARTHEST, values[0], "below")):
        if share := float(beyond.mean()):
            notes.append(f"{percent(share)} of the requests are far {word} the grid's {axis.name} {end:g} and "
                         "count as it")
    return codes, notes


def _checked(
    names: tuple[str, ...], codes: list[list[int]], weights: list[float], grid: Grid, key: str,
    notes: tuple[str, ...] = (),
) -> PlacedWorkload:
    found, inverse = np.unique(np.array(codes, dtype=np.int64), axis=0, return_inverse=True)
    sizes = np.array(weights, dtype=np.float64)
    shares = np.bincount(inverse.ravel(), sizes / sizes.max())  # a sum of weights may be too large for a number
    workload = PlacedWorkload(names, found, shares / shares.sum(), notes)
    there = workload.parts_of(grid)
    for number, point in enumerate(workload.points(grid)):
        if number not in there:
            raise StudyError(f"{key}: no point of the grid has {point_text(point, ', ')}; choose values that occur "
                             "together")
    return workload
