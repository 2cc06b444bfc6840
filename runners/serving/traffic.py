"""Traffic drawn from distributions, and written for vLLM. Real traffic is read in planner/tables/traffic_file.py."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np

from planner.space.types import IntArray, StudyError
from planner.tables.traffic import Traffic, whole_tokens

__all__ = ["Lengths", "synthetic", "timed_trace_options", "write_timed_trace"]

_SEED_STRIDE: Final = 2**40
"""Above any number of a block, so that two seeds have no block in common."""
_MS: Final = 1000.0


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
            return whole_tokens(rng.uniform(low, high, n))
        if self.kind == "lognormal":
            variance = math.log1p(self.spread**2)  # of the logarithm
            return whole_tokens(rng.lognormal(math.log(self.mean) - variance / 2, math.sqrt(variance), n))
        return whole_tokens(np.full(n, self.mean))


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
