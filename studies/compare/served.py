"""How honest intervals and estimates are on recorded sweeps of servers: one table of (model, engine) parts.

    python studies/compare/served.py TABLE [--seeds 10] [--parts MiniMax]

TABLE is a CSV file with the columns of AXES, `model`, `backend`, `run_s` and the targets, one row a point; it is not
part of this repository. Each part of 50 points or more is played until half of the plain sweep's cost is spent, and
scored after 20, 32, 50, 80 and 130 runs.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import yaml

from planner.campaign.loop import Loop, Observer
from planner.campaign.setup import open_setup
from planner.campaign.stopping import Limits
from planner.evaluation.accuracy import score
from planner.ledger.observations import Observations
from planner.simulation.simulate import Memory, Replay, stage
from planner.strategies.registry import make_strategy

AXES = {"gpu": "category", "precision": "category", "n_gpus": "log", "dp": "log", "ep": "log", "input_len": "log",
        "output_len": "log", "max_concurrency": "log"}
ENGINE = ("gpu", "precision", "n_gpus", "dp", "ep")
TARGETS = ["ttft_ms", "tpot_ms", "output_throughput"]
RUNS = (20, 32, 50, 80, 130)
COLUMNS = ["target", "runs", "accuracy", "estimated − true", "truth inside", "points inside"]


def study_file(table: Path, model: str, backend: str, rows: pd.DataFrame, folder: Path) -> Path:
    """A replay study of one part; axes with one value are left out."""
    axes = {name: {"scale": scale, "scope": "engine" if name in ENGINE else "workload"}
            for name, scale in AXES.items() if rows[name].nunique() > 1}
    study = {
        "study": {"name": f"{model}-{backend}"}, "space": {"axes": axes}, "targets": TARGETS,
        "runner": {"kind": "replay", "table": str(table.resolve()), "cost_s": "run_s", "accelerators": "n_gpus",
                   "where": f"model == '{model}' and backend == '{backend}'"}}
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump(study, sort_keys=False))
    return file


def scores(replay: Replay, seed: int) -> Iterator[list[float | str]]:
    """A row of COLUMNS for each target and number of runs; at least eight points must be left to predict."""
    runner, make = stage(replay, "sweepwise", seed)
    played = Observations(replay.recorded.grid, replay.metrics)
    Loop(runner, make_strategy("sweepwise", make), Memory(), played, Limits(cost=0.5 * replay.full_cost), seed,
         Observer(), clock=None).run()
    for runs in (count for count in RUNS if count <= len(played.runs)):
        observations = played.prefix(runs)
        posterior = make_strategy("sweepwise", make).posterior(observations)
        prediction = posterior.prediction
        for target in replay.targets:
            found = score(replay.recorded.truth(target), prediction.value[target],
                          (prediction.low[target], prediction.high[target]), observations.column(target),
                          observations.known, observations.metric(target))
            estimate = posterior.accuracy[target]
            if estimate is not None and found.points >= 8:
                yield [target, runs, found.accuracy, estimate.estimated - found.accuracy,
                       float(estimate.low <= found.accuracy <= estimate.high), found.coverage90]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--parts", default="", help="only parts whose model and engine contain this")
    options = parser.parse_args()
    for part, rows in pd.read_csv(options.table).groupby(["model", "backend"]):
        model, backend = map(str, part) if isinstance(part, tuple) else (str(part), "")
        if len(rows) < 50 or options.parts not in f"{model} {backend}":
            continue
        with tempfile.TemporaryDirectory() as folder:
            setup = open_setup(study_file(options.table, model, backend, rows, Path(folder)))
            replay = Replay(setup.recorded(), setup.metrics)
            found = pd.DataFrame([row for seed in range(options.seeds) for row in scores(replay, seed)],
                                 columns=COLUMNS)
        for by in ("target", "runs"):
            grouped = found.groupby(by)
            table = grouped[COLUMNS[2:]].mean()
            table.insert(2, "worst", grouped["estimated − true"].max())
            print(f"\n{model}, {backend}: {len(rows)} points\n{table.round(3).to_string()}", flush=True)


if __name__ == "__main__":
    main()
