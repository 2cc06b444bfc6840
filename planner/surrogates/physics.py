"""A roofline-like law of latency, fitted to what was measured, as one more input of a surrogate.

Notation (all per grid point, from the roles of the axes; 1 where no axis plays a role)
--------
i, o, b, n   input tokens, output tokens, batch (or concurrency), accelerators
P            parameters of the model, in billions
c            mean context of a decode step, i + o/2
t            latency ≈ Σ_k w_k φ_k, w ≥ 0

Terms φ: launch overhead 1; weights read P/n; per-request work b; prefill compute b·i·P/n and attention b·i²·√P/n;
cache reads b·c/n and compute b·P/n of a decode step; for a latency that covers the whole output, the decode terms times
o; for the mean over the o − 1 steps after the first token, what the first of them costs more, shared by all: divided by
o − 1. For each size that a chunk of prefill may have (chunked_prefill.py), times P/n: for a first token, the tokens
prefilled until the median request has its own; for the steps after it, those prefilled meanwhile, divided by o − 1.
Weights minimise the squared relative error (non-negative least squares), so that small latencies count as much as large
ones. The law knows what logarithms of cheap points cannot show: that overhead gives way to work, and where a batch
outgrows a step.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
from scipy.optimize import nnls

from planner.space.grid import Grid
from planner.space.types import FloatArray, IntArray, Role, Scale
from planner.surrogates.chunked_prefill import chunk_sizes, tokens_until_median, tokens_while_median_decodes

__all__ = ["Covers", "LatencyLaw", "batch_of"]

Covers: TypeAlias = Literal["output", "first", "step"]

# Pulls weights that the data does not settle towards zero; relative to columns of unit length.
_RIDGE = 1e-2


class LatencyLaw:
    """The law over one grid.

    covers: what the latency is of: the whole output, its first token, or a step after it. flat: it does not depend on
    the output's length.
    """

    def __init__(self, grid: Grid, covers: Covers, flat: bool) -> None:
        self._terms = _terms(grid, covers, flat)

    @property
    def is_trivial(self) -> bool:
        """Whether no axis plays a role: the law then knows nothing."""
        return len(self._terms[0]) < 2

    def fit(self, rows: IntArray, latency: FloatArray) -> FloatArray:
        """The logarithm of the fitted law at every grid point, (N,). latency: (n,) above 0, at `rows`."""
        relative = self._terms[rows] / latency[:, None]
        length = np.linalg.norm(relative, axis=0)
        length[length == 0] = 1.0
        X = np.vstack([relative / length, _RIDGE * np.eye(len(length))])
        y = np.concatenate([np.ones(len(rows)), np.zeros(len(length))])
        weights = nnls(X, y)[0] / length
        law: FloatArray = np.log(np.maximum(self._terms @ weights, 1e-12 * latency.min()))
        return law


def batch_of(grid: Grid) -> FloatArray:
    """Requests at once at each point, (N,)."""
    batch: FloatArray = grid.size_column(Role.BATCH) * grid.size_column(Role.CONCURRENCY)
    return batch


def _terms(grid: Grid, covers: Covers, flat: bool) -> FloatArray:
    """(N, K) terms that differ over the grid, and the constant."""
    i, b = grid.size_column(Role.INPUT_TOKENS), batch_of(grid)
    n, P = grid.size_column(Role.ACCELERATORS), _parameters(grid)
    o = np.ones(len(grid)) if flat else grid.size_column(Role.OUTPUT_TOKENS)
    step = [np.ones(len(grid)), P / n, b, b * P / n, b * (i + o / 2) / n]
    first = [b * i, b * i * P / n, b * i**2 * np.sqrt(P) / n]
    terms = [*step, *first]
    if covers == "output":
        terms += [o * term for term in step]
    elif covers == "first":
        terms += [tokens_until_median(b, i, C) * P / n for C in chunk_sizes(grid)]
    elif not flat:
        steps = np.maximum(o - 1, 1)
        terms += [term / steps for term in (*step[:3], first[1])]
        terms += [tokens_while_median_decodes(b, i, steps, C) * P / n / steps for C in chunk_sizes(grid)]
    distinct: list[FloatArray] = []
    for term in terms:
        shape = term / max(term.mean(), 1e-300)
        if term.any() and not any(np.allclose(shape, other / other.mean(), rtol=1e-6) for other in distinct):
            distinct.append(term)
    return np.column_stack(distinct)


def _parameters(grid: Grid) -> FloatArray:
    for position, axis in enumerate(grid.axes):
        if axis.scale is Scale.CATEGORY and "params_b" in axis.descriptors:
            sizes: FloatArray = np.array(axis.descriptors["params_b"])[grid.codes[:, position]]
            return np.maximum(sizes, 1e-6)
    return np.ones(len(grid))
