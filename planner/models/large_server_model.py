"""The latency model of a server on a large grid: as server_model.py has it, with no array of terms for all points.

A grid of a million points has some forty shapes of forty terms each, which is ten gigabytes and more. Here terms are
made at the readings alone, and only those of the shape that fits best at every point, some points at a time. Shapes
are compared again once the readings have grown by `settings.REFIT_GROWTH`, as hyper-parameters are learned again.

Notation: N grid points; n readings; K terms of a shape.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.models import settings
from planner.models.latency_model import Covers
from planner.models.regression import distinct_columns, fit_weights, logarithm_of, relative_error
from planner.models.sampled import sampled_rows
from planner.models.server_model import Columns, Shape, factor_tables, shapes_of, terms_of
from planner.space.grid import Grid
from planner.space.types import FloatArray, IntArray, Scale

__all__ = ["LargeServerModel"]


@dataclass(frozen=True, eq=False)
class _Fit:
    """A fitted shape. columns: the places of its K terms among all. error: at the readings."""

    shape: Shape
    columns: list[int]
    weights: FloatArray
    tables: list[FloatArray]
    error: float


class LargeServerModel:
    """The latency model of one large grid with an axis of load. See `ServerModel`."""

    def __init__(self, grid: Grid, covers: Covers) -> None:
        self._covers, self._columns = covers, Columns.of(grid)
        sample = self._columns[sampled_rows(grid)]
        self._shapes = {shape: distinct_columns(terms_of(sample, covers, shape)) for shape in shapes_of(grid)}
        self._codes = [grid.codes[:, place] for place, axis in enumerate(grid.axes)
                       if axis.scale is Scale.CATEGORY and len(axis.values) > 1]
        self._levels = [int(codes.max()) + 1 for codes in self._codes]
        self._best: Shape | None = None
        self._compared = 0  # readings when shapes were last compared

    @property
    def is_trivial(self) -> bool:
        """Whether the model is a constant."""
        return all(len(columns) < 2 for columns in self._shapes.values())

    def fit(self, rows: IntArray, latency: FloatArray) -> FloatArray:
        """Logarithm of the fitted latency at every grid point, (N,), in its unit. latency: (n,) above 0, at `rows`."""
        kept = self._compared <= len(rows) < (1 + settings.REFIT_GROWTH) * self._compared
        tried = [self._best] if kept and self._best is not None else list(self._shapes)
        fits = [self._fit(shape, rows, latency) for shape in tried]
        best = min(fits, key=lambda fit: fit.error)
        if best.error > fits[0].error - settings.SERVER_LEAST_IMPROVEMENT:
            best = fits[0]
        if not kept:
            self._compared, self._best = len(rows), best.shape
        return logarithm_of(self._everywhere(best), latency)

    def _fit(self, shape: Shape, rows: IntArray, latency: FloatArray) -> _Fit:
        columns = self._shapes[shape]
        found = terms_of(self._columns[rows], self._covers, shape)
        terms, codes = np.column_stack([found[k] for k in columns]), [codes[rows] for codes in self._codes]
        factors = np.ones(len(rows))
        for _ in range(settings.FACTOR_ROUNDS if codes else 1):
            weights = fit_weights(terms, latency / factors)
            common = terms @ weights
            tables = factor_tables(common, latency, codes, self._levels)
            factors = np.prod([np.ones(len(rows)), *(table[own] for table, own in zip(tables, codes, strict=True))],
                              axis=0)
        return _Fit(shape, columns, weights, tables, relative_error(common * factors, latency))

    def _everywhere(self, fit: _Fit) -> FloatArray:
        """Latency at every grid point, (N,)."""
        latency = np.zeros(len(self._columns.i))
        used = [(column, weight) for column, weight in zip(fit.columns, fit.weights, strict=True) if weight > 0]
        for start in range(0, len(latency), settings.EXACT_POINTS):
            part = slice(start, start + settings.EXACT_POINTS)
            terms = terms_of(self._columns[part], self._covers, fit.shape)
            for column, weight in used:
                latency[part] += weight * terms[column]
        for table, codes in zip(fit.tables, self._codes, strict=True):
            latency *= table[codes]
        return latency
