"""The one protocol of what learns a quantity over a grid.

`GridModel` and `CostModel` ask for nothing else. A `GaussianProcess` is a plain numerical class on feature rows and no
regressor; `Ensemble` (Gaussian processes) and `ForestRegressor` are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol, Self

import numpy as np

from planner.space.types import Features, FloatArray, IntArray

__all__ = ["ALL", "DriftEstimate", "Regressor", "check_readings", "columns_of"]

ALL: Final = slice(None)
"""Every grid point, in place of rows."""


@dataclass(frozen=True, slots=True)
class DriftEstimate:
    """How a machine has changed over the time of a regressor's readings, in the units of its quantity.

    scale: standard deviation that drifts over such a time have, as learned. change, std: what the newest reading has
    more than the oldest would have at its point; mean and standard deviation.
    """

    scale: float
    change: float
    std: float


class Regressor(Protocol):
    """Predicts one real-valued quantity at every point of a grid, from readings at some of them.

    Notation: N grid points; n readings. A row is the number of a grid point, 0 … N − 1. y, means and standard
    deviations are in the units of the quantity (in sweepwise usually the logarithm of a metric).

    Contract
    --------
    - A regressor is built with the `Features` of all N grid points, as `make(features)`, and learns nothing then.
      Features with no numeric column, no category, or neither are allowed. One object serves one quantity.
    - `GridModel`, `CostModel` and the acquisition call it, from one thread. `fit` comes first. The other methods and
      `noise_` are undefined before a fit, and afterwards speak of the latest one.
    - `fit` may be called again, with any readings, and may start from what it learned before. It never changes its
      arguments or the features. Several readings of one row are allowed.
    - `fit` raises ValueError for no reading, shapes that disagree, rows outside the grid, and numbers that are not
      finite (`check_readings` does this). Nothing else raises.
    - `predict`, `one_step_ahead` and `covariance` change nothing: the same call gives the same numbers until the next
      `fit`. Each call returns arrays that the caller may change.
    - Results are finite, and standard deviations are above 0. NaN stands in `one_step_ahead` alone.
    - The same features, readings and order of fits give the same numbers: whatever is random is seeded when built.
    """

    noise_: float
    """Standard deviation of one more reading whose own noise is not known beforehand; above 0."""

    @property
    def drift_(self) -> DriftEstimate | None:
        """How the machine has changed; None where no ages were given, or the regressor has no use for them."""
        ...

    def fit(
        self, rows: IntArray, y: FloatArray, runs: IntArray, noise: FloatArray | None = None,
        run_effect: bool = False, latency_model: FloatArray | None = None, ages: FloatArray | None = None,
    ) -> Self:
        """Return self, fitted to values y (n,), n ≥ 1, at `rows` (n,).

        runs: (n,) the run of each reading; numbers ascend in time and are equal for readings of one run. noise: (n,)
        known standard deviation of each reading, 0 where unknown. run_effect: readings of one run share a part of
        their noise. latency_model: (N,) a latency model's logarithm at every grid point, to be used as far as it
        proves right. ages: (n,) how old each reading is, 0 for the newest and 1 for the oldest, where the machine may
        have changed since; predictions are of the newest. What a regressor has no use for, it ignores.
        """
        ...

    def predict(self, rows: IntArray | slice = ALL) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation, each (n,), of one more reading at `rows`, noise included; by default at every
        grid point. A large grid is never predicted as a whole unless a user asks for it."""
        ...

    def one_step_ahead(self) -> tuple[FloatArray, FloatArray] | None:
        """Mean and standard deviation, each (n,), of the readings of the fit as the runs before each predict them.

        Noise is included. NaN for the earlier half of the runs, and where a reading was left out of the fit. None
        where the regressor has no such forecasts: it is then never calibrated.
        """
        ...

    def covariance(self, rows: IntArray, others: IntArray) -> FloatArray | None:
        """Posterior covariance of the noise-free quantity, (len(rows), len(others)), in its units squared.

        None where the regressor has none: runs are then never chosen for what they tell about this quantity.
        """
        ...


def check_readings(
    points: int, rows: IntArray, y: FloatArray, runs: IntArray, noise: FloatArray | None = None,
    latency_model: FloatArray | None = None, ages: FloatArray | None = None,
) -> None:
    """Raise ValueError where the arguments of `fit` break the contract, on a grid of so many points."""
    shapes = {np.shape(part) for part in (rows, y, runs, noise, ages) if part is not None}
    if len(shapes) > 1 or len(np.shape(rows)) != 1 or not len(rows):
        raise ValueError(f"rows, y, runs, noise, ages must have the same n ≥ 1 readings, not shapes {sorted(shapes)}")
    if np.min(rows) < 0 or np.max(rows) >= points:
        raise ValueError(f"rows must be 0 to {points - 1}, not {np.min(rows)} to {np.max(rows)}")
    if latency_model is not None and np.shape(latency_model) != (points,):
        raise ValueError(f"latency_model must have shape ({points},), not {np.shape(latency_model)}")
    for name, numbers in (("y", y), ("noise", noise), ("latency_model", latency_model), ("ages", ages)):
        if numbers is not None and not np.isfinite(numbers).all():
            raise ValueError(f"{name} must be finite")


def columns_of(features: Features) -> FloatArray:
    """(N, d + Σ levels): numeric columns, then one-hot categories; a column of zeros where there is nothing."""
    parts = [features.numeric]
    for axis, levels in enumerate(features.levels):
        parts.append(np.equal.outer(features.category[:, axis], np.arange(levels)).astype(np.float64))
    X = np.hstack(parts)
    return X if X.shape[1] else np.zeros((len(features), 1))
