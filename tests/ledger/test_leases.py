"""Runs of workers that cannot be seen from here: a dead one gives its point back, and none that lives ever loses it."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
from optuna.trial import TrialState

from planner.ledger import leases
from planner.ledger.leases import BEAT_S, CONFIRM_S, GRACE_S, Leases
from planner.ledger.ledger import Ledger
from planner.ledger.observations import Observations, Underway
from planner.ledger.optuna_private import beat, heartbeats
from planner.space.grid import full_grid
from tests.ledger.test_growing import Say, axes, measured, open_ledger, reading, start

GRID = full_grid(axes("x", "y"))
ELSEWHERE = "elsewhere|1|1|another boot|pid:[1]|0123456789abcdef"
NEW_PID = 0x20000000  # CLONE_NEWPID of sched.h
POINT = {"model": "x", "batch_size": 3}


@dataclass
class Clocks:
    """The database's time, moved on by hand, and this process's, which goes with it."""

    passed_s: float = 0.0

    def __call__(self) -> float:
        return self.passed_s


@dataclass
class Two:
    """One worker that looks, and a run of another that it cannot see."""

    here: Ledger
    observations: Observations
    there: Ledger
    trial: Any
    clocks: Clocks

    def renews(self) -> None:
        """The other worker renews its lease."""
        beat(self.there.study, self.there.study.get_trials(states=(TrialState.RUNNING,)))

    def state(self, seconds: float = 0.0) -> TrialState:
        """The other's trial after so long, as this worker has left it after a look."""
        self.clocks.passed_s += seconds
        self.here.refresh(self.observations)
        return self.here.study.get_trials()[self.trial.number].state


@pytest.fixture
def two(database: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Two]:
    url, clocks = database(), Clocks()
    there = open_ledger(url, "x", "y")
    with monkeypatch.context() as patch:
        patch.setattr("planner.ledger.ledger.this_worker", lambda: ELSEWHERE)
        trial, _ = there.begin(POINT, 7)
    here = open_ledger(url, "x", "y")
    here._leases = Leases(here.study, clocks)

    def shifted(study: optuna.Study) -> tuple[datetime, dict[int, datetime]]:
        now, at = heartbeats(study)
        return now + timedelta(seconds=clocks.passed_s), at

    monkeypatch.setattr(leases, "heartbeats", shifted)
    yield Two(here, here.observations(GRID), there, trial, clocks)


def test_a_dead_worker_elsewhere_gives_its_point_back(two: Two) -> None:
    row = GRID.find(POINT)
    assert two.state() is TrialState.RUNNING and two.observations.pending == {row}
    assert two.observations.underway == (Underway(row),)
    assert two.state(GRACE_S - 5) is TrialState.RUNNING and not two.here.has_doubtful
    assert two.state(10) is TrialState.RUNNING and two.here.has_doubtful  # overdue: watched
    assert two.state(CONFIRM_S - 5) is TrialState.RUNNING
    assert two.state(10) is TrialState.FAIL
    assert not two.observations.pending and not two.observations.known.any() and not two.observations.underway
    assert two.here.study.get_trials()[0].user_attrs["measurement"]["status"] == "interrupted"
    two.state()
    assert not two.here.has_doubtful
    trial, at = two.here.begin(POINT, 0)
    assert two.here.finish(trial, measured(at, 1.0)).number == 1


def test_a_database_that_was_away_for_hours_makes_no_worker_dead(two: Two) -> None:
    """Nobody could renew; who lives does as soon as it answers again, though another looks at the record first."""
    two.renews()
    assert two.state() is TrialState.RUNNING
    assert two.state(3 * 3600) is TrialState.RUNNING and two.here.has_doubtful
    beat_at(two, 3 * 3600 + BEAT_S)
    assert two.state(CONFIRM_S + 1) is TrialState.RUNNING and not two.here.has_doubtful
    assert two.state(CONFIRM_S + 1) is TrialState.RUNNING


def test_a_run_of_an_hour_is_left_to_its_worker(two: Two) -> None:
    for minute in range(0, 60, 4):
        beat_at(two, 60.0 * minute)
        assert two.state(240) is TrialState.RUNNING, f"closed after {minute} minutes"
        assert not two.here.has_doubtful
    run = two.there.finish(two.trial, measured(POINT, 3.5))
    two.here.refresh(two.observations)
    assert [known.number for known in two.observations.runs] == [run.number] == [two.trial.number]


def beat_at(two: Two, seconds: float) -> None:
    """A heartbeat of the other worker at a time that is played: the database's own clock does not move."""
    two.renews()
    change = sqlalchemy.text("UPDATE trial_heartbeats SET heartbeat = :at")
    with sqlalchemy.create_engine(url_of(two.there)).begin() as connection:
        connection.execute(change, {"at": heartbeats(two.there.study)[0] + timedelta(seconds=seconds)})


def url_of(ledger: Ledger) -> sqlalchemy.URL:
    engine: sqlalchemy.Engine = ledger.study._storage._backend.engine  # type: ignore[attr-defined]
    return engine.url


# ----------------------------------------------------------------------------------------------------------- the thread


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "BEAT_S", 0.02)


def eventually(true: Callable[[], bool], seconds: float = 10.0) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "it did not come true"
        time.sleep(0.01)


def renewing() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "leases"]


@pytest.mark.usefixtures("quick")
def test_a_thread_renews_and_no_failure_of_the_database_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def failing(study: optuna.Study, trials: Any) -> None:
        calls.append(len(trials))
        if len(calls) < 4:
            raise sqlalchemy.exc.OperationalError("UPDATE", {}, Exception("database is locked"))
        beat(study, trials)

    monkeypatch.setattr(leases, "beat", failing)
    ledger = open_ledger(f"sqlite:///{tmp_path / 'a.db'}", "x", "y")
    trial, at = ledger.begin(POINT, 0)
    eventually(lambda: len(calls) > 6)
    assert 0 in heartbeats(ledger.study)[1]
    ledger.finish(trial, measured(at, 1.0))
    seen = len(calls)
    eventually(lambda: len(calls) > seen + 2)
    assert calls[-1] == 0  # nothing is under way
    monkeypatch.undo()


@pytest.mark.usefixtures("quick")
def test_a_database_that_another_process_holds_delays_a_renewal_and_loses_none(tmp_path: Path) -> None:
    ledger = open_ledger(f"sqlite:///{tmp_path / 'a.db'}", "x", "y")
    ledger.begin(POINT, 0)
    eventually(lambda: 0 in heartbeats(ledger.study)[1])
    before = heartbeats(ledger.study)[1][0]
    holder = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    time.sleep(1.1)
    holder.execute("COMMIT")
    holder.close()
    eventually(lambda: heartbeats(ledger.study)[1][0] > before)


@pytest.mark.usefixtures("quick")
def test_the_thread_ends_with_the_ledger(tmp_path: Path) -> None:
    before = set(renewing())
    ledger = open_ledger(f"sqlite:///{tmp_path / 'a.db'}", "x", "y")
    ledger.begin(POINT, 0)
    ledger.begin({"model": "y", "batch_size": 4}, 0)
    (thread,) = set(renewing()) - before
    assert thread.daemon  # a process that ends does not wait for it
    eventually(lambda study=ledger.study: set(heartbeats(study)[1]) == {0, 1})
    del ledger
    gc.collect()
    thread.join(5)
    assert not thread.is_alive()


# ------------------------------------------------------------------------------------------ another namespace, for real


def contained(url: str, seconds: float) -> Callable[[Say], None]:
    """Begin a run as process 1 of a namespace of its own, say so, and hold it."""
    def work(say: Say) -> None:
        assert ctypes.CDLL(None).unshare(NEW_PID) == 0
        if inner := os.fork():
            say(f"{inner}")
            os.waitpid(inner, 0)
            return
        ledger = open_ledger(url, "x", "y")
        ledger.begin(POINT, 0)
        say("begun")
        time.sleep(seconds)
        os._exit(0)

    return work


@pytest.mark.skipif(os.geteuid() != 0, reason="this user may make no namespace")
def test_a_container_that_is_killed_loses_its_run_and_one_that_lives_does_not(
    postgresql: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("BEAT_S", 0.1), ("GRACE_S", 0.8), ("CONFIRM_S", 0.3)):
        monkeypatch.setattr(leases, name, value)
    url = postgresql()
    child = start(contained(url, 60))
    while "begun" not in child.said:
        child.listen(0.05)
    inner = int(child.done[0])
    ledger = open_ledger(url, "x", "y")
    observations = ledger.observations(GRID)
    until = time.monotonic() + 1.6  # twice the grace
    while time.monotonic() < until:
        ledger.refresh(observations)
        assert observations.pending == {GRID.find(POINT)}, "the run of a living worker was taken away"
        time.sleep(0.05)
    os.kill(inner, signal.SIGKILL)
    child.listen(5)
    eventually(lambda: (ledger.refresh(observations), not observations.pending)[1], 5)
    with reading(url) as study:
        (trial,) = study.get_trials()
        assert trial.state is TrialState.FAIL and trial.user_attrs["measurement"]["status"] == "interrupted"
