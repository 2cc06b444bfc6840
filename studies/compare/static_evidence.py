"""What static batches of the same engine tell about a server.

    python studies/compare/static_evidence.py SERVED STATIC [--seeds 10] [--points 6,12,24]

studies/data has both. They are CSV files as `sweepwise export` writes them: SERVED with an axis `max_concurrency` or
`request_rate`, STATIC with `batch_size`, and the same `input_len` and `output_len`. Prints, for each target, the
accuracy over the server's points

- from static batches alone, no run of the server;
- from static batches and random points of the server: a Gaussian process for the logarithm of the ratio;
- from the same random points without static batches: the same process for the logarithm.

Notation
--------
i, o, c, λ, m   input and output tokens, requests in flight, requests a second, most sequences that share a step
first(b, i)     seconds of a static batch of b until its first tokens: prefill of b prompts
step(b, i, o)   seconds of each later token of a static batch
b               requests that share a step: min(c, m) in closed loop; λ · seconds of a request in open loop
X               requests a second, b / (first(b, i) + (o − 1) · step(b, i, o)) in closed loop; λ in open loop

A closed loop of requests of one length runs as static batches do, one after another: time to first token is
first(b, i), time for each output token is step(b, i, o), and the c − m that found no place wait (c − m)/X more. In open
loop requests come one by one: a prompt is prefilled alone, first(1, i), after the rest of the running step, half of
step; and a later token takes a step and the prompts that come in it, λ · first(1, i) · step. Overloads have no latency
here.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from scipy.interpolate import RegularGridInterpolator
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from planner.space.types import FloatArray

TARGETS: Final = ("ttft_ms", "tpot_ms", "output_throughput")
_AXES: Final = ("max_num_seqs", "input_len", "output_len", "max_concurrency", "request_rate")
_ROUNDS: Final = 100
_Seconds = Callable[[FloatArray, FloatArray, FloatArray], FloatArray]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("served", type=Path)
    parser.add_argument("static", type=Path)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--points", default="6,12,24")
    asked = parser.parse_args()
    head = pd.read_csv(asked.served, nrows=0)
    axes = [name for name in _AXES if name in head]
    served = _medians(asked.served, axes)
    known = from_static(served, _medians(asked.static, ["batch_size", "input_len", "output_len"]))
    x = np.log([served[name] for name in axes]).T
    print(f"{len(served)} points of the server; accuracy by runs of the server: static alone, then with / without")
    for target in TARGETS:
        y = served[target].to_numpy(float)
        cells = [f"{_accuracy(y, known[target]):6.1%}"]
        for points in map(int, asked.points.split(",")):
            both = np.array([_with_and_without(x, y, known[target], points, seed) for seed in range(asked.seeds)])
            cells.append(f"{points}: {both[:, 0].mean():.1%} / {both[:, 1].mean():.1%}")
        print(f"{target:18s} " + "   ".join(cells))


def _medians(file: Path, axes: list[str]) -> pd.DataFrame:
    """A row for each point that has every target, with the medians of its repeats."""
    repeats = pd.read_csv(file).dropna(subset=list(TARGETS))
    return repeats.groupby(axes, as_index=False)[list(TARGETS)].median()


def from_static(served: pd.DataFrame, static: pd.DataFrame) -> dict[str, FloatArray]:
    """Each target at each point of the server, (N,), from static batches alone; see the top."""
    first, step = _table(static, "ttft_ms"), _table(static, "tpot_ms")
    i, o, m = (served[name].to_numpy(float) for name in ("input_len", "output_len", "max_num_seqs"))
    if "request_rate" in served:
        return _open(first, step, i, o, m, served["request_rate"].to_numpy(float))
    c = served["max_concurrency"].to_numpy(float)
    b = np.minimum(c, m)
    rate = b / (first(b, i, o) + (o - 1) * step(b, i, o))
    return {"ttft_ms": 1000 * (first(b, i, o) + (c - b) / rate), "tpot_ms": 1000 * step(b, i, o),
            "output_throughput": o * rate}


def _open(
    first: _Seconds, step: _Seconds, i: FloatArray, o: FloatArray, m: FloatArray, rate: FloatArray
) -> dict[str, FloatArray]:
    """An open loop's targets: b by iteration, halfway each time so that it settles."""
    b, alone = np.ones_like(rate), first(np.ones_like(i), i, o)
    for _ in range(_ROUNDS):
        each = step(b, i, o) * (1 + rate * alone)
        waits = alone + step(b, i, o) / 2
        b = np.clip((b + rate * (waits + (o - 1) * each)) / 2, 1, m)
    return {"ttft_ms": 1000 * waits, "tpot_ms": 1000 * each, "output_throughput": o * rate}


def _table(static: pd.DataFrame, target: str) -> _Seconds:
    """Seconds at any batch size, input and output length, between those measured; beyond them, those at the edge."""
    table = static.set_index(["batch_size", "input_len", "output_len"])[target].sort_index().dropna()
    sizes = [np.unique(table.index.get_level_values(k).to_numpy(float)) for k in range(3)]
    at = RegularGridInterpolator([np.log(size) for size in sizes],
                                 np.log(table.to_numpy(float) / 1000).reshape([len(size) for size in sizes]))

    def seconds(b: FloatArray, i: FloatArray, o: FloatArray) -> FloatArray:
        inside = [np.clip(given, size[0], size[-1]) for given, size in zip((b, i, o), sizes, strict=True)]
        found: FloatArray = np.exp(at(np.log(np.stack(inside, axis=-1))))
        return found

    return seconds


def _with_and_without(
    x: FloatArray, y: FloatArray, known: FloatArray, points: int, seed: int
) -> tuple[float, float]:
    """Accuracy at the points not measured, with static batches as the process's mean and without."""
    rows = np.random.default_rng(seed).permutation(len(y))
    seen, rest = rows[:points], rows[points:]
    found = []
    for mean in (known, np.ones_like(known)):
        kernel = ConstantKernel() * Matern(np.ones(x.shape[1]), nu=2.5) + WhiteKernel(0.1)
        process = GaussianProcessRegressor(kernel, normalize_y=True, n_restarts_optimizer=2, random_state=seed)
        process.fit(x[seen], np.log(y[seen] / mean[seen]))
        found.append(_accuracy(y[rest], np.exp(process.predict(x[rest])) * mean[rest]))
    return found[0], found[1]


def _accuracy(truth: FloatArray, value: FloatArray) -> float:
    return 1 - float(np.mean(np.abs(value - truth) / truth))


if __name__ == "__main__":
    main()
