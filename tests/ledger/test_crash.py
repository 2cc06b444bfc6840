"""kill -9 at any moment: no finished run is lost or repeated, and no point of the grid is missing."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import sqlalchemy
from optuna.trial import FrozenTrial, TrialState

from planner.campaign.loop import Loop
from planner.campaign.stopping import Limits
from planner.ledger.ledger import Ledger
from planner.ledger.observations import Observations
from planner.space.grid import full_grid
from planner.space.types import Axis, Cost, Measurement, Proposal, Reading, Role, Scale, Scope, Status
from planner.strategies.registry import make_strategy
from planner.strategies.strategy import StrategyContext

Trials = list[FrozenTrial]
WRITES = ("INSERT", "UPDATE", "DELETE")


class Killed(BaseException):
    """Stands for kill -9: no handler of ours may stop it, and no write comes after it."""


def status_of(trial: FrozenTrial) -> str:
    return str(trial.user_attrs["measurement"]["status"])


def executed(trial: FrozenTrial) -> tuple[Any, ...]:
    return tuple(trial.params[axis] for axis in ("input_len", "batch_size"))


def check_record(trials: Trials, finished_before: dict[int, Any]) -> None:
    """Nothing that was finished has changed, and no point was run again once it was."""
    for number, measurement in finished_before.items():
        assert trials[number].user_attrs["measurement"] == measurement
    done = Counter(executed(t) for t in trials if "measurement" in t.user_attrs and status_of(t) == "ok")
    assert not done or max(done.values()) == 1
    for trial in trials:
        if trial.state is TrialState.FAIL:
            assert status_of(trial) == "interrupted" and trial.values is None
        assert trial.state in {TrialState.COMPLETE, TrialState.FAIL, TrialState.RUNNING}


def finished(trials: Trials) -> dict[int, Any]:
    return {t.number: t.user_attrs["measurement"] for t in trials if t.state is TrialState.COMPLETE}


def test_kill_9_again_and_again(
    bench: Callable[..., Any], process: Callable[..., subprocess.Popen[str]], trials: Callable[..., Trials],
    answer: Callable[..., Any],
) -> None:
    study, rng = bench(sleep_s=0.02), np.random.default_rng(2)
    kills, before = 0, {}
    for _ in range(3):
        begun = len(study.executions())
        running = process("run", study.study, "--strategy", "full", "--quiet")
        while len(study.executions()) == begun and running.poll() is None:
            time.sleep(0.002)
        time.sleep(rng.uniform(0.0, 0.35))
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()
            kills += 1
        left = trials(study.storage, "bench")
        check_record(left, before)
        before = finished(left)
    assert kills >= 2, "the study finished before it could be killed: nothing was shown"
    resumed = process("run", study.study, "--strategy", "full", "--quiet")
    assert resumed.wait(60) == 0, resumed.communicate()[1]
    everything = trials(study.storage, "bench")
    check_record(everything, before)
    ran = Counter(executed(t) for t in everything if t.state is TrialState.COMPLETE)
    assert ran == Counter(tuple(point.values()) for point in study.points)
    cut = [t for t in everything if t.state is TrialState.FAIL]
    assert len(cut) <= kills and len(everything) == 24 + len(cut)
    # The benchmark itself tells the same story: one execution a trial, a kill before its first line excepted.
    assert len(everything) - len(cut) <= len(study.executions()) <= len(everything)
    state = answer("status", study.study)
    assert (state["runs"], state["failed"], state["points_measured"]) == (24, 0, 24)
    assert state["experiments_gain"] == 1.0 and state["stopped"] == "grid"


@pytest.mark.parametrize("same_order", [True, False])
def test_two_processes_share_a_study_and_no_point_is_measured_twice(
    bench: Callable[..., Any], process: Callable[..., subprocess.Popen[str]], trials: Callable[..., Trials],
    same_order: bool,
) -> None:
    study = bench(sleep_s=0.05)
    pair = [process("run", study.study, "--strategy", "full", "--quiet", "--seed", seed)
            for seed in (0, 0 if same_order else 1)]
    assert [running.wait(90) for running in pair] == [0, 0], [running.communicate()[1] for running in pair]
    everything = trials(study.storage, "bench")
    check_record(everything, {})
    assert Counter(study.executions()) == Counter(tuple(point.values()) for point in study.points)
    workers = Counter(t.user_attrs["worker"] for t in everything if t.state is TrialState.COMPLETE)
    assert len(workers) == 2 and min(workers.values()) > 1, f"one process did it all: {workers}"


class Instant:
    """A runner that measures at once; output_len is its trajectory, the largest batch fails."""

    trajectory_axis = "output_len"

    def __init__(self) -> None:
        self.ran: list[dict[str, Any]] = []

    def accelerators(self, point: Any) -> float:
        return 1.0

    def measure(self, proposal: Proposal) -> Measurement:
        self.ran.append(dict(proposal.point))
        cost = Cost(measure_s=1.0)
        if proposal.point["batch_size"] == 4:
            return Measurement(Status.FAILED, cost, reason="out of memory")
        readings = tuple(
            Reading(dict(p), {"latency_ms": (float(p["output_len"]) * float(p["batch_size"]),)}, 1.0)
            for p in proposal.covers)
        return Measurement(Status.OK, cost, readings)

    def close(self) -> None:
        pass


def axes(models: tuple[str, ...]) -> tuple[Axis, ...]:
    return (Axis("model", models, Scope.ENGINE, Scale.CATEGORY, (Role.MODEL,)),
            Axis("output_len", (1, 8), scale=Scale.LOG, roles=(Role.OUTPUT_TOKENS,)),
            Axis("batch_size", (1, 4), scale=Scale.LOG, roles=(Role.BATCH,)))


def campaign(url: str, models: tuple[str, ...] = ("a",)) -> Observations:
    """Create or resume, and run to the end."""
    space = axes(models)
    grid, runner = full_grid(space), Instant()
    ledger = Ledger.create_or_resume(url, "study", space, ("latency_ms",), f"models {models}", {"engine": "1"})
    observations = ledger.observations(grid)
    strategy = make_strategy("full", StrategyContext(grid, ("latency_ms",), "output_len", np.ones(len(grid))))
    assert Loop(runner, strategy, ledger, observations, Limits()).run() == "grid"  # type: ignore[arg-type]
    return observations


@pytest.fixture
def killing(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """Kill before the commit at which `countdown` is 0, be it Optuna's or ours. Each `life` is a
    process; only the present one lives."""
    state = {"countdown": 10**9, "writes": 0, "life": 0}
    monkeypatch.setattr("planner.ledger.ledger.this_worker", lambda: f"life {state['life']}")
    monkeypatch.setattr("planner.ledger.ledger.is_alive", lambda worker: worker == f"life {state['life']}")

    def careless(connection: Any, _: object) -> None:  # only the order of writes matters here, not the disk
        connection.execute("PRAGMA synchronous=OFF")

    def noted(connection: sqlalchemy.Connection, _: object, statement: str, *_rest: object) -> None:
        if statement.lstrip().upper().startswith(WRITES) and "version" not in statement:
            connection.info["writes"] = True

    def counted(connection: sqlalchemy.Connection) -> None:
        if not connection.info.pop("writes", False):
            return
        if state["countdown"] <= 0:
            connection.connection.rollback()  # as the database does for a process that is gone
            raise Killed
        state["countdown"] -= 1
        state["writes"] += 1

    listeners = (("connect", careless), ("before_cursor_execute", noted), ("commit", counted))
    for name, listener in listeners:
        sqlalchemy.event.listen(sqlalchemy.Engine, name, listener)
    yield state
    for name, listener in listeners:
        sqlalchemy.event.remove(sqlalchemy.Engine, name, listener)


def live(killing: dict[str, int], writes: int | None, url: str, models: tuple[str, ...] = ("a",)) -> Observations:
    """A campaign by a new process that may write so often."""
    killing["life"] += 1
    killing["countdown"] = 10**9 if writes is None else writes
    return campaign(url, models)


def check_whole(url: str, models: tuple[str, ...], observations: Observations) -> None:
    """Every point has its one outcome, and what Optuna reads agrees with what the planner saw."""
    assert optuna.get_all_study_names(url) == ["study"]
    study = optuna.load_study(study_name="study", storage=url)
    assert study.user_attrs["fingerprint"] == {"engine": "1"}
    assert study.user_attrs["study_file"] == f"models {models}" and study.metric_names == ["latency_ms"]
    assert observations.known.all() and observations.failed.sum() == 2 * len(models)
    finished = [t for t in study.get_trials() if status_of(t) != "interrupted"]
    assert not study.get_trials(states=(TrialState.RUNNING, TrialState.WAITING))
    # One long run measures the short point too; of the batch that fails, both lengths are tried.
    assert Counter(tuple(t.params.values()) for t in finished) == Counter(
        (model, length, batch) for model in models for length, batch in ((8, 1), (8, 4), (1, 4)))
    assert len(observations.runs) - observations.finished <= 1
    for trial in finished:
        if trial.params["batch_size"] == 4:
            assert trial.state is TrialState.FAIL and trial.values is None
            assert trial.user_attrs["reason"] == "out of memory"
        else:
            assert trial.state is TrialState.COMPLETE and trial.value == 8.0
            assert trial.intermediate_values == {1: 1.0, 8: 8.0}


def test_a_kill_before_any_write_of_a_study(tmp_path: Path, killing: dict[str, int]) -> None:
    """Every single moment at which the record can be left, one after the other, then a resume."""
    campaign(f"sqlite:///{tmp_path / 'straight.db'}")
    writes = killing["writes"]
    assert writes > 15
    for moment in range(writes):
        url = f"sqlite:///{tmp_path / f'{moment}.db'}"
        with pytest.raises(Killed):
            live(killing, moment, url)
        check_whole(url, ("a",), live(killing, None, url))


def test_a_kill_before_any_write_of_a_growing_study(tmp_path: Path, killing: dict[str, int]) -> None:
    """The same while a category axis grows; killed twice, the second time at once."""
    whole = tmp_path / "whole.db"
    first = campaign(f"sqlite:///{whole}")
    data = whole.read_bytes()
    killing["writes"] = 0
    campaign(f"sqlite:///{whole}", ("b", "a"))
    writes = killing["writes"]
    assert writes > 15
    for moment in range(writes):
        path = tmp_path / f"{moment}.db"
        path.write_bytes(data)
        url = f"sqlite:///{path}"
        with pytest.raises(Killed):
            live(killing, moment, url, ("b", "a"))
        with contextlib.suppress(Killed):
            live(killing, moment % 7, url, ("b", "a"))
        observations = live(killing, None, url, ("b", "a"))
        kept = [run.measurement for run in observations.runs][: len(first.runs)]
        assert kept == [run.measurement for run in first.runs]
        check_grown(url, observations)


def check_grown(url: str, observations: Observations) -> None:
    interrupted = len(observations.runs) - observations.finished
    assert interrupted <= 2
    trimmed = Observations(observations.grid, observations.targets, [
        run for run in observations.runs if run.measurement.status is not Status.INTERRUPTED])
    check_whole(url, ("b", "a"), trimmed)
