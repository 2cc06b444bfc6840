"""AIPerf, GenAI-Perf and GuideLLM by version (tests/data/importers/README.md says where the files are from)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from planner.importers.importer import Source
from planner.importers.registry import OURS, format_of, read_rows
from planner.importers.rows import Row
from planner.space.types import StudyError

DATA = Path(__file__).parents[1] / "data/importers"


def rows(name: str) -> list[Row]:
    return read_rows(DATA / name, "auto", {}, {})


def changed(path: Path, name: str, **changes: Any) -> Row:
    path.write_text(json.dumps(json.loads((DATA / name).read_text()) | changes))
    return read_rows(path, "auto", {}, {})[0]


# -------------------------------------------------------------------------------------------------------------- AIPerf


@pytest.mark.parametrize(("name", "load", "version"), [
    ("aiperf_0_1.json", {"max_concurrency": 2}, ""), ("aiperf_0_5.json", {"request_rate": 20}, "0.5.0"),
    ("aiperf_0_9.json", {"max_concurrency": 2}, "0.9.0"), ("aiperf.json", {"max_concurrency": 2}, "0.13.0")])
def test_aiperf_of_each_version_says_the_same(name: str, load: dict[str, int], version: str) -> None:
    (row,), (real,) = rows(name), rows("aiperf.json")
    assert row.fields == {"model": "tiny", "input_len": 32, "output_len": 8} | load
    assert (row.provenance.format, row.provenance.version) == ("aiperf", version)
    assert row.seconds == real.seconds == 0.21572275200000002
    counts = row.counts
    assert counts and (counts.requests, counts.input_tokens, counts.output_tokens) == (6, 192, 48)
    for metric in ("ttft_ms", "tpot_ms", "p99_e2el_ms", "output_throughput", "request_throughput"):
        assert row.metrics[metric] == real.metrics[metric]
    assert ("itl_ms" in row.metrics) == (name != "aiperf_0_1.json")  # 0.1 has no inter_chunk_latency


def test_aiperf_lengths_are_those_asked_for(tmp_path: Path) -> None:
    """Prompts that differ by a token are no reason to know no length; one that was not fixed is none."""
    report = json.loads((DATA / "aiperf_0_5.json").read_text())
    counted = {"input_sequence_length": report["input_sequence_length"] | {"min": 31.0}}
    assert changed(tmp_path / "a.json", "aiperf_0_5.json", **counted).fields["input_len"] == 32
    config = report["input_config"]
    config["input"]["prompt"]["input_tokens"]["stddev"] = 4
    row = changed(tmp_path / "b.json", "aiperf_0_5.json", input_config=config, **counted)
    assert "input_len" not in row.fields and row.fields["output_len"] == 8


def test_aiperf_phases_that_differ_have_no_concurrency(tmp_path: Path) -> None:
    config = json.loads((DATA / "aiperf.json").read_text())["input_config"]
    config["phases"].append({"name": "more", "kind": "profiling", "type": "concurrency", "concurrency": 4})
    row = changed(tmp_path / "a.json", "aiperf.json", input_config=config)
    assert "max_concurrency" not in row.fields and row.fields["model"] == "tiny"


def test_aiperf_results_that_are_not_complete_are_a_failure(tmp_path: Path) -> None:
    """AIPerf 0.13: "computed over a subset of the run and must not be compared against complete runs"."""
    reason = "Record aggregation stalled at 3 of 6 records for 60s"
    row = changed(tmp_path / "a.json", "aiperf.json", is_complete=False, incomplete_reason=reason)
    assert reason in row.failure and not row.metrics and row.seconds > 0
    assert changed(tmp_path / "b.json", "aiperf.json", is_complete=True).metrics


def test_a_folder_of_aiperf_results(tmp_path: Path) -> None:
    for concurrency in (2, 4):
        folder = tmp_path / "artifacts" / f"tiny-openai-completions-concurrency{concurrency}"
        folder.mkdir(parents=True)
        config = json.loads((DATA / "aiperf_0_1.json").read_text())["input_config"]
        config["loadgen"]["concurrency"] = concurrency
        changed(folder / "profile_export_aiperf.json", "aiperf_0_1.json", input_config=config)
    assert format_of(tmp_path / "artifacts") == "aiperf"
    found = read_rows(tmp_path / "artifacts", "auto", {}, {})
    assert [row.fields["max_concurrency"] for row in found] == [2, 4]
    assert len({row.provenance.identity for row in found}) == 2


def test_no_usable_figure_is_refused_and_one_odd_figure_is_not(tmp_path: Path) -> None:
    odd = {"unit": "ms", "avg": -1, "p50": "x"}
    row = changed(tmp_path / "a.json", "aiperf_0_9.json", time_to_first_token=odd)
    assert "ttft_ms" not in row.metrics and "mean_ttft_ms" not in row.metrics and "e2el_ms" in row.metrics
    assert any("time_to_first_token.avg is -1" in note for note in row.notes)
    every = ("request_throughput", "request_latency", "time_to_first_token", "inter_token_latency",
             "inter_chunk_latency", "output_token_throughput")
    with pytest.raises(StudyError, match="no usable latency"):
        changed(tmp_path / "b.json", "aiperf_0_9.json", **dict.fromkeys(every, odd))


# ---------------------------------------------------------------------------------------------------------- GenAI-Perf


@pytest.mark.parametrize(("name", "load"), [
    ("genai_perf_2024_11.json", {"max_concurrency": 2}), ("genai_perf_0_0_16.json", {"request_rate": 3.5})])
def test_genai_perf_by_each_request(name: str, load: dict[str, float]) -> None:
    (row,) = rows(name)
    assert row.provenance.format == "genai-perf"
    assert row.fields == {"model": "tiny", "input_len": 100, "output_len": 24} | load
    assert row.metrics["ttft_ms"] == (47,) and row.metrics["mean_e2el_ms"] == (545,)
    each = [460 / 23, 476 / 23, 510 / 24, 540 / 24]
    assert row.metrics["tpot_ms"] == pytest.approx([np.median(each)]) and "itl_ms" not in row.metrics
    assert row.metrics["p99_tpot_ms"] == pytest.approx([np.percentile(each, 99)])
    assert row.metrics["output_throughput"] == (98 / 1.25,) and row.metrics["request_throughput"] == (3.2,)
    if name == "genai_perf_0_0_16.json":
        assert row.seconds == 1.25 and row.counts and row.counts.output_tokens == 98
    else:
        assert row.seconds == 0 and any("duration is not in the file" in note for note in row.notes)


def test_genai_perf_of_may_2024() -> None:
    """Nanoseconds as text. Its inter_token_latency is 3.86 ms over gaps, where latency and tokens of requests say
    3.63 ms; the release 24.06 gives that of requests under the same name, and the file does not say which it is."""
    (row,) = rows("genai_perf_2024_05.json")
    assert row.fields == {"model": "gpt2_vllm", "max_concurrency": 1, "input_len": 550}
    assert row.metrics["e2el_ms"] == pytest.approx([81.988918]) and row.metrics["ttft_ms"] == pytest.approx([20.901523])
    assert not [name for name in row.metrics if "itl" in name or "tpot" in name]
    assert any("over gaps or over requests" in note for note in row.notes)
    assert row.others["inter_token_latency_p50"] == "3988754.5"  # for --map
    assert row.metrics["request_throughput"] == pytest.approx([12.222026]) and row.seconds == 0


@pytest.mark.parametrize("name", ["genai_perf_2024_11.json", "genai_perf_0_0_16.json"])
def test_genai_perf_without_streaming_has_no_first_token(tmp_path: Path, name: str) -> None:
    """The one response is first and last: llm_profile_data_parser.py makes its time the time to first token."""
    report = json.loads((DATA / name).read_text())
    whole = {"time_to_first_token": report["request_latency"]}
    row = changed(tmp_path / "a.json", name, **whole)
    assert not [metric for metric in row.metrics if "ttft" in metric] and row.metrics["mean_e2el_ms"] == (545,)
    assert any("nothing was streamed" in note for note in row.notes)
    one = dict.fromkeys(("avg", "p50", "min", "max"), 1) | {"unit": "tokens"}
    row = changed(tmp_path / "b.json", name, output_sequence_length=one, **whole)
    assert row.metrics["mean_ttft_ms"] == (545,)  # a single token is the first and the last


@pytest.mark.parametrize("wrong", ["requests/sec", "tokens/sec"])
def test_genai_perf_names_the_wrong_unit_for_rates(tmp_path: Path, wrong: str) -> None:
    """0.0.6 … 0.0.8 write "requests/sec" for tokens, too (`key == "request_throughput" or "request_goodput"`)."""
    rate = {"unit": wrong, "avg": 78.4}
    row = changed(tmp_path / "a.json", "genai_perf_2024_11.json", output_token_throughput=rate)
    assert row.metrics["output_throughput"] == (78.4,)


# ------------------------------------------------------------------------------------------------------------ GuideLLM


@pytest.mark.parametrize("version", ["0_2", "0_3"])
def test_guidellm_without_a_version(version: str) -> None:
    streams, rate = rows(f"guidellm_{version}.json")
    assert streams.fields == {"max_concurrency": 2, "model": "tiny", "input_len": 32, "output_len": 8}
    assert rate.fields == {"request_rate": 4, "model": "tiny", "input_len": 32, "output_len": 8}
    # Four requests: first tokens after 100, 120, 100, 120 ms; 7 tokens each 20, 20, 30, 30 ms; the last ends at 0.6 s.
    assert streams.metrics["mean_ttft_ms"] == pytest.approx([110])
    assert streams.metrics["mean_tpot_ms"] == pytest.approx([25])
    assert streams.metrics["mean_e2el_ms"] == pytest.approx([285])
    assert streams.metrics["request_throughput"] == pytest.approx([4 / 0.6])
    assert streams.metrics["output_throughput"] == pytest.approx([32 / 0.6], rel=0.04)  # it leaves out the last token
    assert streams.counts and streams.counts.cut_off == 0 and streams.counts.input_tokens == 128
    assert streams.seconds == pytest.approx(2.1)  # from 1 s before the first request to 0.5 s after the last
    if version == "0_2":
        assert "total_token_throughput" not in streams.metrics
        assert any("counts prompts twice" in note for note in streams.notes)
    else:
        assert streams.metrics["total_token_throughput"] == pytest.approx([160 / 0.6], rel=0.01)


def test_guidellm_requests_cut_off() -> None:
    """Two requests of 8 tokens and one cut off after 6, in 0.75 s: 22 tokens, 28 a second without the last."""
    row = rows("guidellm_0_3.json")[1]
    assert row.counts and row.counts.cut_off == 1 and row.counts.requests == 2
    assert row.metrics["output_throughput"] == pytest.approx([28])
    assert row.metrics["total_token_throughput"] == pytest.approx([156])
    assert row.metrics["mean_tpot_ms"] == pytest.approx([20]) and not row.failure


def test_guidellm_0_4_has_no_metadata() -> None:
    (row,), (real,) = rows("guidellm_0_4.json"), rows("guidellm_rate.json")
    assert (row.fields, row.metrics, row.seconds) == (real.fields, real.metrics, real.seconds)
    assert row.provenance.version == "" and row.fields["request_rate"] == 20


@pytest.mark.parametrize("odd", ["x", -5.0, float("nan"), [1]])
def test_guidellm_durations_that_make_no_sense_are_noted(tmp_path: Path, odd: Any) -> None:
    report = json.loads((DATA / "guidellm_rate.json").read_text())
    report["benchmarks"][0]["warmup_duration"] = odd
    (real,) = rows("guidellm_rate.json")
    row = changed(tmp_path / "a.json", "guidellm_rate.json", benchmarks=report["benchmarks"])
    assert row.metrics == real.metrics and any("warmup_duration" in note for note in row.notes)
    assert 0 <= row.seconds <= real.seconds


SYNTHETIC = {"prompt_tokens": 128, "output_tokens": 16}
OTHERS = {"kind": "synthetic_text", "prompt_tokens_stdev": None, "turns": 1, "branches": [], "prefix_buckets": None}


def asking(path: Path, version: str, data: Any) -> Row:
    """The report of a version, as if its data had been these."""
    if version == "0_2":
        report = json.loads((DATA / "guidellm_0_2.json").read_text())
        report["benchmarks"][0]["request_loader"]["data"] = data
        return changed(path, "guidellm_0_2.json", benchmarks=report["benchmarks"])
    if version == "0_4":
        return changed(path, "guidellm_0_4.json", args={"target": "http://x", "data": [data]})
    report = json.loads((DATA / "guidellm_rate.json").read_text())
    report["config"]["spec"]["data"] = [data]
    return changed(path, "guidellm_rate.json", config=report["config"])


@pytest.mark.parametrize(("version", "data"), [
    ("0_2", "prompt_tokens=128,output_tokens=16"), ("0_2", json.dumps(SYNTHETIC | {"samples": 50})),
    ("0_4", json.dumps(SYNTHETIC)), ("0_4", repr(SYNTHETIC)), ("0_8", SYNTHETIC | OTHERS)])
def test_guidellm_lengths_are_those_asked_for(tmp_path: Path, version: str, data: Any) -> None:
    """The prompts of the samples have 32 tokens and the answers 8: what was counted stays in the counts."""
    row = asking(tmp_path / "a.json", version, data)
    assert (row.fields["input_len"], row.fields["output_len"]) == (128, 16)
    assert row.counts and row.counts.requests and row.counts.input_tokens == 32 * row.counts.requests


@pytest.mark.parametrize(("version", "data"), [
    ("0_2", "prompts.jsonl"), ("0_2", "run=1.json"),
    ("0_2", "prompt_tokens=128,prompt_tokens_stdev=9,output_tokens=16"),
    ("0_4", json.dumps(SYNTHETIC | {"prefix_tokens": 64})), ("0_4", "{"), ("0_4", None), ("0_4", "{1: __import__}"),
    ("0_8", SYNTHETIC | OTHERS | {"turns": 3}), ("0_8", {"kind": "json_file", "path": "p", "prompt_tokens": 128}),
    ("0_8", SYNTHETIC | OTHERS | {"prompt_tokens": 0.5, "output_tokens": True})])
def test_guidellm_lengths_that_differ_or_are_not_asked_for_are_those_counted(
    tmp_path: Path, version: str, data: Any
) -> None:
    row = asking(tmp_path / "a.json", version, data)
    assert (row.fields["input_len"], row.fields["output_len"]) == (32, 8)


# How they begin in benchmark/output.py of 0.2.0, benchmark/outputs/csv.py of 0.4.0, and
# benchmark/outputs/html_report/template.html of 0.8.1; the pages of 0.3 … 0.7 have the title GuideLLM.
OUTPUTS = {
    "old.csv": "Type,Run Id,Id,Name,Start Time,End Time,Duration,Successful Requests\n"
               "generative_benchmark,a,b,c,d,e,1,3\n",
    "new.csv": "Run Info,Run Info,Benchmark,Timings\n"
               "Run ID,Run Index,Type,Duration\n,,,Sec\na,0,generative_benchmark,1\n",
    "page.html": "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n  <title>GuideLLM Benchmark Report</title>\n",
    "report.yaml": "args:\n  backend: openai_http\nbenchmarks:\n- config: {}\n  type_: generative_benchmark\n",
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_other_outputs_of_guidellm_are_sent_to_the_json(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(OUTPUTS[name])
    assert format_of(tmp_path / name) == "guidellm"
    with pytest.raises(StudyError, match=r"of GuideLLM; import the JSON report: .*kind=json") as refused:
        read_rows(tmp_path / name, "auto", {}, {})
    assert str(refused.value).startswith(str(tmp_path / name))
    (tmp_path / "benchmarks.json").write_text((DATA / "guidellm.json").read_text())
    with pytest.raises(StudyError, match=r"import benchmarks\.json beside it"):
        read_rows(tmp_path / name, "auto", {}, {})


@pytest.mark.parametrize(("name", "text"), [
    ("a.csv", "Type,Run Id,value\nx,1,2\n"), ("b.csv", "Run Info,x\n1,2\n"), ("c.yaml", "benchmarks:\n- x\n"),
    ("d.html", "<title>Our guide</title> GuideLLM"), ("e.yaml", "type_: generative_benchmark\n")])
def test_files_that_only_look_like_guidellms(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert not OURS["guidellm"].recognises(Source(tmp_path / name))
