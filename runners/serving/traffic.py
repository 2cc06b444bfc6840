"""Traffic: when requests arrive and how many tokens each has; drawn from distributions, scaled, and written for vLLM.

Files of real traffic are read in traffic_files.py.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from planner.space.types import BoolArray, FloatArray, IntArray, StudyError

__all__ = ["Blocks", "Lengths", "Traffic", "covering", "synthetic", "timed_trace_options", "write_timed_trace"]

Blocks: TypeAlias = tuple[int, ...]
"""Numbers of the blocks that a prompt is made of: two prompts that begin with the same blocks begin with the same
tokens."""

_SEED_STRIDE: Final = 2**40
"""Above any number of a block, so that two seeds have no block in common."""
_MS: Final = 1000.0


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
        input_len = _whole(self.input_len * input_scale)
        blocks = covering(self.blocks, input_len, block_tokens) if block_tokens else ()
        resized = dataclasses.replace(self, input_len=input_len, output_len=_whole(self.output_len * output_scale),
                                      blocks=blocks, block_tokens=block_tokens)
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


def _whole(lengths: NDArray[np.floating[Any]]) -> IntArray:
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


# ----------------------------------------------------------------------------------------------------------- synthetic


@dataclass(frozen=True, slots=True)
class Lengths:
    """A distribution of lengths in tokens, whole numbers from 1.

    fixed: always the mean. uniform: between mean · (1 - spread) and mean · (1 + spread). lognormal: with a standard
    deviation of spread · mean.
    """

    kind: Literal["fixed", "uniform", "lognormal"]
    mean: float
    spread: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.mean < math.inf or not 0 <= self.spread < math.inf:
            raise StudyError(f"lengths: mean {self.mean:g} and spread {self.spread:g}; the mean must be 1 or more, the "
                             "spread 0 or more")
        if self.kind == "uniform" and self.spread > 1:
            raise StudyError(f"lengths: a uniform spread of {self.spread:g} reaches below 0; it must be at most 1")

    def draw(self, n: int, rng: np.random.Generator) -> IntArray:
        """n lengths, (n,)."""
        if self.kind == "uniform":
            low, high = self.mean * (1 - self.spread), self.mean * (1 + self.spread)
            return _whole(rng.uniform(low, high, n))
        if self.kind == "lognormal":
            variance = math.log1p(self.spread**2)  # of the logarithm
            return _whole(rng.lognormal(math.log(self.mean) - variance / 2, math.sqrt(variance), n))
        return _whole(np.full(n, self.mean))


def synthetic(rate: float, burstiness: float, input_len: Lengths, output_len: Lengths, n: int, seed: int) -> Traffic:
    """Traffic of n requests whose times between arrivals have a gamma distribution, as vLLM draws them: stretched so
    that the mean rate is the one asked for.

    rate: requests per second; infinite: all at once. burstiness: its shape; 1 is a Poisson process, below 1 requests
    come in bursts, infinite is even. Raises StudyError.
    """
    if n < 1 or not rate > 0 or not burstiness > 0:
        raise StudyError(f"traffic: {n} requests at rate {rate:g} with burstiness {burstiness:g}; all three must be "
                         "above 0")
    rng = np.random.default_rng(seed)
    even = np.full(n, 1 / rate)  # 0 at an infinite rate
    gaps = even if math.isinf(rate) or math.isinf(burstiness) else rng.gamma(burstiness, 1 / (rate * burstiness), n)
    arrivals = np.cumsum(gaps) - gaps[0]
    drawn = Traffic("synthetic traffic", arrivals, input_len.draw(n, rng), output_len.draw(n, rng))
    return drawn.scaled(rate) if arrivals[-1] > 0 else drawn


# ------------------------------------------------------------------------------------------------------------ for vLLM


def write_timed_trace(traffic: Traffic, path: Path, seed: int) -> tuple[str, ...]:
    """Write the JSON Lines that vLLM's dataset `timed_trace` reads; returns `timed_trace_options(path)`.

    The form is Mooncake's: GuideLLM and AIPerf read it, too. vLLM makes a prompt's tokens of its blocks (`hash_ids`),
    and so many tokens as these give: they cover each prompt. Where the traffic shares none, each prompt is one block of
    its own. Blocks are counted anew, from 0 for seed 0 (GuideLLM takes 32 bits); two seeds have none in common.
    """
    chunk = traffic.block_tokens or int(traffic.input_len.max())
    blocks = traffic.blocks or tuple((row,) for row in range(len(traffic)))
    number = {block: place for place, block in enumerate(dict.fromkeys(itertools.chain.from_iterable(blocks)))}
    columns = (traffic.arrivals.tolist(), traffic.input_len.tolist(), traffic.output_len.tolist(), blocks)
    with path.open("w", encoding="utf-8") as file:
        for arrival, inputs, outputs, ids in zip(*columns, strict=True):
            row = {"timestamp": round(arrival * _MS, 3), "input_length": inputs, "output_length": outputs,
                   "hash_ids": [seed * _SEED_STRIDE + number[block] for block in ids], "block_tokens": chunk}
            file.write(json.dumps(row) + "\n")
    return timed_trace_options(path)


def timed_trace_options(path: Path) -> tuple[str, ...]:
    """Options of `vllm bench serve` that go with a file of `write_timed_trace`; all but the number of requests."""
    with path.open(encoding="utf-8") as file:
        chunk = json.loads(file.readline())["block_tokens"]
    return ("--dataset-name", "timed_trace", "--dataset-path", str(path),
            "--timed-trace-sec-multiplier", f"{1 / _MS:g}", "--timed-trace-chunk-hash-size", str(chunk),
            "--timed-trace-label-timestamp", "timestamp", "--timed-trace-label-input-length", "input_length",
            "--timed-trace-label-output-length", "output_length", "--timed-trace-label-hash-ids", "hash_ids")
