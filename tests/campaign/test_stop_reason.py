"""Why a study stopped: a fact of the study, whichever worker comes and goes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from planner.campaign.observers import Observer
from planner.campaign.run import run
from planner.campaign.setup import open_setup
from planner.ledger.ledger import Ledger
from planner.ledger.observations import Observations, Run
from planner.ledger.stop_reason import record_stop, under_way_again
from planner.space.types import Point
from tests.conftest import Recorded


class Watch(Observer):
    """Notes what the record says of the stop at each event, and does something at the n-th run."""

    def __init__(self, file: Path, at: int = 0, act: Callable[[], Any] = lambda: None) -> None:
        self._file, self._at, self._act = file, at, act
        self.said: list[tuple[str, str | None]] = []

    def _note(self, event: str) -> None:
        self.said.append((event, stopped(self._file)))

    def begun(self, observations: Observations) -> None:
        self._note("begun")

    def started(self, point: Point, observations: Observations) -> None:
        self._note("started")
        if self._at and sum(event == "started" for event, _ in self.said) == self._at:
            self._act()

    def finished(self, run: Run, observations: Observations) -> None:
        self._note("finished")

    def ended(self, reason: str, observations: Observations) -> None:
        self._note(f"ended {reason}")


def ledger(file: Path) -> Ledger:
    return open_setup(file).ledger()


def stopped(file: Path) -> str | None:
    return ledger(file).stopped


@pytest.fixture
def study(recorded: Callable[..., Recorded]) -> Recorded:
    return recorded(inputs=(128,), stop={"trials": 3})


def test_a_starter_that_has_nothing_to_do_changes_nothing(study: Recorded) -> None:
    run(open_setup(study.study), "random")
    watch = Watch(study.study)
    assert run(open_setup(study.study), "random", watch).reason == "trials"
    assert watch.said == [("begun", "trials"), ("ended trials", "trials")] and stopped(study.study) == "trials"


def test_a_larger_budget_goes_on_and_the_reason_is_gone_while_it_does(study: Recorded) -> None:
    run(open_setup(study.study), "random")
    study.edit(stop={"trials": 5})
    watch = Watch(study.study)
    assert run(open_setup(study.study), "random", watch).reason == "trials"
    assert [reason for event, reason in watch.said if event != "begun"] == [None] * 5
    assert watch.said[0] == ("begun", "trials") and stopped(study.study) == "trials"
    assert len(ledger(study.study).study.get_trials()) == 5


def test_a_worker_that_stops_while_another_measures_leaves_the_reason_to_that_one(study: Recorded) -> None:
    """Whether for want of a place, or by hand; the last one says why."""
    inner: list[str] = []

    def meanwhile() -> None:
        inner.append(run(open_setup(study.study), "random").reason)
        assert stopped(study.study) is None
        inner.append(run(open_setup(study.study), "random", stop_requested=lambda: True).reason)
        assert stopped(study.study) is None

    assert run(open_setup(study.study), "random", Watch(study.study, 3, meanwhile)).reason == "trials"
    assert inner == ["trials", "interrupted"] and stopped(study.study) == "trials"


def test_the_reason_that_another_has_found_is_kept_by_one_that_starts_and_is_stopped_by_hand(study: Recorded) -> None:
    run(open_setup(study.study), "random")
    study.edit(stop={"trials": 9})
    record_stop(ledger(study.study).study, "accuracy")
    assert run(open_setup(study.study), "random", stop_requested=lambda: True).reason == "interrupted"
    assert stopped(study.study) == "accuracy"
    by_hand: list[int] = []
    run(open_setup(study.study), "random", Watch(study.study, 1, lambda: by_hand.append(1)),
        stop_requested=lambda: bool(by_hand))
    assert stopped(study.study) == "interrupted"  # it had gone on: what was found before is of fewer runs


def test_a_worker_that_dies_leaves_no_reason_and_the_next_one_takes_its_place(study: Recorded) -> None:
    """Of three runs one is under way: the others leave no reason behind, and the place is taken once it is free."""
    setup = open_setup(study.study)
    theirs, _ = setup.create_or_resume().begin(setup.grid.point(0), 0)
    result = run(open_setup(study.study), "random")
    assert (result.reason, result.observations.finished, stopped(study.study)) == ("trials", 2, None)
    theirs.set_user_attr("worker", "a dead one")
    result = run(open_setup(study.study), "random")
    assert (result.reason, result.observations.finished, stopped(study.study)) == ("trials", 3, "trials")


def test_the_record_of_a_reason(tmp_path: Path) -> None:
    study = optuna.create_study(storage=f"sqlite:///{tmp_path / 'a.db'}")
    for reason, expected in (("interrupted", "interrupted"), ("trials", "trials"), ("interrupted", "trials"),
                             ("accuracy", "accuracy")):
        record_stop(study, reason)
        assert study.user_attrs["stopped"] == expected
    under_way_again(study)
    under_way_again(study)
    assert study.user_attrs["stopped"] is None
