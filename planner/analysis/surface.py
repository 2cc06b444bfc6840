"""One target at every grid point, and the axes along which it varies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.analysis.predict import answers
from planner.ledger.observations import Observations
from planner.models.grid_model import Prediction
from planner.space.grid import Grid
from planner.space.types import BoolArray, FloatArray, IntArray, Scale
from planner.strategies.strategy import Posterior

__all__ = ["Start", "Surface", "others", "start_of", "surface_of"]


@dataclass(frozen=True, eq=False)
class Surface:
    """A target at each grid point, (N,): measured or else predicted, with the 90 % interval.

    positive: every value is above zero. model: the prediction, also at measured points.
    axes: positions of the axes with several values, by how much the target varies along them, most first; categories,
    which have no order, come last.
    """

    target: str
    observations: Observations
    value: FloatArray
    low: FloatArray
    high: FloatArray
    positive: bool
    model: tuple[FloatArray, FloatArray, FloatArray]
    axes: tuple[int, ...]

    @property
    def known(self) -> BoolArray:
        """Whether a run covered the point and the target has a value, (N,)."""
        known: BoolArray = self.observations.known & np.isfinite(self.value)
        return known

    @property
    def uncertainty(self) -> FloatArray:
        """Half the interval's width over the value, (N,)."""
        with np.errstate(invalid="ignore", divide="ignore"):
            relative: FloatArray = (self.high - self.low) / 2 / np.abs(self.value)
        return relative

    def slices(self, x: int, y: int) -> tuple[IntArray, IntArray]:
        """The combinations of the other axes' codes, (S, A − 2), and which of them each grid row belongs to, (N,)."""
        codes = self.observations.grid.codes
        found, of_row = np.unique(codes[:, others(codes.shape[1], x, y)], axis=0, return_inverse=True)
        return found, of_row.reshape(-1).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Start:
    """The first view of a surface: the two axes along which it varies most (the same twice if there is only one), and a
    code for each axis, of the slice with most measurements."""

    x: int
    y: int
    fixed: tuple[int, ...]


def surface_of(target: str, observations: Observations, posterior: Posterior) -> Surface:
    """The surface of a target of `observations`."""
    value, low, high = answers(posterior, observations, target)
    there = value[np.isfinite(value)]
    positive = len(there) > 0 and bool(there.min() > 0)
    said: Prediction = posterior.prediction
    by_log = np.log(np.where(value > 0, value, np.nan)) if positive else value
    return Surface(target, observations, value, low, high, positive,
                   (said.value[target], said.low[target], said.high[target]),
                   tuple(_by_variation(observations.grid, by_log)))


def start_of(surface: Surface) -> Start:
    """The slice to show first."""
    grid = surface.observations.grid
    order = surface.axes or (0,)
    x, y = order[0], order[1] if len(order) > 1 else order[0]
    slices, of_row = surface.slices(x, y)
    best = int(np.argmax(np.bincount(of_row[surface.known], minlength=len(slices))))
    fixed = np.zeros(len(grid.axes), dtype=int)
    fixed[others(len(grid.axes), x, y)] = slices[best]
    row = int(np.flatnonzero(of_row == best)[0])
    fixed[[x, y]] = grid.codes[row, [x, y]]
    return Start(x, y, tuple(fixed.tolist()))


def others(axes: int, x: int, y: int) -> list[int]:
    """The positions of `axes` axes without `x` and `y`."""
    return [i for i in range(axes) if i not in {x, y}]


def _by_variation(grid: Grid, values: FloatArray) -> list[int]:
    there = np.isfinite(values)
    spread = {}
    shown = [i for i, axis in enumerate(grid.axes) if len(axis.values) > 1]
    for axis in shown:
        codes = grid.codes[there, axis]
        counts = np.bincount(codes)
        means = (np.bincount(codes, values[there]) / np.maximum(counts, 1))[counts > 0]
        spread[axis] = float(np.ptp(means)) if len(means) else 0.0
    return sorted(shown, key=lambda axis: (grid.axes[axis].scale is Scale.CATEGORY, -spread[axis]))
