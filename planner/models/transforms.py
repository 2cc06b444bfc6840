"""The scale on which a metric is learned, and what an error there is worth on its own.

Notation: x a metric; z = transform(x): log x, x, or log(x / (1 − x)); σ a standard deviation of z. An error is reported
as |x̂ − x| / |x|, and of a share as |x̂ − x|.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit, logit, ndtr

from planner.models.settings import (
    HALF_NORMAL_NODES,
    HALF_NORMAL_WIDTH,
    LARGEST_SPREAD,
    LEAST_SHARE,
    MEAN_ABSOLUTE,
    TINY,
)
from planner.space.types import FloatArray, Transform

__all__ = ["back", "expected_error", "forward", "reported_error"]

# Half a normal distribution as nodes and weights, by Gauss and Legendre up to six standard deviations. The two halves
# are taken apart because an absolute error has a kink at zero.
def _half_normal() -> tuple[FloatArray, FloatArray]:
    legendre, widths = np.polynomial.legendre.leggauss(HALF_NORMAL_NODES)
    nodes = HALF_NORMAL_WIDTH / 2 * (legendre + 1)
    return nodes, HALF_NORMAL_WIDTH / 2 * widths * np.exp(-(nodes**2) / 2) / np.sqrt(2 * np.pi)


_NODES, _WEIGHTS = _half_normal()


def forward(transform: Transform, x: FloatArray) -> FloatArray:
    """z of x, of x's shape; NaN where the transform is not defined."""
    x = np.asarray(x, dtype=np.float64)
    match transform:
        case Transform.LOG:
            logs: FloatArray = np.log(np.where(x > 0, x, np.nan))
            return logs
        case Transform.LOGIT:
            inside = np.where((x >= 0) & (x <= 1), x, np.nan)
            shares: FloatArray = logit(np.clip(inside, LEAST_SHARE, 1 - LEAST_SHARE))
            return shares
        case Transform.LINEAR:
            return x


def back(transform: Transform, z: FloatArray) -> FloatArray:
    """x of z, of z's shape."""
    match transform:
        case Transform.LOG:
            return np.exp(z)
        case Transform.LOGIT:
            shares: FloatArray = expit(z)
            return shares
        case Transform.LINEAR:
            return np.asarray(z)


def expected_error(transform: Transform, z: FloatArray, std: FloatArray) -> FloatArray:
    """Mean reported error of the median at z where z is normal with this σ, of the shape of σ.

    Of a logarithm E|e^ε − 1|, in closed form; of a logit E|x(z + ε) − x(z)|, by quadrature.
    """
    match transform:
        case Transform.LOG:
            std = np.minimum(std, LARGEST_SPREAD)
            expected: FloatArray = np.exp(std**2 / 2) * (2 * ndtr(std) - 1)
            return expected
        case Transform.LOGIT:
            return np.asarray(sum(weight * (expit(z + node * std) - expit(z - node * std))
                                  for weight, node in zip(_WEIGHTS, _NODES, strict=True)))
        case Transform.LINEAR:
            linear: FloatArray = std * MEAN_ABSOLUTE / np.maximum(np.abs(z), TINY)
            return linear


def reported_error(transform: Transform, z: FloatArray, truth: FloatArray) -> FloatArray:
    """Reported error of a prediction z where `truth`, transformed too, was measured; of their shape."""
    match transform:
        case Transform.LOG:
            relative: FloatArray = np.abs(np.expm1(z - truth))
            return relative
        case Transform.LOGIT:
            return np.abs(back(transform, z) - back(transform, truth))
        case Transform.LINEAR:
            linear: FloatArray = np.abs(z - truth) / np.maximum(np.abs(truth), TINY)
            return linear
