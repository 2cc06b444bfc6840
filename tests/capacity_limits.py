"""The rate that `capacity` says a simulated server bears, against the rate that it bears.

`python -m tests.capacity_limits` takes ten minutes. The server is that of studies/data/served_simulated.csv: measured
in closed loop, and then simulated with Poisson arrivals and the slots of the answer. The true limit is the highest rate
at which the level is kept by the median of three seeds.
"""

from __future__ import annotations

import math
import tempfile
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
import yaml

import planner
from planner.space.slo import parse_tier
from tests.make_served_grid import FILE, LENGTHS, engine
from tests.scheduler import simulate_fleet

LEVELS: Final = ("p90_ttft_ms <= 500 and p90_tpot_ms <= 25", "p90_ttft_ms <= 150 and p90_tpot_ms <= 40")
CHUNK: Final = 8192


def limits() -> pd.DataFrame:
    """A row for each engine configuration, length and level: what is predicted, and the true limit over it."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        study = planner.open_study(_simulated_study(Path(folder)))
        study.run(strategy="full")
        for (inputs, outputs), level in product(LENGTHS, LEVELS):
            answer = study.capacity([1.0], slo=[level], workload=[f"input_len={inputs},output_len={outputs}"])
            for fleet in answer.fleets:
                devices, slots = int(fleet.replica.point["tensor_parallel_size"]), int(fleet.replica.slots or 0)
                ratio = _limit(devices, slots, inputs, outputs, level, fleet.bears) / fleet.bears
                found.append([devices, inputs, outputs, level, slots, fleet.bears, ratio])
                print(*found[-1], flush=True)
    columns = ["devices", "input_len", "output_len", "level", "slots", "predicted", "true / it"]
    return pd.DataFrame(found, columns=columns)


def _simulated_study(folder: Path) -> Path:
    """Two sizes of the simulated server. Its lengths are uniform on the upper half of those named."""
    table = pd.read_csv(FILE)
    table = table[table["tensor_parallel_size"].isin([1, 4]) & (table["max_num_batched_tokens"] == CHUNK)]
    table.assign(request_throughput=table["output_throughput"] / (0.75 * table["output_len"])).to_csv(
        folder / "table.csv", index=False)
    axes = {"tensor_parallel_size": {"scope": "engine", "scale": "log"}, "input_len": {"scale": "log"},
            "output_len": {"scale": "log"}, "max_concurrency": {"scale": "log"}}
    (folder / "study.yaml").write_text(yaml.safe_dump({
        "study": {"name": "simulated", "storage": f"sqlite:///{folder}/simulated.db"}, "space": {"axes": axes},
        "runner": {"kind": "replay", "table": "table.csv", "cost_s": 60, "accelerators": "tensor_parallel_size",
                   "repeats": 3}, "targets": ["p90_ttft_ms", "p90_tpot_ms", "request_throughput"]}))
    return folder / "study.yaml"


def _limit(devices: int, slots: int, inputs: int, outputs: int, level: str, start: float) -> float:
    """The highest rate that is served as asked, by halving between half and twice `start`, to 3 %."""
    one = replace(engine(devices, CHUNK), max_num_seqs=slots, noise=0.0)
    bounds = {c.metric: c.bound for c in parse_tier(level, "level").conditions}

    def kept(rate: float) -> bool:
        runs = [simulate_fleet(1, rate, inputs, outputs, one, 1000, seed, spread=0.5) for seed in range(3)]
        first = [1e3 * float(np.quantile(run.ttft_s[run.window()], 0.9)) for run in runs]
        step = [1e3 * float(np.nanquantile(run.tpot_s[run.window()], 0.9)) for run in runs]
        return float(np.median(first)) <= bounds["p90_ttft_ms"] and float(np.median(step)) <= bounds["p90_tpot_ms"]

    low, high = start / 2, start * 2
    while high / low > 1.03:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if kept(middle) else (low, middle)
    return low


def main() -> None:
    """Print a line for each case, and what they say together."""
    ratios = limits()["true / it"]
    print(f"{len(ratios)} cases, true limit / predicted: median {ratios.median():.2f}, {ratios.min():.2f} to "
          f"{ratios.max():.2f}; below 0.97: {(ratios < 0.97).mean():.0%}")


if __name__ == "__main__":
    main()
