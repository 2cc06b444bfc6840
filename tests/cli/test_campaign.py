"""run, status, discard, predict, evaluate and export, through the command line, on replays and on commands."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest
import yaml
from optuna.trial import TrialState

STATUS = {"grid_points", "runs", "failed", "cost_s", "experiments_gain", "time_gain", "resource_gain", "accuracy",
          "never_run", "stopped"}
AXES = ["model", "input_len", "output_len", "batch_size"]
Call = Callable[..., Any]


def study_of(file: Any) -> optuna.Study:
    section = yaml.safe_load(file.study.read_text())["study"]
    return optuna.load_study(study_name=section["name"], storage=section["storage"])


def finished(file: Any) -> list[tuple[Any, ...]]:
    return [(t.number, t.state, t.params, t.values, t.user_attrs) for t in study_of(file).get_trials()]


def points_of(trials: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return [tuple(sorted(params.items())) for _, _, params, *_ in trials]


def refused(ran: Any, *said: str) -> None:
    assert ran.code == 2 and ran.err.count("\n") == 1 and "Traceback" not in ran.err, ran.err
    for words in said:
        assert words in ran.err, ran.err


@pytest.fixture
def small(recorded: Call) -> Any:
    """48 points, of which a quarter fails."""
    grid = recorded(inputs=(128, 2048), outputs=(16, 256), batches=(1, 2, 4, 8, 16, 64), stop={"trials": 14})
    for row in grid.rows:
        if row["model"] == "large" and row["batch_size"] >= 8:
            row.update(dict.fromkeys(("latency_s", "ttft_ms", "throughput"), ""), status="out of memory", cost_s=5.0)
    grid.write(grid.rows)
    return grid


def test_a_second_run_finishes_what_the_first_left_and_repeats_nothing(small: Any, sweepwise: Call) -> None:
    small.edit(stop={"trials": 6})
    assert sweepwise("run", small.study, "--quiet").code == 0
    first = finished(small)
    assert len(first) == 6
    assert sweepwise("run", small.study, "--quiet").code == 0
    assert finished(small) == first  # nothing was left to do
    small.edit(stop={"trials": 14})
    assert sweepwise("run", small.study, "--quiet").code == 0
    assert finished(small)[:6] == first and len(finished(small)) == 14
    assert sweepwise("run", small.study, "--strategy", "full", "--quiet").code == 0
    everything = finished(small)
    assert max(Counter(points_of(everything)).values()) == 1 and len(everything) == 48


def test_a_study_that_was_accurate_stays_so(small: Any, answer: Call) -> None:
    small.edit(stop={"trials": None, "accuracy": 0.6})
    assert answer("run", small.study)["stopped"] == "accuracy"
    first = finished(small)
    assert answer("run", small.study)["stopped"] == "accuracy" and finished(small) == first
    small.edit(stop={"accuracy": 0.98})
    assert answer("run", small.study)["runs"] > len(first)
    assert finished(small)[: len(first)] == first


def test_what_is_left_of_a_budget_must_pay_an_engine_start_first(recorded: Call, answer: Call) -> None:
    """Some seconds are left, where a start takes 30 and many a run takes less than one. The first process would have
    had its engine for the next run; a second one, whatever it would choose, starts with none."""
    grid = recorded(models=("small",), inputs=(128, 2048), outputs=(16, 256), batches=(1, 2, 4, 8, 16, 64),
                    runner={"engine_start_s": 30.0}, stop={"cost": 38.0})
    first = answer("run", grid.study)
    left = 38.0 - first["cost_s"]
    assert first["stopped"] == "cost" and left < 30
    ran = {tuple(t.params[a] for a in AXES) for t in study_of(grid).get_trials()}
    others = [rows[0]["cost_s"] for key, rows in grid.points(*AXES).items() if key not in ran]
    assert min(others) + 0.05 < left / 2
    before = finished(grid)
    for seed in (0, 1):
        again = answer("run", grid.study, "--seed", seed)
        assert (again["stopped"], again["runs"]) == ("cost", first["runs"]) and finished(grid) == before
    grid.edit(stop={"cost": 38.0 + 35.0})
    more = answer("run", grid.study)
    assert more["runs"] > first["runs"] and finished(grid)[: len(before)] == before
    starts = [t.user_attrs["measurement"]["cost"]["start_s"] for t in study_of(grid).get_trials()]
    assert sum(starts) == 60.0 and starts[first["runs"]] == 30.0


def test_status_has_the_keys_of_the_design_and_adds_up(small: Any, answer: Call, sweepwise: Call) -> None:
    assert sweepwise("run", small.study, "--strategy", "random", "--quiet").code == 0
    ran = answer("run", small.study, "--quiet")  # nothing more to do
    state = answer("status", small.study, "--quiet")
    assert state == ran and set(state) >= STATUS
    assert set(state["accuracy"]) == {"latency_s"}
    assert set(state["accuracy"]["latency_s"]) == {"estimated", "low", "high", "ceiling"}
    trials = study_of(small).get_trials()
    measurements = [t.user_attrs["measurement"] for t in trials]
    cost = sum((m["cost"]["start_s"] + m["cost"]["warmup_s"] + m["cost"]["measure_s"]) * m["cost"]["accelerators"]
               for m in measurements)
    assert state["cost_s"] == pytest.approx(cost, rel=1e-12)
    assert (state["grid_points"], state["runs"], state["stopped"]) == (48, 14, "trials")
    assert state["failed"] == sum(m["status"] == "failed" for m in measurements) > 0
    assert state["failures"] == {"out_of_memory": state["failed"]}
    assert {m.get("failure") for m in measurements} == {"out_of_memory", None}
    assert state["experiments_gain"] == 48 / 14
    for trial in trials:
        failed = trial.user_attrs["measurement"]["status"] == "failed"
        assert (trial.state is TrialState.FAIL) == failed == (trial.values is None)
        assert trial.user_attrs.get("reason") == ("out of memory" if failed else None)
    listed = sweepwise("status", small.study, "--runs")
    assert listed.code == 0 and listed.out.count("model=") == 14
    assert "failed (out of memory): out of memory" in listed.out
    assert f"{state['failed']} failed ({state['failed']} out of memory)" in listed.out
    assert "estimated" in listed.out.lower()


def test_status_before_any_run(small: Any, sweepwise: Call, tmp_path: Path) -> None:
    for verb in ("status", "predict", "export"):
        refused(sweepwise(verb, small.study), "does not exist", "sweepwise run")
    assert not list(tmp_path.glob("*.db"))


def test_another_table_is_another_study(small: Any, sweepwise: Call) -> None:
    sweepwise("run", small.study, "--quiet")
    before = finished(small)
    small.table.write_text(small.table.read_text() + "\n")
    refused(sweepwise("run", small.study), "table_sha256", "--name")
    assert finished(small) == before
    assert sweepwise("run", small.study, "--name", "another", "--quiet").code == 0
    assert finished(small) == before
    small.edit(targets=["ttft_ms"])
    refused(sweepwise("run", small.study), "targets", "latency_s")


def test_more_of_everything_continues_the_study(bench: Call, answer: Call) -> None:
    study = bench(inputs=(64, 128), batches=(1, 2, 4), stop={"trials": 4})
    data = yaml.safe_load(study.study.read_text())
    data["space"]["axes"]["mode"] = {"values": ["eager", "graph"], "scale": "category"}
    study.study.write_text(yaml.safe_dump(data))
    assert answer("run", study.study)["runs"] == 4
    before = finished(study)
    for axis, values in (("batch_size", [1, 2, 3, 4, 8]), ("mode", ["compiled", "graph", "eager"])):
        data["space"]["axes"][axis]["values"] = values
        data["stop"]["trials"] += 3
        study.study.write_text(yaml.safe_dump(data))
        state = answer("run", study.study)
        assert state["runs"] == data["stop"]["trials"] == len(finished(study))
        assert finished(study)[: len(before)] == before
        before = finished(study)
    assert state["grid_points"] == 2 * 5 * 3 and len(study.executions()) == 10
    assert answer("run", study.study, "--strategy", "full")["stopped"] == "grid"
    assert len(finished(study)) == 30 == len(set(points_of(finished(study))))


def test_a_failing_benchmark_gives_any_reason(bench: Call, sweepwise: Call, answer: Call) -> None:
    study = bench(inputs=(64, 128), batches=(1, 2, 4), fails=4)
    ran = sweepwise("run", study.study, "--strategy", "full")
    assert ran.code == 0 and "[/no such tag] out of memory" in ran.out
    state = answer("status", study.study)
    assert (state["runs"], state["failed"], state["points_measured"]) == (6, 2, 4)
    assert "[/no such tag]" in sweepwise("status", study.study, "--runs").out


def test_without_a_success_the_exit_code_is_1(bench: Call, sweepwise: Call, tmp_path: Path) -> None:
    study = bench(inputs=(64,), batches=(1, 2))
    (tmp_path / "fail").touch()
    ran = sweepwise("run", study.study, "--quiet")
    assert ran.code == 1 and "no run succeeded" in ran.err and "out of memory" in ran.err
    assert [t.state for t in study_of(study).get_trials()] == [TrialState.FAIL] * 2


def test_a_target_that_is_undefined_somewhere(bench: Call, sweepwise: Call, tmp_path: Path) -> None:
    study = bench(inputs=(1, 64), batches=(1, 2))
    script = tmp_path / "bench.py"
    script.write_text(script.read_text().replace('"latency_ms":', '"tpot_ms": inputs - 1 or None, "latency_ms":'))
    data = yaml.safe_load(study.study.read_text())
    study.study.write_text(yaml.safe_dump({**data, "targets": ["latency_ms", "tpot_ms"]}))
    assert sweepwise("run", study.study, "--strategy", "full", "--quiet").code == 0
    for trial in study_of(study).get_trials():
        one = trial.params["input_len"] == 1
        assert trial.state is (TrialState.PRUNED if one else TrialState.COMPLETE)
    table = tmp_path / "p.csv"
    assert sweepwise("predict", study.study, "-o", table, "--quiet").code == 0
    read = pd.read_csv(table)
    assert (read["source"] == "measured").all() and read["latency_ms"].notna().all()
    assert (read["tpot_ms"].isna() == (read["input_len"] == 1)).all()


def test_discard_takes_a_run_back_and_keeps_it(small: Any, sweepwise: Call, answer: Call) -> None:
    sweepwise("run", small.study, "--quiet")
    before, cost = finished(small), answer("status", small.study)["cost_s"]
    good = next(n for n, state, *_ in before if state is TrialState.COMPLETE)
    assert answer("discard", small.study, good, "--why", "a fan stood still") == {
        "discarded": good, "why": "a fan stood still"}
    state = answer("status", small.study)
    assert finished(small) == before and state["runs"] == 13 and state["cost_s"] < cost
    assert f"{good} (a fan stood still)" in sweepwise("status", small.study, "--runs").out
    refused(sweepwise("discard", small.study, good), f"run {good}: is discarded already")
    refused(sweepwise("discard", small.study, 99), "run 99: is not a finished run")
    answer("run", small.study, "--strategy", "full")
    again = Counter(points_of(finished(small)))
    assert again[points_of(before)[good]] == 2 and sum(again.values()) == 49


def test_ctrl_c_finishes_the_run_in_hand(bench: Call, process: Call, answer: Call, tmp_path: Path) -> None:
    study, written = bench(sleep_s=0.4), tmp_path / "stopped.json"
    running: subprocess.Popen[str] = process("run", study.study, "--strategy", "full", "--json", written)
    while len(study.executions()) < 2 and running.poll() is None:
        time.sleep(0.01)
    os.kill(running.pid, signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    assert "after the run in hand" in err and f"resume with: sweepwise run {study.study}" in out
    trials = study_of(study).get_trials()
    assert [t.state for t in trials] == [TrialState.COMPLETE] * len(study.executions()) and len(trials) in {2, 3}
    assert yaml.safe_load(written.read_text())["stopped"] == "interrupted"
    state = answer("status", study.study)
    assert (state["runs"], state["failed"], state["stopped"]) == (len(trials), 0, "interrupted")


def test_a_second_ctrl_c_drops_the_run_in_hand(bench: Call, process: Call, answer: Call) -> None:
    study = bench(sleep_s=60.0)
    running: subprocess.Popen[str] = process("run", study.study, "--strategy", "full")
    while not study.executions() and running.poll() is None:
        time.sleep(0.01)
    began = time.monotonic()
    for _ in range(2):
        os.kill(running.pid, signal.SIGINT)
        time.sleep(0.3)
    _, err = running.communicate(timeout=30)
    assert running.returncode == 130 and time.monotonic() - began < 20, err
    (trial,) = study_of(study).get_trials()
    assert trial.state is TrialState.FAIL and trial.user_attrs["measurement"]["status"] == "interrupted"
    state = answer("status", study.study)
    assert (state["runs"], state["failed"]) == (0, 0)


def test_predict_writes_every_point_in_both_formats_alike(small: Any, sweepwise: Call, tmp_path: Path) -> None:
    small.edit(runner={"repeats": 2})
    sweepwise("run", small.study, "--strategy", "random", "--quiet")
    paths = [tmp_path / "p.csv", tmp_path / "p.parquet"]
    for path in paths:
        assert sweepwise("predict", small.study, "-o", path, "--quiet").code == 0
    table, other = pd.read_csv(paths[0]), pd.read_parquet(paths[1])
    pd.testing.assert_frame_equal(table, other, check_dtype=False, check_exact=True)
    rows = small.points(*AXES)
    assert len(table) == len(rows) == 48
    assert {tuple(point) for point in table[AXES].itertuples(index=False)} == set(rows)
    state = Counter(table["source"])
    trials = study_of(small).get_trials()
    assert state["failed"] == sum(t.state is TrialState.FAIL for t in trials) > 0
    assert state["measured"] + state["failed"] == len(trials) == 14 and sum(state.values()) == 48
    for _, row in table.iterrows():
        mine = rows[tuple(row[AXES])]
        bounded = row["latency_s_low"] <= row["latency_s"] <= row["latency_s_high"]
        if row["source"] == "measured":
            assert row["latency_s"] == pytest.approx(sum(r["latency_s"] for r in mine) / len(mine), rel=1e-12)
        assert row[["latency_s", "latency_s_low"]].isna().all() if row["source"] == "failed" else bounded


def test_predict_one_point(small: Any, sweepwise: Call, answer: Call, tmp_path: Path) -> None:
    sweepwise("run", small.study, "--quiet")
    table = answer("predict", small.study)
    wanted = next(row for row in table if row["source"] == "predicted")
    text = ",".join(f"{axis}={wanted[axis]}" for axis in AXES)
    (one,) = answer("predict", small.study, "--point", text)
    assert one == wanted
    assert not list(tmp_path.glob("*predictions*"))
    for bad, said in ((text.replace("batch_size", "batch"), "unknown axis"), (text + "0", "not on the axis"),
                      (text.rpartition(",")[0], "is missing")):
        refused(sweepwise("predict", small.study, "--point", bad), "--point", said)
    refused(sweepwise("predict", small.study, "-o", tmp_path / "p.xlsx"), ".csv nor .parquet")
    refused(sweepwise("predict", small.study, "-o", tmp_path / "no" / "p.csv"), "--output")


def test_predict_says_how_probable_it_is_that_a_point_can_run(small: Any, sweepwise: Call, answer: Call) -> None:
    """In the table and for one point: large models run up to a batch of 4 (small has all)."""
    sweepwise("run", small.study, "--strategy", "random", "--quiet")
    table = answer("predict", small.study)
    outcome = {"measured": 1.0, "failed": 0.0}
    assert all(row["probability_ok"] == outcome[row["source"]] for row in table if row["source"] != "predicted")
    free = [row for row in table if row["source"] == "predicted"]
    small_ones = [row["probability_ok"] for row in free if row["model"] == "small"]
    good = [row["probability_ok"] for row in free if row["model"] == "large" and row["batch_size"] <= 2]
    bad = [row["probability_ok"] for row in free if row["model"] == "large" and row["batch_size"] >= 16]
    assert min(small_ones) > 0.5 and sum(good) > 0.7 * len(good) and sum(bad) < 0.3 * len(bad)
    row = next(row for row in free if row["model"] == "large" and row["batch_size"] >= 16)
    point = ",".join(f"{axis}={row[axis]}" for axis in AXES)
    assert answer("predict", small.study, "--point", point)[0]["probability_ok"] == row["probability_ok"]
    assert "probability" in sweepwise("predict", small.study, "--point", point).out


@pytest.mark.parametrize("repeats", [1, 2])
def test_a_measured_value_lies_in_its_own_interval(small: Any, answer: Call, sweepwise: Call, repeats: int) -> None:
    small.edit(runner={"repeats": repeats})
    sweepwise("run", small.study, "--quiet")
    measured = [row for row in answer("predict", small.study) if row["source"] == "measured"]
    assert measured
    for row in measured:
        assert row["latency_s_low"] <= row["latency_s"] <= row["latency_s_high"]


def test_evaluate_against_the_table_it_replays(small: Any, sweepwise: Call, answer: Call, tmp_path: Path) -> None:
    sweepwise("run", small.study, "--quiet")
    evaluation = answer("evaluate", small.study, "--truth", small.table)
    table = answer("predict", small.study)
    rows = small.points(*AXES)
    errors = []
    for row in table:
        mine = rows[tuple(row[a] for a in AXES)]
        if row["source"] == "predicted" and mine[0]["status"] == "ok":
            errors.append(abs(row["latency_s"] / (sum(r["latency_s"] for r in mine) / len(mine)) - 1))
    score = evaluation["targets"]["latency_s"]
    assert evaluation["kind"] == "truth" and score["points"] == len(errors)
    assert score["accuracy"] == pytest.approx(1 - sum(errors) / len(errors), rel=1e-9)
    assert score["max_ape"] == pytest.approx(max(errors), rel=1e-9)
    full = sum((sum(r["cost_s"] for r in mine) / len(mine) + 0.05) * mine[0]["n_gpus"] for mine in rows.values()) + 6.0
    state = answer("status", small.study)
    assert evaluation["gains"]["resource"]["value"] == pytest.approx(full / state["cost_s"], rel=1e-9)
    assert not evaluation["gains"]["estimated"]
    other = tmp_path / "other.csv"
    other.write_text(small.table.read_text() + "\n")
    refused(sweepwise("evaluate", small.study, "--truth", other), "another fingerprint", "--allow-other-fingerprint")
    allowed = answer("evaluate", small.study, "--truth", other, "--allow-other-fingerprint")
    assert allowed["targets"]["latency_s"]["accuracy"] == pytest.approx(score["accuracy"], rel=1e-12)
    refused(sweepwise("evaluate", small.study), "--truth", "--audit")
    refused(sweepwise("evaluate", small.study, "--truth", tmp_path / "none.csv"), "--truth", "no file")


def test_evaluate_reads_its_table_as_the_study_does(small: Any, sweepwise: Call, answer: Call) -> None:
    """The rows that the study leaves out by `where` are no truth; nor does its own status column need a name."""
    rows = [{**row, "mode": "timed", "state": row["status"]} for row in small.rows]
    for row in rows:
        del row["status"]
    wrong = [{**row, "mode": "profiled", "latency_s": 99.0, "state": "ok"} for row in rows]
    small.write([line for pair in zip(rows, wrong, strict=True) for line in pair])
    small.edit(runner={"where": "mode == 'timed'", "status": "state"})
    sweepwise("run", small.study, "--quiet")
    evaluation = answer("evaluate", small.study, "--truth", small.table)
    assert evaluation["targets"]["latency_s"]["accuracy"] > 0.5
    failed = sum(group[0]["state"] != "ok" for group in (
        [r for r in rows if all(r[a] == p[a] for a in AXES)] for p in rows[::2]))
    known = answer("status", small.study)
    assert evaluation["targets"]["latency_s"]["points"] == 48 - failed - known["points_measured"]


def test_an_audit_measures_new_points_and_keeps_them_apart(small: Any, sweepwise: Call, answer: Call) -> None:
    sweepwise("run", small.study, "--quiet")
    before, state = finished(small), answer("status", small.study)
    evaluation = answer("evaluate", small.study, "--audit", 6, "--seed", 5)
    assert finished(small) == before and answer("status", small.study) == state
    storage = yaml.safe_load(small.study.read_text())["study"]["storage"]
    audit = optuna.load_study(study_name="grid (audit)", storage=storage)
    audited = [tuple(sorted(t.params.items())) for t in audit.get_trials()]
    controls = set(audited) & set(points_of(before))
    assert len(audited) == len(set(audited)) == 6 + len(controls) and 2 <= len(controls) <= 3
    ok = [t for t in audit.get_trials()
          if t.state is TrialState.COMPLETE and tuple(sorted(t.params.items())) not in controls]
    assert evaluation["kind"] == "audit" and evaluation["targets"]["latency_s"]["points"] == len(ok) > 0
    table = {tuple(row[a] for a in AXES): row for row in answer("predict", small.study)}
    errors = [abs(table[tuple(t.params[a] for a in AXES)]["latency_s"] / t.values[0] - 1) for t in ok]
    assert evaluation["targets"]["latency_s"]["accuracy"] == pytest.approx(1 - sum(errors) / len(errors), rel=1e-6)
    low, high = evaluation["targets"]["latency_s"]["interval90"]
    assert low <= evaluation["targets"]["latency_s"]["accuracy"] <= high
    answer("evaluate", small.study, "--audit", 6, "--seed", 6)
    later = optuna.load_study(study_name="grid (audit)", storage=storage).get_trials()
    assert [t.params for t in later[len(audited):]] != [t.params for t in later[:len(audited)]]


@pytest.mark.parametrize(("factor", "warned"), [(1, False), (2, True)])
def test_an_audit_on_a_machine_that_has_slowed_down_says_so(
    small: Any, sweepwise: Call, tmp_path: Path, factor: int, warned: bool
) -> None:
    """Its controls tell a change of the machine from a fault of the predictions."""
    small.write([{**row, "latency_s": row["latency_s"] and 0.4} for row in small.rows])
    sweepwise("run", small.study, "--quiet")
    small.write([{**row, "latency_s": row["latency_s"] and 0.4 * factor} for row in small.rows])
    shown = sweepwise("evaluate", small.study, "--audit", 6, "--json", tmp_path / "evaluation.json")
    assert ("no longer as it was" in shown.out) == warned
    evaluation = json.loads((tmp_path / "evaluation.json").read_text())["targets"]["latency_s"]
    drift = evaluation["drift"]
    assert drift["low"] == drift["high"] == drift["ratio"] == pytest.approx(factor)
    assert (evaluation["accuracy"] < 0.6) == warned


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_an_export_is_a_recorded_grid(
    recorded: Call, sweepwise: Call, answer: Call, tmp_path: Path, ending: str
) -> None:
    small = recorded(inputs=(128,), outputs=(16, 256), batches=(1, 2, 64), runner={"repeats": 2})
    sweepwise("run", small.study, "--strategy", "full", "--quiet")
    path = tmp_path / f"measured.{ending}"
    said = answer("export", small.study, "-o", path)
    read = pd.read_csv(path) if ending == "csv" else pd.read_parquet(path)
    rows = small.points(*AXES)
    assert said["rows"] == len(read) and set(read.columns) >= {*AXES, "repeat", "status", "seconds", "environment"}
    for key, mine in rows.items():
        there = read[(read[AXES] == list(key)).all(axis=1)]
        if mine[0]["status"] == "ok":
            assert sorted(there["latency_s"]) == sorted(row["latency_s"] for row in mine)  # every digit
        else:
            assert list(there["status"]) == ["out of memory"] and there["latency_s"].isna().all()
    evaluation = answer("evaluate", small.study, "--truth", path)  # the same set-up, so the same fingerprint
    assert evaluation["targets"]["latency_s"]["points"] == 0
    refused(sweepwise("export", small.study, "-o", path, "--metrics", "latency"), "--metrics", "latency_s")
    replay = yaml.safe_load(small.study.read_text())
    replay["study"]["name"], replay["stop"] = "replayed", {"trials": 99}
    replay["runner"] = {"kind": "replay", "table": path.name, "cost_s": "seconds", "accelerators": "accelerators",
                        "status": "status"}
    (tmp_path / "replay.yaml").write_text(yaml.safe_dump(replay))
    state = answer("run", tmp_path / "replay.yaml")
    assert (state["runs"], state["stopped"]) == (len(rows), "grid")
