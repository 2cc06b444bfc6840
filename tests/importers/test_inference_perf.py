"""Reports that inference-perf wrote of one server, by version (tests/data/importers/README.md says how).

The server gives the first of 32 tokens after 10 ms and each other after 2 ms, and a little more: tpot is above 2 ms.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from planner.importers.importer import Source
from planner.importers.registry import OURS, format_of
from planner.importers.rows import Row
from planner.space.types import StudyError
from planner.testing.importer import check_importer

DATA = Path(__file__).parents[1] / "data/importers"
VERSIONS = ("0.1", "0.2", "0.4", "0.5", "0.7")
STAGE = "stage_0_lifecycle_metrics.json"
SUMMARY = "summary_lifecycle_metrics.json"


def folder(version: str) -> Path:
    return DATA / f"inference_perf_{version}"


def read(path: Path) -> list[Row]:
    return OURS["inference-perf"].read(path, path.name, {}, {})


def load(version: str, name: str = STAGE) -> Any:
    return json.loads((folder(version) / name).read_text())


def one(row: Row, name: str) -> float:
    (value,) = row.metrics[name]
    return value


def changed(tmp_path: Path, version: str, change: dict[str, Any]) -> Row:
    """The first stage, without its configuration, with other values: dotted name → value."""
    report = load(version)
    for place, value in change.items():
        *above, last = place.split(".")
        node = report
        for key in above:
            node = node[key]
        node[last] = value
    (tmp_path / STAGE).write_text(json.dumps(report))
    (row,) = read(tmp_path / STAGE)
    return row


def test_a_folder_and_a_file_of_it_are_recognised_and_keep_the_contract() -> None:
    paths = [folder(version) for version in (*VERSIONS, "failed")]
    check_importer(OURS["inference-perf"], [folder("0.7") / STAGE, folder("0.1") / SUMMARY])
    assert all(format_of(path) == "inference-perf" for path in [*paths, folder("0.1") / STAGE])
    assert not any(OURS["inference-perf"].recognises(Source(path)) for path in (DATA, DATA / "vllm_sweep"))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_row_for_each_stage_in_seconds_times_1000(version: str) -> None:
    rows = read(folder(version))
    assert len(rows) == (1 if version == "0.5" else 2)
    for number, row in enumerate(rows):
        report = load(version, f"stage_{number}_lifecycle_metrics.json")
        latency, rates = report["successes"]["latency"], report["successes"]["throughput"]
        median = "p50" if version == "0.1" else "median"
        for theirs, ours in (("time_to_first_token", "ttft"), ("request_latency", "e2el")):
            assert one(row, f"{ours}_ms") == one(row, f"median_{ours}_ms") == 1000 * latency[theirs][median]
            assert one(row, f"mean_{ours}_ms") == 1000 * latency[theirs]["mean"]
            assert one(row, f"p90_{ours}_ms") == 1000 * latency[theirs]["p90"]
        assert 10 < one(row, "ttft_ms") < 20 and 72 < one(row, "e2el_ms") < 110
        assert one(row, "request_throughput") == rates["requests_per_sec"]
        assert row.provenance.row == f"stage {number}" and row.provenance.file.endswith(f"stage_{number}_"
                                                                                        "lifecycle_metrics.json")
        assert row.counts is not None and row.counts.requests == report["successes"]["count"]
        assert row.seconds == pytest.approx(report["successes"]["count"] / rates["requests_per_sec"])
        assert row.fields["input_len"] == row.fields["output_len"] == 32


@pytest.mark.parametrize("version", VERSIONS)
def test_no_version_gives_a_tpot_that_is_not_one(version: str) -> None:
    """0.1 and 0.2 write half of it, and so does 0.5 with a tokenizer that begins each text with a token."""
    for row in read(folder(version)):
        if version in {"0.4", "0.7"}:
            computed = (one(row, "mean_e2el_ms") - one(row, "mean_ttft_ms")) / 31
            assert one(row, "mean_tpot_ms") == pytest.approx(computed, rel=0.05) and one(row, "tpot_ms") > 2
            assert one(row, "itl_ms") > 2
            continue
        written = load(version, row.provenance.file.split("/")[1])["successes"]["latency"]["time_per_output_token"]
        assert written["mean"] < 0.0016
        assert not [name for name in row.metrics if "tpot" in name or "itl" in name]
        assert any("left out" in note for note in row.notes)


def test_0_5_counts_twice_the_tokens() -> None:
    (row,), report = read(folder("0.5")), load("0.5")
    assert report["successes"]["output_len"]["mean"] == 64.0 and row.fields["output_len"] == 32
    assert report["successes"]["throughput"]["output_tokens_per_sec"] == pytest.approx(64 * 20 / row.seconds)
    assert {name for name in row.metrics if "throughput" in name} == {"request_throughput"}
    assert row.counts is not None and (row.counts.input_tokens, row.counts.output_tokens) == (640.0, None)


@pytest.mark.parametrize(("version", "tokens"), [("0.1", 32), ("0.2", 32), ("0.4", 32), ("0.7", 32)])
def test_rates_of_tokens(version: str, tokens: int) -> None:
    for row in read(folder(version)):
        assert row.counts is not None and row.counts.requests
        assert one(row, "output_throughput") == pytest.approx(tokens * row.counts.requests / row.seconds)
        assert one(row, "total_token_throughput") == pytest.approx(2 * tokens * row.counts.requests / row.seconds)


def test_rate_or_concurrency_but_not_both() -> None:
    """With a limit of concurrency the tool writes the number of requests as requested_rate."""
    assert load("0.4")["load_summary"]["requested_rate"] == 12.0 == load("0.4")["successes"]["count"]
    assert [row.fields["max_concurrency"] for row in read(folder("0.4"))] == [2, 4]
    assert not any("request_rate" in row.fields for row in read(folder("0.4")))
    assert [row.fields["request_rate"] for row in read(folder("0.7"))] == [10.0, 20.0]
    assert not any("max_concurrency" in row.fields for row in read(folder("0.7")))


def test_settings_of_the_configuration_beside_the_file() -> None:
    expected = {"model": "tiny/model", "backend": "vllm", "ignore_eos": True, "api_type": "completion",
                "streaming": True, "dataset_name": "random", "load_type": "constant"}
    for row in [*read(folder("0.2")), *read(folder("0.2") / "stage_1_lifecycle_metrics.json")]:
        assert {name: row.fields.get(name) for name in expected} == expected
    (first, _), (alone, _) = read(folder("0.7")), read(folder("0.1"))
    assert (first.fields["goodput_ttft_ms"], first.fields["goodput_tpot_ms"]) == (500.0, 100.0)
    assert one(first, "request_goodput") == load("0.7")["successes"]["goodput_metrics"]["request_goodput"]
    assert "model" not in alone.fields and any("config.yaml is not beside" in note for note in alone.notes)


def test_lengths_asked_for_come_before_those_counted(tmp_path: Path) -> None:
    copied = Path(shutil.copytree(folder("0.7"), tmp_path / "run"))
    text = (copied / "config.yaml").read_text()
    (copied / "config.yaml").write_text(text.replace("min: 32", "min: 16", 1))
    assert read(copied)[0].fields["input_len"] == 32  # drawn from 16 to 32, and 32 each by chance
    shared = "  type: shared_prefix\n  shared_prefix: {system_prompt_len: 100, question_len: 50, output_len: 64}\n"
    (copied / "config.yaml").write_text(f"data:\n{shared}load: {{}}\nserver: {{}}\n")
    row = read(copied)[0]
    assert (row.fields["input_len"], row.fields["output_len"]) == (150, 64)
    assert row.counts is not None and row.counts.input_tokens == 320.0
    for broken in ("a: [", "x: 1", "- 1\n", "data: {}\nload: {}\nserver: {}\n"):
        (copied / "config.yaml").write_text(broken)
        assert one(read(copied)[0], "ttft_ms") == one(row, "ttft_ms")


def test_different_lengths_are_no_length(tmp_path: Path) -> None:
    row = changed(tmp_path, "0.7", {"successes.prompt_tokens.min": 30.0})
    assert "input_len" not in row.fields and row.fields["output_len"] == 32


def test_failed_requests() -> None:
    good, bad = read(folder("failed"))
    assert good.metrics and not good.failure
    failed = load("failed", "stage_1_lifecycle_metrics.json")["failures"]["count"]
    assert failed > 0 and bad.failure == f"{failed} of 20 requests failed" and not bad.metrics and bad.seconds > 0.8


def test_a_summary_of_several_stages_is_no_point(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"^summary_lifecycle_metrics\.json report: mixes 2 stages"):
        read(folder("0.2") / SUMMARY)
    # Rates count the pauses between stages: 5.9 requests a second where the stages had 7.5 and 18.4.
    (alone,) = read(folder("0.1") / SUMMARY)
    assert not [name for name in alone.metrics if "throughput" in name] and "ttft_ms" in alone.metrics
    shutil.copy(folder("0.5") / SUMMARY, tmp_path)
    shutil.copy(folder("0.5") / "config.yaml", tmp_path)
    (single,), (stage,) = read(tmp_path), read(folder("0.5"))
    assert single.metrics == stage.metrics and single.fields == stage.fields


def test_gaps_of_0_are_chunks_of_several_tokens(tmp_path: Path) -> None:
    row = changed(tmp_path, "0.7", {"successes.latency.inter_token_latency.min": 0.0})
    assert not [name for name in row.metrics if "itl" in name] and "tpot_ms" in row.metrics


def test_without_streaming_there_is_no_first_token(tmp_path: Path) -> None:
    names = ("time_to_first_token", "time_per_output_token", "inter_token_latency")
    row = changed(tmp_path, "0.7", {f"successes.latency.{name}": None for name in names})
    assert {name.split("_")[-2] for name in row.metrics if name.endswith("_ms")} == {"e2el"}


def test_files_that_are_no_point_are_refused_by_name(tmp_path: Path) -> None:
    requests = [{"start_time": 1.0, "end_time": 2.0, "request": "", "response": "", "info": {}, "error": None}]
    (tmp_path / "per_request_lifecycle_metrics.json").write_text(json.dumps(requests))
    with pytest.raises(StudyError, match="lists single requests; name the folder"):
        read(tmp_path / "per_request_lifecycle_metrics.json")
    adapter = tmp_path / "adapter_a_stage_0_lifecycle_metrics.json"
    shutil.copy(folder("0.7") / STAGE, adapter)
    with pytest.raises(StudyError, match="one LoRA adapter only"):
        read(adapter)
    with pytest.raises(StudyError, match=r"holds no stage_N_lifecycle_metrics\.json"):
        read(tmp_path)
    prometheus = {"load_summary": {}, "successes": {"count": 3, "rate": 1.0}, "failures": {}}
    (tmp_path / "stage_0_prometheus_metrics.json").write_text(json.dumps(prometheus))
    assert not OURS["inference-perf"].recognises(Source(tmp_path / "stage_0_prometheus_metrics.json"))


def test_the_tenth_stage_comes_after_the_second(tmp_path: Path) -> None:
    for number in (10, 2):
        shutil.copy(folder("0.7") / STAGE, tmp_path / f"run-a-stage_{number}_lifecycle_metrics.json")
    assert [row.provenance.row for row in read(tmp_path)] == ["stage 2", "stage 10"]
