"""What an old device tells of a new one: `prior:` on pairs of devices of recorded grids.

    python studies/compare/priors.py GRIDS FOLDER --seeds 10
    python studies/compare/priors.py GRIDS FOLDER --seeds 10 --strategies prior_axis --only A100 MI250

GRIDS holds the recorded grids, none of which is in the repository:
argonne_vllm_hardware.csv   argonne-lcf/LLM-Inference-Bench, as `studies.published.argonne.read` gives it
a100_v100_vllm.csv          arXiv 2408.01050, rows of vLLM: gpu, model, n_gpus, batch_size, max_new_tokens,
                            throughput_tok_s, status
inferencex_serving.csv      ai-dynamo/aiconfigurator, silicon_sample.csv, with `run_s`, the seconds of a run

Of each pair the points that both devices have become two tables, old and new, and a study file with the old one as
its `prior:`. Strategies play the new table. FOLDER keeps all of it; the same call continues where it was interrupted,
and a call for other strategies or more seeds adds to it. Every call prints what FOLDER holds of its strategies and
pairs; with --seeds 0 it does nothing else.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import yaml
from threadpoolctl import threadpool_limits

import planner

__all__ = ["PAIRS", "STRATEGIES", "Pair", "errors_of_estimates", "main", "play", "table"]

STRATEGIES: Final = ("sweepwise", "sweepwise-no_prior", "prior_scaled", "prior_as_is", "prior_axis")
SHARES: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
LEAST_RUNS: Final = 10
"""Runs of the new device from which on estimated accuracy is compared with the true one."""

_ENGINE: Final = {"scope": "engine", "scale": "log"}
_CATEGORY: Final = {"scope": "engine", "scale": "category"}
_DEVICES: Final = {**_ENGINE, "role": "accelerators"}
_TIME: Final = {"metric": "latency_s", "kind": "whole", "direction": "minimize"}


@dataclass(frozen=True)
class Source:
    """A recorded grid of several devices. device: the column that tells them apart. cost_s: what a run took."""

    file: str
    device: str
    axes: Mapping[str, Mapping[str, Any]]
    targets: tuple[str | Mapping[str, str], ...]
    cost_s: str = "latency_s"
    where: str | None = None
    shares: tuple[float, ...] = SHARES

    def read(self, folder: Path) -> pd.DataFrame:
        """Its rows."""
        rows = pd.read_csv(folder / self.file)
        if "status" in rows:
            rows = rows[rows["status"] == "ok"]
        rows = rows.query(self.where) if self.where else rows
        return rows if self.cost_s in rows else rows.assign(
            latency_s=rows["batch_size"] * rows["max_new_tokens"] / rows["throughput_tok_s"])


@dataclass(frozen=True)
class Pair:
    """What the old device tells of the new one."""

    old: str
    new: str
    source: Source
    note: str = ""

    @property
    def name(self) -> str:
        return f"{self.old} → {self.new}" + (f" ({self.note})" if self.note else "")

    @property
    def slug(self) -> str:
        """Its name as part of a file's."""
        return "-".join(part.replace(",", "").replace(".", "_").lower() for part in [
            *self.note.split(), self.old, self.new])

    def tables(self, folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Old and new rows of the points that both devices have, in the same order."""
        rows, axes = self.source.read(folder), list(self.source.axes)
        one, other = (rows[rows[self.source.device].str.lower() == device.lower()].set_index(axes)
                      for device in (self.old, self.new))
        both = one.index.intersection(other.index)
        return one.loc[both].reset_index(), other.loc[both].reset_index()


_ARGONNE: Final = Source(
    "argonne_vllm_hardware.csv", "hardware",
    {"model": _CATEGORY, "n_gpus": _DEVICES, "io_len": {"scale": "log", "role": ["input_tokens", "output_tokens"]},
     "batch_size": {"scale": "log"}}, (_TIME,))
_LARGE: Final = Source(
    "a100_v100_vllm.csv", "gpu",
    {"model": _CATEGORY, "n_gpus": _DEVICES, "batch_size": {"scale": "log"},
     "max_new_tokens": {"scale": "log", "role": "output_tokens"}}, (_TIME,), shares=(0.005, 0.01))


def _server(model: str, backend: str) -> Source:
    return Source(
        "inferencex_serving.csv", "gpu",
        {"precision": _CATEGORY, "n_gpus": _DEVICES, "dp": _ENGINE, "ep": _ENGINE, "input_len": {"scale": "log"},
         "output_len": {"scale": "log"}, "max_concurrency": {"scale": "log"}},
        ("ttft_ms", "tpot_ms", "output_throughput"), "run_s", f"model == '{model}' and backend == '{backend}'")


def _both_ways(old: str, new: str, source: Source, note: str = "") -> list[Pair]:
    return [Pair(old, new, source, note), Pair(new, old, source, note)]


PAIRS: Final = (
    *_both_ways("B300", "B200", _server("MiniMax-M2.5", "vllm"), "MiniMax-M2.5, vLLM"),
    *_both_ways("B300", "B200", _server("Qwen3.5-397B-A17B", "sglang"), "Qwen3.5, SGLang"),
    *_both_ways("A100", "MI250", _ARGONNE), *_both_ways("MI250", "MI300X", _ARGONNE),
    *_both_ways("A100", "MI300X", _ARGONNE), *_both_ways("MI300X", "PVC", _ARGONNE),
    *_both_ways("MI250", "PVC", _ARGONNE), *_both_ways("A100", "PVC", _ARGONNE),
    *_both_ways("V100", "A100", _LARGE))


def play(pair: Pair, grids: Path, folder: Path, strategies: Sequence[str], seeds: int, jobs: int) -> None:
    """Write the pair's tables and study file into the folder, and play what is missing there."""
    for name, rows in zip(("old", "new"), pair.tables(grids), strict=True):
        rows.to_csv(folder / f"{pair.slug}-{name}.csv", index=False)
    study = folder / f"{pair.slug}.yaml"
    study.write_text(yaml.safe_dump({
        "study": {"name": pair.slug}, "space": {"axes": {name: dict(axis) for name, axis in pair.source.axes.items()}},
        "runner": {"kind": "replay", "table": f"{pair.slug}-new.csv", "cost_s": pair.source.cost_s,
                   "accelerators": "n_gpus"},
        "targets": [target if isinstance(target, str) else dict(target) for target in pair.source.targets],
        "prior": [{"table": f"{pair.slug}-old.csv"}], "stop": {"accuracy": 0.95}}, sort_keys=False))
    storage = f"sqlite:///{folder / 'unused.db'}"  # a simulation writes nothing there
    planner.open_study(study, storage=storage).simulate(
        strategies, seeds=seeds, at_cost=pair.source.shares, jobs=jobs, file=folder / f"{pair.slug}.json")


def table(pairs: Iterable[Pair], grids: Path, folder: Path, strategies: Sequence[str]) -> Iterator[str]:
    """Lines of the table of accuracies in markdown: per cent, means over seeds, strategies in their order."""
    head = ["old → new", "target", "points", "spread", "seeds", *(f"{100 * share:g} %" for share in SHARES)]
    yield from (f"| {' | '.join(head)} |", "|" + " --- |" * len(head))
    rows = []
    for pair in pairs:
        old, new = pair.tables(grids)
        runs = _runs(folder, pair)
        for target in dict.fromkeys(run["target"] for run in runs):
            spread = float(np.std(np.log(new[target] / old[target])))
            of = {name: [run for run in runs if run["target"] == target and run["strategy"] == name]
                  for name in strategies}
            cells = [" / ".join(_mean(of[name], share) for name in strategies) if share in pair.source.shares else ""
                     for share in SHARES]
            seeds = sorted({len(found) for found in of.values()})
            rows.append((round(spread, 2), [pair.name, target, f"{len(new):,}", f"{spread:.2f}",
                                            " – ".join(map(str, seeds)), *cells]))
    for _, row in sorted(rows, key=lambda row: row[0]):
        yield f"| {' | '.join(row)} |"


def _runs(folder: Path, pair: Pair) -> list[dict[str, Any]]:
    file = folder / f"{pair.slug}.json"
    return list(json.loads(file.read_text())["runs"]) if file.exists() else []


def _mean(runs: Sequence[Mapping[str, Any]], share: float) -> str:
    """Mean accuracy over seeds in per cent; – if a seed has none, which is too early for a model."""
    found = [at["accuracy"] for run in runs for at in run["at"] if at["cost_fraction"] == share]
    if not found or None in found:
        return "–"
    mean = 100 * statistics.fmean(found)
    return f"{mean:.0f}" if mean >= 0 else "<0"


def errors_of_estimates(pairs: Iterable[Pair], folder: Path, strategies: Sequence[str]) -> Iterator[str]:
    """Lines of the table of estimated − true accuracy, in points: mean over states (10th and 90th percentile, number).

    A state: a seed and a target at a share of the cost, with at least LEAST_RUNS measured points of the new device.
    Strategies without an estimate are left out.
    """
    names = [name for name in strategies if name not in {"prior_scaled", "prior_as_is"}]
    yield from (f"| old → new | {' | '.join(names)} |", "|" + " --- |" * (1 + len(names)))
    total: dict[str, list[float]] = {name: [] for name in names}
    for pair in pairs:
        runs = _runs(folder, pair)
        here = {name: [100 * (at["estimated_accuracy"] - at["accuracy"]) for run in runs if run["strategy"] == name
                       for at in run["at"] if _counts(at)] for name in names}
        for name in names:
            total[name] += here[name]
        if runs:
            yield f"| {pair.name} | {' | '.join(_spread(here[name]) for name in names)} |"
    yield f"| all | {' | '.join(_spread(total[name]) for name in names)} |"


def _counts(at: Mapping[str, Any]) -> bool:
    known = at["estimated_accuracy"] is not None and at["accuracy"] is not None
    return known and at["measured"] >= LEAST_RUNS


def _spread(errors: Sequence[float]) -> str:
    if not errors:
        return "–"
    low, high = np.percentile(errors, [10, 90])
    return f"{statistics.fmean(errors):+.1f} ({low:+.1f} … {high:+.1f}, {len(errors)})"


def main() -> None:
    """Play, then print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("grids", type=Path, help="the folder of the recorded grids")
    parser.add_argument("folder", type=Path, help="what is made and played")
    parser.add_argument("--strategies", nargs="+", default=list(STRATEGIES))
    parser.add_argument("--seeds", type=int, default=10, help="0: print what is there")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--only", nargs="+", metavar="DEVICE", help="only pairs of two of these devices")
    asked = parser.parse_args()
    chosen = [pair for pair in PAIRS if not asked.only or {pair.old, pair.new} <= set(asked.only)]
    asked.folder.mkdir(parents=True, exist_ok=True)
    with threadpool_limits(1):
        for pair in chosen if asked.seeds else []:
            play(pair, asked.grids, asked.folder, asked.strategies, asked.seeds, asked.jobs)
            print(f"{pair.name} is played", flush=True)
    print("\nAccuracy in %: " + " / ".join(asked.strategies) + "\n")
    print("\n".join(table(chosen, asked.grids, asked.folder, asked.strategies)))
    print("\nEstimated − true accuracy, points\n")
    print("\n".join(errors_of_estimates(chosen, asked.folder, asked.strategies)))


if __name__ == "__main__":
    main()
