"""evaluate --truth on tables that name, measure and call success in their own way."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Call = Callable[..., Any]
STUDY = """
study: {name: own}
space: {axes: {batch_size: {scale: log}}}
runner: {kind: replay, table: t.csv, cost_s: latency_ms, map: {batch_size: "Batch Size", ttft_ms: "TTFT (ms)"}}
targets: [ttft_ms]
stop: {trials: 3}
"""
RECORDS = [{"Batch Size": size, "TTFT (s)": float(size) / 100, "state": "COMPLETE"} for size in (1, 2.0, "4", 8, 16)]
RECORDS += [{"Batch Size": 64, "TTFT (s)": None, "state": "FAIL"}]


@pytest.mark.parametrize("ending", ["json", "jsonl"])
def test_a_truth_in_its_own_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Call, sweepwise: Call,
                                  ending: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s.yaml").write_text(STUDY)
    Path("t.csv").write_text("Batch Size,TTFT (ms),latency_ms\n" + "".join(
        f"{size},{size * 10.0},{500 + size}\n" for size in (1, 2, 4, 8, 16, 64)))
    ran = answer("run", "s.yaml")
    assert ran["cost_s"] < 3  # seconds, not milliseconds
    truth = f"truth.{ending}"
    Path(truth).write_text(json.dumps(RECORDS) if ending == "json" else "\n".join(map(json.dumps, RECORDS)))
    command = ["evaluate", "s.yaml", "--truth", truth, "--allow-other-fingerprint"]
    assert "by --map batch_size=\"Batch Size\"" in sweepwise(*command).err
    command += ["--map", "batch_size=Batch Size", "--map", "ttft_ms=TTFT (s)"]
    assert any("'state' says 'COMPLETE', 'FAIL'" in note for note in answer(*command)["notes"])
    told = answer(*command, "--ok", "state == 'COMPLETE'")
    assert told["notes"] == ["--map ttft_ms: TTFT (s) is in s, read as milliseconds × 1000"]
    assert told["targets"]["ttft_ms"]["accuracy"] > 0.5
    assert "note: --map ttft_ms" in sweepwise(*command, "--ok", "state == 'COMPLETE'").out
