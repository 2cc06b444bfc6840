"""A part of the readings that stands for all, where they are more than a Gaussian process can take."""

from __future__ import annotations

import numpy as np

from planner.models import settings
from planner.space.types import Features, FloatArray, IntArray

__all__ = ["representative_rows"]


def representative_rows(features: Features, count: int, seed: int) -> IntArray:
    """All rows, or `count` of them in ascending order: half farthest-point, half uniform at random."""
    n = len(features)
    if n <= count:
        return np.arange(n)
    rng = np.random.default_rng(seed)
    chosen = np.zeros(n, dtype=bool)
    nearest = np.full(n, np.inf)
    row = int(rng.integers(n))
    columns = [np.ascontiguousarray(column) for column in features.numeric.T]
    codes = [np.ascontiguousarray(column) for column in features.category.T]
    for _ in range(count // 2):
        chosen[row] = True
        apart = _squares(features.numeric, columns, row)
        apart += settings.CATEGORY_DISTANCE**2 * np.sum([own != own[row] for own in codes], axis=0, dtype=np.int64)
        np.minimum(nearest, apart, out=nearest)
        nearest[row] = -1.0
        row = int(np.argmax(nearest))
    rest = np.flatnonzero(~chosen)
    chosen[rng.choice(rest, size=count - int(chosen.sum()), replace=False)] = True
    return np.flatnonzero(chosen)


def _squares(numeric: FloatArray, columns: list[FloatArray], row: int) -> FloatArray:
    """Squared distances of all rows from one, (n,). Column by column, which is five times as fast."""
    if not 0 < len(columns) < settings.LEFT_TO_RIGHT:
        whole: FloatArray = ((numeric - numeric[row]) ** 2).sum(axis=1)
        return whole
    squares: FloatArray = (columns[0] - columns[0][row]) ** 2
    for column in columns[1:]:
        away = column - column[row]
        away *= away
        squares += away
    return squares
