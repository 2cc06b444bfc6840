"""The planner on large grids and large records: seconds and peak memory of what users wait for.

    python studies/compare/scale.py static --points 1000000 --runs 2000
    python studies/compare/scale.py served --points 1000000 --runs 2000
    python studies/compare/scale.py record --trials 10000 --folder DIR

*static*: batches, where a run to one output length also measures every shorter one. *served*: a server under load. A
synthetic latency with 5 % of noise is measured at random points of the grid. *record*: a study file and an SQLite
record of so many finished runs are written to DIR (once), then every command is timed in a process of its own. One
thread.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import resource
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import yaml
from threadpoolctl import threadpool_limits

from planner.campaign.setup import open_setup
from planner.ledger.observations import Observations, Run
from planner.space.grid import Grid, full_grid
from planner.space.types import Axis, Cost, Measurement, Point, Reading, Role, Scale, Scope, Status
from planner.strategies.adaptive import AdaptiveStrategy
from planner.strategies.strategy import StrategyContext, cover

_SIZES_B = (1.0, 3.0, 8.0, 32.0, 70.0)


def _engine_axes() -> list[Axis]:
    return [Axis("tensor_parallel_size", (1, 2, 4, 8), Scope.ENGINE, Scale.LOG, (Role.ACCELERATORS,)),
            Axis("model", tuple(f"{size:g}B" for size in _SIZES_B), Scope.ENGINE, Scale.CATEGORY, (Role.MODEL,),
                 {"params_b": _SIZES_B})]


def _sizes(name: str, count: int, largest: int, role: Role) -> Axis:
    values = np.unique(np.round(np.geomspace(1 if role is Role.OUTPUT_TOKENS else 32, largest, 4 * count)).astype(int))
    keep = np.unique(np.linspace(0, len(values) - 1, count).round().astype(int))
    return Axis(name, tuple(values[keep].tolist()), scale=Scale.LOG, roles=(role,))


def static_grid(points: int) -> Grid:
    """About `points` points of static batches."""
    batches = max(2, round(points / (4 * 5 * 25 * 20)))
    return full_grid([*_engine_axes(), _sizes("input_len", 25, 8192, Role.INPUT_TOKENS),
                      _sizes("output_len", 20, 1024, Role.OUTPUT_TOKENS),
                      Axis("batch_size", tuple(range(1, batches + 1)), scale=Scale.LOG, roles=(Role.BATCH,))])


def served_grid(points: int) -> Grid:
    """About `points` points of a server with a limit of concurrency and a rate of requests."""
    rates = max(2, round(points / (4 * 5 * 10 * 10 * 20)))
    return full_grid([*_engine_axes(), _sizes("input_len", 10, 8192, Role.INPUT_TOKENS),
                      _sizes("output_len", 10, 1024, Role.OUTPUT_TOKENS),
                      Axis("max_concurrency", tuple(range(8, 168, 8)), scale=Scale.LOG, roles=(Role.CONCURRENCY,)),
                      Axis("request_rate", (*(round(0.25 * k, 2) for k in range(1, rates)), float("inf")),
                           scale=Scale.LOG, roles=(Role.RATE,))])


def latencies(point: Point, noise: float) -> dict[str, float]:
    """Milliseconds of a whole batch and of its first token, or of one request where served, times `noise`."""
    size, devices = float(str(point["model"]).removesuffix("B")), float(point["tensor_parallel_size"])
    i, o = float(point["input_len"]), float(point["output_len"])
    b = float(point.get("batch_size", point.get("max_concurrency", 1)))
    first = 20 + 0.02 * size * i * b / devices
    step = 3 + 2 * size / devices + 2e-4 * b * (i + o / 2) + 0.01 * b * size / devices
    rate = float(point.get("request_rate", 0.0))
    crowded = 1.0 if not np.isfinite(rate) else 1 + min(rate * o * step / (2e3 * b), 20.0)
    return {"batch_ttft_ms": first * crowded * noise, "e2el_ms": (first + (o - 1) * step) * crowded * noise}


class Played:
    """A strategy with its observations, and runs that are measured by formula."""

    def __init__(self, grid: Grid, targets: tuple[str, ...], trajectory: str | None, seed: int) -> None:
        devices = grid.numbers("tensor_parallel_size")
        self.observations, self.trajectory = Observations(grid, targets), trajectory
        self.rng = np.random.default_rng(seed)
        self.strategy = AdaptiveStrategy(StrategyContext(grid, targets, trajectory, devices, seed),
                                         initial=np.empty(0, dtype=np.int64))

    def measure(self, row: int) -> None:
        """Add a run at `row`."""
        grid = self.observations.grid
        point = grid.point(row)
        noise = float(np.exp(0.05 * self.rng.standard_normal()))
        readings = tuple(_reading(grid.point(int(other)), noise)
                         for other in cover(grid, self.trajectory, row, self.observations))
        cost = Cost(measure_s=readings[-1].seconds, accelerators=float(point["tensor_parallel_size"]))
        self.observations.add(Run(len(self.observations.runs), point, Measurement(Status.OK, cost, readings)))


def _reading(point: Point, noise: float) -> Reading:
    found = latencies(point, noise)
    metrics = {name: (value,) for name, value in found.items()}
    return Reading(point, metrics, found["e2el_ms"] / 1000)


@contextmanager
def _timed(what: str, profile: int = 0) -> Iterator[None]:
    """Print the seconds of the block and the peak of resident memory so far; with `profile`, its costliest calls."""
    profiler = cProfile.Profile()
    began, computed = time.perf_counter(), time.process_time()
    if profile:
        profiler.enable()
    try:
        yield
    finally:
        profiler.disable()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"{what:46s} {time.perf_counter() - began:8.2f} s  ({time.process_time() - computed:.2f} s of CPU)"
              f"  peak {peak:5.2f} GiB", flush=True)
    if profile:
        pstats.Stats(profiler).sort_stats("cumulative").print_stats(profile)


def play(kind: str, points: int, runs: int, profile: int, skip_whole: bool) -> None:
    """Time a study of a grid in memory."""
    with _timed("grid and strategy", profile):
        if kind == "static":
            played = Played(static_grid(points), ("batch_ttft_ms", "e2el_ms"), "output_len", 0)
        else:
            played = Played(served_grid(points), ("batch_ttft_ms", "e2el_ms"), None, 0)
    grid, strategy = played.observations.grid, played.strategy
    rows = np.random.default_rng(1).permutation(len(grid))
    print(f"{len(grid):,} points, {runs:,} runs")
    with _timed(f"{runs:,} runs added"):
        for row in rows[:runs]:
            played.measure(int(row))
    readings = int(played.observations.measured.sum())
    with _timed(f"first proposal, {readings:,} points measured", profile):
        strategy.propose(played.observations)
    for _ in range(2):  # the second is the usual one: nothing is done for the first time
        for row in rows[runs:runs + 20]:
            played.measure(int(row))
        runs += 20
        strategy._queue = []  # the batch is done
        with _timed("proposal after a batch of 20 runs", profile):
            strategy.propose(played.observations)
        with _timed("checkpoint after it", profile):
            strategy.posterior(played.observations)
    found = strategy.posterior(played.observations)
    print({name: one and round(one.estimated, 4) for name, one in found.accuracy.items()},
          [round(cost) for cost in found.plain.cost])
    with _timed("prediction of 100 points"):
        found.prediction.at(rows[-100:])
    if not skip_whole:
        with _timed("prediction of every point", profile):
            found.prediction.value["e2el_ms"]


def write_record(folder: Path, trials: int, points: int) -> Path:
    """A study file of so many points, and its record of so many finished runs; the study file's path."""
    path, database = folder / f"study{trials}_{points}.yaml", folder / f"study{trials}_{points}.db"
    if database.exists():
        return path
    axes = {"model": {"values": ["1B", "8B"], "scope": "engine", "scale": "category"},
            "tensor_parallel_size": {"values": [1, 2, 4], "scope": "engine", "scale": "log"},
            "input_len": {"values": [2**k for k in range(5, 15)], "scale": "log"},
            "output_len": {"values": [2**k for k in range(1, 11)], "scale": "log"},
            "batch_size": {"range": [1, points // 600], "scale": "log"}}
    command = [sys.executable, "-c", "import sys; sys.exit(1)", *(f"{{{name}}}" for name in axes)]
    path.write_text(yaml.safe_dump({
        "study": {"storage": f"sqlite:///{database}"}, "space": {"axes": axes}, "stop": {"trials": trials},
        "runner": {"kind": "command", "command": command}, "targets": ["e2el_ms", "batch_ttft_ms"]}))
    setup, rng = open_setup(path), np.random.default_rng(0)
    ledger = setup.create_or_resume()
    measured: list[tuple[Point, Measurement]] = []
    for row in rng.permutation(len(setup.grid))[:trials]:
        point: Point = setup.grid.point(int(row))
        reading = _reading(point, float(np.exp(0.05 * rng.standard_normal())))
        measured.append((point, Measurement(Status.OK, Cost(measure_s=reading.seconds), (reading,))))
    for point, measurement in measured[:2]:
        ledger.add(point, measurement, {"worker": "elsewhere", "seed": 0})
    with sqlite3.connect(database) as connection:
        _copy_trials(connection, measured, {axis.name: axis.values for axis in setup.grid.axes}, setup.targets)
    return path


def _copy_trials(connection: sqlite3.Connection, measured: list[tuple[Point, Measurement]],
                 values: dict[str, tuple[object, ...]], targets: tuple[str, ...]) -> None:
    """Write all but the first two runs as Optuna wrote those, many at once: one by one takes a quarter of an hour."""
    trial = connection.execute("SELECT * FROM trials WHERE number = 1").fetchone()
    columns = [row[1] for row in connection.execute("PRAGMA table_info(trials)")]
    params = connection.execute(
        "SELECT param_name, distribution_json, param_value FROM trial_params WHERE trial_id = ?", trial[:1]).fetchall()
    kinds = {name: json.loads(text)["name"] for name, text, _ in params}
    rows: dict[str, list[tuple[object, ...]]] = {name: [] for name in ("trials", "params", "values", "attributes")}
    for number, (point, measurement) in enumerate(measured[2:], 2):
        known = dict(zip(columns, trial, strict=True)) | {"trial_id": number + 1, "number": number}
        rows["trials"].append(tuple(known.values()))
        for name, text, _ in params:
            value = point[name]
            inner = values[name].index(value) if kinds[name].startswith("Categorical") else float(value)
            rows["params"].append((number + 1, name, inner, text))
        metrics = measurement.readings[0].metrics
        rows["values"] += [(number + 1, place, metrics[name][0], "FINITE") for place, name in enumerate(targets)]
        for key, kept in (("measurement", measurement.to_json()), ("worker", "elsewhere"), ("seed", number)):
            rows["attributes"].append((number + 1, key, json.dumps(kept)))
    connection.executemany(f"INSERT INTO trials VALUES ({','.join('?' * len(columns))})", rows["trials"])
    for table, names, key in (
            ("trial_params", "trial_id, param_name, param_value, distribution_json", "params"),
            ("trial_values", "trial_id, objective, value, value_type", "values"),
            ("trial_user_attributes", "trial_id, key, value_json", "attributes")):
        connection.executemany(f"INSERT INTO {table} ({names}) VALUES ({','.join('?' * len(names.split(',')))})",
                               rows[key])


_IN_A_WORKER = """
import sys, time
from pathlib import Path
from planner.campaign.setup import open_setup
began = time.perf_counter()
setup = open_setup(Path(sys.argv[1]))
ledger = setup.create_or_resume()
print(f"  opened          {time.perf_counter() - began:8.2f} s"); began = time.perf_counter()
observations = ledger.observations(setup.grid)
print(f"  observations    {time.perf_counter() - began:8.2f} s")
for _ in range(3):
    began = time.perf_counter()
    ledger.refresh(observations)
    print(f"  refresh         {time.perf_counter() - began:8.4f} s")
began = time.perf_counter()
trial, point = ledger.begin(setup.grid.point(int(observations.open_rows[0])), 0)
print(f"  begin           {time.perf_counter() - began:8.4f} s"); began = time.perf_counter()
ledger.refresh(observations, trial)
print(f"  refresh         {time.perf_counter() - began:8.4f} s"); began = time.perf_counter()
ledger.abandon(trial, "a test")
print(f"  abandon         {time.perf_counter() - began:8.4f} s")
"""


def commands(folder: Path, trials: int, points: int, only: str | None) -> None:
    """Time every command on a record, each in a process of its own."""
    with _timed(f"record of {trials:,} trials written"):
        path = write_record(folder, trials, points)
    point = "model=8B,tensor_parallel_size=2,input_len=512,output_len=128,batch_size=2"
    tool = [sys.executable, "-m", "planner.cli"]
    asked: dict[str, list[str]] = {
        "worker": [sys.executable, "-c", _IN_A_WORKER, str(path)],
        "status": [*tool, "status", str(path)], "run": [*tool, "run", str(path)],
        "predict": [*tool, "predict", str(path), "--point", point],
        "export": [*tool, "export", str(path), "-o", str(folder / "export.csv")],
        "report": [*tool, "report", str(path), "-o", str(folder / "report.html")]}
    for name, command in asked.items():
        if only is None or name in only.split(","):
            before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            after, took = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - began
            computed, peak = after.ru_utime - before.ru_utime, after.ru_maxrss / 2**20
            print(f"{name:16s} {took:8.2f} s  ({computed:.2f} s of CPU)  exit {done.returncode}, "
                  f"peak so far {peak:.2f} GiB", flush=True)
            if name == "worker" or done.returncode:
                print(done.stdout[-2000:], done.stderr[-1000:])


def main() -> None:
    """Print the times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["static", "served", "record"])
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=2_000)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, default=Path())
    parser.add_argument("--only", help="names of commands, with commas")
    parser.add_argument("--skip-whole", action="store_true", help="do not predict every point, which takes minutes")
    parser.add_argument("--profile", type=int, default=0, metavar="LINES", help="show so many of the costliest calls")
    asked = parser.parse_args()
    what: dict[str, Callable[[], None]] = {
        "record": lambda: commands(asked.folder, asked.trials, asked.points, asked.only),
        **{kind: lambda kind=kind: play(kind, asked.points, asked.runs, asked.profile, asked.skip_whole)  # type: ignore[misc]
           for kind in ("static", "served")}}
    with threadpool_limits(1):
        what[asked.what]()


if __name__ == "__main__":
    main()
