"""What a prefill in several steps does to the median request of a batch.

An engine of today takes at most so many tokens into one step (vLLM's max_num_batched_tokens, SGLang's
chunked_prefill_size): the prompts of a large batch prefill one after the other, in chunks of that size. A request has
its first token at the end of the chunk in which its prompt ends, and, decode tokens going first, its next tokens at the
end of each of the chunks that follow, until all prompts are done. So where a batch outgrows one chunk, the time per
output token of short outputs jumps tenfold, at no place that smaller batches hint at.

Notation (all per grid point, (N,)): b requests of i input tokens; C tokens of a chunk; the median request is the middle
one in the order of the queue, or the mean of the two in the middle.

Source: Agrawal et al., "Taming throughput-latency tradeoff in LLM inference with Sarathi-Serve", arXiv 2403.02310.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from planner.space.grid import Grid
from planner.space.types import FloatArray, Scale

__all__ = ["chunk_sizes", "tokens_until_median", "tokens_while_median_decodes"]

# The engines' own names of the size.
_NAMES: Final = {"max_num_batched_tokens", "chunked_prefill_size"}
_SIZES: Final = tuple(size for k in range(9, 17) for size in (2.0**k, 1.5 * 2.0**k))
# What a size of 0 or −1 means: prompts are not divided.
_WHOLE: Final = 2.0**53


def chunk_sizes(grid: Grid) -> list[FloatArray]:
    """Sizes that a chunk may have at each point, (N,) each: the swept one where an axis bears its name; else from 512
    to 98,304 tokens, half as much again or a third more each time (vLLM's defaults are 2,048 to 16,384)."""
    for axis in grid.axes:
        if axis.name in _NAMES and axis.scale is not Scale.CATEGORY:
            swept = np.asarray(grid.column(axis.name), dtype=np.float64)
            return [np.where(swept > 0, swept, _WHOLE)]
    return [np.full(len(grid), size) for size in _SIZES]


def tokens_until_median(b: FloatArray, i: FloatArray, C: FloatArray) -> FloatArray:
    """Tokens prefilled when the median request has its first token, (N,)."""
    return _median(b, lambda place: _until(place, b, i, C))


def tokens_while_median_decodes(b: FloatArray, i: FloatArray, steps: FloatArray, C: FloatArray) -> FloatArray:
    """Tokens of others prefilled during the first `steps` decode steps of the median request, (N,)."""
    return _median(b, lambda place: np.minimum(b * i - _until(place, b, i, C), steps * C))


def _until(place: FloatArray, b: FloatArray, i: FloatArray, C: FloatArray) -> FloatArray:
    """Tokens prefilled at the end of the chunk in which the prompt at `place`, from 1 on, ends."""
    until: FloatArray = np.minimum(np.ceil(place * i / C) * C, b * i)
    return until


def _median(b: FloatArray, of: Callable[[FloatArray], FloatArray]) -> FloatArray:
    """Of what falls or rises along the queue."""
    return (of(np.floor((b + 1) / 2)) + of(np.ceil((b + 1) / 2))) / 2
