"""The simulated machine of the replay runner: every fault by hand, drawn as the docstring says, and none by default."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from planner.space.failure import FailureKind
from planner.space.types import (
    Axis,
    Kind,
    Measurement,
    Metric,
    Point,
    Proposal,
    RunnerContext,
    Scope,
    Status,
    StudyError,
)
from planner.space.validation import validate_model
from planner.tables.machine import DriftSettings, MachineSettings
from planner.testing.runner import check_runner
from runners.replay import ReplayRunner
from runners.replay_machine import ReplayMachine

TABLE = """tp,out,repeat,ttft_ms,tokens,output_throughput,quality,y,status
1,1,0,10,40,20,0.5,7,ok
1,1,1,10,40,20,0.5,7,ok
1,8,0,10,80,40,0.5,7,ok
1,8,1,10,80,40,0.5,7,ok
2,8,0,,,,,,out of memory
"""
METRICS = (
    Metric("ttft_ms", kind=Kind.FIRST), Metric("tokens", kind=Kind.THROUGHPUT), Metric("quality", kind=Kind.SHARE))
LONG, SHORT, FULL = {"tp": 1, "out": 8}, {"tp": 1, "out": 1}, {"tp": 2, "out": 8}


def runner(directory: Path, seed: int = 0, **given: Any) -> ReplayRunner:
    """A run of a repeat costs 10 s; a start of the engine 30 s, unless told otherwise."""
    (directory / "grid.csv").write_text(TABLE)
    axes = (Axis("tp", (), Scope.ENGINE), Axis("out", ()))
    context = RunnerContext(axes, tuple(metric.name for metric in METRICS), directory, seed, METRICS)
    keys = {"table": "grid.csv", "cost_s": 10, "status": "status", **given}
    return ReplayRunner(ReplayRunner.Config(**keys), context)


def run(replay: ReplayRunner, point: Point = LONG, *more: Point, seed: int = 0) -> Measurement:
    return replay.measure(Proposal(point, (point, *more), seed))


def factors(measurement: Measurement, metric: str = "ttft_ms", of: float = 10) -> list[float]:
    return [value / of for value in measurement.readings[0].metrics[metric]]


def test_without_faults_nothing_changes(tmp_path: Path) -> None:
    plain, off = runner(tmp_path, repeats=2), runner(tmp_path, repeats=2, machine={"noise": 0, "hang_s": 5.0})
    for point in (LONG, FULL, SHORT):
        assert run(plain, point, seed=3) == run(runner(tmp_path, repeats=2, machine={}), point, seed=3)
        assert run(plain, point).cost == run(off, point).cost
    assert plain.slowdown_now() == 1 and plain.fingerprint() == runner(tmp_path, repeats=2, machine={}).fingerprint()
    assert "machine" not in json.loads(plain.fingerprint()["settings"])
    noisy = json.loads(runner(tmp_path, machine={"noise": 0.1}).fingerprint()["settings"])
    assert noisy["machine"] == {"noise": 0.1}, "and nothing of keys that came later"


def test_noise_has_its_deviation_and_moves_a_repeat_as_a_whole(tmp_path: Path) -> None:
    replay = runner(tmp_path, machine={"noise": 0.1}, repeats=2)
    runs = [run(replay, seed=seed) for seed in range(1000)]
    logs = np.log([factors(done) for done in runs])
    assert logs.std() == pytest.approx(0.1, rel=0.05) and abs(logs.mean()) < 0.01  # four standard errors are 0.009
    assert abs(np.corrcoef(logs.T)[0, 1]) < 0.1, "a factor for each repeat"
    for done in runs[:20]:
        found, metrics = factors(done), done.readings[0].metrics
        assert metrics["tokens"] == pytest.approx([80 / f for f in found])
        assert metrics["output_throughput"] == pytest.approx([40 / f for f in found]), "known by its name"
        assert metrics["quality"] == (0.5, 0.5) and metrics["y"] == (7, 7)
        assert done.cost.measure_s == done.readings[0].seconds == pytest.approx(10 * sum(found))
    again = runner(tmp_path, machine={"noise": 0.1, "hang": 1e-9, "hang_s": 1}, repeats=2)
    assert [run(again, seed=seed).readings for seed in range(20)] == [done.readings for done in runs[:20]]
    other = runner(tmp_path, seed=1, machine={"noise": 0.1}, repeats=2)
    assert run(other).readings != runs[0].readings and run(replay, SHORT).readings[0].metrics["ttft_ms"] != (
        runs[0].readings[0].metrics["ttft_ms"])


@pytest.mark.parametrize("repeat", ["repeat", None])
def test_a_repeat_has_one_factor_along_its_trajectory(tmp_path: Path, repeat: str | None) -> None:
    replay = runner(tmp_path, machine={"noise": 0.5}, repeats=2, trajectory="out", repeat=repeat)
    done = run(replay, LONG, SHORT)
    longer, shorter = (reading.metrics["ttft_ms"] for reading in done.readings)
    assert longer == shorter and longer[0] != longer[1]
    assert done.readings[1].seconds == pytest.approx(sum(shorter))


def test_outliers_have_their_share_and_factor(tmp_path: Path) -> None:
    replay = runner(tmp_path, machine={"outliers": {"share": 0.1, "factor": 10}}, repeats=2)
    runs = [run(replay, seed=seed) for seed in range(1000)]
    found = np.array([factors(done) for done in runs])
    assert set(found.ravel()) == {1.0, 10.0}
    assert (found == 10).mean() == pytest.approx(0.1, abs=0.02)  # three standard errors
    assert [done.cost.measure_s for done in runs] == (10 * found.sum(axis=1)).tolist()


def test_a_ramp_slows_runs_starts_and_overheads_by_hand(tmp_path: Path) -> None:
    ramp = {"kind": "ramp", "size": 1.0, "over_s": 100}
    replay = runner(tmp_path, machine={"drift": ramp}, engine_start_s=30, run_overhead_s=5)
    first = run(replay)
    assert (first.cost.start_s, first.cost.warmup_s, first.cost.measure_s) == (30, 5, 10) and factors(first) == [1]
    assert replay.slowdown_now() == pytest.approx(1.45)
    second = run(replay)  # 45 s are spent, and 15 × 1.45 are on the way
    assert (second.cost.start_s, second.cost.warmup_s, second.cost.measure_s) == pytest.approx((0, 7.25, 14.5))
    assert second.readings[0].seconds == pytest.approx(21.75) and factors(second) == pytest.approx([1.45])
    assert second.readings[0].metrics["tokens"] == pytest.approx([80 / 1.45])
    failed = run(replay, FULL)  # at 66.75 s
    assert failed.reason == "out of memory" and failed.cost.seconds == pytest.approx(45 * 1.6675)
    assert replay.slowdown_now() == 2.0, "it stays as it is after over_s"
    assert replay.reseeded(1).slowdown_now() == 1.0


def test_a_step_comes_at_a_moment_that_the_seed_says() -> None:
    moments = []
    for seed in range(200):
        machine = ReplayMachine(MachineSettings(drift=DriftSettings(kind="step", size=-0.5, over_s=100.0)), seed)
        speeds = [machine.slowdown_now()]
        for _ in range(100):
            machine.charge(1)
            speeds.append(machine.slowdown_now())
        assert set(speeds) == {1.0, 0.5} and speeds == sorted(speeds, reverse=True)
        moments.append(speeds.index(0.5))
    assert np.mean(moments) == pytest.approx(50, abs=8) and min(moments) < 10 and max(moments) > 90


def test_a_walk_has_its_deviation_at_the_end_and_half_of_it_after_a_quarter() -> None:
    def speeds(seed: int) -> list[float]:
        machine = ReplayMachine(MachineSettings(drift=DriftSettings(kind="walk", size=0.3, over_s=1000.0)), seed)
        found = [machine.slowdown_now()]
        for seconds in (250, 750, 500):
            machine.charge(seconds)
            found.append(machine.slowdown_now())
        return found

    logs = np.log([speeds(seed) for seed in range(1000)])
    assert logs.std(axis=0) == pytest.approx([0, 0.15, 0.3, 0.3], rel=0.08)
    assert abs(logs[:, 2].mean()) < 0.03 and (logs[:, 3] == logs[:, 2]).all()
    assert speeds(7) == speeds(7)


def test_a_hang_costs_its_seconds_and_the_engine(tmp_path: Path) -> None:
    replay = runner(tmp_path, machine={"hang": 1, "hang_s": 600}, engine_start_s=30, run_overhead_s=5)
    for _ in range(2):
        done = run(replay)
        assert (done.status, done.reason, done.readings) == (Status.FAILED, "hang", ())
        assert (done.cost.start_s, done.cost.run_s) == (30, 600)
    assert run(replay, FULL).reason == "hang", "whatever the table says"


def test_a_crash_costs_half_of_the_run_and_the_engine(tmp_path: Path) -> None:
    ramp = {"kind": "ramp", "size": 1.0, "over_s": 75}
    replay = runner(tmp_path, machine={"crash": 1, "drift": ramp}, engine_start_s=30, run_overhead_s=5, repeats=2)
    done = run(replay)
    assert (done.status, done.reason, done.readings) == (Status.FAILED, "crash", ())
    assert (done.cost.start_s, done.cost.run_s) == (30, 12.5)
    again = run(replay)
    assert replay.slowdown_now() == 2.0
    assert (again.cost.start_s, again.cost.run_s) == pytest.approx((30 * (1 + 42.5 / 75), 12.5 * (1 + 42.5 / 75)))


def test_a_failed_run_has_a_kind(tmp_path: Path) -> None:
    assert run(runner(tmp_path), FULL).failure is FailureKind.OUT_OF_MEMORY
    assert run(runner(tmp_path, machine={"crash": 1}), LONG).failure is FailureKind.CRASH
    assert run(runner(tmp_path, machine={"hang": 1, "hang_s": 5}), LONG).failure is FailureKind.HANG


def test_a_run_is_ended_at_the_proposal_s_limit(tmp_path: Path) -> None:
    """A hang costs no more than the limit; so does a run that only takes long. The engine is gone afterwards."""
    hangs = runner(tmp_path, machine={"hang": 1, "hang_s": 500}, engine_start_s=30)
    hung = hangs.measure(Proposal(LONG, (LONG, SHORT), limit_s=60.0))
    assert (hung.reason, hung.cost.run_s, hung.cost.start_s, hung.failure) == ("hang", 60.0, 30, FailureKind.HANG)
    assert hangs.measure(Proposal(LONG, (LONG,), limit_s=900.0)).cost.run_s == 500

    slow = runner(tmp_path, repeats=2, engine_start_s=30)
    ended = slow.measure(Proposal(LONG, (LONG, SHORT), limit_s=19.0))
    assert (ended.status, ended.readings, ended.failure) == (Status.FAILED, (), FailureKind.HANG)
    assert "19 s" in ended.reason and ended.cost.run_s == 19.0
    after = slow.measure(Proposal(LONG, (LONG,), limit_s=20.0))
    assert after.status is Status.OK and after.cost.start_s == 30, "20 s are what it takes; another engine"


def test_hangs_and_crashes_come_as_often_as_said_and_pass(tmp_path: Path) -> None:
    replay = runner(tmp_path, machine={"hang": 0.1, "hang_s": 1, "crash": 0.3})
    runs = [run(replay, seed=seed) for seed in range(1000)]
    reasons = [done.reason for done in runs]
    assert reasons.count("hang") / 1000 == pytest.approx(0.1, abs=0.03)  # three standard errors
    assert reasons.count("crash") / 1000 == pytest.approx(0.3, abs=0.045)
    assert [run(replay, seed=seed).reason for seed in range(1000)] == reasons
    well = next(done for done in runs if not done.reason)
    assert well.status is Status.OK and factors(well) == [1], "the same point works with another seed"
    assert [run(replay, SHORT, seed=seed).reason for seed in range(50)] != reasons[:50], "each point has its own draws"


def test_contract(tmp_path: Path) -> None:
    machine = {"noise": 0.1, "outliers": {"share": 0.5, "factor": 3}, "drift": {
        "kind": "walk", "size": 0.3, "over_s": 100}}
    check_runner(lambda: runner(tmp_path, repeats=2, machine=machine), Proposal(LONG, (LONG,)), Proposal(FULL, (FULL,)))


@pytest.mark.parametrize(("machine", "says"), [
    ({"noise": -0.1}, "runner.machine.noise: "), ({"noise": "0.1"}, "runner.machine.noise: "),
    ({"noise": math.nan}, "runner.machine.noise: "), ({"nose": 0.1}, "runner.machine.nose: unknown key"),
    ({"outliers": {"share": 2, "factor": 10}}, "runner.machine.outliers.share: "),
    ({"outliers": {"share": 0.1, "factor": 0.5}}, "runner.machine.outliers.factor: "),
    ({"outliers": {"share": 0.1}}, "runner.machine.outliers.factor: is missing"),
    ({"drift": {"kind": "jump", "size": 0.3, "over_s": 9}}, "runner.machine.drift.kind: "),
    ({"drift": {"kind": "ramp", "size": -1, "over_s": 9}}, "runner.machine.drift.size: "),
    ({"drift": {"kind": "walk", "size": -0.3, "over_s": 9}}, "runner.machine.drift: the size of a walk"),
    ({"drift": {"kind": "ramp", "size": 0.3, "over_s": 0}}, "runner.machine.drift.over_s: "),
    ({"drift": {"kind": "ramp", "size": 0.3}}, "runner.machine.drift.over_s: is missing"),
    ({"hang": 0.1}, "runner.machine: a run that hangs costs seconds; add hang_s"),
    ({"hang": 0.6, "hang_s": 1, "crash": 0.6}, "runner.machine: hang and crash add up to 1.2"),
    ({"crash": 1.5}, "runner.machine.crash: "), (3, "runner.machine: "),
])
def test_a_wrong_machine_is_refused_in_one_line(machine: Any, says: str) -> None:
    with pytest.raises(StudyError) as caught:
        validate_model(ReplayRunner.Config, {"table": "grid.csv", "cost_s": 1, "machine": machine}, "runner")
    assert str(caught.value).startswith(says) and "\n" not in str(caught.value)
