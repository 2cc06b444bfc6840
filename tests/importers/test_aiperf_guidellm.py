"""AIPerf, GenAI-Perf and GuideLLM by version (tests/data/importers/README.md says where the files are from)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from planner.importers.registry import format_of, read_rows
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
    """Nanoseconds as text; its inter_token_latency is over gaps: 3.86 ms, where latency and tokens say 3.63 ms."""
    (row,) = rows("genai_perf_2024_05.json")
    assert row.fields == {"model": "gpt2_vllm", "max_concurrency": 1, "input_len": 550}
    assert row.metrics["e2el_ms"] == pytest.approx([81.988918]) and row.metrics["ttft_ms"] == pytest.approx([20.901523])
    assert row.metrics["mean_itl_ms"] == pytest.approx([3.86010111]) and "tpot_ms" not in row.metrics
    assert row.metrics["request_throughput"] == pytest.approx([12.222026]) and row.seconds == 0


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
