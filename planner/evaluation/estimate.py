"""Estimated accuracy: what the model expects of its errors, corrected by how large they have been. It needs no truth.

Notation
--------
N           grid points
e           |error| of a one-step-ahead forecast, as a share of what was measured; E e what the model expected of it
ratio       Σ e / Σ E e over the forecast runs
MAPE        mean absolute percentage error; 1 − accuracy

estimated MAPE = mean over unmeasured points of E e × ratio, times the small-sample inflation of each point: more where
few runs were forecast, or where a point's category was never run (then the number of categories measured counts, not
their runs). It costs no run. The forecast runs were chosen where the model was uncertain, as it is of the unmeasured
points now, but not for their values: so the ratio carries over. On recorded grids, log(estimated / true MAPE) has half
the spread that leaving runs out in turn gives; that ratio is one of the crowded, cheap corner. Never call the result
anything but estimated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from planner.evaluation import settings
from planner.models.calibration import Forecasts, small_sample_inflation
from planner.models.grid_model import GridModel
from planner.space.types import Z90, BoolArray, FloatArray

__all__ = ["Estimate", "estimate_accuracy"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """An estimated accuracy and its 90 % interval.

    ceiling: accuracy that a perfect prediction would have, since truth itself is measured with noise.
    """

    estimated: float
    low: float
    high: float
    ceiling: float = 1.0

    def is_likely(self, goal: float) -> bool:
        """Whether the accuracy is at least `goal` with a probability of two in three."""
        error, widest = 1 - self.estimated, 1 - self.low
        if error <= 0:
            return self.low >= goal
        return bool(error * (widest / error) ** (settings.Z_LIKELY / Z90) <= 1 - goal)

    def forbids(self, goal: float) -> bool:
        """Whether noise keeps the accuracy below `goal`, however much is measured."""
        return settings.SURE_NOISE * (1 - self.ceiling) > 1 - goal

    @property
    def is_at_ceiling(self) -> bool:
        """Whether the error is hardly larger than that of noise alone."""
        return 1 - self.estimated <= settings.NEAR_CEILING * (1 - self.ceiling)


def estimate_accuracy(model: GridModel, unmeasured: BoolArray, weight: FloatArray, seed: int = 0
                      ) -> Mapping[str, Estimate | None]:
    """Estimated accuracy of each target over the `unmeasured` points (N,), by the target's name.

    weight: (N,) probability that each point can run. None with too few runs for an estimate. A large grid's means are
    taken over the model's sample of it.
    """
    weights = np.where(unmeasured, weight, 0.0)[model.rows]
    estimates: dict[str, Estimate | None] = {}
    for target in model.targets_:
        forecasts = model.forecasts_[target.name]
        runs = len(np.unique(forecasts.runs))
        of_configuration = target.quantities[0].depends_on is not None
        if runs < settings.LEAST_RUNS and not of_configuration:
            estimates[target.name] = None
            continue
        if not weights.any():
            estimates[target.name] = Estimate(1.0, 1.0, 1.0)  # nothing is left to predict
            continue
        calibration_count = np.maximum(model.calibration_count(target.name)[model.rows], 1.0)
        errors = model.expected_error(target) * small_sample_inflation(calibration_count) * weights
        # A study may never have more configurations than a few: what the model expects then stands as it is.
        enough = runs >= settings.LEAST_RUNS
        ratio, spread = _correction(forecasts, np.random.default_rng(seed)) if enough else (1.0, 0.0)
        small_sample = float((settings.SMALL_SAMPLE_SPREAD / calibration_count) @ errors / max(float(errors.sum()),
            np.finfo(float).tiny))
        half = np.exp(Z90 * np.linalg.norm([spread, settings.MODEL_SPREAD, small_sample]))
        error = ratio * float(errors.sum() / weights.sum())
        # Where errors prove smaller than expected, so does the noise that is a part of them.
        ceiling = 1 - (1 - model.ceiling(target.name)) * min(ratio, 1.0)
        estimates[target.name] = Estimate(1 - error, 1 - error * half, 1 - error / half, ceiling)
    return estimates


def _correction(forecasts: Forecasts, rng: np.random.Generator) -> tuple[float, float]:
    """The ratio over runs, each counted once, and the standard deviation of its logarithm."""
    _, of_run, counts = np.unique(forecasts.runs, return_inverse=True, return_counts=True)
    observed = np.bincount(of_run, forecasts.ape) / counts
    expected = np.bincount(of_run, forecasts.expected) / counts
    draws = rng.integers(len(counts), size=(settings.BOOTSTRAPS, len(counts)))
    prior = settings.PRIOR_RUNS * float(expected.mean())
    ratios = (observed[draws].sum(axis=1) + prior) / (expected[draws].sum(axis=1) + prior)
    ratio = float((observed.sum() + prior) / (expected.sum() + prior))
    return max(ratio, settings.LEAST_RATIO), float(np.std(np.log(np.maximum(ratios, settings.LEAST_RATIO))))
