"""A record of many runs is read once: after a run, only what is new or has changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from planner import open_study
from planner.campaign.setup import StudySetup, open_setup
from planner.ledger import optuna_private
from planner.ledger.ledger import Ledger
from planner.space.types import Cost, Measurement, Reading, Status


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The numbers of the trials that were read from the database, in order."""
    numbers: list[int] = []
    frozen: Callable[..., Any] = optuna_private._frozen

    def counting(row: Any, *more: Any) -> Any:
        numbers.append(row.number)
        return frozen(row, *more)

    monkeypatch.setattr(optuna_private, "_frozen", counting)
    yield numbers


def setup_of(folder: Path) -> StudySetup:
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump({
        "study": {"storage": f"sqlite:///{folder / 'study.db'}"}, "stop": {"trials": 3},
        "space": {"axes": {"batch_size": {"range": [1, 60], "scale": "log"}}},
        "runner": {"kind": "command", "command": ["true", "{batch_size}"]}, "targets": ["e2el_ms"]}))
    return open_setup(path)


def add_runs(ledger: Ledger, batches: range) -> None:
    for batch in batches:
        reading = Reading({"batch_size": batch}, {"e2el_ms": (10.0 + batch,)}, 0.1)
        ledger.add({"batch_size": batch}, Measurement(Status.OK, Cost(measure_s=0.1), (reading,)), {"worker": "w"})


def test_a_worker_reads_after_a_run_what_is_new(tmp_path: Path, read: list[int]) -> None:
    study = setup_of(tmp_path)
    here, elsewhere = study.create_or_resume(), study.create_or_resume()
    add_runs(elsewhere, range(1, 41))
    observations = here.observations(study.grid)
    assert sorted(read) == list(range(40)) and len(observations.runs) == 40
    read.clear()
    here.refresh(observations)
    assert not read, "nothing has changed"
    trial, point = here.begin({"batch_size": 50}, 0)
    here.refresh(observations, trial)
    add_runs(elsewhere, range(41, 43))
    reading = Reading(point, {"e2el_ms": (60.0,)}, 0.1)
    observations.add(here.finish(trial, Measurement(Status.OK, Cost(measure_s=0.1), (reading,))))
    here.refresh(observations)
    assert set(read) == {40, 41, 42} and len(read) < 20, "its own run and those of the other worker, a few times"
    assert len(observations.runs) == 43


def test_several_questions_read_the_record_once(tmp_path: Path, read: list[int]) -> None:
    add_runs(setup_of(tmp_path).create_or_resume(), range(1, 9))
    read.clear()
    study = open_study(tmp_path / "study.yaml")
    assert study.status().runs == 8
    assert len(study.measurements()) == 8 and study.discarded() == {}
    assert len(study.predict(["batch_size=40"])) == 1
    assert sorted(read) == list(range(8))
    add_runs(setup_of(tmp_path).create_or_resume(), range(20, 21))
    read.clear()
    assert study.status().runs == 9, "what another process adds is seen"
    assert read == [8]
