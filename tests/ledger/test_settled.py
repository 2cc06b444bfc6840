"""How each target is learned is settled when a study is created, and stays so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from planner.ledger.ledger import Ledger
from planner.ledger.settled import METRICS_KEY
from planner.space.grid import Grid, full_grid
from planner.space.types import Axis, Cost, Measurement, Metric, Reading, Status, StudyError, Transform

AXES = (Axis("x", (1, 2, 3, 4)),)
GRID: Grid = full_grid(AXES)


def opened(tmp_path: Path, metric: Metric | str) -> Ledger:
    return Ledger.create_or_resume(f"sqlite:///{tmp_path}/s.db", "s", AXES, [metric], "file", {"engine": "1"})


def record(ledger: Ledger, x: int, value: float, metric: str = "drift") -> None:
    point = {"x": x}
    reading = Reading(point, {metric: (value,)}, 1.0)
    ledger.add(point, Measurement(Status.OK, Cost(measure_s=1.0), (reading,)), {})


def test_a_zero_does_not_change_how_a_target_is_learned(tmp_path: Path) -> None:
    ledger = opened(tmp_path, "drift")
    for x, value in ((1, 2.0), (2, 0.0), (3, 3.0)):
        record(ledger, x, value)
        observations = opened(tmp_path, "drift").observations(GRID)
        assert observations.metric("drift").transform is Transform.LOG
    assert observations.column("drift")[[0, 2]].tolist() == [2.0, 3.0]
    assert np.isnan(observations.column("drift")[1])  # kept in the record, not learned from
    assert len(observations.runs) == 3


def test_a_target_that_may_be_zero_is_so_from_the_beginning(tmp_path: Path) -> None:
    linear = Metric("drift", transform=Transform.LINEAR)
    ledger = opened(tmp_path, linear)
    record(ledger, 1, 2.0)
    record(ledger, 2, -1.0)
    for again in (linear, "drift"):  # the study remembers what it was created with
        observations = opened(tmp_path, again).observations(GRID)
        assert observations.metric("drift").transform is Transform.LINEAR
        assert observations.column("drift")[:2].tolist() == [2.0, -1.0]


def test_another_transform_needs_another_study(tmp_path: Path) -> None:
    opened(tmp_path, "drift")
    with pytest.raises(StudyError, match=r"created with transform log for 'drift', not linear; .*--name"):
        opened(tmp_path, Metric("drift", transform=Transform.LINEAR))


def test_an_older_study_has_the_transforms_its_runs_allow(tmp_path: Path) -> None:
    for name, value, transform in (("drift", -1.0, Transform.LINEAR), ("e2el_ms", 4.0, Transform.LOG)):
        home = tmp_path / name
        home.mkdir()
        ledger = opened(home, name)
        record(ledger, 1, value, name)
        record(ledger, 2, 5.0, name)
        ledger.study.set_user_attr(METRICS_KEY, [])  # as a version wrote it that kept none
        assert Ledger.existing(f"sqlite:///{home}/s.db", "s", AXES, [name]).metrics[0].transform is transform
