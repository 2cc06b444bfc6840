"""What a prefill in several steps does to the median request of a batch.

Today's engines take a limited number of tokens into one step (vLLM's max_num_batched_tokens, SGLang's
chunked_prefill_size). The prompts of a large batch prefill one after the other, in chunks of that size. A request has
its first token at the end of the chunk in which its prompt ends. Decode tokens go first, so it has its next tokens at
the end of each following chunk, until all prompts are done. Where a batch outgrows one chunk, the time per output token
of short outputs therefore jumps tenfold, and smaller batches do not show where.

Notation (all per grid point, (N,))
--------
b           requests of a batch; the median one is the middle of the queue, or the mean of the two in the middle
i           input tokens of a request
C           tokens of a chunk

Source: Agrawal et al., "Taming throughput-latency tradeoff in LLM inference with Sarathi-Serve", arXiv 2403.02310.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from planner.models import settings
from planner.space.grid import Grid
from planner.space.types import FloatArray, Scale

__all__ = ["chunk_sizes", "tokens_until_median", "tokens_while_median_decodes"]

# The engines' own names of the size.
_NAMES: Final = {"max_num_batched_tokens", "chunked_prefill_size"}


def chunk_sizes(grid: Grid) -> list[FloatArray]:
    """Sizes in tokens that a chunk may have at each point, (N,) each: the swept one where an axis has its name, else
    `settings.CHUNK_SIZES`."""
    for axis in grid.axes:
        if axis.name in _NAMES and axis.scale is not Scale.CATEGORY:
            swept = np.asarray(grid.column(axis.name), dtype=np.float64)
            return [np.where(swept > 0, swept, settings.WHOLE_PROMPT)]
    return [np.broadcast_to(size, len(grid)) for size in settings.CHUNK_SIZES]


def tokens_until_median(b: FloatArray, i: FloatArray, C: FloatArray) -> FloatArray:
    """Tokens prefilled when the median request has its first token, (N,)."""
    return _median(b, lambda place: _until(place, b, i, C))


def tokens_while_median_decodes(b: FloatArray, i: FloatArray, steps: FloatArray, C: FloatArray) -> FloatArray:
    """Tokens of other requests prefilled during the first `steps` decode steps of the median request, (N,)."""
    return _median(b, lambda place: np.minimum(b * i - _until(place, b, i, C), steps * C))


def _until(place: FloatArray, b: FloatArray, i: FloatArray, C: FloatArray) -> FloatArray:
    """Tokens prefilled at the end of the chunk in which the prompt at `place`, from 1 on, ends."""
    until: FloatArray = np.minimum(np.ceil(place * i / C) * C, b * i)
    return until


def _median(b: FloatArray, of: Callable[[FloatArray], FloatArray]) -> FloatArray:
    """Median over the queue, (N,), of what falls or rises along it."""
    return (of(np.floor((b + 1) / 2)) + of(np.ceil((b + 1) / 2))) / 2
