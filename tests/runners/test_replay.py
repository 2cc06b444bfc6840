"""The replay runner: what it draws, what it reads on the way, and what it charges."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from planner.space.fingerprint_id import environment_id
from planner.space.types import Axis, Measurement, Point, Proposal, RunnerContext, Scope, Status, StudyError
from planner.testing.runner import check_runner
from runners.replay import ReplayRunner

TABLE = """tp,batch,y,seconds,status
1,1,10,2,ok
1,1,11,3,ok
1,1,12,4,ok
1,4,20,5,ok
2,1,,,out of memory
2,4,30,7,ok
2,4,,,flaky
"""
LINES = """len,out,repeat,y,note
8,1,0,1.0,1
8,4,0,4.0,
8,16,0,16.0,3
8,1,1,1.5,4
8,4,1,4.5,5
8,16,1,16.5,6
8,1,2,1.7,7
8,16,2,16.7,9
"""


def runner(directory: Path, text: str = TABLE, axes: Any = ("tp", "batch"), seed: int = 0,
           **given: Any) -> ReplayRunner:
    (directory / "grid.csv").write_text(text)
    keys = {"table": "grid.csv", "cost_s": "seconds", "failed_cost_s": 9, "status": "status", **given}
    scopes = {"tp": Scope.ENGINE}
    context = RunnerContext(tuple(Axis(name, (), scopes.get(name, Scope.WORKLOAD)) for name in axes), ("y",),
                            directory, seed)
    return ReplayRunner(ReplayRunner.Config(**keys), context)


def lines(directory: Path, text: str = LINES, **given: Any) -> ReplayRunner:
    keys = {"cost_s": "y", "failed_cost_s": None, "status": None, "trajectory": "out", "repeat": "repeat", **given}
    return runner(directory, text, ("len", "out"), **keys)


def run(replay: ReplayRunner, point: Point, *more: Point, seed: int = 0) -> Measurement:
    return replay.measure(Proposal(point, (point, *more), seed))


LINE = ({"len": 8, "out": 16}, {"len": 8, "out": 1}, {"len": 8, "out": 4})


def test_a_run_charges_what_it_draws(tmp_path: Path) -> None:
    replay = runner(tmp_path, repeats=3, run_overhead_s=0.5, engine_start_s=60, accelerators="tp * 2")
    first = run(replay, {"tp": 1, "batch": 1})
    assert first.status is Status.OK and first.environment == environment_id(replay.fingerprint())
    assert (first.cost.start_s, first.cost.warmup_s, first.cost.measure_s, first.cost.accelerators) == (60, 0.5, 9, 2)
    assert first.cost.accelerator_seconds == 2 * 69.5
    (reading,) = first.readings
    assert reading.point == {"tp": 1, "batch": 1} and reading.seconds == 9.5
    assert reading.metrics == {"y": (10.0, 11.0, 12.0), "seconds": (2.0, 3.0, 4.0)}
    assert run(replay, {"tp": 1, "batch": 4}).cost.measure_s == 5  # all, where there are fewer


def test_fewer_repeats_are_read_and_charged_where_the_study_allows_it(tmp_path: Path) -> None:
    asked = Proposal({"tp": 1, "batch": 1}, ({"tp": 1, "batch": 1},), 0, repeats=1)
    few = runner(tmp_path, repeats=3, adaptive_repeats=True, run_overhead_s=0.5)
    assert few.study_repeats == 3 and runner(tmp_path, repeats=3).study_repeats is None
    found = few.measure(asked)
    (reading,) = found.readings
    (read,) = reading.metrics["y"]
    assert found.cost.measure_s == {10: 2.0, 11: 3.0, 12: 4.0}[read]
    assert reading.seconds == 3 * found.cost.measure_s + 0.5, "what the plain sweep would pay: all repeats"
    assert few.fingerprint() == runner(tmp_path, repeats=3, run_overhead_s=0.5).fingerprint()


def test_an_engine_starts_when_its_axes_change(tmp_path: Path) -> None:
    replay = runner(tmp_path, engine_start_s=60)
    order = [(1, 1), (1, 4), (2, 1), (2, 1), (1, 1)]
    starts = [run(replay, {"tp": tp, "batch": batch}).cost.start_s for tp, batch in order]
    assert starts == [60, 0, 60, 0, 60]
    replay.close()
    assert run(replay, {"tp": 1, "batch": 1}).cost.start_s == 60


def test_draws_follow_the_seeds(tmp_path: Path) -> None:
    point = {"tp": 1, "batch": 1}

    def drawn(study: int, seed: int) -> tuple[float, ...]:
        return run(runner(tmp_path, seed=study, repeats=2), point, seed=seed).readings[0].metrics["y"]

    all_of_them = {drawn(0, seed) for seed in range(40)}
    assert all_of_them == {(10, 11), (10, 12), (11, 12)}  # without replacement, and every pair
    assert [drawn(0, seed) for seed in range(40)] == [drawn(0, seed) for seed in range(40)]
    assert len({tuple(drawn(study, seed) for seed in range(10)) for study in range(8)}) > 1
    assert drawn(-1, -2) in all_of_them


def test_more_values_on_an_axis_do_not_change_what_was_drawn(tmp_path: Path) -> None:
    def drawn(values: tuple[int, ...]) -> list[float]:
        (tmp_path / "grid.csv").write_text("tp,batch,y,seconds,status\n2,2,9,1,ok\n" + TABLE.partition("\n")[2])
        context = RunnerContext((Axis("tp", values, Scope.ENGINE), Axis("batch", ())), ("y",), tmp_path)
        config = ReplayRunner.Config(table="grid.csv", cost_s=1, status="status")
        replay = ReplayRunner(config, context)
        return [run(replay, {"tp": 1, "batch": 1}, seed=seed).readings[0].metrics["y"][0] for seed in range(30)]

    assert drawn((1,)) == drawn((1, 2))


def test_failures_have_a_reason_and_a_price(tmp_path: Path) -> None:
    replay = runner(tmp_path, run_overhead_s=1)
    failed = run(replay, {"tp": 2, "batch": 1})
    assert (failed.status, failed.reason, failed.readings) == (Status.FAILED, "out of memory", ())
    assert failed.cost.seconds == 10
    statuses = [run(replay, {"tp": 2, "batch": 4}, seed=seed) for seed in range(30)]
    assert {m.status for m in statuses} == {Status.OK, Status.FAILED}  # as the draw falls
    both = run(runner(tmp_path, repeats=2), {"tp": 2, "batch": 4})
    assert (both.status, both.reason, both.cost.measure_s) == (Status.FAILED, "flaky", 16)


def test_a_trajectory_reads_the_same_repeats_for_the_price_of_the_largest(tmp_path: Path) -> None:
    for seed in range(20):
        done = run(lines(tmp_path, repeats=2, run_overhead_s=1), *LINE, seed=seed)
        by_out = {reading.point["out"]: reading for reading in done.readings}
        fractions = [tuple(round(y % 1, 6) for y in by_out[out].metrics["y"]) for out in (16, 1)]
        assert fractions[0] == fractions[1] and len(fractions[0]) == 2
        assert {y % 1 for y in by_out[4].metrics["y"]} <= {0.0, 0.5}  # out=4 has no repeat 2
        assert done.cost.measure_s == pytest.approx(sum(by_out[16].metrics["y"]))
        assert by_out[16].seconds == pytest.approx(done.cost.warmup_s + done.cost.measure_s)
        assert by_out[1].seconds == pytest.approx(sum(by_out[1].metrics["y"]) + 1)
        assert by_out[4].seconds == pytest.approx(2 * sum(by_out[4].metrics["y"]) / len(by_out[4].metrics["y"]) + 1)


def test_without_repeat_the_draws_are_independent(tmp_path: Path) -> None:
    runs = [run(lines(tmp_path, repeat=None), *LINE, seed=seed) for seed in range(30)]
    assert any(round(m.readings[0].metrics["y"][0] % 1, 6) != round(m.readings[1].metrics["y"][0] % 1, 6) for m in runs)
    assert all(len(reading.metrics["y"]) == 1 for m in runs for reading in m.readings)


def test_covered_failures_give_no_reading_and_do_not_fail_the_run(tmp_path: Path) -> None:
    text = "len,out,y,status\n8,1,,oom\n8,4,4,ok\n8,16,16,ok\n"
    replay = lines(tmp_path, text, repeat=None, status="status", failed_cost_s=1)
    done = run(replay, *LINE)
    assert done.status is Status.OK and [r.point["out"] for r in done.readings] == [16, 4]
    assert run(replay, LINE[1]).status is Status.FAILED


def test_undefined_metrics_are_absent(tmp_path: Path) -> None:
    done = run(lines(tmp_path, repeats=1), *LINE, seed=0)
    for reading in done.readings:
        assert reading.metrics["y"]
        assert "note" in reading.metrics or reading.point["out"] == 4


def test_fingerprint_is_the_contents_and_what_alters_them(tmp_path: Path) -> None:
    base = runner(tmp_path).fingerprint()
    assert base == runner(tmp_path).fingerprint() and base["runner"] == "replay"
    assert base != runner(tmp_path, run_overhead_s=2).fingerprint()
    assert base != runner(tmp_path, TABLE + "4,4,1,1,ok\n").fingerprint()
    (tmp_path / "copy.csv").write_text(TABLE)
    assert base == runner(tmp_path, table="copy.csv").fingerprint()
    # Keys that came later change nothing where they are not set.
    assert set(json.loads(base["settings"])) == {
        "cost_s", "accelerators", "failed_cost_s", "engine_start_s", "run_overhead_s", "status", "where", "repeat",
        "trajectory", "repeats"}
    assert json.loads(runner(tmp_path, ok="status == 'ok'").fingerprint()["settings"])["ok"] == "status == 'ok'"
    assert str(tmp_path) not in "".join(base.values()) and "grid" not in "".join(base.values())


def test_the_grid_can_be_asked_for(tmp_path: Path) -> None:
    replay = runner(tmp_path)
    context = RunnerContext((Axis("tp", (2,)), Axis("batch", ())), ("y",), tmp_path)
    table = ReplayRunner.recorded(ReplayRunner.Config(table="grid.csv", cost_s=1, status="status"), context)
    assert table.points() == {"tp": [2, 2], "batch": [1, 4]}
    assert len(replay.table) == 4
    shared = ReplayRunner(ReplayRunner.Config(table="grid.csv", cost_s=1, status="status"), context, table)
    assert shared.table is table
    with pytest.raises(KeyError):
        run(shared, {"tp": 1, "batch": 1})
    with pytest.raises(StudyError, match=r"runner\.table"):
        runner(tmp_path, table="other.csv")


def test_contract(tmp_path: Path) -> None:
    good, bad = {"tp": 1, "batch": 1}, {"tp": 2, "batch": 1}
    check_runner(lambda: runner(tmp_path, repeats=2, engine_start_s=5, accelerators="tp"),
                 Proposal(good, (good,)), Proposal(bad, (bad,)))
    check_runner(lambda: lines(tmp_path, repeats=2), Proposal(LINE[0], LINE))
    assert lines(tmp_path).trajectory_axis == "out" and runner(tmp_path).trajectory_axis is None


def test_fast_enough_to_simulate(tmp_path: Path) -> None:
    rows = [f"{n},{out},{r},{n * out + r},1" for n in range(20) for out in range(1, 33) for r in range(4)]
    replay = lines(tmp_path, "len,out,repeat,y,note\n" + "\n".join(rows), repeats=2)
    points = [{"len": n, "out": 32} for n in range(20)]
    alone = [Proposal(point, (point,), seed) for seed in range(25) for point in points]
    best = min(_seconds(replay, alone) for _ in range(3))
    assert best / len(alone) < 1e-3  # 0.04 ms; six times that where a neighbour shares the core
    whole = [Proposal(p, tuple({"len": p["len"], "out": out} for out in range(1, 33))) for p in points]
    assert min(_seconds(replay, whole) for _ in range(3)) / len(whole) / 32 < 1e-3  # 0.03 ms


def _seconds(replay: ReplayRunner, proposals: list[Proposal]) -> float:
    begin = time.process_time()
    for proposal in proposals:
        replay.measure(proposal)
    return time.process_time() - begin
