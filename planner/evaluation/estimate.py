"""Accuracy without truth: what the model expects to be wrong by, corrected by how wrong it has been.

estimated MAPE = mean over unmeasured points of E|error| × (Σ left-out |error| / Σ left-out expected |error|) × the
flattery of few, cheap runs (GridModel.flattery). It costs no run. Never call the result anything but estimated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from planner.space.types import BoolArray, FloatArray
from planner.surrogates.model import GridModel, LeftOut, expected_ape

__all__ = ["Estimate", "estimate_accuracy"]

# Spread of log(estimated MAPE / true MAPE) that remains with many runs. Found in simulation over recorded grids
# (median relative error of such estimates: 10–19 %).
_MODEL_SPREAD = 0.20
# What few runs add to it: replayed, log(true / estimated MAPE) had an rms of 1.1 at 12 to 20 runs, 0.3 to 0.7 up to 70.
_FEW_RUNS_SPREAD = 15.0
_BOOTSTRAPS = 200
_LEAST_RUNS = 5


@dataclass(frozen=True, slots=True)
class Estimate:
    """An estimated accuracy and its 90 % interval."""

    estimated: float
    low: float
    high: float


def estimate_accuracy(model: GridModel, unmeasured: BoolArray, weight: FloatArray, seed: int = 0
                      ) -> Mapping[str, Estimate | None]:
    """Estimated accuracy of each target over the `unmeasured` points (N,), each weighted by the probability
    (N,) that it can run. None where too few runs have been made to say anything."""
    prediction = model.predict()
    weights = np.where(unmeasured, weight, 0.0)
    estimates: dict[str, Estimate | None] = {}
    for target in model.targets_:
        left_out = model.left_out_[target.name]
        runs = np.unique(left_out.runs)
        if len(runs) < _LEAST_RUNS:
            estimates[target.name] = None
            continue
        if not weights.any():
            estimates[target.name] = Estimate(1.0, 1.0, 1.0)
            continue
        std = prediction.std[target.name]
        value = np.abs(prediction.value[target.name])
        ape = expected_ape(std) if target.log else std * np.sqrt(2 / np.pi) / np.maximum(value, 1e-12)
        expected = float(np.average(ape, weights=weights))
        ratio, spread = _correction(left_out, np.random.default_rng(seed))
        flattery = model.flattery(target.name)
        few = _FEW_RUNS_SPREAD / len(runs)
        half = np.exp(1.645 * np.linalg.norm([spread, _MODEL_SPREAD, flattery - 1, few]))
        error = expected * ratio * flattery
        estimates[target.name] = Estimate(1 - error, 1 - error * half, 1 - error / half)
    return estimates


def _correction(left_out: LeftOut, rng: np.random.Generator) -> tuple[float, float]:
    """Σ|error| / Σ expected |error| over runs, each counted once, and the spread of its logarithm."""
    _, of_run, counts = np.unique(left_out.runs, return_inverse=True, return_counts=True)
    observed = np.bincount(of_run, left_out.ape) / counts
    expected = np.bincount(of_run, left_out.expected) / counts
    draws = rng.integers(len(counts), size=(_BOOTSTRAPS, len(counts)))
    ratios = observed[draws].sum(axis=1) / expected[draws].sum(axis=1)
    ratio = float(observed.sum() / expected.sum())
    return max(ratio, 1e-6), float(np.std(np.log(np.maximum(ratios, 1e-6))))
