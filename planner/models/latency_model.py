"""A latency model (roofline regression), fitted to what was measured, as one more input of a regressor.

Notation (all per grid point, from the roles of the axes; 1 where no axis has the role)
--------
i, o, b, n   input tokens, output tokens, batch (or concurrency), accelerators
W, A, S      parameters that a step reads, that a token uses, and the work of attention (roofline.py); P, P and √P of a
             model of which only its size P is known
F, B, kv     peaks of the device's arithmetic and memory, and bytes a token in the cache (roofline.py)
c            mean context of a decode step, i + o/2
t            latency ≈ Σ_k w_k φ_k, w ≥ 0

Terms φ: launch overhead 1; weights read W/(nB); per-request work b; prefill b·i, its compute b·i·A/(nF) and attention
b·i²·S/(nF); cache reads b·c·kv/(nB) and compute b·A/(nF) of a decode step; for a latency that covers the whole output,
the decode terms times o; for the mean over the o − 1 steps after the first token, what the first of them costs more,
shared by all: divided by o − 1. Weights minimise the squared relative error (non-negative least squares), so that small
latencies count as much as large ones. The model knows what logarithms of cheap points cannot show: that work outgrows
overhead.

One more term where prompts prefill in chunks (chunked_prefill.py), times A/(nF): for a first token, the tokens
prefilled until the median request has its own; for the steps after it, those prefilled meanwhile, divided by o − 1. The
size of a chunk is the one that fits best. There is none where no size makes the fit visibly better: a term that only
bends the model a little makes it look more certain than it is.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal, TypeAlias

import numpy as np

from planner.models import settings
from planner.models.chunked_prefill import chunk_sizes, tokens_until_median, tokens_while_median_decodes
from planner.models.regression import distinct_columns, fit_weights, log_error, logarithm_of
from planner.models.regressor import ALL
from planner.models.roofline import Roofline
from planner.models.sampled import sampled_rows
from planner.space.grid import Grid
from planner.space.types import FloatArray, IntArray, Role

__all__ = ["Covers", "LatencyModel", "batch_of"]

Covers: TypeAlias = Literal["output", "first", "step"]


class LatencyModel:
    """The latency model of one grid.

    covers: what the latency is of: the whole output, its first token, or a step after it. length_independent: it does
    not depend on the output's length.
    """

    def __init__(self, grid: Grid, covers: Covers, length_independent: bool) -> None:
        terms, few = _terms(grid, covers, length_independent), sampled_rows(grid)
        self._terms = np.column_stack([terms[k] for k in distinct_columns([term[few] for term in terms])])
        self._chunked = [] if length_independent and covers == "step" else _chunked(grid, covers)
        self._last: tuple[int, FloatArray] | None = None

    @property
    def is_trivial(self) -> bool:
        """Whether no axis has a role: the model then is a constant."""
        return len(self._terms[0]) < 2

    def fit(self, rows: IntArray, latency: FloatArray) -> FloatArray:
        """Logarithm of the fitted latency at every grid point, (N,), in its unit. latency: (n,) above 0, at `rows`."""
        weights, best = fit_weights(self._terms[rows], latency), None
        least = log_error(self._terms[rows] @ weights, latency) - settings.CHUNKS_LEAST_IMPROVEMENT
        for number, chunked in enumerate(self._chunked):
            if (term := chunked(rows)).any():
                wider = np.column_stack([self._terms[rows], term])
                found = fit_weights(wider, latency)
                if (error := log_error(wider @ found, latency)) < least:
                    least, weights, best = error, found, number
        terms = self._terms if best is None else np.column_stack([self._terms, self._everywhere(best)])
        return logarithm_of(terms @ weights, latency)

    def _everywhere(self, number: int) -> FloatArray:
        """The chunked term at every point, (N,); the last one is kept, since the next fit mostly wants it again."""
        if self._last is None or self._last[0] != number:
            self._last = number, self._chunked[number](ALL)
        return self._last[1]


def batch_of(grid: Grid) -> FloatArray:
    """Requests at once at each point, (N,)."""
    batch: FloatArray = grid.size_column(Role.BATCH) * grid.size_column(Role.CONCURRENCY)
    return batch


def _terms(grid: Grid, covers: Covers, length_independent: bool) -> list[FloatArray]:
    """The terms φ that every engine has, (N,) each."""
    i, b = grid.size_column(Role.INPUT_TOKENS), batch_of(grid)
    n, r = grid.size_column(Role.ACCELERATORS), Roofline.of(grid)
    o = np.ones(len(grid)) if length_independent else grid.size_column(Role.OUTPUT_TOKENS)
    step = [np.ones(len(grid)), r.reads(b) / n / r.B, b, b * r.A / n / r.F, b * (i + o / 2) / n * r.kv / r.B]
    first = [b * i, b * i * r.A / n / r.F, b * i**2 * r.S / n / r.F]
    terms = [*step, *first]
    if covers == "output":
        terms += [o * term for term in step]
    elif covers == "step" and not length_independent:
        terms += [term / np.maximum(o - 1, 1) for term in (*step[:3], first[1])]
    return terms


def _chunked(grid: Grid, covers: Covers) -> list[Callable[[IntArray | slice], FloatArray]]:
    """The term φ of a prefill in chunks at some rows, for each chunk size that is tried."""
    i, b = grid.size_column(Role.INPUT_TOKENS), batch_of(grid)
    r = Roofline.of(grid)
    work = r.A / grid.size_column(Role.ACCELERATORS) / r.F
    steps = np.maximum(grid.size_column(Role.OUTPUT_TOKENS) - 1, 1)
    match covers:
        case "output":
            return []
        case "first":
            def first(C: FloatArray, rows: IntArray | slice) -> FloatArray:
                return tokens_until_median(b[rows], i[rows], C[rows]) * work[rows]

            return [partial(first, C) for C in chunk_sizes(grid)]
        case "step":
            def step(C: FloatArray, rows: IntArray | slice) -> FloatArray:
                tokens = tokens_while_median_decodes(b[rows], i[rows], steps[rows], C[rows])
                term: FloatArray = tokens * work[rows] / steps[rows]
                return term

            return [partial(step, C) for C in chunk_sizes(grid)]
