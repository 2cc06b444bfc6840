"""No warning of numpy, pandas or scipy ever reaches a user: every verb with warnings as errors, on awkward grids."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

BENCH = """
import json, sys
a, b = (float(v) for v in sys.argv[1:3])
print(json.dumps({METRICS}))
"""
AXES = {
    "two axes": {"a": {"values": [0, 1, 2, 5]}, "batch_size": {"values": [1, 2, 4, 8], "scale": "log"}},
    "one axis": {"batch_size": {"values": [1, 2, 4, 8, 16, 32], "scale": "log"}},
    "two points": {"a": {"values": [0, 1]}, "m": {"values": ["x"], "scale": "category"}},
    "one point": {"batch_size": {"values": [4]}},
}
METRICS = {
    "zeros": ("'hits': max(0.0, b - 4), 'ms': 1 + b", [
        {"metric": "hits", "direction": "minimize", "transform": "linear"},
        {"metric": "ms", "direction": "minimize"}], "hits <= 3"),
    "all zero": ("'hits': [0, 0], 'ms': 1 + b", [
        {"metric": "hits", "direction": "maximize", "transform": "linear"}], "hits >= 0"),
    "constant": ("'ttft_ms': 3, 'output_throughput': 7", ["ttft_ms", "output_throughput"], "ttft_ms <= 3"),
    "shares": ("'right': [max(0.0, 1 - b / 8), 1 / (1 + a)]", [
        {"metric": "right", "direction": "maximize", "kind": "share"}], "right >= 1"),
    "negatives": ("'change': a - 2, 'ttft_ms': 0.0 if b == 8 else b", [
        {"metric": "change", "direction": "minimize", "transform": "linear"}, "ttft_ms"], "change <= 0"),
}
VERBS = (
    ("validate", "STUDY"), ("plan", "STUDY"), ("run", "STUDY"), ("status", "STUDY"),
    ("evaluate", "STUDY", "--audit", 2), ("run", "STUDY", "--strategy", "full"), ("predict", "STUDY", "-o", "all.csv"),
    ("recommend", "STUDY"),
    ("recommend", "STUDY", "--slo", "SLO", "--per-accelerator", "--verify"), ("report", "STUDY", "-o", "page.html"),
    ("report", "STUDY", "-o", "page.md"), ("export", "STUDY", "-o", "runs.csv"), ("idealize", "STUDY"),
    ("evaluate", "STUDY", "--truth", "runs.csv"), ("compare", "STUDY", "STUDY"),
    ("import", "STUDY", "runs.csv", "--name", "other"), ("status", "STUDY", "--name", "other"),
)
FINE = {0, 2}
"""An answer, or one line on what is wrong with the question (every point is measured, no direction is known)."""


@pytest.mark.parametrize(("axes", "metrics"), [
    *(("two axes", metrics) for metrics in METRICS), ("one axis", "zeros"), ("two points", "shares"),
    ("one point", "constant")])
def test_no_verb_warns(
    axes: str, metrics: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sweepwise: Callable[..., Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    printed, targets, slo = METRICS[metrics]
    (tmp_path / "bench.py").write_text(BENCH.replace("METRICS", printed))
    known = AXES[axes]
    arguments = ["{a}" if "a" in known else "1", "{batch_size}" if "batch_size" in known else "1"]
    (tmp_path / "s.yaml").write_text(yaml.safe_dump({
        "study": {"name": "s", "storage": "sqlite:///s.db"}, "space": {"axes": known},
        "runner": {"kind": "command", "command": [sys.executable, "-S", "-E", "bench.py", *arguments]},
        "targets": targets, "stop": {"trials": 8, "accuracy": 0.999}, "price": {"per_accelerator_hour": 2},
    }))
    for verb in VERBS:
        with warnings.catch_warnings():
            for category in (RuntimeWarning, FutureWarning, DeprecationWarning, UserWarning):
                warnings.simplefilter("error", category)
            ran = sweepwise(*({"STUDY": "s.yaml", "SLO": slo}.get(str(word), word) for word in verb))
        assert ran.code in FINE, (verb, ran.err)
        assert "Warning" not in ran.err and "Traceback" not in ran.err, (verb, ran.err)
