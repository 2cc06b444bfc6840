"""Sums of terms fitted to latencies by non-negative least squares on relative errors: what latency models share.

Notation: N grid points; n readings; K terms φ, (N, K) over the grid; latency ≈ Σ_k w_k φ_k, w ≥ 0.

Source: Lawson & Hanson, Solving Least Squares Problems (1974), chapter 23.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import nnls

from planner.models import settings
from planner.space.types import FloatArray

__all__ = ["distinct_columns", "distinct_terms", "fit_weights", "log_error", "logarithm_of", "relative_error"]


def fit_weights(terms: FloatArray, latency: FloatArray) -> FloatArray:
    """w ≥ 0, (K,), fitted to latency (n,) by terms (n, K)."""
    relative = terms / latency[:, None]
    length = np.linalg.norm(relative, axis=0)
    length[length == 0] = 1.0
    X = np.vstack([relative / length, settings.RIDGE * np.eye(len(length))])
    y = np.concatenate([np.ones(len(latency)), np.zeros(len(length))])
    weights: FloatArray = nnls(X, y)[0] / length
    return weights


def logarithm_of(predicted: FloatArray, latency: FloatArray) -> FloatArray:
    """Logarithm of predictions (N,), which may be 0 where every term with a weight is; latency: (n,) measured."""
    logarithm: FloatArray = np.log(np.maximum(predicted, settings.TINY * latency.min()))
    return logarithm


def log_error(predicted: FloatArray, latency: FloatArray) -> float:
    """Root mean square error of the logarithm of predictions; both (n,)."""
    return float(np.sqrt(np.mean((logarithm_of(predicted, latency) - np.log(latency)) ** 2)))


def relative_error(predicted: FloatArray, latency: FloatArray) -> float:
    """Root mean square of the relative error of predictions, what `fit_weights` minimises; both (n,)."""
    return float(np.sqrt(np.mean((predicted / latency - 1) ** 2)))


def distinct_terms(terms: list[FloatArray]) -> FloatArray:
    """The constant and the terms that differ from it and from each other over the grid, (N, K)."""
    return np.column_stack([terms[k] for k in distinct_columns(terms)])


def distinct_columns(terms: list[FloatArray]) -> list[int]:
    """The places of these terms."""
    kept: list[int] = []
    shares = [term / term.mean() for term in terms]
    for k, share in enumerate(shares):
        if not any(np.allclose(share, shares[other], rtol=settings.SAME_TERM) for other in kept):
            kept.append(k)
    return kept
