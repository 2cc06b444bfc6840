"""Where memory ends: the probability that a run fits, from the runs that did and those that did not.

A logistic regression whose weights have the sign that memory gives them: a larger batch, more concurrency, a longer
input or output, and a larger model never need less, and more accelerators never need more of each. What a model,
another category or an engine configuration needs besides is an offset of its own, drawn to 0. Where a point needs no
more than one that ran, it runs, and where it needs no less than one that failed, it fails, nearly always: that much is
read off the known points directly, along the axes of which recorded grids say so.

Notation: N grid points; n known ones; d numeric columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from planner.models import settings
from planner.space.descriptors import columns_of_axis
from planner.space.grid import Grid
from planner.space.types import Axis, BoolArray, FloatArray, IntArray, Role, Scale

__all__ = ["must_lack", "probability_of_fitting"]


def probability_of_fitting(grid: Grid, fits: IntArray, fails: IntArray) -> FloatArray:
    """The probability that a run at each point has memory enough, (N,). fits, fails: rows of runs that had it, and that
    had not; of the latter there is one at least."""
    unsettled = (_Limit.learned(grid, fits, fails).probability(grid) if len(fits)
                 else np.full(len(grid), settings.FEASIBILITY_UNKNOWN))
    return _closed(grid, unsettled, fits, fails)


def must_lack(grid: Grid, rows: IntArray, fits: IntArray, fails: IntArray) -> BoolArray:
    """Whether each of the `rows` needs no less than one that failed, (q,); not where one that ran contradicts that."""
    ordered = np.array([_needs_more(axis) for axis in grid.axes])
    own = grid.codes[rows][:, None, :]

    def any_below(others: IntArray, sign: int) -> BoolArray:
        codes = grid.codes[others][None, :, :]
        settled: BoolArray = np.any(np.all(np.where(ordered, sign * codes <= sign * own, codes == own), axis=2), axis=1)
        return settled

    return any_below(fails, 1) & ~any_below(fits, -1)


@dataclass(frozen=True, eq=False)
class _Groups:
    """Points of equal code share an offset, the codes 0 to `levels` − 1. deviation: its prior standard deviation."""

    codes: IntArray
    levels: int
    deviation: float


def _groups_of(grid: Grid) -> list[_Groups]:
    """A group for each category, and one for the engine configurations."""
    category = [_Groups(grid.features.category[:, place], levels, settings.CATEGORY_OFFSET)
                for place, levels in enumerate(grid.features.levels)]
    engines = int(grid.engine.max()) + 1
    return category if engines == 1 else [*category, _Groups(grid.engine, engines, settings.ENGINE_OFFSET)]


@dataclass(frozen=True, eq=False)
class _Limit:
    """Weights of the numeric columns, (d,), offsets by group, and the level of all."""

    weights: FloatArray
    offsets: list[FloatArray]
    level: float

    @classmethod
    def learned(cls, grid: Grid, fits: IntArray, fails: IntArray) -> _Limit:
        """The most probable one, by L-BFGS-B."""
        rows = np.concatenate([fits, fails])
        sign = np.where(np.arange(len(rows)) < len(fits), 1.0, -1.0)
        x, groups, d = grid.features.numeric[rows], _groups_of(grid), grid.features.numeric.shape[1]
        # Only levels that were met have anything to learn from.
        met = [np.unique(group.codes[rows], return_inverse=True) for group in groups]
        ends = np.cumsum([d, *(len(levels) for levels, _ in met)])
        precision = np.concatenate([np.full(d, settings.SLOPE_DEVIATION**-2), *(
            np.full(len(levels), group.deviation**-2) for group, (levels, _) in zip(groups, met, strict=True)), [0.0]])

        def loss(b: FloatArray) -> tuple[float, FloatArray]:
            z = x @ b[:d] + b[-1] + sum(b[end:][place] for end, (_, place) in zip(ends[:-1], met, strict=True))
            pull = -sign * expit(-sign * z)
            slopes = [x.T @ pull, *(np.bincount(place, pull, len(levels)) for levels, place in met), [pull.sum()]]
            return (float(np.logaddexp(0, -sign * z).sum() + precision @ b**2 / 2),
                    np.concatenate(slopes) + precision * b)

        bounds = [*map(_bounds, _directions(grid)), *[(None, None)] * (len(precision) - d)]
        found = minimize(loss, np.zeros(len(precision)), jac=True, method="L-BFGS-B", bounds=bounds,
                         options=settings.LBFGS_OPTIONS).x
        offsets = [np.zeros(group.levels) for group in groups]
        for offset, end, (levels, _) in zip(offsets, ends[:-1], met, strict=True):
            offset[levels] = found[end:end + len(levels)]
        return cls(found[:d], offsets, float(found[-1]))

    def probability(self, grid: Grid) -> FloatArray:
        """The probability at each point, (N,)."""
        z = grid.features.numeric @ self.weights + self.level
        for group, offset in zip(_groups_of(grid), self.offsets, strict=True):
            z += offset[group.codes]
        probability: FloatArray = expit(z)
        return probability


def _bounds(direction: int) -> tuple[float | None, float | None]:
    """Those of a weight on the log odds of fitting. direction: 1 where more of it needs more memory."""
    return (None, 0.0) if direction > 0 else (0.0, None) if direction < 0 else (None, None)


def _directions(grid: Grid) -> list[int]:
    """For each numeric column of the grid's features, in their order: 1 where more of it needs more memory, −1 where it
    needs less of each device, 0 where that is not known."""
    found = []
    for place, axis in enumerate(grid.axes):
        present = np.flatnonzero(np.bincount(grid.codes[:, place]))
        if axis.scale is not Scale.CATEGORY and len(present) > 1:
            found.append(-1 if Role.ACCELERATORS in axis.roles else int(_needs_more(axis)))
        for name, numbers in columns_of_axis(axis).items():
            if np.ptp(np.array(numbers)[present]) > 0:
                found.append(int(name == "params_b"))
    return found


def _needs_more(axis: Axis) -> bool:
    """Whether more of the axis needs more memory."""
    sizes = {Role.BATCH, Role.CONCURRENCY, Role.INPUT_TOKENS, Role.OUTPUT_TOKENS}
    return axis.scale is not Scale.CATEGORY and bool(sizes & set(axis.roles))


def _closed(grid: Grid, probability: FloatArray, fits: IntArray, fails: IntArray) -> FloatArray:
    """The probability, at most EXCEPTION away from certain where known points settle it."""
    ordered = [place for place, axis in enumerate(grid.axes) if _needs_more(axis)]
    cells = _cells(grid, ordered, np.concatenate([fits, fails]))
    if cells is None:
        return probability
    rows, places, shape = cells
    runs, lacks = np.zeros((2, int(np.prod(shape))), dtype=bool)
    runs[places[np.searchsorted(rows, fits)]] = True
    lacks[places[np.searchsorted(rows, fails)]] = True
    runs, lacks = (_spread(runs.reshape(shape), -1).ravel()[places], _spread(lacks.reshape(shape), 1).ravel()[places])
    closed = probability.copy()
    good, bad = rows[runs & ~lacks], rows[lacks & ~runs]
    closed[good] = np.maximum(closed[good], 1 - settings.EXCEPTION)
    closed[bad] = np.minimum(closed[bad], settings.EXCEPTION)
    return closed


def _cells(grid: Grid, ordered: Sequence[int], known: IntArray) -> tuple[IntArray, IntArray, tuple[int, ...]] | None:
    """The rows that differ from a known one by the `ordered` axes alone, ascending, and the cell of each in an array of
    `shape`, whose first axis is all else and whose others are these. None where it would be too large."""
    sizes = [len(axis.values) for axis in grid.axes]
    others = [place for place in range(len(sizes)) if place not in ordered]
    radix = np.array([int(np.prod(sizes[place + 1:], dtype=np.int64)) for place in others], dtype=np.int64)
    keys: IntArray = grid.codes[:, others] @ radix
    lines = np.unique(keys[known])
    shape = (len(lines), *(sizes[place] for place in ordered))
    if np.prod(shape, dtype=float) > settings.LARGEST_LATTICE:
        return None
    line = np.minimum(np.searchsorted(lines, keys), len(lines) - 1)
    rows = np.flatnonzero(lines[line] == keys)
    places = np.ravel_multi_index((line[rows], *grid.codes[rows][:, ordered].T), shape)
    return rows, places, shape


def _spread(cells: BoolArray, step: int) -> BoolArray:
    """The cells, and every one above (step 1) or below (−1) one of them along all axes but the first."""
    for axis in range(1, cells.ndim):
        view = np.moveaxis(cells, axis, 0)[::step]
        cells = np.moveaxis(np.logical_or.accumulate(view, axis=0)[::step], 0, axis)
    return cells
