"""A worker that stops while others still measure says so, and calls the study's limit reached only when it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from planner.ledger.ledger import Ledger
from planner.space.types import Axis
from planner.views.terminal import _stopped

AXES = (Axis("input_len", (64, 128)), Axis("batch_size", (1, 2)))


def test_the_last_runs_are_another_workers(
    bench: Callable[..., Any], sweepwise: Callable[..., Any], tmp_path: Path
) -> None:
    study, answer = bench(inputs=(64, 128), batches=(1, 2), stop={"trials": 2}), tmp_path / "answer.json"
    command = ("run", study.study, "--json", answer)
    study.study.write_text(study.study.read_text().replace("trials: 2", "trials: 1"))
    assert "stopped: the limit of runs is reached\n" in sweepwise(*command).out
    study.study.write_text(study.study.read_text().replace("trials: 1", "trials: 3"))
    other = Ledger.existing(study.storage, "bench", AXES, ("latency_ms",))
    free = next(point for point in study.points if tuple(point.values()) not in study.executions())
    trial, _ = other.begin(free, 0)
    ran = sweepwise(*command)
    assert "stopped here: the limit of runs is reached once 1 run of other workers under way has ended\n" in ran.out
    assert json.loads(answer.read_text())["stopped"] is None
    assert len(study.executions()) == 2
    other.abandon(trial, "it died")
    assert "stopped: the limit of runs is reached\n" in sweepwise(*command).out
    assert json.loads(answer.read_text())["stopped"] == "trials"
    assert len(study.executions()) == 3


@pytest.mark.parametrize(("reason", "underway", "said"), [
    ("trials", 0, "stopped: the limit of runs is reached"),
    ("grid", 2, "stopped here: nothing is left to measure once 2 runs of other workers under way have ended"),
    ("interrupted", 1, "stopped here: stopped by hand; 1 run of other workers goes on"),
    ("failures", 2, "stopped here: run after run failed and none succeeded; run again to try once more; "
                    "2 runs of other workers go on"),
])
def test_what_is_said(reason: str, underway: int, said: str) -> None:
    assert _stopped(reason, underway) == said
