"""Traffic: when requests arrived and how many tokens each has; scaled, cut and repeated.

Files of real traffic are read in traffic_file.py; runners draw traffic from distributions, and write it for clients.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from planner.space.types import BoolArray, FloatArray, IntArray, StudyError

__all__ = ["Blocks", "Traffic", "covering", "whole_tokens"]

Blocks: TypeAlias = tuple[int, ...]
"""Numbers of the blocks that a prompt is made of: two prompts that begin with the same blocks begin with the same
tokens."""

@dataclass(frozen=True, eq=False)
class Traffic:
    """Requests in the order of their arrival, (n,) each.

    name: what it was read from, for messages. arrivals: seconds, ascending from 0. input_len, output_len: tokens, 1 or
    more. blocks: of each prompt, as many as cover it; () where no prompt shares tokens with another. block_tokens:
    tokens of a block, 0 without blocks. notes: what was left out, and why.
    """

    name: str
    arrivals: FloatArray
    input_len: IntArray
    output_len: IntArray
    blocks: tuple[Blocks, ...] = ()
    block_tokens: int = 0
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.arrivals)

    @property
    def rate(self) -> float:
        """Mean requests per second, counted between the first and the last; infinite if all arrive at once."""
        return (len(self) - 1) / float(self.arrivals[-1]) if self.arrivals[-1] > 0 else math.inf

    @property
    def mean_input_len(self) -> float:
        """Mean tokens of a prompt."""
        return float(self.input_len.mean())

    @property
    def mean_output_len(self) -> float:
        """Mean tokens of an answer."""
        return float(self.output_len.mean())

    def scaled(self, rate: float | None = None, input_scale: float = 1.0, output_scale: float = 1.0,
               longest: int | None = None) -> Traffic:
        """The traffic at another mean rate, with longer or shorter requests.

        rate: mean requests per second; arrivals are stretched in time, their shape is kept. Infinite: all at once.
        input_scale, output_scale: factors of lengths; blocks are scaled with the prompts, so that they go on to share
        the same part of themselves. longest: tokens of a request, prompt and answer, that the server takes; longer ones
        are left out, and counted in a note. Raises StudyError if no request, or no rate, is left.
        """
        if not (0 < input_scale < math.inf and 0 < output_scale < math.inf) or (rate is not None and not rate > 0):
            raise StudyError(f"{self.name}: rate and scales of traffic are {rate}, {input_scale:g} and "
                             f"{output_scale:g}; they must be above 0")
        block_tokens = max(1, round(self.block_tokens * input_scale)) if self.blocks else 0
        input_len = whole_tokens(self.input_len * input_scale)
        blocks = covering(self.blocks, input_len, block_tokens) if block_tokens else ()
        output_len = whole_tokens(self.output_len * output_scale)
        resized = dataclasses.replace(self, input_len=input_len, output_len=output_len, blocks=blocks,
                                      block_tokens=block_tokens)
        kept = resized if longest is None else resized._no_longer_than(longest)
        return kept if rate is None else kept._at(rate)

    def first(self, n: int) -> Traffic:
        """The first n requests."""
        return self._only(np.arange(len(self)) < n, ())

    def taken(self, n: int, seed: int) -> Traffic:
        """A stretch of n requests from a place drawn by the seed; at the end the traffic begins again.

        Its rate is that of the stretch. Where requests come again, their blocks are new ones: a prompt that is sent
        twice would be answered from the prefix cache.
        """
        if n < 1:
            raise StudyError(f"{self.name}: {n} requests of traffic are asked for; ask for 1 or more")
        size = len(self)
        places = np.arange(n) + int(np.random.default_rng(seed).integers(size))
        rows, rounds = places % size, places // size
        gap = float(self.arrivals[-1]) / max(size - 1, 1)  # the mean, between the last request and the first again
        arrivals = self.arrivals[rows] + rounds * (float(self.arrivals[-1]) + gap)
        times = (np.arange(n) // size).tolist()  # how often each request has come before
        stride = 1 + max((max(row, default=0) for row in self.blocks), default=0)
        blocks = tuple(tuple(block + time * stride for block in self.blocks[row])
                       for row, time in zip(rows.tolist(), times, strict=True)) if self.blocks else ()
        return dataclasses.replace(self, arrivals=arrivals - arrivals[0], input_len=self.input_len[rows],
                                   output_len=self.output_len[rows], blocks=blocks)

    def _at(self, rate: float) -> Traffic:
        if math.isinf(rate):
            return dataclasses.replace(self, arrivals=np.zeros(len(self)))
        if math.isinf(self.rate):
            raise StudyError(f"{self.name}: its requests all arrive at once, which no rate can stretch; name traffic "
                             "with times, or leave out request_rate")
        return dataclasses.replace(self, arrivals=self.arrivals * (self.rate / rate))

    def _no_longer_than(self, longest: int) -> Traffic:
        fits = self.input_len + self.output_len <= longest
        left_out = len(self) - int(fits.sum())
        if left_out == len(self):
            raise StudyError(f"{self.name}: every request has more than {longest} tokens; raise max_model_len, or "
                             "scale the lengths down")
        note = f"{left_out} of {len(self)} requests have more than {longest} tokens and are left out"
        return self._only(fits, (note,)) if left_out else self

    def _only(self, kept: BoolArray, notes: tuple[str, ...]) -> Traffic:
        arrivals = self.arrivals[kept]
        blocks = tuple(row for row, fits in zip(self.blocks, kept, strict=True) if fits) if self.blocks else ()
        return dataclasses.replace(self, arrivals=arrivals - arrivals[0], input_len=self.input_len[kept],
                                   output_len=self.output_len[kept], blocks=blocks, notes=(*self.notes, *notes))


def whole_tokens(lengths: NDArray[np.floating[Any]]) -> IntArray:
    """Lengths as numbers of tokens: whole, 1 or more."""
    whole: IntArray = np.maximum(np.rint(lengths), 1).astype(np.int64)
    return whole


def covering(blocks: Sequence[Blocks], input_len: IntArray, block_tokens: int) -> tuple[Blocks, ...]:
    """The blocks, just as many as cover each prompt. What is added is shared by none."""
    unused = 1 + max((max(row, default=0) for row in blocks), default=0)
    covering = []
    for row, needed in zip(blocks, (-(-input_len // block_tokens)).tolist(), strict=True):
        missing = max(0, needed - len(row))
        covering.append((*row[:needed], *range(unused, unused + missing)))
        unused += missing
    return tuple(covering)
