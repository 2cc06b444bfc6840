"""The verbs that decide, from the command line: what they write, what they refuse, what they measure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import planner
from tests.conftest import Bench, Ran, Recorded

TARGETS = ("throughput", "latency_s", "ttft_ms")
SLO = "latency_s <= 2"
ONE = ("--workload", "input_len=128,output_len=64")
_RAN: dict[str, bytes] = {}


@pytest.fixture
def ran(recorded: Callable[..., Recorded], sweepwise: Callable[..., Ran]) -> Recorded:
    """A small study over a recorded grid, run once for all tests: each gets a record of its own."""
    given = recorded(models=("small", "large"), inputs=(128, 2048), outputs=(16, 64), targets=TARGETS,
                     stop={"trials": 24})
    given.edit(slo=[SLO], price={"per_accelerator_hour": 2.0})
    record = given.study.with_suffix(".db")
    if "record" not in _RAN:
        assert sweepwise("run", given.study, "--quiet").code == 0
        _RAN["record"] = record.read_bytes()
    record.write_bytes(_RAN["record"])
    return given


def true(given: Recorded, point: dict[str, Any], metric: str) -> float | None:
    """The median of what the grid holds at a point, None where it failed."""
    rows = [row for row in given.rows if all(row[axis] == value for axis, value in point.items())]
    values = sorted(float(row[metric]) for row in rows if row["status"] == "ok")
    return sum(values) / len(values) if values else None  # two repeats: their median is their mean


def test_recommend_answers_for_the_study_file(
    ran: Recorded, answer: Callable[..., Any], sweepwise: Callable[..., Ran]
) -> None:
    written = answer("recommend", ran.study, *ONE)
    assert written["slo"] == [SLO] and written["objective"]["metric"] == "throughput"
    best = written["best"]
    here = [point for point in points(ran) if (point["input_len"], point["output_len"]) == (128, 64)]
    assert 1 <= len(best) <= 5 and written["considered"] <= len(here)
    assert all((entry["point"]["input_len"], entry["point"]["output_len"]) == (128, 64) for entry in best)
    scores = [entry["predicted"]["throughput"][0] for entry in best if not entry["measured"]]
    assert all(entry["probability"] >= 0.9 for entry in best) and scores == sorted(scores, reverse=True)
    # What it picks does hold in truth, and little better does.
    chosen = true(ran, best[0]["point"], "latency_s")
    assert chosen is not None and chosen <= 2
    good = [true(ran, point, "throughput") for point in here
            if (latency := true(ran, point, "latency_s")) is not None and latency <= 2]
    assert (true(ran, best[0]["point"], "throughput") or 0) > 0.8 * max(value for value in good if value is not None)
    for entry in best:
        if entry["measured"]:
            assert entry["predicted"]["latency_s"][0] == pytest.approx(true(ran, entry["point"], "latency_s"), rel=0.1)
    short = sweepwise("recommend", ran.study, *ONE)
    assert short.code == 0 and len(short.out.splitlines()) <= 12
    assert short.out.startswith("for input_len=128 output_len=64\nmost throughput with latency_s <= 2\nbest: ")
    assert ("predicted, not measured" in short.out) is not best[0]["measured"]
    shown = sweepwise("recommend", ran.study, *ONE, "--all", "--top", 2)
    assert shown.code == 0 and "Best configurations: most throughput, latency_s <= 2" in shown.out
    assert "Pareto front: throughput against latency_s" in shown.out and "Highest batch_size that meets" in shown.out


def test_without_a_workload_each_kind_of_request_has_its_answer(
    ran: Recorded, answer: Callable[..., Any], sweepwise: Callable[..., Ran]
) -> None:
    written = answer("recommend", ran.study)
    given = [(case["given"]["input_len"], case["given"]["output_len"]) for case in written["cases"]]
    assert given == [(128, 16), (128, 64), (2048, 16), (2048, 64)] and written["workload"] is None
    one = answer("recommend", ran.study, *ONE)
    assert [entry["point"] for entry in written["cases"][1]["best"]] == [entry["point"] for entry in one["best"]]
    assert len(written["best"]) == sum(bool(case["best"]) for case in written["cases"])
    shown = sweepwise("recommend", ran.study)
    assert "Best configuration for each input_len × output_len: most throughput with latency_s <= 2" in shown.out


def test_a_workload_in_the_study_file_a_mix_and_a_trace(
    ran: Recorded, answer: Callable[..., Any], sweepwise: Callable[..., Ran], tmp_path: Path
) -> None:
    mix = ("--workload", "input_len=128,output_len=64:3", "--workload", "input_len=2048,output_len=16:1")
    typed = answer("recommend", ran.study, *mix, "--slo", "latency_s <= 60")
    assert [part["weight"] for part in typed["workload"]] == [0.75, 0.25]
    assert all("input_len" not in entry["point"] for entry in typed["best"]) and typed["best"]
    ran.edit(workload=[{"input_len": 128, "output_len": 64, "weight": 0.75},
                       {"input_len": 2048, "output_len": 16, "weight": 0.25}])
    assert answer("recommend", ran.study, "--slo", "latency_s <= 60") == typed
    trace = tmp_path / "trace.csv"
    rows = ["timestamp,input_length,output_length", *("1,130,60" for _ in range(6)), "2,1900,15", "3,9000,15"]
    trace.write_text("\n".join(rows) + "\n")
    assert answer("recommend", ran.study, "--workload", trace, "--slo", "latency_s <= 60")["best"] == typed["best"]
    said = sweepwise("recommend", ran.study, "--workload", trace)
    assert "12.5 % of the requests are far above the grid's input_len 2048 and count as it" in said.out


@pytest.mark.parametrize(("arguments", "says"), [
    (["input_len=128"], "a part does not say output_len"),
    (["input_len=100,output_len=64"], "its values are 128, 2048"),
    (["batch_size=8,input_len=128,output_len=64"], "'batch_size' is chosen, not given"),
    (["input_length=128,output_len=64"], "did you mean 'input_len'"), (["input_len=128,output_len=64:0"], "no number"),
    (["none.csv"], "none.csv"), (["input_len=128,output_len"], "input_len=128,output_len is not on the axis"),
])
def test_a_workload_is_refused_in_one_line(
    ran: Recorded, sweepwise: Callable[..., Ran], arguments: list[str], says: str
) -> None:
    refused = sweepwise("recommend", ran.study, "--workload", *arguments)
    assert refused.code == 2 and says in refused.err and len(refused.err.splitlines()) == 1


def test_the_baseline_is_measured_first_and_compared_with(
    recorded: Callable[..., Recorded], sweepwise: Callable[..., Ran], answer: Callable[..., Any]
) -> None:
    given = recorded(models=("small", "large"), inputs=(128, 2048), outputs=(16, 64), targets=TARGETS,
                     stop={"trials": 16})
    given.edit(baseline={"model": "large", "batch_size": 8}, workload={"input_len": 128, "output_len": 64})
    assert sweepwise("run", given.study, "--quiet").code == 0
    base = {"model": "large", "input_len": 128, "output_len": 64, "batch_size": 8}
    assert planner.open_study(given.study).observations().runs[0].point == base
    found = answer("recommend", given.study)
    low, high = found["baseline"]["gain"][1:]
    gain = true(given, found["best"][0]["point"], "throughput") or 0
    assert found["baseline"]["point"] == base and low <= gain / (true(given, base, "throughput") or 1) <= high
    shown = sweepwise("recommend", given.study)
    assert "baseline: batch_size=8  model=large\n" in shown.out and "× (" in shown.out
    bound = answer("recommend", given.study, "--slo", "latency_s <= 1.0 * baseline")
    assert bound["slo"] == ["latency_s <= 1 * baseline"] and bound["best"]
    limit = (true(given, base, "latency_s") or 0) * 1.1
    assert all((true(given, entry["point"], "latency_s") or 1e9) <= limit for entry in bound["best"])
    assert bound["baseline"]["chances"]["latency_s <= 1 * baseline"] > 0.99


@pytest.mark.parametrize(("arguments", "says"), [
    (["--slo", "latency_s <= 1.1 * baseline"], "needs a baseline"),
    (["--baseline", "batch=1"], "did you mean 'batch_size'"), (["--baseline", "batch_size=5000"], "its values are"),
    (["--baseline", "input_len=128"], "given by traffic"), (["--baseline", "batch_size"], "cannot read"),
    (["--tier", "latency_s <= 2 * baseline"], "relative to the baseline"),
    (["--slo", "latency_s <= -1 * baseline", "--baseline", "batch_size=8"], "factor"),
])
def test_a_baseline_is_refused_in_one_line(
    ran: Recorded, sweepwise: Callable[..., Ran], arguments: list[str], says: str
) -> None:
    refused = sweepwise("recommend", ran.study, *arguments)
    assert refused.code == 2 and says in refused.err and len(refused.err.splitlines()) == 1


def points(given: Recorded) -> list[dict[str, Any]]:
    axes = ("model", "input_len", "output_len", "batch_size")
    return [dict(zip(axes, key, strict=True)) for key in given.points(*axes)]


def test_recommend_asks_other_questions(ran: Recorded, answer: Callable[..., Any], sweepwise: Callable[..., Ran]
                                        ) -> None:
    loose = answer("recommend", ran.study, "--slo", "latency_s <= 100", *ONE)
    tight = answer("recommend", ran.study, "--slo", "latency_s <= 0.5", "--slo", "ttft_ms <= 100", *ONE)
    assert loose["meeting"] > tight["meeting"] and len(tight["slo"]) == 2
    least = answer("recommend", ran.study, "--minimize", "latency_s", "--slo", "throughput >= 2", "--top", 1, *ONE)
    assert len(least["best"]) == 1 and least["objective"]["maximise"] is False
    assert (true(ran, least["best"][0]["point"], "throughput") or 0) >= 2
    nothing = sweepwise("recommend", ran.study, "--slo", "latency_s <= 0.0001", *ONE)
    assert nothing.code == 0 and "latency_s <= 0.0001 stands in the way" in nothing.out
    assert answer("recommend", ran.study, "--slo", "latency_s <= 0.0001")["best"] == []


@pytest.mark.parametrize(("arguments", "says"), [
    (["--slo", "latency_s < fast"], "--slo: cannot read"), (["--slo", "latency <= 5"], "did you mean 'latency_s'"),
    (["--maximize", "tokens"], "no run gave 'tokens'"),
    (["--maximize", "throughput", "--minimize", "latency_s"], "--minimize: stands beside --maximize"),
    (["--confidence", "1"], "--confidence"), (["--confidence", "nan"], "--confidence"), (["--top", "0"], "--top"),
])
def test_recommend_refuses_in_one_line(ran: Recorded, sweepwise: Callable[..., Ran], arguments: list[str], says: str
                                       ) -> None:
    refused = sweepwise("recommend", ran.study, *arguments)
    assert refused.code == 2 and says in refused.err and len(refused.err.splitlines()) == 1
    assert "Traceback" not in refused.err


REQUESTS = ("--workload", "input_len=128,output_len=16")


@pytest.mark.parametrize(("arguments", "says"), [
    ([], "--rate: is missing"), (["--rate", "many"], "--rate: cannot read 'many'"),
    (["--rate", "-1"], "--rate: -1 is no number"), (["--rate", "40"], "--workload: say for which requests, as in "),
    (["--rate", "40", *REQUESTS, "--slo", "throughput >= 3"], "is asked of a server"),
    (["--rate", "40", *REQUESTS, "--slo", "ttft"], "--slo: cannot read 'ttft'"),
    (["--rate", "40", *REQUESTS, "--confidence", "2"], "--confidence: 2"),
    (["--rate", "40", *REQUESTS], "targets: requests per second are not known"),
])
def test_capacity_refuses_in_one_line(ran: Recorded, sweepwise: Callable[..., Ran], arguments: list[str], says: str
                                      ) -> None:
    refused = sweepwise("capacity", ran.study, *arguments)
    assert refused.code == 2 and says in refused.err and len(refused.err.splitlines()) == 1, refused.err
    assert "Traceback" not in refused.err


def test_verify_measures_the_winner_for_the_study(ran: Recorded, answer: Callable[..., Any]) -> None:
    before = answer("status", ran.study)
    verified = answer("recommend", ran.study, "--verify", *ONE)
    after = answer("status", ran.study)
    assert verified["best"][0]["measured"] is True
    assert verified["verified"]["runs"] == after["runs"] - before["runs"]
    assert verified["verified"]["cost_s"] == pytest.approx(after["cost_s"] - before["cost_s"])
    again = answer("recommend", ran.study, "--verify", *ONE)
    assert again["verified"] == {"runs": 0, "cost_s": 0} and again["best"] == verified["best"]


def test_verify_runs_the_real_benchmark(
    bench: Callable[..., Bench], sweepwise: Callable[..., Ran], answer: Callable[..., Any]
) -> None:
    """Of a command: its winner is executed, once, and a measured winner is not executed again."""
    given = bench(stop={"trials": 6})
    assert sweepwise("run", given.study, "--quiet").code == 0
    done = len(given.executions())
    verified = answer("recommend", given.study, "--minimize", "latency_ms", "--slo", "latency_ms <= 50", "--verify")
    winner = verified["best"][0]
    assert winner["measured"] and (winner["point"]["input_len"], winner["point"]["batch_size"]) in given.executions()
    assert len(given.executions()) == done + verified["verified"]["runs"]
    assert len(set(given.executions())) == len(given.executions())


def test_a_study_without_a_throughput_must_name_an_objective(bench: Callable[..., Bench], sweepwise: Callable[..., Ran]
                                                             ) -> None:
    given = bench(stop={"trials": 3})
    unborn = sweepwise("recommend", given.study, "--minimize", "latency_ms")
    assert unborn.code == 2 and "sweepwise run" in unborn.err
    assert sweepwise("run", given.study, "--quiet").code == 0
    refused = sweepwise("recommend", given.study)
    assert refused.code == 2 and "name what to maximize or minimize" in refused.err


def test_idealize_gives_the_latency_of_each_model(
    ran: Recorded, answer: Callable[..., Any], sweepwise: Callable[..., Ran], tmp_path: Path,
) -> None:
    table = tmp_path / "timings.csv"
    table.write_text("prompt_tokens,output_tokens,seconds,model\n128,64,1.0,small\n2048,16,2.0,large\n128,9999,9,small\n")
    written = answer("idealize", ran.study, "--prompt", "128:64", "--blackbox", table)
    small, large = sorted(written["engines"], key=lambda engine: engine["engine"]["model"], reverse=True)
    assert (small["engine"], large["engine"]) == ({"model": "small"}, {"model": "large"})
    for engine in (small, large):
        assert engine["source"] in {"measured", "mixed", "predicted"} and engine["r2"] > 0.9
        value, low, high = engine["prompts"][0]["seconds"]
        actual = true(ran, {**engine["engine"], "input_len": 128, "output_len": 64, "batch_size": 1}, "latency_s")
        assert actual is not None and low <= value <= high and value == pytest.approx(actual, rel=0.25)
        cost = engine["prompts"][0]["cost"][0]
        assert cost == pytest.approx(value * engine["accelerators"] * 2.0 / 3600)
    ratios = {ratio["engine"]["model"]: ratio for ratio in written["blackbox"]}
    assert (ratios["small"]["timings"], ratios["small"]["outside"]) == (1, 1)
    assert ratios["small"]["ratio"] == pytest.approx(1.0 / small["prompts"][0]["seconds"][0])
    shown = sweepwise("idealize", ran.study, "--blackbox", table)
    assert shown.code == 0 and "raw over idealized" in shown.out
    if any(engine["source"] != "measured" for engine in written["engines"]):
        assert "PREDICTED" in shown.out


@pytest.mark.parametrize(("arguments", "says"), [
    (["--prompt", "512"], "--prompt: cannot read '512'"), (["--prompt", "0:5"], "--prompt"),
    (["--blackbox", "nowhere.csv"], "no such file"),
])
def test_idealize_refuses_in_one_line(ran: Recorded, sweepwise: Callable[..., Ran], arguments: list[str], says: str
                                      ) -> None:
    refused = sweepwise("idealize", ran.study, *arguments)
    assert refused.code == 2 and says in refused.err and len(refused.err.splitlines()) == 1


def test_a_study_of_failures_only_says_so(
    bench: Callable[..., Bench], sweepwise: Callable[..., Ran], tmp_path: Path
) -> None:
    given = bench()
    (given.study.parent / "fail").touch()
    assert sweepwise("run", given.study, "--quiet").code == 1
    ran = sweepwise("report", given.study)
    assert ran.code == 2 and "runs succeeded" in ran.err and "out of memory" in ran.err and "--name" in ran.err
    assert "nothing yet" not in ran.err and not (tmp_path / "report.html").exists()
