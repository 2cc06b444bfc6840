"""Full disks, held, moved and damaged files, a server that is away: a line that says what to do, and nothing lost."""

from __future__ import annotations

import contextlib
import shutil
import signal
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
from optuna.trial import TrialState

import planner
from planner.ledger import patience, storage
from planner.ledger.faults import place_of
from planner.ledger.ledger import Ledger
from planner.ledger.patience import PatientLedger
from planner.space.types import Axis, Cost, Measurement, Reading, RecordError, RunnerError, Status
from runners.command import CommandRunner
from tests.ledger.conftest import Server

POINTS, RUN_OF_FAULT = 6, 3
ENDS = "then run the same command: it goes on from here"


class Fault:
    """Something that befalls a database file. said, fix: what a user is told."""

    said, fix = "", ""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.stays = False
        self.present = False

    def begin(self) -> None:
        """From now on."""

    def end(self) -> None:
        """Until now."""

    def on(self, connection: Any) -> None:
        """Called with each connection before it is used."""


class Full(Fault):
    said, fix = "its disk is full (database or disk is full)", "free some space"

    def on(self, connection: Any) -> None:  # SQLite does not go below the present number of pages
        connection.execute(f"PRAGMA max_page_count = {1 if self.present else 10**6}")


class ReadOnly(Fault):
    said = "it cannot be written (attempt to write a readonly database)"
    fix = "make the file and its directory writable"

    def on(self, connection: Any) -> None:
        connection.execute(f"PRAGMA query_only = {int(self.present)}")


class Held(Fault):
    said, fix = "another process holds it (database is locked)", "end that process (`fuser FILE` names it)"

    def begin(self) -> None:
        self._other = sqlite3.connect(self.file, isolation_level=None)
        self._other.execute("BEGIN EXCLUSIVE")

    def end(self) -> None:
        self._other.close()


class Moved(Fault):
    said, fix = "the file was moved or replaced (attempt to write a readonly database)", "put it back"

    def begin(self) -> None:
        self.file.rename(self.file.with_suffix(".moved"))

    def end(self) -> None:
        self.file.with_suffix(".moved").rename(self.file)


class Clock:
    """Time that passes in sleep only. The fault ends in the second sleep, unless it stays."""

    def __init__(self, fault: Fault) -> None:
        self.now, self.sleeps, self._fault = 0.0, 0, fault

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.sleeps += 1
        if self.sleeps == 2 and not self._fault.stays:
            stop(self._fault)


def stop(fault: Fault) -> None:
    if fault.present:
        fault.present = False
        fault.end()


@pytest.fixture
def life(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Stands for processes: only the present one lives."""
    state = {"number": 0}
    monkeypatch.setattr("planner.ledger.ledger.this_worker", lambda: f"life {state['number']}")
    monkeypatch.setattr("planner.ledger.ledger.is_alive", lambda worker: worker == f"life {state['number']}")
    return state


@pytest.fixture
def befall(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Fault], Clock]]:
    """Let a fault begin while the third run is measured."""
    measure, faults = CommandRunner.measure, list[Fault]()

    def measured(runner: CommandRunner, proposal: Any) -> Measurement:
        faults[0].runs += 1  # type: ignore[attr-defined]
        result = measure(runner, proposal)
        if faults[0].runs == RUN_OF_FAULT:  # type: ignore[attr-defined]
            faults[0].present = True
            faults[0].begin()
        return result

    def used(connection: Any, *_: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            faults[0].on(connection)

    def start(fault: Fault) -> Clock:
        fault.runs = 0  # type: ignore[attr-defined]
        faults.append(fault)
        clock = Clock(fault)
        monkeypatch.setattr(patience, "time", clock)
        monkeypatch.setattr(storage, "_LOCK_S", 0.01)
        monkeypatch.setattr(CommandRunner, "measure", measured)
        sqlalchemy.event.listen(sqlalchemy.pool.Pool, "checkout", used)
        return clock

    yield start
    sqlalchemy.event.remove(sqlalchemy.pool.Pool, "checkout", used)
    for fault in faults:
        stop(fault)


def small(bench: Callable[..., Any]) -> Any:
    """A study of six points, each with so many repeats that its record needs pages of its own."""
    study = bench(inputs=(64, 128), batches=(1, 2, 4))
    script = study.study.with_name("bench.py")
    script.write_text(script.read_text().replace("2 + inputs * batch / 100", "2000 * [2 + inputs * batch / 100]"))
    return study


def all_trials(url: str) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name="bench", storage=url).get_trials()


@pytest.mark.parametrize("kind", [Full, ReadOnly, Held, Moved], ids=lambda kind: kind.__name__)
def test_a_fault_that_passes_costs_nothing(
    kind: type[Fault], bench: Callable[..., Any], sweepwise: Callable[..., Any], befall: Callable[[Fault], Clock],
    tmp_path: Path,
) -> None:
    study, file = small(bench), tmp_path / "bench.db"
    clock = befall(kind(file))
    ran = sweepwise("run", study.study, "--strategy", "full")
    assert (ran.code, ran.err) == (0, "")
    said = f"study.storage: {file}: {kind.said}; {kind.fix}; trying again for 60 s"
    assert ran.out.splitlines().count(said) == 1 and clock.sleeps == 2
    assert Counter(trial.state for trial in all_trials(study.storage)) == {TrialState.COMPLETE: POINTS}
    assert sorted(study.executions()) == sorted(tuple(point.values()) for point in study.points)


@pytest.mark.parametrize("kind", [Full, ReadOnly, Held, Moved], ids=lambda kind: kind.__name__)
def test_a_fault_that_stays_costs_the_run_in_hand(
    kind: type[Fault], bench: Callable[..., Any], sweepwise: Callable[..., Any], befall: Callable[[Fault], Clock],
    life: dict[str, int], tmp_path: Path,
) -> None:
    study, file = small(bench), tmp_path / "bench.db"
    fault = kind(file)
    fault.stays = True
    clock = befall(fault)
    ran = sweepwise("run", study.study, "--strategy", "full", "--quiet")
    assert ran.code == 1 and 60 <= clock.now < 70
    lost = study.executions()[-1]
    assert ran.err == (
        f"sweepwise: study.storage: {file}: {kind.said}; {kind.fix}, {ENDS}. Run 2 is not in the record and will be "
        f"measured anew: batch_size={lost[1]} input_len={lost[0]} gave latency_ms {2 + lost[0] * lost[1] / 100:g}\n")
    stop(fault)
    life["number"] += 1
    assert sweepwise("run", study.study, "--strategy", "full", "--quiet").code == 0
    check_one_lost(study, study.storage)


def check_one_lost(study: Any, url: str) -> None:
    everything = all_trials(url)
    assert Counter(trial.state for trial in everything) == {TrialState.COMPLETE: POINTS, TrialState.FAIL: 1}
    (cut,) = (trial for trial in everything if trial.state is TrialState.FAIL)
    assert cut.user_attrs["measurement"]["status"] == "interrupted"
    assert set(study.executions()) == {tuple(point.values()) for point in study.points}
    assert len(study.executions()) == POINTS + 1


def test_the_same_process_closes_the_run_that_it_lost(
    bench: Callable[..., Any], befall: Callable[[Fault], Clock], tmp_path: Path
) -> None:
    """A notebook goes on in the process that lost its record for a while."""
    study = small(bench)
    fault = ReadOnly(tmp_path / "bench.db")
    fault.stays = True
    befall(fault)
    with pytest.raises(RecordError):
        planner.open_study(study.study).run(strategy="full")
    stop(fault)
    assert planner.open_study(study.study).run(strategy="full").reason == "grid"
    check_one_lost(study, study.storage)


def test_a_run_whose_runner_raised_is_closed(bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    study, measure = small(bench), CommandRunner.measure

    def raises(*_: object) -> Measurement:
        raise RunnerError("no such program")

    monkeypatch.setattr(CommandRunner, "measure", raises)
    with pytest.raises(RunnerError):
        planner.open_study(study.study).run(strategy="full")
    monkeypatch.setattr(CommandRunner, "measure", measure)
    assert planner.open_study(study.study).run(strategy="full").reason == "grid"
    assert Counter(t.state for t in all_trials(study.storage)) == {TrialState.COMPLETE: POINTS, TrialState.FAIL: 1}


class Damaged(Fault):
    """Half of the file is gone; a copy is whole."""

    def begin(self) -> None:
        shutil.copy(self.file, self.file.with_suffix(".copy"))
        with self.file.open("r+b") as file:
            file.truncate(self.file.stat().st_size // 2)


def test_a_file_that_is_damaged_in_mid_run(
    bench: Callable[..., Any], sweepwise: Callable[..., Any], befall: Callable[[Fault], Clock], life: dict[str, int],
    tmp_path: Path,
) -> None:
    study, file = small(bench), tmp_path / "bench.db"
    clock = befall(Damaged(file))
    ran = sweepwise("run", study.study, "--strategy", "full", "--quiet")
    assert ran.code == 1 and clock.sleeps == 0, "waiting is of no use"
    assert ran.err.startswith(f"sweepwise: study.storage: {file}: it is damaged (database disk image is malformed); "
                              "put a copy of it in its place, or recover what it holds with `sqlite3 ")
    assert ran.err.count("\n") == 1 and "Run 2 is not in the record" in ran.err
    file.with_suffix(".copy").rename(file)
    life["number"] += 1
    assert sweepwise("run", study.study, "--strategy", "full", "--quiet").code == 0
    check_one_lost(study, study.storage)


def test_a_truncated_file(bench: Callable[..., Any], sweepwise: Callable[..., Any], tmp_path: Path) -> None:
    study, file = small(bench), tmp_path / "bench.db"
    assert sweepwise("run", study.study, "--strategy", "full", "--quiet").code == 0
    whole = file.read_bytes()
    for share in (0.05, 0.3, 0.6, 0.99):
        for command in (["run"], ["status"], ["predict"], ["export"], ["discard", 0]):
            file.write_bytes(whole[:int(len(whole) * share)])
            ran = sweepwise(command[0], study.study, *command[1:])
            assert ran.code == 1 and ran.err.count("\n") == 1
            assert ran.err.startswith(f"sweepwise: study.storage: {file}: it is damaged (")


def test_a_file_that_was_truncated_anywhere(
    bench: Callable[..., Any], sweepwise: Callable[..., Any], tmp_path: Path
) -> None:
    """Which of Optuna's tables is damaged decides how it says so."""
    study, file = small(bench), tmp_path / "bench.db"
    assert sweepwise("run", study.study, "--strategy", "full", "--quiet").code == 0
    whole = file.read_bytes()
    pages = len(whole) // 4096
    for kept in range(1, pages, max(1, pages // 12)):
        file.write_bytes(whole[:kept * 4096])
        ran = sweepwise("status", study.study)
        assert ran.code == 1 and ran.err.count("\n") == 1, (kept, ran)
        assert ran.err.startswith(f"sweepwise: study.storage: {file}: it is damaged ("), ran.err


@pytest.mark.parametrize("verb", ["run", "discard"])
def test_a_command_on_a_file_that_another_process_holds(
    verb: str, bench: Callable[..., Any], sweepwise: Callable[..., Any], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(storage, "_LOCK_S", 0.01)
    study, file = small(bench), tmp_path / "bench.db"
    assert sweepwise("run", study.study, "--strategy", "full", "--quiet").code == 0
    command = (verb, study.study, *([0] if verb == "discard" else []), "--quiet")
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        ran = sweepwise(*command)
    assert ran.code == 1
    assert ran.err == f"sweepwise: study.storage: {file}: {Held.said}; {Held.fix}\n"
    assert sweepwise(*command).code == 0


class Away(Fault):
    """A PostgreSQL server that stops."""

    server: Server

    def begin(self) -> None:
        self.server.stop(signal.SIGINT)

    def end(self) -> None:
        self.server.start()


@pytest.mark.parametrize("stays", [False, True])
def test_a_server_that_stops_in_mid_run(
    stays: bool, bench: Callable[..., Any], sweepwise: Callable[..., Any], befall: Callable[[Fault], Clock],
    life: dict[str, int], postgresql: Callable[[], str], postgresql_process: Server, tmp_path: Path,
) -> None:
    study, url = small(bench), postgresql()
    fault = Away(tmp_path)
    fault.server, fault.stays = postgresql_process, stays
    befall(fault)
    command = ("run", study.study, "--strategy", "full", "--storage", url)
    ran = sweepwise(*command)
    said = ran.err if stays else ran.out
    assert "the server does not answer (" in said and "; start it, or correct the address" in said
    if not stays:
        assert (ran.code, ran.err) == (0, "")
        assert Counter(trial.state for trial in all_trials(url)) == {TrialState.COMPLETE: POINTS}
        assert len(study.executions()) == POINTS
        return
    assert ran.code == 1 and ran.err.count("\n") == 1 and ENDS in ran.err
    refused = sweepwise(*command)
    assert refused.code == 2 and refused.err.count("\n") == 1 and "correct the address" in refused.err
    stop(fault)
    life["number"] += 1
    assert sweepwise(*command).code == 0
    check_one_lost(study, url)


# ------------------------------------------------------------------------------------------ answers that are lost

AXES = (Axis("batch_size", (1, 2)),)


def patient(url: str, monkeypatch: pytest.MonkeyPatch, method: str) -> tuple[PatientLedger, list[str]]:
    """A ledger whose first answer of `method` does not arrive, though the database has done its work."""
    ledger = Ledger.create_or_resume(url, "study", AXES, ("y",), "", {})
    said, act = list[str](), getattr(Ledger, method)
    monkeypatch.setattr(patience, "_FIRST_PAUSE_S", 0.0)

    def lost(self: Ledger, *arguments: Any) -> Any:
        monkeypatch.setattr(Ledger, method, act)
        act(self, *arguments)
        raise RecordError("no answer", passes=True)

    monkeypatch.setattr(Ledger, method, lost)
    return PatientLedger(ledger, said.append), said


def gave(point: Any) -> Measurement:
    return Measurement(Status.OK, Cost(measure_s=1.0), (Reading(point, {"y": (3.0,)}, 1.0),))


@pytest.mark.parametrize("method", ["begin", "finish", "abandon"])
def test_what_was_done_is_not_done_twice(
    method: str, database: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    record, said = patient(url := database(), monkeypatch, method)
    trial, point = record.begin({"batch_size": 2}, 7)
    if method == "abandon":
        record.abandon(trial, "another was first")
    else:
        assert record.finish(trial, gave(point)).number == 0
    assert not said and point == {"batch_size": 2}
    (kept,) = optuna.load_study(study_name="study", storage=url).get_trials()
    assert kept.state is (TrialState.FAIL if method == "abandon" else TrialState.COMPLETE)


def test_no_password_is_shown() -> None:
    assert place_of("postgresql+psycopg://me:secret@host/db") == "postgresql+psycopg://me:***@host/db"
    assert place_of("sqlite:////tmp/a.db") == "/tmp/a.db"
