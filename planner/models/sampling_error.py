"""The sampling error that an evaluation gives beside its result, on the scale on which the metric is learned.

An evaluation asks some hundred questions: its result is known to one standard deviation s, of a share √(p(1-p)/n). That
is noise which is known beforehand, and none of it is learned. By the delta method s is s/x of a logarithm and
s/(x(1-x)) of a logit; where a share is 0 or 1, whose logit has no slope, no more than 1.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import numpy as np

from planner.ledger.observations import Observations
from planner.models.transforms import back
from planner.space.evaluation import STDERR
from planner.space.types import FloatArray, Transform

__all__ = ["sampling_errors"]


def sampling_errors(
    metric: str, transform: Transform, places: Sequence[tuple[int, int]], values: FloatArray,
    observations: Observations,
) -> FloatArray:
    """Standard deviation of each reading, (n,), 0 where its run does not say. places: row and run of each reading;
    values: (n,), transformed."""
    said = observations.readings(metric + STDERR)
    found = np.array([statistics.median(said[place]) if place in said else 0.0 for place in places])
    found = np.where(np.isfinite(found) & (found > 0), found, 0.0)
    if not found.any():
        return found
    x = back(transform, values)
    match transform:
        case Transform.LOG:
            return found / x
        case Transform.LOGIT:
            return np.where(found > 0, found / np.maximum(x * (1 - x), np.maximum(found, np.finfo(float).tiny)), 0.0)
        case Transform.LINEAR:
            return found
