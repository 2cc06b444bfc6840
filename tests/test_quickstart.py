"""The main job on the real engine: what `make quickstart` promises, seen to happen."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import optuna
import pytest

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
STUDY = ROOT / "studies/quickstart.yaml"

# The README's commands on the quickstart study, in its order.
COMMANDS = (
    "sweepwise status studies/quickstart.yaml",
    "sweepwise predict studies/quickstart.yaml -o predictions.csv",
    "sweepwise predict studies/quickstart.yaml --point"
    " model=models/qwen3-small,input_len=256,output_len=128,batch_size=24",
    "sweepwise export studies/quickstart.yaml -o measurements.csv",
)


def _run(command: list[str], cwd: Path, seconds: float = 420) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "120"}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=seconds,
                          check=False)


@pytest.mark.engine
def test_quickstart(tmp_path: Path) -> None:
    """Run, audit, evaluate: an adaptive study of at most five minutes on the real engine, thirty times cheaper."""
    (tmp_path / "studies").symlink_to(ROOT / "studies")
    state = tmp_path / "state.json"
    run = _run(["sweepwise", "run", "studies/quickstart.yaml", "--json", str(state)], tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    found = json.loads(state.read_text())
    assert found["grid_points"] >= 3000
    assert found["cost_s"] <= 300
    assert found["stopped"] in {"accuracy", "cost"}
    assert found["resource_gain"] > 10  # 30 and more on a quiet machine; this one may be anything but
    for accuracy in found["accuracy"].values():
        assert accuracy["low"] <= accuracy["estimated"] <= accuracy["high"]
    study = optuna.load_study(study_name="quickstart", storage=f"sqlite:///{tmp_path / 'quickstart.db'}")
    fingerprint = study.user_attrs["fingerprint"]
    assert any("vllm" in value for value in fingerprint.values())

    evaluation = tmp_path / "evaluation.json"
    audit = _run(["sweepwise", "evaluate", "studies/quickstart.yaml", "--audit", "8", "--json", str(evaluation)],
                 tmp_path)
    assert audit.returncode == 0, audit.stdout + audit.stderr
    scores = json.loads(evaluation.read_text())["targets"]
    assert set(scores) == {"ttft_ms", "tpot_ms", "output_throughput"}
    assert scores["ttft_ms"]["points"] == 8
    # Far from a claim, and true on a machine that is half as fast now as it was in the study: only that what was
    # predicted has to do with what was then measured, and that the controls say how much the machine has changed.
    assert scores["output_throughput"]["rank_correlation"] > 0.3
    assert scores["output_throughput"]["drift"]["controls"] >= 2

    for command in COMMANDS:
        answer = _run(shlex.split(command), tmp_path)
        assert answer.returncode == 0, f"{command}\n{answer.stderr}"
    lines = (tmp_path / "predictions.csv").read_text().splitlines()
    assert len(lines) == 1 + found["grid_points"]

    again = _run(["sweepwise", "run", "studies/quickstart.yaml"], tmp_path, seconds=60)
    assert again.returncode == 0, again.stderr  # nothing is left to do: what was asked for was reached
    assert len(study.trials) == found["runs"]
