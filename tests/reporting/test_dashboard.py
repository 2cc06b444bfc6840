"""The Optuna dashboard opens a study's storage and shows its parameters, values and failed runs."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

STUDY = """
study: {name: seen}
space:
  axes:
    model: {values: [a, b], scope: engine}
    batch_size: {values: [1, 2, 4, 8], scale: log}
runner: {kind: command, command: [python, bench.py, "{batch_size}"]}
targets: [latency_ms]
stop: {trials: 6}
"""
BENCH = """
import json, sys
batch = int(sys.argv[1])
if batch == 8:
    sys.exit("out of memory")
print(json.dumps({"latency_ms": 3.0 + batch}))
"""


def _get(address: str) -> Any:
    with urllib.request.urlopen(address, timeout=10) as reply:
        return json.load(reply)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_dashboard_shows_the_study(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(STUDY)
    (tmp_path / "bench.py").write_text(BENCH)
    sweepwise = [sys.executable, "-m", "planner.cli"]
    subprocess.run([*sweepwise, "run", "study.yaml", "--quiet"], cwd=tmp_path, check=True, timeout=120)
    port = _free_port()
    dashboard = subprocess.Popen(
        [sys.executable, "-c", "from optuna_dashboard._cli import main; main()", "sqlite:///sweepwise.db",
         "--port", str(port), "--host", "127.0.0.1"],
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        address = f"http://127.0.0.1:{port}/api/studies"
        for _ in range(100):
            try:
                studies = _get(address)["study_summaries"]
                break
            except OSError:
                time.sleep(0.2)
        assert [study["study_name"] for study in studies] == ["seen"]
        detail = _get(f"{address}/{studies[0]['study_id']}?after=0")
        states = [trial["state"] for trial in detail["trials"]]
        assert len(states) == 6
        failed = [trial for trial in detail["trials"] if trial["state"] == "Fail"]
        for trial in failed:
            assert any("out of memory" in attr["value"] for attr in trial["user_attrs"] if attr["key"] == "reason")
        complete = [trial for trial in detail["trials"] if trial["state"] == "Complete"]
        assert complete
        for trial in complete:
            batch = next(p["param_external_value"] for p in trial["params"] if p["name"] == "batch_size")
            assert float(trial["values"][0]) == 3.0 + float(batch)
    finally:
        dashboard.terminate()
        dashboard.wait(timeout=10)
