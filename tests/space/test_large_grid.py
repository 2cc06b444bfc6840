"""The largest grids that a study may have, through `plan`, a fit, a proposal and a checkpoint, within stated memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

SIZES = {"input_len": {"range": [1, 125], "scale": "log"}, "output_len": {"range": [1, 125], "scale": "log"},
         "batch_size": {"range": [1, 127], "scale": "log"}}
CATEGORY = {"model": {"values": ["a", "b", "c", "d"], "scope": "engine", "scale": "category"},
            "tensor_parallel_size": {"values": [1, 2, 4, 8], "scope": "engine", "scale": "log"},
            "input_len": {"range": [1, 49], "scale": "log"}, "output_len": {"range": [1, 50], "scale": "log"},
            "batch_size": {"range": [1, 50], "scale": "log"}}
SERVED = {"model": CATEGORY["model"], "tensor_parallel_size": CATEGORY["tensor_parallel_size"],
          "input_len": {"range": [1, 50], "scale": "log"}, "output_len": {"range": [1, 10], "scale": "log"},
          "max_concurrency": {"range": [1, 20], "scale": "log"},
          "request_rate": {"values": [0.5, 1, 2, 4, 8, float("inf")], "scale": "log"}}

# Plays 20 runs, one of them failed, and asks for the next and the accuracy; prints the peak of resident memory in MiB.
PROPOSE = """
import json, resource, sys
from pathlib import Path
import numpy as np
from planner.campaign.setup import open_setup
from planner.ledger.observations import Observations, Run
from planner.space.types import Cost, Measurement, Reading, Status

study = open_setup(Path(sys.argv[1]))
observations = Observations(study.grid, study.targets)
for number, row in enumerate(np.random.default_rng(0).choice(len(study.grid), 20, replace=False)):
    point = study.grid.point(int(row))
    i, o, b = point["input_len"], point["output_len"], point.get("batch_size") or point["max_concurrency"]
    seconds = 0.01 + i * b / 1e4 + o * (6 + b) / 1e3
    readings = (Reading(point, {name: (1000 * seconds,) for name in study.targets}, seconds),)
    failed = Measurement(Status.FAILED, Cost(20.0, 0.0, 1.0), reason="out of memory")
    ended = Measurement(Status.OK, Cost(20.0, 0.0, seconds), readings)
    observations.add(Run(number, point, failed if number == 7 else ended))
strategy = study.strategy("sweepwise")
assert not observations.known[strategy.propose(observations)]
strategy._queue = []  # the initial design is done
row = strategy.propose(observations)
accuracy = strategy.posterior(observations).accuracy[study.targets[0]]
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
print(json.dumps({"points": len(study.grid), "open": not observations.known[row], "peak_mib": peak,
                  "price": strategy.price(row, observations), "accuracy": accuracy.estimated}))
"""


def study(folder: Path, axes: dict[str, object]) -> Path:
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump({
        "study": {"storage": f"sqlite:///{folder / 'study.db'}"}, "space": {"axes": axes},
        "runner": {"kind": "command", "command": ["bench", *(f"{{{name}}}" for name in axes)]},
        "targets": ["ttft_ms"], "stop": {"trials": 100}}))
    return path


@pytest.mark.parametrize(("axes", "points", "most_mib"), [
    (SIZES, 1_984_375, 2_000), (CATEGORY, 1_960_000, 2_400), (SERVED, 960_000, 2_400)])
def test_up_to_two_million_points(tmp_path: Path, axes: dict[str, object], points: int, most_mib: float) -> None:
    path = study(tmp_path, axes)
    plan = tmp_path / "plan.json"
    subprocess.run([sys.executable, "-m", "planner.cli", "plan", path, "--json", plan, "--quiet"], check=True)
    planned = json.loads(plan.read_text())
    cheap, expensive = planned["adaptive_cost_s"]
    assert planned["grid_points"] == points and planned["full_cost_s"] >= expensive > cheap > 0
    done = subprocess.run([sys.executable, "-c", PROPOSE, path], check=True, stdout=subprocess.PIPE, text=True)
    said = json.loads(done.stdout)
    assert said["points"] == points and said["open"] and said["price"] > 0
    assert 200 < said["peak_mib"] < most_mib and 0 < said["accuracy"] < 1
