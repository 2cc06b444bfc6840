"""Readers of other tools' files, on files that those tools wrote (tests/data/importers/README.md says how)."""

from __future__ import annotations

import csv
import json
import statistics
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from planner.importers.registry import OURS, format_of, read_rows
from planner.importers.rows import Row
from planner.space.types import StudyError, Value

DATA = Path(__file__).parents[1] / "data/importers"


def read(form: str, path: Path, name: str, known: Mapping[str, Value] | None = None,
         renames: Mapping[str, str] | None = None) -> list[Row]:
    return OURS[form].read(path, name, known or {}, renames or {})


def load(name: str) -> Any:
    return json.loads((DATA / name).read_text())


def medians(row: Row) -> dict[str, float]:
    return {name: statistics.median(values) for name, values in row.metrics.items()}


@pytest.mark.parametrize(("name", "form"), [
    ("fmwork.log", "fmwork"), ("fmwork_2024.log", "fmwork"), ("vllm_latency.json", "vllm-bench"),
    ("vllm_throughput.json", "vllm-bench"), ("vllm_serve.json", "vllm-bench"),
    ("vllm_serve_detailed.json", "vllm-bench"), ("vllm_serve_appended.json", "vllm-bench"),
    ("vllm_sweep", "vllm-sweep"), ("vllm_sweep_failures", "vllm-sweep"), ("guidellm.json", "guidellm"),
    ("guidellm_rate.json", "guidellm"), ("aiperf.json", "aiperf"), ("aiperf_rate.json", "aiperf"),
])
def test_a_file_says_itself_what_wrote_it(name: str, form: str) -> None:
    assert format_of(DATA / name) == form
    rows = read_rows(DATA / name, "auto", {}, {})
    assert rows and {row.provenance.format for row in rows} == {form}
    assert len({row.provenance.identity for row in rows}) == len(rows)
    assert all(len(row.provenance.sha256) == 64 and row.provenance.row for row in rows)


# ------------------------------------------------------------------------------------------------------------- vLLM


def test_latencies_are_seconds_and_become_milliseconds() -> None:
    lengths = {"input_len": 32, "output_len": 8, "batch_size": 4}
    (row,) = read("vllm-bench", DATA / "vllm_latency.json", "latency", lengths)
    written = load("vllm_latency.json")
    assert row.metrics["e2el_ms"] == tuple(1000 * s for s in written["latencies"])
    assert row.seconds == pytest.approx(5 * written["avg_latency"])
    assert row.metrics["output_throughput"] == pytest.approx([4 * 8 / s for s in written["latencies"]])
    assert row.metrics["total_token_throughput"] == pytest.approx([4 * 40 / s for s in written["latencies"]])
    (bare,) = read("vllm-bench", DATA / "vllm_latency.json", "latency", {})
    assert set(bare.metrics) == {"e2el_ms"}  # the file tells neither lengths nor batch size


def test_offline_throughput() -> None:
    (row,) = read("vllm-bench", DATA / "vllm_throughput.json", "throughput", {"output_len": 8})
    written = load("vllm_throughput.json")
    assert row.seconds == written["elapsed_time"]
    found = medians(row)
    assert found["request_throughput"] == pytest.approx(8 / written["elapsed_time"])
    assert found["total_token_throughput"] == pytest.approx(8 * (32 + 8) / written["elapsed_time"])
    assert found["output_throughput"] == pytest.approx(8 * 8 / written["elapsed_time"])


def test_serving_agrees_with_each_request_of_the_detailed_file() -> None:
    """Milliseconds, vLLM's definitions: recomputed here from the seconds of each request."""
    (row,) = read("vllm-bench", DATA / "vllm_serve_detailed.json", "serve", {})
    written, found = load("vllm_serve_detailed.json"), medians(row)
    ttft = 1000 * np.array(written["ttfts"])
    tpot = 1000 * np.array([sum(gaps) / (length - 1) for gaps, length in
                            zip(written["itls"], written["output_lens"], strict=True)])
    gaps = 1000 * np.concatenate(written["itls"])
    assert found["ttft_ms"] == found["median_ttft_ms"] == pytest.approx(np.median(ttft))
    assert found["p99_ttft_ms"] == pytest.approx(np.percentile(ttft, 99))
    assert found["tpot_ms"] == pytest.approx(np.median(tpot), rel=1e-6)
    assert found["itl_ms"] == pytest.approx(np.median(gaps), rel=1e-6)
    assert found["output_throughput"] == pytest.approx(sum(written["output_lens"]) / row.seconds)
    # request_rate and what --metadata says, as text, are fields too.
    assert row.fields == {"model": "tiny", "tensor_parallel_size": "1", "request_rate": 20.0, "max_concurrency": 2,
                          "input_len": 32, "output_len": 8}


def test_a_metric_that_is_undefined_is_absent_and_not_zero() -> None:
    """vLLM writes tpot 0 for runs of one output token."""
    one, eight = read("vllm-bench", DATA / "vllm_serve_appended.json", "serve", {})
    assert (one.fields["output_len"], eight.fields["output_len"]) == (1, 8)
    text = (DATA / "vllm_serve_appended.json").read_text()
    assert json.loads(text.splitlines()[0])["mean_tpot_ms"] == 0.0
    assert "ttft_ms" in one.metrics and not [name for name in one.metrics if "tpot" in name or "itl" in name]
    assert eight.metrics["tpot_ms"] > (0.0,)


def test_lengths_that_are_no_whole_number_on_average_are_not_made_up(tmp_path: Path) -> None:
    written = load("vllm_serve.json")
    for change in ({"total_input_tokens": 193}, {"input_lens": [30, 34, 32, 32, 32, 32]}):
        (tmp_path / "other.json").write_text(json.dumps(written | change))
        (row,) = read("vllm-bench", tmp_path / "other.json", "other", {})
        assert "input_len" not in row.fields and row.fields["output_len"] == 8


def test_a_sweep_is_its_runs_and_neither_warm_up_nor_summary() -> None:
    rows = read("vllm-sweep", DATA / "vllm_sweep", "sweep", {})
    points = {(row.fields["max_num_seqs"], row.fields["input_len"], row.fields["output_len"]) for row in rows}
    assert len(rows) == 8 and points == {(2, 16, 4), (2, 32, 4), (4, 16, 4), (4, 32, 4)}
    assert len({row.run for row in rows}) == 4 and not any("warmup" in row.provenance.file for row in rows)
    summaries = [row for path in sorted((DATA / "vllm_sweep").rglob("summary.json"))
                 for row in read("vllm-bench", path, "summary", {})]
    assert {row.provenance.identity for row in summaries} == {row.provenance.identity for row in rows}
    warm_up = next((DATA / "vllm_sweep").rglob("warmup.json"))
    assert read("vllm-bench", warm_up, "warmup", {}) == []


def test_requests_that_failed_are_no_measurement_of_zero() -> None:
    """Where all requests fail vLLM exits 0 and writes zeros for every latency."""
    rows = {row.fields.get("input_len"): row for row in read("vllm-sweep", DATA / "vllm_sweep_failures", "sweep", {})
            if row.fields["max_concurrency"] == 1}
    assert rows[16].metrics and not rows[16].failure
    assert rows[700].failure == "2 of 2 requests failed" and not rows[700].metrics
    noted = [row for row in read("vllm-sweep", DATA / "vllm_sweep_failures", "s", {}) if "ended with" in row.failure]
    assert len(noted) == 1 and noted[0].fields["max_concurrency"] == -1 and not noted[0].metrics


# ------------------------------------------------------------------------------------------------- GuideLLM and AIPerf


def test_guidellm_by_each_request() -> None:
    """Latency is seconds there, first token milliseconds, and what it calls ITL is vLLM's tpot."""
    rows, report = read("guidellm", DATA / "guidellm.json", "report"), load("guidellm.json")
    assert [row.fields for row in rows] == [
        {"model": "tiny", "max_concurrency": streams, "input_len": 32, "output_len": 8} for streams in (1, 2)]
    for row, benchmark in zip(rows, report["benchmarks"], strict=True):
        requests = benchmark["requests"]["successful"]
        timings = [request["info"]["timings"] for request in requests]
        found = medians(row)
        e2el = [1000 * (t["request_end"] - t["request_start"]) for t in timings]
        ttft = [1000 * (t["first_token_iteration"] - t["request_start"]) for t in timings]
        tpot = [1000 * (t["last_token_iteration"] - t["first_token_iteration"]) / 7 for t in timings]
        for name, values in (("e2el", e2el), ("ttft", ttft), ("tpot", tpot)):
            assert found[f"mean_{name}_ms"] == pytest.approx(np.mean(values), rel=1e-6)
            assert found[f"{name}_ms"] in [pytest.approx(value, rel=1e-6) for value in values]
        assert found["output_throughput"] == pytest.approx(8 * len(requests) / benchmark["duration"], rel=1e-3)
        assert found["total_token_throughput"] == pytest.approx(40 * len(requests) / benchmark["duration"], rel=1e-3)
        assert row.seconds == pytest.approx(benchmark["duration"]) and row.provenance.version == "0.8.1"
        assert "itl_ms" not in row.metrics  # GuideLLM has no gaps between tokens
    (rate,) = read("guidellm", DATA / "guidellm_rate.json", "rate")
    assert rate.fields["request_rate"] == 20 and "max_concurrency" not in rate.fields


def test_aiperf_latencies_in_the_units_that_they_say(tmp_path: Path) -> None:
    (row,), report = read("aiperf", DATA / "aiperf.json", "report"), load("aiperf.json")
    found = medians(row)
    assert row.fields == {"model": "tiny", "max_concurrency": 2, "input_len": 32, "output_len": 8}
    assert found["ttft_ms"] == report["time_to_first_token"]["p50"]
    assert found["mean_tpot_ms"] == pytest.approx(
        (report["request_latency"]["avg"] - report["time_to_first_token"]["avg"]) / 7)  # all outputs have 8 tokens
    assert found["itl_ms"] == report["inter_chunk_latency"]["p50"]
    assert row.seconds == report["benchmark_duration"]["avg"]
    # AIPerf divides by the time of its whole phase, which begins a little before the first request.
    begin, end = (datetime.fromisoformat(report[key]) for key in ("start_time", "end_time"))
    assert found["output_throughput"] == pytest.approx(48 / (end - begin).total_seconds(), rel=1e-3)
    assert read("aiperf", DATA / "aiperf_rate.json", "r")[0].fields["request_rate"] == 20
    in_seconds = {key: value / 1000 for key, value in report["time_to_first_token"].items() if key != "unit"}
    (tmp_path / "s.json").write_text(json.dumps({**report, "time_to_first_token": {**in_seconds, "unit": "sec"}}))
    (other,) = read("aiperf", tmp_path / "s.json", "s")
    assert medians(other)["ttft_ms"] == pytest.approx(found["ttft_ms"])
    (tmp_path / "s.json").write_text(json.dumps({**report, "time_to_first_token": {"unit": "fortnight", "p50": 1}}))
    (odd,) = read("aiperf", tmp_path / "s.json", "s")
    assert "ttft_ms" not in odd.metrics and odd.metrics["tpot_ms"] == row.metrics["tpot_ms"]
    assert any("fortnight" in note and "left out" in note for note in odd.notes)


@pytest.mark.parametrize("change", [{"was_cancelled": True}, {"error_request_count": {"unit": "requests", "avg": 2.0}},
                                    {"request_error_rate": {"unit": "%", "avg": 33.0}}])
def test_an_aiperf_run_with_errors_is_a_failure(tmp_path: Path, change: dict[str, Any]) -> None:
    (tmp_path / "e.json").write_text(json.dumps(load("aiperf.json") | change))
    (row,) = read("aiperf", tmp_path / "e.json", "e")
    assert row.failure and not row.metrics


# ------------------------------------------------------------------------------------------------------------ FMwork


def test_fmwork_repeats_without_its_warm_up() -> None:
    one, many = read("fmwork", DATA / "fmwork.log", "log")
    assert one.metrics["e2el_ms"] == pytest.approx([28.955772, 26.872051, 26.986837, 27.770850])
    assert one.metrics["batch_ttft_ms"] == one.metrics["e2el_ms"]
    assert many.metrics["e2el_ms"] == pytest.approx([955.048498, 917.585057, 916.274835, 917.304071])
    assert statistics.median(many.metrics["e2el_ms"]) == pytest.approx(917, abs=0.5)  # what its RES line says
    # FMwork's GEN line says 6.954 ms: it divides by 128 tokens, tpot by the 127 after the first.
    assert many.metrics["tpot_ms"][0] == pytest.approx(6.954 * 128 / 127, rel=1e-3)
    assert one.start_s == 65.255954 and many.start_s == 0  # the engine started once
    assert one.seconds == pytest.approx(6.725341751 + 0.028955772 + 0.026872051 + 0.026986837 + 0.027770850)
    assert many.fields == {"model": "meta-llama/Llama-3.1-8B-Instruct/main", "input_len": 1024, "output_len": 128,
                           "batch_size": 1, "tensor_parallel_size": 1}


def test_fmwork_logs_of_2024() -> None:
    (row,) = read("fmwork", DATA / "fmwork_2024.log", "log")
    assert statistics.median(row.metrics["e2el_ms"]) == pytest.approx(8204, abs=0.5)
    assert statistics.median(row.metrics["output_throughput"]) == pytest.approx(124.8, abs=0.05)


@pytest.mark.parametrize("kinds", [["RES"], ["RES", "GEN"], ["GEN"]])
def test_fmwork_lines_picked_by_grep(tmp_path: Path, kinds: list[str]) -> None:
    """Without repeats: what the lines say, to their rounding."""
    lines = (DATA / "fmwork.log").read_text().splitlines()
    picked = [f"a/exp.log:{line}" for line in lines if any(f"FMWORK {kind}" in line for kind in kinds)]
    (tmp_path / "picked.txt").write_text("\n".join(picked))
    whole, part = read("fmwork", DATA / "fmwork.log", "log")[-1], read("fmwork", tmp_path / "picked.txt", "picked")[-1]
    assert part.metrics["e2el_ms"] == pytest.approx([917.4], abs=0.6) and len(part.metrics["e2el_ms"]) == 1
    assert part.metrics["tpot_ms"][0] == pytest.approx(whole.metrics["tpot_ms"][0], rel=2e-3)
    assert part.seconds == 0 and part.notes
    assert part.provenance.identity == whole.provenance.identity  # the same run, whichever lines were kept


def fmwork_csv(path: Path, order: tuple[str, str]) -> None:
    """As process.py writes it, from a GEN line whose two middle figures stand in the given order."""
    rows = []
    for batch, whole, first in ((1, 0.917, 0.027), (8, 1.5, 1.2)):
        generation = whole - first
        named = {"gen": generation, "ttft": first}
        rows.append({"etim": "20250101-000000.1", "mm": "granite", "back": "vllm==0.8.3", "ii": 1024, "oo": 128,
                     "bb": batch, "tp": 2, "med": f"{whole:.3f}", "ttft": f"{named[order[0]]:.3f}",
                     "gen": f"{named[order[1]]:.3f}", "itl": f"{1000 * generation / 128:.1f}",
                     "thp": f"{batch * 128 / generation:.1f}"})
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.parametrize("order", [("ttft", "gen"), ("gen", "ttft")])
def test_fmworks_csv_mixes_up_two_columns_and_we_do_not(tmp_path: Path, order: tuple[str, str]) -> None:
    """Its header says ttft, gen; the GEN lines that it copies say gen, ttft. The throughput tells which is which."""
    fmwork_csv(tmp_path / "fm.csv", order)
    assert format_of(tmp_path / "fm.csv") == "fmwork"
    small, large = read("fmwork", tmp_path / "fm.csv", "fm.csv")
    assert small.metrics["batch_ttft_ms"] == pytest.approx([27.0])
    assert large.metrics["batch_ttft_ms"] == pytest.approx([1200.0])
    assert large.metrics["tpot_ms"] == pytest.approx([300 / 127])
    assert large.fields["tensor_parallel_size"] == 2 and large.provenance.version == "vllm==0.8.3"


def test_fmwork_figures_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    text = (DATA / "fmwork.log").read_text()
    bad = tmp_path / "bad.log"
    for wrong, says in ((text.replace("0.016 0.027 27.379 36.5", "0.016 0.050 50.000 20.0"), "median"),
                        ("FMWORK GEN 1 2 m 1024 128 1 1 0.016 0.001 0.917 0.500 0.417 6.954 143.8", "neither"),
                        ("FMWORK RES 1 2 m 1024 128", "cut off"), ("FMWORK RES 1 2 m x 128 1 1 0 1 1 1", "a size")):
        bad.write_text(wrong)
        with pytest.raises(StudyError, match=says) as refused:
            read("fmwork", bad, "bad.log")
        assert str(refused.value).startswith("bad.log line ")


# ------------------------------------------------------------------------------------------------------------- tables


def test_any_table(tmp_path: Path) -> None:
    path = tmp_path / "any.csv"
    path.write_text("gpu,prompt,ms,version,how\nA,128,1.5,1.10,ok\nA,256,,007,OOM\n")
    first, second = read("table", path, "any.csv", {})
    assert not first.fields and first.others == {"gpu": "A", "prompt": "128", "ms": "1.5", "version": "1.10",
                                                 "how": "ok"}
    assert first.metrics["ms"] == (1.5,) and "ms" not in second.metrics and "ms" not in second.others
    assert second.others["version"] == "007" and not second.failure  # what the columns mean is the study's business
    assert first.seconds == 0 and first.notes
    assert not read("table", path, "any.csv", renames={"seconds": "ms"})[0].notes


@pytest.mark.parametrize(("name", "text"), [
    ("t.jsonl", '{"gpu": "A", "ms": 1.5, "deep": {"x": 1}}\n{"gpu": "B", "ms": null}\n'),
    ("t.json", '[{"gpu": "A", "ms": 1.5, "deep": [1]}, {"gpu": "B"}]'),
])
def test_flat_json_records_are_a_table(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    assert format_of(path) == "table"
    first, second = read("table", path, name, {})
    assert first.others == {"gpu": "A", "ms": 1.5} and second.others == {"gpu": "B"}
    assert first.metrics == {"ms": (1.5,)} and first.provenance.where == f"{name} record 1"
