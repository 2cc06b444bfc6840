"""The probability that the parts of a workload are served as asked. Notation: planner.evaluation.mix.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr, ndtri

from planner.evaluation import settings
from planner.space.types import FloatArray

__all__ = ["probability_of_parts"]

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(settings.COMMON_NODES)


def probability_of_parts(each: FloatArray, weights: FloatArray, share: float = 1.0) -> FloatArray:
    """Probability that parts of at least `share` of the requests are served as asked, (C,).

    each: (P, C) probability of each part. Errors of the parts of one configuration are correlated by ρ through a common
    normal factor, over which this integrates by Gauss and Hermite; given the factor, parts are independent.
    """
    if len(each) == 1:
        return np.array(each[0])
    common = settings.PART_CORRELATION
    level = ndtri(np.clip(each, 1e-12, 1 - 1e-12))
    total: FloatArray = np.zeros(each.shape[1])
    for node, weight in zip(_NODES, _WEIGHTS / _WEIGHTS.sum(), strict=True):
        alone = ndtr((level - np.sqrt(common) * node) / np.sqrt(1 - common))
        total = total + weight * (np.prod(alone, axis=0) if share >= 1 else _at_least(alone, weights, share))
    if share >= 1:
        total[np.any(each <= 0, axis=0)] = 0.0  # a failed part is not merely unlikely
    return total


def _at_least(alone: FloatArray, weights: FloatArray, share: float) -> FloatArray:
    """Probability that independent parts of so large a share hold, (C,): by adding one part after the other, weights
    in steps of a bin."""
    bins = settings.SHARE_BINS
    steps = np.diff(np.rint(np.cumsum(weights) * bins).astype(np.int64), prepend=0)
    held = np.zeros((bins + 1, alone.shape[1]))
    held[0] = 1.0
    for step, probability in zip(steps, alone, strict=True):
        moved = np.roll(held, step, axis=0)
        moved[:step] = 0.0
        held = held * (1 - probability) + moved * probability
    return np.asarray(held[int(np.ceil(share * bins - 1e-9)):].sum(axis=0))
