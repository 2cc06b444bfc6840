"""Optimum-Benchmark, on files that five of its versions wrote (tests/data/importers/README.md says how): three
batches of 2 requests, 16 tokens in and 8 out."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from planner.importers.importer import Source
from planner.importers.registry import OURS, format_of
from planner.importers.rows import Row
from planner.space.types import StudyError, Value

DATA = Path(__file__).parents[1] / "data/importers"
OLDER = ("0_2_0", "0_3_0", "0_4_0", "0_5_0")
REPORT = DATA / "optimum_0_6_0/benchmark_report.json"
CONFIG = DATA / "optimum_0_6_0/benchmark_config.json"


def read(path: Path, known: Mapping[str, Value] | None = None) -> list[Row]:
    return OURS["optimum-benchmark"].read(path, str(path), known or {}, {})


def load(version: str) -> dict[str, Any]:
    if version == "0_6_0":
        return {"config": json.loads(CONFIG.read_text()), "report": json.loads(REPORT.read_text())}
    found: dict[str, Any] = json.loads((DATA / f"optimum_{version}/benchmark.json").read_text())
    return found


def written(tmp_path: Path, result: Mapping[str, Any]) -> Row:
    (tmp_path / "benchmark.json").write_text(json.dumps(result))
    (row,) = read(tmp_path / "benchmark.json")
    return row


def latency(values: list[float]) -> dict[str, Any]:
    return {"memory": None, "throughput": None, "energy": None, "efficiency": None,
            "latency": {"unit": "s", "values": values, "count": len(values)}}


@pytest.mark.parametrize("version", [*OLDER, "0_6_0"])
def test_repeats_are_batches(version: str) -> None:
    """Time to the first token, time for each of the other 7, and both together; rates are those of the batch."""
    report = load(version)["report"]
    (row,) = read(DATA / f"optimum_{version}")
    prefill, decode = (np.array(report[target]["latency"]["values"]) for target in ("prefill", "decode"))
    whole = prefill + decode
    assert row.metrics["batch_ttft_ms"] == pytest.approx(1000 * prefill)
    assert row.metrics["tpot_ms"] == pytest.approx(1000 * decode / 7)
    assert row.metrics["e2el_ms"] == pytest.approx(1000 * whole)
    assert row.metrics["request_throughput"] == pytest.approx(2 / whole)
    assert row.metrics["output_throughput"] == pytest.approx(2 * 8 / whole)
    assert row.metrics["total_token_throughput"] == pytest.approx(2 * 24 / whole)
    assert len(prefill) == 3 and "ttft_ms" not in row.metrics
    assert (row.fields["batch_size"], row.fields["input_len"], row.fields["output_len"]) == (2, 16, 8)
    assert row.provenance.version == version.replace("_", ".")


def test_what_0_6_writes_as_generate() -> None:
    """Its own time of both phases is the sum; its throughput is tokens of decode, called samples."""
    (row,) = read(REPORT)
    assert row.metrics["e2el_ms"] == pytest.approx([210.51191299920902, 160.68156199980876, 58.13748500077054])
    assert row.others["generate_throughput_unit"] == "samples/s"
    assert row.others["generate_throughput_value"] == pytest.approx(2 * 7 / 0.14311, rel=1e-3)
    assert np.mean(row.metrics["request_throughput"]) < 20
    assert row.start_s == pytest.approx(0.24921125) and row.seconds == pytest.approx(0.42933096 + 0.24609288)


@pytest.mark.parametrize(("version", "gaps"), [("0_2_0", 18), ("0_3_0", 18), ("0_4_0", 21), ("0_5_0", 21),
                                               ("0_6_0", 21)])
def test_gaps_between_runs_are_no_gaps_between_tokens(version: str, gaps: int) -> None:
    """All gaps of a run are its decode, less what comes after the last token; 0.2 and 0.3 leave out the first one."""
    report = load(version)["report"]
    (row,) = read(DATA / f"optimum_{version}")
    decode = 1000 * sum(report["decode"]["latency"]["values"])
    total = row.metrics["mean_itl_ms"][0] * gaps
    assert 0.97 * decode * gaps / 21 < total < decode if gaps == 21 else total < decode
    untouched = 1000 * sum(report["per_token"]["latency"]["values"])
    assert (untouched > total) == (version != "0_4_0")
    if version in {"0_5_0", "0_6_0"}:
        assert len(report["per_token"]["latency"]["values"]) == 45 and untouched > 1.5 * decode


def test_settings_and_what_has_no_meaning() -> None:
    (row,) = read(DATA / "optimum_0_6_0")
    assert row.fields == {"backend": "pytorch", "model": "tiny", "device": "cpu", "dtype": "float32", "eval_mode": True,
                          "torch_compile_target": "forward", "batch_size": 2, "input_len": 16, "output_len": 8}
    assert row.others["torch_compile"] is False and row.others["decode_memory_max_ram"] == pytest.approx(449.875968)
    assert row.others["warmup_runs"] == 1 and row.accelerators is None
    for version in OLDER:  # no version knows a setting that another lacks, unless it is on
        assert read(DATA / f"optimum_{version}")[0].fields == row.fields


def test_vllm_is_measured_in_two_parts(tmp_path: Path) -> None:
    """Decode is generate less the mean prefill there: the sum is generate again. Its arguments are vLLM's."""
    result = {"config": copy.deepcopy(load("0_5_0")["config"]), "report": {
        "load_model": latency([30.0]), "prefill": latency([0.1, 0.3]), "decode": latency([1.4, 1.8, 2.2])}}
    result["config"]["backend"] = {"name": "vllm", "model": "m", "device": "cuda", "device_ids": "0,1", "engine_args": {
        "tensor_parallel_size": 2, "enforce_eager": False}}
    row = written(tmp_path, result)
    assert row.metrics["e2el_ms"] == pytest.approx((1600.0, 2000.0, 2400.0))
    assert row.metrics["tpot_ms"] == pytest.approx((200.0, 1800 / 7, 2200 / 7))
    assert row.metrics["batch_ttft_ms"] == pytest.approx((100.0, 300.0))
    assert row.seconds == pytest.approx(0.4 + 6.0) and row.start_s == 30.0
    assert row.fields["tensor_parallel_size"] == 2 and row.others["enforce_eager"] is False
    assert row.accelerators is None and any("device_ids names 2" in note for note in row.notes)
    result["report"]["generate"] = latency([1.7, 1.9, 2.4])
    assert written(tmp_path, result).metrics["e2el_ms"] == pytest.approx((1700.0, 1900.0, 2400.0))


def test_the_slowest_process_is_the_batchs(tmp_path: Path) -> None:
    """Two processes, two runs each: the values of one process come after those of the other."""
    result = copy.deepcopy(load("0_5_0"))
    result["config"]["launcher"] = {"name": "torchrun", "nproc_per_node": 2}
    result["config"]["backend"] |= {"device": "cuda", "device_ids": "0,1"}
    result["report"] |= {"prefill": latency([0.1, 0.2, 0.3, 0.1]), "decode": latency([0.7, 0.7, 0.7, 1.4])}
    row = written(tmp_path, result)
    assert row.metrics["batch_ttft_ms"] == pytest.approx((300.0, 200.0))
    assert row.metrics["e2el_ms"] == pytest.approx((1000.0, 1500.0))
    assert row.metrics["tpot_ms"] == pytest.approx((100.0, 1300 / 7))
    assert row.metrics["output_throughput"] == pytest.approx((16.0, 16 / 1.5))
    assert row.accelerators == 2.0 and row.seconds == pytest.approx(2.5) and "itl_ms" not in row.metrics
    result["report"] |= {"prefill": latency([0.1, 0.2, 0.3]), "decode": latency([0.7, 0.7, 0.7])}
    with pytest.raises(StudyError, match="3 values are not those of 2 processes"):
        written(tmp_path, result)


@pytest.mark.parametrize(("backend", "count"), [
    ({"name": "pytorch", "device_ids": "3"}, 1), ({"name": "vllm", "device_ids": "0"}, 1),
    ({"name": "pytorch", "device_ids": "0,1,2,3"}, 1),
    ({"name": "pytorch", "device_ids": "0,1", "device_map": "auto"}, 2),
    ({"name": "pytorch", "device_ids": "0,1,2", "tp_plan": "auto"}, 3), ({"name": "vllm", "device_ids": "0,1"}, None),
    ({"name": "pytorch", "device": "cpu", "device_ids": None}, None),
])
def test_accelerators_are_those_that_were_used(tmp_path: Path, backend: dict[str, Any], count: int | None) -> None:
    """device_ids are all GPUs of the machine where the user said nothing; PyTorch alone takes one of them."""
    result = copy.deepcopy(load("0_5_0"))
    result["config"]["backend"] |= {"device": "cuda", **backend}
    result["config"]["environment"]["gpu_count"] = 8
    row = written(tmp_path, result)
    assert row.accelerators == count and row.others["environment_gpu_count"] == 8


def test_a_report_without_its_settings(tmp_path: Path) -> None:
    shutil.copy(REPORT, tmp_path)
    (row,) = read(tmp_path)
    assert row.fields == {} and set(row.metrics) == {"batch_ttft_ms", "e2el_ms"}
    assert any("benchmark_config.json" in note for note in row.notes) and any("batch_size" in n for n in row.notes)
    (said,) = read(tmp_path, {"batch_size": 2, "input_len": 16, "output_len": 8})
    assert said.metrics == read(REPORT)[0].metrics
    assert said.provenance.identity == row.provenance.identity == read(REPORT)[0].provenance.identity
    shutil.copy(CONFIG, tmp_path)
    (whole,) = read(tmp_path, {"output_len": 4})  # the file wins
    assert whole.metrics == said.metrics and whole.fields["output_len"] == 8


def test_the_older_configuration(tmp_path: Path) -> None:
    """experiment_config.json calls the scenario benchmark."""
    config = load("0_2_0")["config"]
    config["benchmark"], config["experiment_name"] = config.pop("scenario"), config.pop("name")
    (tmp_path / "experiment_config.json").write_text(json.dumps(config))
    (tmp_path / "benchmark_report.json").write_text(json.dumps(load("0_2_0")["report"]))
    (row,), (same,) = read(tmp_path), read(DATA / "optimum_0_2_0")
    assert (row.fields, row.metrics) == (same.fields, same.metrics)
    assert row.provenance.identity == same.provenance.identity


def test_number_of_tokens(tmp_path: Path) -> None:
    result = copy.deepcopy(load("0_5_0"))
    result["config"]["scenario"]["generate_kwargs"] = {}
    row = written(tmp_path, result)
    assert row.fields["output_len"] == 100 and any("default, 100" in note for note in row.notes)
    decode = result["report"]["decode"]["latency"]["values"]
    assert row.metrics["tpot_ms"] == pytest.approx([1000 * value / 99 for value in decode])
    assert "itl_ms" not in row.metrics  # 45 gaps are not those of 100 tokens
    result["config"]["scenario"]["generate_kwargs"] = {"max_new_tokens": 1, "num_beams": 4, "num_return_sequences": 2}
    row = written(tmp_path, result)
    assert "tpot_ms" not in row.metrics and "output_throughput" not in row.metrics
    assert row.fields["num_beams"] == 4 and "request_throughput" in row.metrics


def test_a_forward_pass(tmp_path: Path) -> None:
    result = copy.deepcopy(load("0_5_0"))
    result["report"] = {"load_model": latency([2.0]), "forward": latency([0.5, 0.4])}
    row = written(tmp_path, result)
    assert row.metrics == {"e2el_ms": (500.0, 400.0), "request_throughput": (4.0, 5.0)}
    assert row.seconds == pytest.approx(0.9) and "output_len" not in row.fields


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    result = copy.deepcopy(load("0_5_0"))
    for report, words in (({"train": latency([1.0])}, "has no latency of generation"),
                          ({"prefill": latency([1.0]), "decode": latency([1.0, 2.0]), "per_token": latency([1.0])},
                           "prefill has 1 values and decode 2"),
                          ({"prefill": latency([-1.0]), "decode": latency([1.0])}, "which is impossible")):
        with pytest.raises(StudyError, match=words):
            written(tmp_path, result | {"report": report})
    minutes = copy.deepcopy(result)
    minutes["report"]["decode"]["latency"]["unit"] = "min"
    with pytest.raises(StudyError, match="not a latency in seconds"):
        written(tmp_path, minutes)


def test_files_of_others_are_not_taken(tmp_path: Path) -> None:
    assert format_of(DATA / "optimum_0_6_0") == format_of(REPORT) == "optimum-benchmark"
    ours = OURS["optimum-benchmark"]
    assert not ours.recognises(Source(CONFIG))
    (tmp_path / "benchmark.json").write_text('{"config": {}, "report": {"a": {"latency": 1}}}')
    assert not ours.recognises(Source(tmp_path)) and not ours.recognises(Source(tmp_path / "benchmark.json"))
    with pytest.raises(StudyError, match=r"holds no benchmark\.json or benchmark_report\.json"):
        read(tmp_path)


def test_a_folder_of_folders(tmp_path: Path) -> None:
    """A whole result stands for the report beside it."""
    shutil.copytree(DATA / "optimum_0_6_0", tmp_path / "a/1")
    shutil.copytree(DATA / "optimum_0_5_0", tmp_path / "a/2")
    (tmp_path / "a/2/benchmark_report.json").write_text(json.dumps(load("0_5_0")["report"]))
    assert len(read(tmp_path)) == 2
