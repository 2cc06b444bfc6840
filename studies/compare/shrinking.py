"""Whether a step of a batch that has shrunk takes as long as a step of a batch of that size.

    python studies/compare/shrinking.py [--model studies/models/llama-tiny] [--rounds 7] [--input-len 64]

If so, one run whose requests end one after another shows the step time at every batch size from the largest down. For
each size and round, in turn: a batch of the largest size, of which all but so many requests have ended, and a batch of
that size from the start; the same steps of both, so that the context is the same. Prints the ratio of their medians,
shrunk over whole: the median over rounds with the smallest and the largest, and the same between two whole batches, as
a control.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np

from planner.space.types import FloatArray
from runners import environment
from runners.vllm_offline import engine_environment
from runners.vllm_worker import StaticBatch

SIZES: Final = (1, 2, 3, 4, 6, 8, 12, 16, 24, 31)
LARGEST: Final = 32
BEFORE: Final = 4
"""Tokens that the requests make that end early."""
STEPS: Final = 24
"""Steps that are compared, after the first two of the smaller batch."""
_READY: Final = "SWEEPWISE_SHRINKING"


def main() -> None:
    """Print a line for each size."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="studies/models/llama-tiny")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--input-len", type=int, default=64)
    asked = parser.parse_args()
    arguments: dict[str, Any] = {
        "model": str(Path(asked.model).resolve()), "load_format": "dummy", "dtype": "bfloat16",
        "skip_tokenizer_init": True, "enable_prefix_caching": False, "max_num_batched_tokens": 16384,
        "max_model_len": 1024} | ({"enforce_eager": True, "kv_cache_memory_bytes": 1 << 30}
                                  if environment.cpu_engine() else {})
    if _READY not in os.environ:  # some variables only count when Python starts
        os.execve(sys.executable, [sys.executable, *sys.argv], {**engine_environment(arguments, None), _READY: "1"})
    bench = StaticBatch(arguments, asked.input_len + BEFORE + STEPS + 8)
    for size in SIZES:
        rounds = np.array([_round(bench, asked.input_len, size, number) for number in range(asked.rounds)])
        print(f"{size:3d} of {LARGEST}: shrunk / whole {_spread(rounds[:, 0])}   control {_spread(rounds[:, 1])}",
              flush=True)
    bench.shutdown()


def _round(bench: StaticBatch, input_len: int, size: int, number: int) -> tuple[float, float]:
    """Shrunk over whole, and whole over whole."""
    tokens = BEFORE + 2 + STEPS
    first = _compared(bench.step_seconds(input_len, [tokens] * size, [number]))
    shrunk = _compared(bench.step_seconds(input_len, [tokens] * size + [BEFORE] * (LARGEST - size), [number]))
    again = _compared(bench.step_seconds(input_len, [tokens] * size, [number]))
    return float(shrunk / np.sqrt(first * again)), float(again / first)


def _compared(steps: FloatArray) -> float:
    return float(np.median(steps[BEFORE + 1:]))


def _spread(ratios: FloatArray) -> str:
    return f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"


if __name__ == "__main__":
    main()
