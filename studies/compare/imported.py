"""How honest the stated accuracy is of a study into which runs were imported.

    python studies/compare/imported.py GRIDS --seeds 3
    python studies/compare/imported.py GRIDS --seeds 3 --share 0.33 --only A100 MI250

GRIDS holds the recorded grids, as priors.py has them. The points that two devices have become one grid, with an axis
that tells the devices apart; two engines or two models on one device count as such, too. All points of the old device
are imported or, with --share, so large a part of all points, drawn with the seed. The study then makes up to 40 runs of
its own, and is scored after 10, 16, 26 and 40 of them where at least eight points are left.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
import yaml
from threadpoolctl import threadpool_limits

from planner.campaign.loop import Loop
from planner.campaign.setup import open_setup
from planner.campaign.stopping import Limits
from planner.evaluation.accuracy import score
from planner.ledger.observations import Observations, Run
from planner.simulation.simulate import Memory, Replay, stage
from planner.space.types import IntArray, Proposal
from planner.strategies.registry import make_strategy
from studies.compare.priors import PAIRS, Pair

__all__ = ["CASES", "main", "scores", "study_file", "table"]

RUNS: Final = (10, 16, 26, 40)
LEAST_LEFT: Final = 8
COLUMNS: Final = ["target", "own runs", "accuracy", "error", "truth inside", "points inside"]

_SERVER: Final = PAIRS[0].source


def _both_ways(one: str, other: str, axis: str, where: str, note: str) -> list[Pair]:
    """Two engines or models as an axis of the server sweep."""
    source = replace(_SERVER, device=axis, where=f"gpu == 'b200' and {where}")
    return [Pair(one, other, source, note), Pair(other, one, source, note)]


CASES: Final = (
    *PAIRS,
    *_both_ways("sglang", "trtllm", "backend", "model == 'DeepSeek-R1'", "DeepSeek-R1, B200"),
    *_both_ways("sglang", "trtllm", "backend", "model == 'DeepSeek-V3'", "DeepSeek-V3, B200"),
    *_both_ways("DeepSeek-R1", "DeepSeek-V3", "model", "backend == 'sglang'", "SGLang, B200"),
    *_both_ways("DeepSeek-R1", "DeepSeek-V3", "model", "backend == 'trtllm'", "TensorRT-LLM, B200"))


def study_file(pair: Pair, grids: Path, folder: Path) -> Path:
    """A replay study of both devices; axes with one value are left out."""
    rows, source = pd.concat(pair.tables(grids)), pair.source
    rows.to_csv(folder / "both.csv", index=False)
    axes = {name: dict(axis) for name, axis in source.axes.items() if rows[name].nunique() > 1}
    study = {
        "study": {"name": pair.slug},
        "space": {"axes": {source.device: {"scope": "engine", "scale": "category"}, **axes}},
        "runner": {"kind": "replay", "table": "both.csv", "cost_s": source.cost_s, "accelerators": "n_gpus"},
        "targets": [target if isinstance(target, str) else dict(target) for target in source.targets]}
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump(study, sort_keys=False))
    return file


def _begun(replay: Replay, imported: IntArray, seed: int) -> Observations:
    """The record of a study into which these rows were imported."""
    runner, context = stage(replay, "sweepwise", seed)
    begun = Observations(context.grid, replay.metrics)
    for number, row in enumerate(imported.tolist()):
        point = context.grid.point(row)
        measurement = runner.measure(Proposal(point, (point,), seed))
        begun.add(Run(number, point, measurement, imported=True), elsewhere=True)
    return begun


def scores(pair: Pair, replay: Replay, seed: int, share: float | None) -> Iterator[list[float | str]]:
    """A row of COLUMNS for each target and number of own runs. share: of all points; None: the old device's."""
    runner, context = stage(replay, "sweepwise", seed)
    of = np.array([str(value).lower() for value in context.grid.column(pair.source.device)])
    drawn = np.random.default_rng(seed).permutation(len(of))[:round((share or 0) * len(of))]
    played = _begun(replay, np.flatnonzero(of == pair.old.lower()) if share is None else np.sort(drawn), seed)
    imported, left = len(played.runs), int((~played.known).sum())
    recorder = Memory(first=imported)
    most = imported + min(max(RUNS), left - LEAST_LEFT)
    Loop(runner, make_strategy("sweepwise", context), recorder, played, Limits(trials=most), seed, clock=None).run()
    for own in (count for count in RUNS if imported + count <= len(played.runs)):
        seen = played.prefix(imported + own)
        posterior = make_strategy("sweepwise", context).posterior(seen)
        prediction = posterior.prediction
        for target in replay.targets:
            found = score(replay.recorded.truth(target), prediction.value[target],
                          (prediction.low[target], prediction.high[target]), seen.column(target), seen.known,
                          seen.metric(target))
            if (estimate := posterior.accuracy[target]) is not None:
                yield [target, own, found.accuracy, estimate.estimated - found.accuracy,
                       float(estimate.low <= found.accuracy <= estimate.high), found.coverage90]


def table(name: str, found: pd.DataFrame) -> str:
    """A line of the table in markdown, per cent and points."""
    error = 100 * found["error"]
    low, high = np.percentile(error, [10, 90])
    shares = [f"{100 * found[column].mean():.0f}" for column in ("accuracy", "truth inside", "points inside")]
    by_runs = " / ".join(f"{mean:+.1f}" for mean in error.groupby(found["own runs"]).mean())
    return (f"| {name} | {len(found)} | {shares[0]} | {error.mean():+.1f} ({low:+.1f} … {high:+.1f}) | {by_runs} | "
            f"{shares[1]} | {shares[2]} |")


def main() -> None:
    """Play, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("grids", type=Path, help="the folder of the recorded grids")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--share", type=float, help="import so large a part of all points instead")
    parser.add_argument("--only", nargs="+", metavar="DEVICE", help="only pairs of two of these devices")
    asked = parser.parse_args()
    print("| imported → measured | states | accuracy | estimated − true | after 10 / 16 / 26 / 40 | truth inside, % | "
          "points inside, % |\n|" + " --- |" * 7)
    for pair in CASES:
        if asked.only and not {pair.old, pair.new} <= set(asked.only):
            continue
        with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
            setup = open_setup(study_file(pair, asked.grids, Path(folder)))
            replay = Replay(setup.recorded(), setup.metrics)
            rows = [row for seed in range(asked.seeds) for row in scores(pair, replay, seed, asked.share)]
        print(table(pair.name, pd.DataFrame(rows, columns=COLUMNS)), flush=True)


if __name__ == "__main__":
    main()
