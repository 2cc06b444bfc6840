"""Accuracy without truth: what the model expects to be wrong by, corrected by how wrong it has been.

estimated MAPE = mean over unmeasured points of E|error| × Σ|error| / ΣE|error| of what each later run's readings were
foretold to be by the runs before it, and more where those were few, or where a category has none: what is said of a
model never run is judged by how many others were, not by how many runs they had. It costs no run. Those runs were
chosen where the model was unsure, as it is of the unmeasured points now, but not for what they would show: so the ratio
carries over.
(Replayed over recorded grids, log(estimated / true MAPE) has half the spread that leaving runs out in turn gives: there
the ratio is that of the crowded, cheap corner.) Never call the result anything but estimated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from planner.models.grid_model import Forecasts, GridModel, small_sample_inflation
from planner.space.types import Z90, BoolArray, FloatArray

__all__ = ["Estimate", "estimate_accuracy"]

# Spread of log(estimated MAPE / true MAPE) that remains with many runs, and what few runs add to it: replayed over
# recorded grids, its rms was 0.8 below 30 runs, 0.57 at 30 to 60, 0.27 at 60 to 100, 0.2 from there on.
_MODEL_SPREAD = 0.16
_SMALL_SAMPLE_SPREAD = 10.0
# The prior belief that the model expects rightly counts as so many runs.
_PRIOR_RUNS = 4.0
_BOOTSTRAPS = 200
_LEAST_RUNS = 3


# The normal quantile of what holds in two cases of three.
_Z_LIKELY = 0.4307
# The noise, too, is only learned: an accuracy is called unattainable where four fifths of it would forbid it.
_SURE_NOISE = 0.8
# Error beyond what noise alone makes: at this ratio little is left to learn.
_NEAR = 1.2


@dataclass(frozen=True, slots=True)
class Estimate:
    """An estimated accuracy and its 90 % interval.

    ceiling: what the accuracy of a perfect prediction would look like, since truth itself is measured with noise.
    """

    estimated: float
    low: float
    high: float
    ceiling: float = 1.0

    def is_likely(self, goal: float) -> bool:
        """Whether the accuracy is at least `goal` in two cases of three."""
        error, widest = 1 - self.estimated, 1 - self.low
        if error <= 0:
            return self.low >= goal
        return bool(error * (widest / error) ** (_Z_LIKELY / Z90) <= 1 - goal)

    def forbids(self, goal: float) -> bool:
        """Whether noise keeps the accuracy below `goal` however much is measured."""
        return _SURE_NOISE * (1 - self.ceiling) > 1 - goal

    @property
    def is_at_ceiling(self) -> bool:
        """Whether hardly more than noise is left of the error."""
        return 1 - self.estimated <= _NEAR * (1 - self.ceiling)


def estimate_accuracy(model: GridModel, unmeasured: BoolArray, weight: FloatArray, seed: int = 0
                      ) -> Mapping[str, Estimate | None]:
    """Estimated accuracy of each target over the `unmeasured` points (N,), each weighted by the probability
    (N,) that it can run. None where too few runs have been made to say anything."""
    weights = np.where(unmeasured, weight, 0.0)
    estimates: dict[str, Estimate | None] = {}
    for target in model.targets_:
        forecasts = model.forecasts_[target.name]
        runs = len(np.unique(forecasts.runs))
        if runs < _LEAST_RUNS:
            estimates[target.name] = None
            continue
        if not weights.any():
            estimates[target.name] = Estimate(1.0, 1.0, 1.0)  # nothing is left to predict
            continue
        calibration_count = model.calibration_count(target.name)
        errors = model.expected_error(target) * small_sample_inflation(calibration_count) * weights
        ratio, spread = _correction(forecasts, np.random.default_rng(seed))
        few = float((_SMALL_SAMPLE_SPREAD / calibration_count) @ errors / max(float(errors.sum()),
            np.finfo(float).tiny))
        half = np.exp(Z90 * np.linalg.norm([spread, _MODEL_SPREAD, few]))
        error = ratio * float(errors.sum() / weights.sum())
        # Where errors prove smaller than expected, so does the noise that is a part of them.
        ceiling = 1 - (1 - model.ceiling(target.name)) * min(ratio, 1.0)
        estimates[target.name] = Estimate(1 - error, 1 - error * half, 1 - error / half, ceiling)
    return estimates


def _correction(forecasts: Forecasts, rng: np.random.Generator) -> tuple[float, float]:
    """Σ|error| / Σ expected |error| over runs, each counted once, and the spread of its logarithm."""
    _, of_run, counts = np.unique(forecasts.runs, return_inverse=True, return_counts=True)
    observed = np.bincount(of_run, forecasts.ape) / counts
    expected = np.bincount(of_run, forecasts.expected) / counts
    draws = rng.integers(len(counts), size=(_BOOTSTRAPS, len(counts)))
    prior = _PRIOR_RUNS * float(expected.mean())
    ratios = (observed[draws].sum(axis=1) + prior) / (expected[draws].sum(axis=1) + prior)
    ratio = float((observed.sum() + prior) / (expected.sum() + prior))
    return max(ratio, 1e-6), float(np.std(np.log(np.maximum(ratios, 1e-6))))
