"""How far one-step-ahead forecasts have proved right, and the factors that this puts on σ and on expected errors.

Notation
--------
N, n        grid points; forecast readings
σ           standard deviation of a target on its transformed scale, the noise of a measurement included
z           error of a forecast over its σ
R           number of runs that were forecast
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from planner.ledger.observations import Observations
from planner.models import settings
from planner.models.transforms import expected_error, forward, reported_error
from planner.space.types import Z90, FloatArray, IntArray, Scale, Transform

__all__ = ["Forecasts", "calibration", "calibration_count", "forecast_runs", "forecasts_of",
           "rank_calibration", "small_sample_inflation"]


@dataclass(frozen=True, eq=False)
class Forecasts:
    """One target at the readings of the later half of the runs, as the runs before each predict it; arrays (n,).

    ape: absolute percentage error. expected: what the model expected of it. z. runs: the run of each reading.
    """

    ape: FloatArray
    expected: FloatArray
    z: FloatArray
    runs: IntArray


def forecasts_of(transform: Transform, mean: FloatArray, std: FloatArray, actual: FloatArray, runs: IntArray
                 ) -> Forecasts:
    """The forecasts with this mean and σ, on the scale of the transform, of readings `actual`; arrays (n,). Readings
    without a forecast (NaN) are left out."""
    known = np.isfinite(mean) & np.isfinite(std)
    mean, std, truth = mean[known], std[known], forward(transform, actual[known])
    # Where the scale is linear, an error is a share of what was measured; elsewhere of what was predicted.
    middle = truth if transform is Transform.LINEAR else mean
    return Forecasts(reported_error(transform, mean, truth), expected_error(transform, middle, std),
                     (mean - truth) / std, runs[known])


def calibration(forecasts: Forecasts) -> float:
    """Factor on σ that the forecasts ask for, above 0; drawn towards 1 while R is small, then inflated for it."""
    runs, of_run = np.unique(forecasts.runs, return_inverse=True)
    # Each run counts once however long its trajectory; one outlier must not widen every interval.
    squares = np.bincount(of_run, np.minimum(forecasts.z**2, settings.LARGEST_Z**2)) / np.bincount(of_run)
    weight = settings.CALIBRATION_WEIGHT
    factor = float(np.sqrt((np.sum(squares) + weight) / (len(runs) + weight)))
    return float(factor * small_sample_inflation(len(runs)))


def rank_calibration(forecasts: Forecasts) -> float:
    """The same factor from the ranks of the errors, for errors that are not normal: Z90 σ times this holds 90 % of
    them, by the quantile of |z| itself, as conformal prediction has it (Lei et al., J. Am. Statist. Assoc. 113, 2018).

    Where few runs were forecast, quantiles of normal errors count as `RANK_WEIGHT` runs more.
    """
    runs, of_run, counts = np.unique(forecasts.runs, return_inverse=True, return_counts=True)
    usual = np.abs(ndtri((np.arange(settings.RANK_NODES) + 0.5) / settings.RANK_NODES))
    sizes = np.concatenate([np.abs(forecasts.z), usual])
    weights = np.concatenate([1 / counts[of_run], np.full(len(usual), settings.RANK_WEIGHT / len(usual))])
    order = np.argsort(sizes)
    below = np.cumsum(weights[order]) - weights[order] / 2
    quantile = float(np.interp(0.9, below / weights.sum(), sizes[order]))
    return quantile / Z90 * float(small_sample_inflation(len(runs)))


def calibration_count(observations: Observations, target: str, forecasts: Forecasts) -> FloatArray:
    """Effective sample size behind each point's calibration, (N,): R; for points of a category never run, at most the
    number of categories of that axis that were measured.

    Only the categories measured show how different the next one will be. A category whose runs all failed is not
    waited for: its points count by their feasibility.
    """
    grid, measured = observations.grid, np.isfinite(observations.column(target))
    count = np.full(len(grid), float(forecast_runs(forecasts)))
    for place, axis in enumerate(grid.axes):
        if axis.scale is Scale.CATEGORY:
            codes = grid.codes[:, place]
            never_run = ~np.isin(codes, codes[measured | observations.failed])
            count[never_run] = np.minimum(count[never_run], len(np.unique(codes[measured])))
    return count


def forecast_runs(forecasts: Forecasts) -> int:
    """R."""
    return len(np.unique(forecasts.runs))


def small_sample_inflation(runs: FloatArray | int) -> FloatArray:
    """Factor ≥ 1 on errors that so few runs could not show, () or of the shape of `runs`.

    The model learned from the runs that calibrate it. It knows neither σ nor how the grid bends where they were not.
    """
    return 1 + settings.SMALL_SAMPLE_INFLATION / np.maximum(np.asarray(runs, dtype=np.float64), 1.0)
