"""Files of real people, which we once got wrong: each with the value that is right (tests/data/field).

The figures are those of the files; what each case is about stands in its test.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

Call = Callable[..., Any]
FIELD = Path(__file__).parents[1] / "data/field"


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Copies a case and goes there."""

    def copy(name: str) -> Path:
        (found,) = FIELD.glob(f"{name}-*")
        there = Path(shutil.copytree(found, tmp_path / name))
        monkeypatch.chdir(there)
        return there

    return copy


@pytest.fixture
def measured(sweepwise: Call, tmp_path: Path) -> Callable[..., pd.DataFrame]:
    """What a study has measured, as exported."""

    def export(study: str, *options: str) -> pd.DataFrame:
        ran = sweepwise("export", study, "-o", tmp_path / "out.csv", *options)
        assert ran.code == 0, ran.err
        return pd.read_csv(tmp_path / "out.csv")

    return export


def refused(ran: Any, *said: str) -> None:
    assert ran.code == 2 and not ran.out, ran
    assert len(ran.err.strip().splitlines()) == 1 and all(text in ran.err for text in said), ran.err


def test_01_goodput_with_a_colon_is_goodput(case: Call, sweepwise: Call, measured: Call) -> None:
    case("01")
    ran = sweepwise("import", "study.yaml", "results.json")
    assert ran.code == 0, ran.err
    table = measured("study.yaml").sort_values("request_rate")
    assert table["request_goodput"].tolist() == [7.784, 20.554]


FORKS = ["inferencex_conc16.json", "inferencex_conc32.json"]
SECONDS = ["--map", "ttft_ms=1000*median_ttft", "--map", "tpot_ms=1000*median_tpot"]


def test_02_unknown_numbers_are_no_settings(case: Call, sweepwise: Call, measured: Call) -> None:
    case("02")
    ran = sweepwise("import", "study.yaml", *FORKS, *SECONDS)
    assert ran.code == 0, ran.err
    table = measured("study.yaml").sort_values("max_concurrency")
    assert table["ttft_ms"].tolist() == pytest.approx([3138.24, 6000], rel=1e-5)
    assert table["tpot_ms"].tolist() == pytest.approx([141.05, 250], rel=1e-4)
    assert [line for line in ran.out.splitlines() if "left alone" in line and "input_throughput" in line], ran.out
    assert "median_ttft" not in next(line for line in ran.out.splitlines() if "left alone" in line)


def test_02_without_map_the_seconds_mean_nothing(case: Call, answer: Call) -> None:
    case("02")
    said = answer("import", "study.yaml", *FORKS)
    assert said["runs"] == 2
    assert {"no row gives ttft_ms", "no row gives tpot_ms"} <= set(said["notes"])
    assert any("left alone" in note and "median_ttft" in note for note in said["notes"])


@pytest.mark.parametrize("name", ["input_throughput", "median_ttft", "nothing"])
def test_02_set_takes_axes_only(case: Call, sweepwise: Call, name: str) -> None:
    case("02")
    refused(sweepwise("import", "study.yaml", *FORKS, *SECONDS, "--set", f"{name}=0"), f"--set {name}",
            "is no axis", "max_concurrency")


def test_02_set_overrides_nothing(case: Call, sweepwise: Call) -> None:
    case("02")
    refused(sweepwise("import", "study.yaml", *FORKS, *SECONDS, "--set", "max_concurrency=16"),
            "max_concurrency said twice", "32", "inferencex_conc32.json", "--where")


def test_04_a_setting_that_only_some_rows_have_is_a_difference(case: Call, sweepwise: Call) -> None:
    case("04")
    refused(sweepwise("import", "study.yaml", "results"), "dtype", "bfloat16", "not set", "--where", "--ignore dtype")


def test_04_also_between_two_imports(case: Call, sweepwise: Call) -> None:
    there = case("04")
    plain, other = (sorted((there / "results").glob(f"*{what}*/run=0.json"))
                    for what in ("size=1-max_num_batched_tokens=2048-BENCH", "dtype"))
    plain = [path for path in (there / "results").rglob("run=0.json") if "dtype" not in str(path)]
    assert sweepwise("import", "study.yaml", *plain).code == 0
    refused(sweepwise("import", "study.yaml", *other), "dtype", "bfloat16", "imported earlier")


def test_04_set_fills_only_what_the_file_does_not_say(case: Call, answer: Call, measured: Call) -> None:
    case("04")
    said = answer("import", "study_dtype.yaml", "results", "--set", "dtype=auto")
    assert (said["runs"], said["points"]) == (3, 3)
    table = measured("study_dtype.yaml").set_index(["api_server_count", "dtype"])["output_throughput"]
    assert table.to_dict() == {(1, "auto"): 200, (1, "bfloat16"): 400, (2, "auto"): 230}


def test_04_where_chooses_and_ignore_joins(case: Call, answer: Call) -> None:
    case("04")
    assert answer("import", "study.yaml", "results", "--where", "dtype == ''", "--dry-run")["runs"] == 2
    assert answer("import", "study.yaml", "results", "--where", "dtype == 'bfloat16'", "--dry-run")["runs"] == 1
    assert answer("import", "study.yaml", "results", "--ignore", "dtype", "--dry-run")["points"] == 2


@pytest.mark.parametrize("study", ["study.yaml", "study_default.yaml"])
def test_05_devices_are_one_number_everywhere(case: Call, answer: Call, measured: Call, study: str) -> None:
    case("05")
    said = answer("import", study, "results")
    table = measured(study)
    assert table.groupby(["tensor_parallel_size", "data_parallel_size"])["accelerators"].max().to_dict() == {
        (1, 1): 1, (1, 8): 8, (2, 4): 8, (8, 1): 8}
    assert said["cost_s"] == pytest.approx((table["seconds"] * table["accelerators"]).sum(), rel=1e-6)
    best = answer("recommend", study, "--maximize", "output_throughput", "--per-accelerator", "--top", "9")["best"]
    each = {(entry["point"]["tensor_parallel_size"], entry["point"]["data_parallel_size"]):
            entry["predicted"]["output_throughput"][0] / entry["accelerators"] for entry in best if entry["measured"]}
    assert each == pytest.approx({(1, 1): 600, (1, 8): 500, (2, 4): 450, (8, 1): 250})


def test_05_a_number_of_devices_that_the_study_does_not_know_is_asked_for(
    case: Call, sweepwise: Call, answer: Call
) -> None:
    there = case("05")
    study = (there / "study.yaml").read_text()
    (there / "s.yaml").write_text(study.replace('"tensor_parallel_size * data_parallel_size"}', "2}"))
    assert answer("import", "s.yaml", "results", "--dry-run")["runs"] == 4  # the study's own word wins
    one = "space: {axes: {max_concurrency: {values: [2]}}}\nrunner: {kind: command, command: [x]}\n" \
          "targets: [output_throughput]\nstop: {trials: 1}\n"
    (there / "one.yaml").write_text(one)
    eight = next((there / "results").glob("*data_parallel_size=8*"))
    refused(sweepwise("import", "one.yaml", eight), "8 accelerators", "counts 1", "`accelerators: 8`")
    (there / "one.yaml").write_text(one.replace("[x]", "[x], accelerators: 8"))
    assert answer("import", "one.yaml", eight, "--dry-run")["runs"] == 1


OPTUNA = ["--map", "max_num_seqs=params_max_num_seqs", "--map", "enable_prefix_caching=params_enable_prefix_caching",
          "--map", "output_throughput=values_0", "--map", "ttft_ms=values_1"]


def test_10_success_in_other_words(case: Call, sweepwise: Call, answer: Call) -> None:
    case("10")
    refused(sweepwise("import", "study.yaml", "trials.csv", *OPTUNA, "--map", "status=state"), "COMPLETE", "FAIL",
            "--ok", "state == 'COMPLETE'")
    said = answer("import", "study.yaml", "trials.csv", *OPTUNA, "--map", "status=state", "--ok", "state == 'COMPLETE'")
    assert (said["runs"], said["failed"], said["points"]) == (3, 1, 2)
    said = answer("import", "study.yaml", "trials_ok.csv", *OPTUNA, "--map", "status=state", "--name", "upper")
    assert (said["runs"], said["failed"], said["points"]) == (3, 1, 2)
    said = answer("import", "study.yaml", "trials.csv", *OPTUNA, "--dry-run", "--skip-unknown", "--name", "none")
    assert any("state" in note and "COMPLETE" in note for note in said["notes"])  # looks like a status, and is unused


def test_10_the_reason_of_a_failure_is_what_the_status_says(case: Call, answer: Call, trials: Call) -> None:
    there = case("10")
    said = answer("import", "kv.yaml", "kv.csv", "--map", "status=status", "--map", "seconds=wall_s",
                  "--ok", "status == 'FIT'")
    assert (said["runs"], said["failed"], said["points"]) == (4, 1, 3) and said["cost_s"] == pytest.approx(20.4)
    runs = trials(f"sqlite:///{there / 'sweepwise.db'}", "kv")
    assert runs[0].user_attrs["measurement"]["reason"] == "FAIL_oom"
    assert [run.values for run in runs] == [None, [864.0], [1248.0], [867.0]]


def test_12_one_bad_cell_costs_its_row(case: Call, answer: Call, measured: Call) -> None:
    case("12")
    said = answer("import", "study.yaml", "oom.csv")
    assert (said["runs"], said["points"]) == (2, 2)
    assert any("oom.csv line 4" in note and "'OOM'" in note for note in said["notes"])
    assert measured("study.yaml")["output_throughput"].tolist() == [985.2, 1950.7]
    said = answer("import", "study.yaml", "oom.csv", "--ok", "ttft_ms != 'OOM'", "--name", "failures")
    assert (said["runs"], said["failed"]) == (3, 1)


def test_12_thousands_are_read_where_there_is_no_doubt(case: Call, answer: Call, measured: Call) -> None:
    there = case("12")
    assert answer("import", "study.yaml", "thousands.csv")["runs"] == 3
    assert measured("study.yaml")["output_throughput"].tolist() == [985.2, 1950.7, 3811.0]
    (there / "doubt.csv").write_text('batch_size,ttft_ms,output_throughput\n1,20,985\n2,21,"1,950"\n4,24,"3,811"\n')
    said = answer("import", "study.yaml", "doubt.csv", "--name", "doubt")
    assert said["runs"] == 1 and any("'1,950'" in note for note in said["notes"])


def test_13_a_time_of_zero_is_no_time(case: Call, answer: Call, sweepwise: Call) -> None:
    case("13")
    assert answer("import", "study.yaml", "rate2.json", "rate4.json", "rate8.json")["runs"] == 3
    ran = sweepwise("recommend", "study.yaml", "--minimize", "tpot_ms", "--json", "r.json")
    assert ran.code == 0 and "Warning" not in ran.err
    best = answer("recommend", "study.yaml", "--minimize", "tpot_ms")["best"][0]
    assert best["point"] == {"request_rate": 4} and best["predicted"]["tpot_ms"][0] == pytest.approx(1.9)
    assert best["predicted"]["tpot_ms"][1] > 0


def test_13_a_negative_time_costs_its_row(case: Call, answer: Call, sweepwise: Call) -> None:
    there = case("13")
    said = answer("import", "study.yaml", "minus.csv")
    assert said["runs"] == 2 and any("minus.csv line 3" in note and "-1" in note for note in said["notes"])
    (there / "all.csv").write_text("request_rate,tpot_ms,output_throughput\n2,-1,-1\n")
    refused(sweepwise("import", "study.yaml", "all.csv", "--name", "all"), "all.csv line 2", "-1", "--ok")


def test_13_a_value_ten_orders_from_the_rest_is_worth_a_word(case: Call, answer: Call) -> None:
    there = case("13")
    (there / "s.yaml").write_text((there / "sentinel.yaml").read_text().replace(
        "{kind: replay, table: sentinel.csv, cost_s: \"time_ms / 1000 * 7\"}", "{kind: command, command: [x]}").replace(
        "{scale: log}", "{values: [128, 256, 512, 768, 1024], scale: log}"))
    said = answer("import", "s.yaml", "sentinel.csv", "--dry-run")
    assert any("sentinel.csv line 4" in note and "1e+20" in note for note in said["notes"]), said["notes"]


def test_14_a_table_that_grew_adds_one_run(case: Call, answer: Call, sweepwise: Call) -> None:
    case("14")
    assert answer("import", "study.yaml", "monday.csv", "--map", "seconds=duration_s")["runs"] == 3
    said = answer("import", "study.yaml", "tuesday.csv", "--map", "seconds=duration_s")
    assert (said["runs"], said["known"], said["cost_s"]) == (1, 3, 36)
    for options in (["--map", "seconds=duration_s"], ["--where", "max_concurrency < 8"], [],
                    ["--map", "seconds=duration_s / 2", "--where", "ttft_ms > 0"]):
        ran = sweepwise("import", "study.yaml", "tuesday.csv", *options)
        assert ran.code == 0 and "nothing new, nothing added" in ran.out, (options, ran)
    refused(sweepwise("import", "study.yaml", "tuesday.csv", "--map", "seconds=durations"), "--map seconds",
            "duration_s")


def test_14_equal_rows_of_one_table_are_repeats(case: Call, answer: Call) -> None:
    there = case("14")
    text = (there / "monday.csv").read_text()
    (there / "twice.csv").write_text(text + text.splitlines()[1] + "\n")
    said = answer("import", "study.yaml", "twice.csv")
    assert (said["rows"], said["runs"], said["known"]) == (4, 3, 0)
    lines = text.splitlines()
    (there / "moved.csv").write_text("\n".join([lines[0], *reversed(lines[1:])]).replace(",30", ",30.0"))
    assert answer("import", "study.yaml", "moved.csv")["known"] == 3


def test_15_an_odd_cool_down_does_not_cost_the_metrics(case: Call, answer: Call, measured: Call) -> None:
    case("15")
    said = answer("import", "study.yaml", "benchmarks.json")
    assert said["runs"] == 1 and any("cooldown_duration is -205.5" in note for note in said["notes"])
    (row,) = measured("study.yaml").to_dict("records")
    assert (row["max_concurrency"], row["ttft_ms"]) == (4, pytest.approx(171.5217, rel=1e-5))
    assert row["tpot_ms"] == pytest.approx(24.17865, rel=1e-5)
    assert row["seconds"] == pytest.approx(604.50592, rel=1e-6)  # 720 + 89.997 - 205.491: last request - first


def test_16_requests_cut_off_are_in_the_rate_of_tokens_and_in_a_note(
    case: Call, answer: Call, measured: Call
) -> None:
    case("16")
    said = answer("import", "study.yaml", "incomplete.json", "--name", "cut")
    assert any("4 requests were cut off" in note for note in said["notes"])
    (row,) = measured("study.yaml", "--name", "cut").to_dict("records")
    assert (row["output_throughput"], row["request_throughput"]) == (164.4, 0.1)
    assert not any("but" in note for note in said["notes"])  # nothing contradicts itself


def test_16_a_rate_that_the_file_contradicts_is_noted(case: Call, answer: Call) -> None:
    case("16")
    said = answer("import", "study.yaml", "mini.json")
    notes = [note for note in said["notes"] if "request_throughput is 0.1204" in note]
    assert len(notes) == 1 and "4 requests in 24.91 s are 0.1606" in notes[0]
    assert not any("output_throughput is" in note for note in said["notes"])  # 165.6 and 164.4


@pytest.mark.parametrize(("file", "concurrency"), [
    ("aiperf_0.10.json", 16), ("aiperf_02.json", 10), ("genai_new.json", 10), ("genai_old.json", 1)])
def test_17_the_concurrency_is_found(
    case: Call, answer: Call, measured: Call, file: str, concurrency: int
) -> None:
    case("17")
    assert answer("import", "study.yaml", file)["runs"] == 1
    (row,) = measured("study.yaml").to_dict("records")
    assert row["max_concurrency"] == concurrency
    if file == "aiperf_0.10.json":
        assert row["ttft_ms"] == pytest.approx(177.8, abs=0.05) and row["tpot_ms"] == pytest.approx(12.25, abs=0.005)
        assert row["output_throughput"] == pytest.approx(1172.1, abs=0.05)
    if file == "genai_old.json":  # nanoseconds as text; gaps between tokens are not tpot
        assert row["ttft_ms"] == pytest.approx(20.901523) and pd.isna(row.get("tpot_ms"))


def test_17_the_csv_is_sent_to_the_json(case: Call, sweepwise: Call) -> None:
    there = case("17")
    name = "profile_export_aiperf.csv"
    refused(sweepwise("import", "study.yaml", name, "--set", "max_concurrency=16"), name, "CSV of AIPerf",
            "profile_export_aiperf.json", "not in this folder")
    shutil.copy(there / "aiperf_0.10.json", there / "profile_export_aiperf.json")
    refused(sweepwise("import", "study.yaml", name), "import profile_export_aiperf.json beside it")
    (there / "genai.csv").write_text("Metric,avg,min,max,p99,p95,p90,p75,p50,p25\nRequest Latency (ms),1,1,1,1\n"
                                     "\nMetric,Value\nRequest Throughput (per sec),2.00\n")
    refused(sweepwise("import", "study.yaml", "genai.csv"), "CSV of GenAI-Perf", "genai.json", "not in this folder")


def test_18_units_in_headers(case: Call, answer: Call, sweepwise: Call, measured: Call) -> None:
    case("18")
    names = ["--map", "batch_size=Batch Size", "--map", "ttft_ms=TTFT (ms)",
             "--map", "output_throughput=Throughput (tok/s)"]
    for seconds in ("E2E Latency (ms)", "E2E Latency (ms) / 1000", "`E2E Latency (ms)` / 1000"):
        said = answer("import", "import.yaml", "table.csv", *names, "--map", f"seconds={seconds}", "--dry-run")
        assert said["cost_s"] == pytest.approx(4.6215), seconds
    refused(sweepwise("import", "import.yaml", "table.csv", *names, "--map", "seconds=Throughput (tok/s)"),
            "--map seconds", "tok/s")
    answer("import", "import.yaml", "table.csv", *names)
    assert measured("import.yaml")["ttft_ms"].tolist() == [20.1, 25.0, 31.2]


def test_18_seconds_become_milliseconds(case: Call, answer: Call, measured: Call) -> None:
    there = case("18")
    table = (there / "table.csv").read_text().replace("TTFT (ms)", "TTFT [s]")
    (there / "table.csv").write_text(table)
    said = answer("import", "import.yaml", "table.csv", "--map", "batch_size=Batch Size", "--map", "ttft_ms=TTFT [s]")
    assert any("TTFT [s]" in note and "1000" in note for note in said["notes"])
    assert measured("import.yaml")["ttft_ms"].tolist() == [20100, 25000, 31200]


# ------------------------------------------------------------------------------------------------------------- replay


def test_06_true_is_true_whatever_stands_in_other_rows(case: Call, answer: Call, sweepwise: Call) -> None:
    there = case("06")
    text = (there / "study.yaml").read_text()
    refused(sweepwise("validate", "study.yaml"), "trials.csv line 6", "tokens_per_sec", "ok")
    (there / "study.yaml").write_text(text.replace("cost_s: 600,", "cost_s: 600, ok: valid_sla,"))
    said = answer("validate", "study.yaml")
    assert said["grid_points"] == 4 and said["notes"] == []  # two rows differ only in async_scheduling
    (there / "study.yaml").write_text(text.replace("cost_s: 600,", "cost_s: 600, status: valid_sla,"))
    refused(sweepwise("validate", "study.yaml"), "runner.status", "'True', 'False'",
            "ok: \"valid_sla == true\"")
    (there / "study.yaml").write_text(text.replace("cost_s: 600, where: \"type == 'optimize'\"",
                                                   "cost_s: 600, ok: 'tokens_per_sec > 0'"))
    said = answer("validate", "study.yaml")
    assert said["grid_points"] == 4
    assert said["notes"] == [f"space.axes.{axis}: 1 row of trials.csv is left out: blank (line 2)"
                             for axis in ("attention_backend", "enforce_eager")]


@pytest.mark.parametrize(("study", "points"), [
    ("mixed.yaml", 9), ("none.yaml", 4), ("rate.yaml", 3), ("rate_all.yaml", 3)])
def test_07_listed_values_do_not_vanish(case: Call, answer: Call, study: str, points: int) -> None:
    case("07")
    said = answer("validate", study)
    assert said["grid_points"] == points and said["notes"] == []


def test_07_a_listed_value_without_a_row_is_named(case: Call, answer: Call, sweepwise: Call) -> None:
    there = case("07")
    (there / "mixed.yaml").write_text((there / "mixed.yaml").read_text().replace("[auto, 8, 16]", "[auto, 8, 32]"))
    said = answer("validate", "mixed.yaml")
    assert said["grid_points"] == 6
    assert said["notes"] == [
        "space.axes.max_num_seqs: no row has 32; 3 rows of mixed.csv are left out: 16 is not listed"]
    for verb in (["plan"], ["run"], ["simulate", "--seeds", "1", "--at-cost", "0.9"]):
        ran = sweepwise(verb[0], "mixed.yaml", *verb[1:])
        assert ran.code == 0 and "note: space.axes.max_num_seqs: no row has 32" in ran.out, verb


def test_10_replay_asks_too(case: Call, answer: Call, sweepwise: Call) -> None:
    there = case("10")
    replay = """
        space: {axes: {kv: {scale: category, scope: engine}, ctx: {scale: log}}}
        runner: {kind: replay, table: kv.csv, cost_s: wall_s, status: status%s}
        targets: [kv_buffer_mib]
        stop: {trials: 3}
    """
    (there / "replay.yaml").write_text(replay % "")
    refused(sweepwise("validate", "replay.yaml"), "runner.status", "FAIL_oom", "FIT", "ok: \"status == 'FIT'\"")
    (there / "replay.yaml").write_text(replay % ", ok: \"status == 'FIT'\"")
    assert answer("validate", "replay.yaml")["grid_points"] == 4
    assert answer("run", "replay.yaml")["runs"] == 3
    refused(sweepwise("evaluate", "replay.yaml", "--truth", "trials.csv", "--allow-other-fingerprint"), "kv", "--map")
    (there / "truth.csv").write_text((there / "kv.csv").read_text() + "q8_0,9152,FIT,431,5.0\n")
    refused(sweepwise("evaluate", "replay.yaml", "--truth", "truth.csv", "--allow-other-fingerprint"), "FIT", "--ok")
    ran = answer("evaluate", "replay.yaml", "--truth", "truth.csv", "--allow-other-fingerprint", "--ok",
                 "status == 'FIT'")
    assert ran["kind"] == "truth"


def test_12_replay_names_the_cell(case: Call, sweepwise: Call, answer: Call) -> None:
    there = case("12")
    replay = """
        space: {axes: {batch_size: {scale: log}}}
        runner: {kind: replay, table: %s, cost_s: 1%s}
        targets: [ttft_ms, output_throughput]
        stop: {trials: 3}
    """
    (there / "r.yaml").write_text(replay % ("oom.csv", ""))
    refused(sweepwise("validate", "r.yaml"), "oom.csv line 4", "'OOM'", "ok: \"ttft_ms != 'OOM'\"")
    (there / "r.yaml").write_text(replay % ("oom.csv", ", ok: \"ttft_ms != 'OOM'\""))
    assert answer("validate", "r.yaml")["grid_points"] == 3
    (there / "r.yaml").write_text(replay % ("thousands.csv", ""))
    answer("run", "r.yaml")
    sweepwise("export", "r.yaml", "-o", "m.csv")
    assert pd.read_csv("m.csv").sort_values("batch_size")["output_throughput"].tolist() == [985.2, 1950.7, 3811.0]


def test_13_replay_of_times_that_cannot_be(case: Call, sweepwise: Call, answer: Call) -> None:
    there = case("13")
    said = answer("validate", "sentinel.yaml")
    assert any("time_ms is 1e+20 in sentinel.csv line 4" in note for note in said["notes"]), said["notes"]
    text = "space: {axes: {request_rate: {scale: log}}}\nrunner: {kind: replay, table: minus.csv, cost_s: 1}\n" \
           "targets: [tpot_ms, output_throughput]\nstop: {trials: 3}\n"
    (there / "minus.yaml").write_text(text)
    refused(sweepwise("validate", "minus.yaml"), "minus.csv line 3", "tpot_ms is -1", "ok")
    (there / "minus.yaml").write_text(text.replace("cost_s: 1", "cost_s: 1, ok: tpot_ms > 0"))
    assert answer("validate", "minus.yaml")["grid_points"] == 3


def test_18_replay_maps_names_and_reads_units(case: Call, sweepwise: Call, answer: Call) -> None:
    there = case("18")
    refused(sweepwise("validate", "replay.yaml"), "'Batch Size' cannot name an axis", "map")
    replay = """
        space: {axes: {model: {scope: engine}, batch_size: {scale: log}}}
        runner:
          {kind: replay, table: table.csv, cost_s: "%s", map: {model: Model, batch_size: Batch Size,
           ttft_ms: TTFT (ms), ttft_s: TTFT (ms), output_throughput: "Throughput (tok/s)"}}
        targets: [ttft_ms, ttft_s, output_throughput]
        stop: {trials: 3}
    """
    for cost in ("E2E Latency (ms) / 1000", "`E2E Latency (ms)` / 1000", "E2E Latency (ms)"):
        (there / "replay.yaml").write_text(replay % cost)
        said = answer("run", "replay.yaml", "--name", str(len(cost)))
        assert said["cost_s"] == pytest.approx(4.6215)
        notes = answer("validate", "replay.yaml")["notes"]
        assert any("ttft_s" in note and "TTFT (ms)" in note for note in notes)
        assert any("runner.cost_s" in note for note in notes) is ("1000" not in cost)
    sweepwise("export", "replay.yaml", "-o", "m.csv", "--name", "16")
    table = pd.read_csv("m.csv").sort_values("batch_size")
    assert table["ttft_ms"].tolist() == [20.1, 25.0, 31.2]
    assert table["ttft_s"].tolist() == pytest.approx([0.0201, 0.025, 0.0312])
    (there / "replay.yaml").write_text(replay % "Throughput (tok/s)")
    refused(sweepwise("validate", "replay.yaml"), "runner.cost_s", "tok/s")


@pytest.mark.parametrize("point", [
    "kv_cache=Weight = fp16, KV Cache = fp16,batch_size=1", 'kv_cache="Weight = fp16, KV Cache = fp16",batch_size=1',
    "batch_size=1, kv_cache=Weight = fp16, KV Cache = fp16",
    "batch_size=1.0,kv_cache='Weight = fp16, KV Cache = fp16'"])
def test_19_names_with_commas_and_equals_signs(case: Call, answer: Call, point: str) -> None:
    case("19")
    answer("run", "study.yaml")
    (said,) = answer("predict", "study.yaml", "--point", point)
    assert (said["kv_cache"], said["batch_size"]) == ("Weight = fp16, KV Cache = fp16", 1)
    assert said["latency_s"] == pytest.approx(1.01)


@pytest.mark.parametrize(("point", "says"), [
    ("KV Cache=fp16,batch_size=1", "unknown axis 'KV Cache'"), ("kv_cache=x,batch_size=1", "kv_cache=x is not on"),
    ("kv_cache=Weight = fp16, KV Cache = fp16", "'batch_size' is missing"), ("", "unknown axis")])
def test_19_what_is_no_point_is_named(case: Call, sweepwise: Call, answer: Call, point: str, says: str) -> None:
    case("19")
    answer("run", "study.yaml")
    refused(sweepwise("predict", "study.yaml", "--point", point), "--point", says)
