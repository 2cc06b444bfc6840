"""A share stays one: its intervals between 0 and 1, and what was measured taken at its word at the ends."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from planner.evaluation.metric_posterior import MetricPosterior
from planner.space.slo import parse_condition
from planner.space.types import Transform

BENCH = "import json, sys; b = int(sys.argv[1]); print(json.dumps({'right': max(0.0, min(1.0, 1.3 - b / 20))}))"


def probability(condition: str, value: float, measured: bool) -> float:
    """Of a share with a scale's value that is clipped as the models' are."""
    z = np.log(np.clip(value, 1e-3, 1 - 1e-3) / (1 - np.clip(value, 1e-3, 1 - 1e-3)))
    known = MetricPosterior("right", np.array([value]), np.array([z]), np.array([0.3]), Transform.LOGIT,
                            np.array([measured]))
    return float(known.probability(parse_condition(condition, "slo"))[0])


@pytest.mark.parametrize(("condition", "value", "measured", "least", "most"), [
    ("right >= 1", 1.0, True, 1, 1), ("right >= 0.9999", 1.0, True, 1, 1), ("right <= 0", 0.0, True, 1, 1),
    ("right >= 1", 0.9, True, 0, 0), ("right >= 1", 0.999, False, 0, 0), ("right <= 1", 0.3, False, 1, 1),
    ("right >= 1.5", 1.0, True, 0, 0), ("right >= 0.9", 0.95, False, 0.8, 1), ("right >= 0.9", 0.8, True, 0, 0.1),
])
def test_bounds_at_the_ends(condition: str, value: float, measured: bool, least: float, most: float) -> None:
    assert least <= probability(condition, value, measured) <= most


def test_no_interval_leaves_the_unit_interval(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sweepwise: Callable[..., Any], answer: Callable[..., Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s.yaml").write_text(yaml.safe_dump({
        "study": {"name": "s", "storage": "sqlite:///s.db"},
        "space": {"axes": {"batch_size": {"values": [1, 2, 4, 6, 8, 12, 16, 20, 24, 28, 32], "scale": "log"}}},
        "runner": {"kind": "command", "command": [sys.executable, "-S", "-E", "-c", BENCH.replace("{", "{{").replace(
            "}", "}}"), "{batch_size}"]},
        "targets": [{"metric": "right", "direction": "maximize", "kind": "share"}], "stop": {"trials": 7}}))
    assert sweepwise("run", "s.yaml").code == 0
    rows = answer("predict", "s.yaml")
    assert {0.0, 1.0} <= {row["right"] for row in rows if row["source"] == "measured"}
    for row in rows:
        assert 0 <= row["right_low"] <= row["right"] <= row["right_high"] <= 1
    best = answer("recommend", "s.yaml", "--slo", "right >= 1")["best"]
    assert best and all(entry["measured"] and entry["predicted"]["right"][0] == 1 for entry in best)
