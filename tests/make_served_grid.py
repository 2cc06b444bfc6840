"""Makes studies/data/served_simulated.csv: a simulated server of 8 engine configurations, at 6 lengths and 18 loads.

`python -m tests.make_served_grid` takes about ten minutes. Each row is one simulation, with its own lengths and a
factor on all step times that differs from run to run by `RUN_NOISE`.
"""

from __future__ import annotations

import csv
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, Final

import numpy as np

from tests.scheduler import Engine, simulate

FILE: Final = Path(__file__).resolve().parents[1] / "studies/data/served_simulated.csv"
LOADS: Final = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
LENGTHS: Final = tuple(product((256, 1024, 4096), (64, 256)))
REPEATS: Final = 3
RUN_NOISE: Final = 0.04
LEAST_REQUESTS: Final = 64
"""Requests without which a 90th percentile is not stated."""


def engine(devices: int, chunk: int) -> Engine:
    """Tensor parallel over `devices`: the work of a step is shared, its launch and its communication are not."""
    one = Engine(max_num_batched_tokens=chunk, noise=RUN_NOISE)
    shared = {name: getattr(one, name) / devices**0.9 for name in ("token_s", "context_s", "attention_s")}
    return replace(one, step_s=2e-3 + 1.4e-2 / devices + 5e-4 * np.log2(devices), token_s=2 * shared.pop("token_s"),
                   cache_tokens=100_000.0 * (2 * devices - 1), **shared)


def rows() -> list[dict[str, Any]]:
    """One row for each repeat of each point."""
    found = []
    points = product((1, 2, 4, 8), (2048, 8192), LENGTHS, LOADS)
    for number, (devices, chunk, (inputs, outputs), load) in enumerate(points):
        for repeat in range(REPEATS):
            served = simulate(load, inputs, outputs, engine(devices, chunk), max(5 * load, LEAST_REQUESTS * 2),
                              REPEATS * number + repeat, False, 0.5)
            inside = served.window()
            found.append({
                "tensor_parallel_size": devices, "max_num_batched_tokens": chunk, "input_len": inputs,
                "output_len": outputs, "max_concurrency": load, "repeat": repeat,
                "p90_ttft_ms": round(1e3 * float(np.quantile(served.ttft_s[inside], 0.9)), 3),
                "p90_tpot_ms": round(1e3 * float(np.nanquantile(served.tpot_s[inside], 0.9)), 4),
                "output_throughput": round(served.metrics()["output_throughput"], 2),
                "run_s": round(float(served.end.max()), 2)})
    return found


def main() -> None:
    """Write the file."""
    table = rows()
    with FILE.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(table[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)


if __name__ == "__main__":
    main()
