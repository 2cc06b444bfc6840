"""InferenceX's aggregated results, written by its own process_result.py from tests/data/importers/vllm_serve.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from planner.importers.registry import OURS, format_of
from planner.importers.rows import Row
from planner.space.types import StudyError

DATA = Path(__file__).parents[1] / "data/importers"
FILES = sorted(DATA.glob("inferencex_*.json"))
RATES = ("output_throughput", "total_token_throughput")


def read(path: Path) -> list[Row]:
    return OURS["inferencex"].read(path, path.name, {}, {})


def load(name: str) -> Any:
    return json.loads((DATA / name).read_text())


def changed(tmp_path: Path, name: str, change: dict[str, Any], without: tuple[str, ...] = ()) -> Row:
    record = {key: value for key, value in {**load(name), **change}.items() if key not in without}
    (tmp_path / "agg.json").write_text(json.dumps(record))
    (row,) = read(tmp_path / "agg.json")
    return row


def test_a_file_says_itself_what_wrote_it() -> None:
    assert len(FILES) == 5 and all(format_of(path) == "inferencex" for path in FILES)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_whatever_it_was_divided_by_the_figures_of_vllms_file_come_back(path: Path) -> None:
    """One benchmark's file went into all of these, with 4 to 28 GPUs."""
    (original,) = OURS["vllm-bench"].read(DATA / "vllm_serve.json", "v", {}, {})
    for row in read(path):
        rates = RATES if "output_tput_per_gpu" in row.others else RATES[1:]
        assert {name for name in row.metrics if "throughput" in name} == set(rates)
        for name, (value,) in row.metrics.items():
            assert value == pytest.approx(original.metrics[name][0], rel=1e-9), name
        latencies = {name for name in original.metrics if name.endswith("_ms")}
        assert latencies <= row.metrics.keys()
    assert load("vllm_serve.json")["output_throughput"] == pytest.approx(268.852, rel=1e-5)


def test_the_number_of_gpus() -> None:
    (first,), (older,), (old,), (new,) = (read(DATA / f"inferencex_{name}.json") for name in (
        "2025_08", "2025_11_disagg", "2025_12_disagg", "2026_08"))
    assert [row.accelerators for row in (first, older, old, new)] == [4, 12, 28, 8]  # the last: tp 4 × pp 2
    assert (first.fields["tensor_parallel_size"], new.fields["tensor_parallel_size"]) == (4, 4)
    # `tp` of the older is the number of all GPUs, and no size of tensor parallelism.
    assert load("inferencex_2025_11_disagg.json")["tp"] == 12
    assert not {"tensor_parallel_size", "tp"} & {*older.fields, *older.others}
    single, nodes, apart = read(DATA / "inferencex_collected.json")
    assert [row.accelerators for row in (single, nodes, apart)] == [8, 16, 28]
    assert nodes.fields["num_decode_gpu"] == 0 and nodes.fields["disagg"] is False


def test_settings_by_vllms_names() -> None:
    (row,) = read(DATA / "inferencex_2026_08.json")
    assert row.fields == {
        "hw": "h200", "max_concurrency": 2, "image": "vllm/vllm-openai:v0.32.0", "model": "tiny", "framework": "vllm",
        "precision": "fp8", "spec_decoding": "none", "disagg": False, "input_len": 32, "output_len": 8,
        "tensor_parallel_size": 4, "pipeline_parallel_size": 2, "decode_context_parallel_size": 1,
        "prefill_context_parallel_size": 1, "expert_parallel_size": 4, "dp_attention": "true"}
    assert {"tput_per_gpu", "median_intvty", "recipe_fingerprint"} <= row.others.keys()
    assert row.seconds == 0 and any("nominal" in note for note in row.notes)
    apart = read(DATA / "inferencex_collected.json")[2]
    assert (apart.fields["router_name"], apart.fields["decode_hw"], apart.fields["decode_tp"]) == ("dynamo", "h100", 8)


def test_gpus_that_the_file_does_not_count(tmp_path: Path) -> None:
    """For two weeks of November 2025 results were divided by prefill and decode GPUs without saying their numbers."""
    row = changed(tmp_path, "inferencex_2025_11_disagg.json", {}, ("num_prefill_gpu", "num_decode_gpu", "disagg"))
    assert not [name for name in row.metrics if "throughput" in name] and "ttft_ms" in row.metrics
    assert any("do not make tput_per_gpu" in note for note in row.notes)
    unknown = changed(tmp_path, "inferencex_2025_08.json", {"tp": "four"})
    assert not [name for name in unknown.metrics if "throughput" in name] and unknown.accelerators is None


@pytest.mark.parametrize("key", ["input_tput_per_gpu", "output_tput_per_gpu", "tput_per_gpu"])
def test_rates_that_contradict_each_other_are_left_out(tmp_path: Path, key: str) -> None:
    value = load("inferencex_2025_12_disagg.json")[key]
    row = changed(tmp_path, "inferencex_2025_12_disagg.json", {key: 1.01 * value})
    assert not [name for name in row.metrics if "throughput" in name]


def test_answers_that_were_not_streamed(tmp_path: Path) -> None:
    row = changed(tmp_path, "inferencex_2026_08.json", {"mean_itl": 0.0, "median_itl": 0.0, "median_tpot": 1e-9})
    assert not [name for name in row.metrics if "ttft" in name or "tpot" in name or "itl" in name]
    assert "e2el_ms" in row.metrics


def test_results_of_agents_are_refused_by_name_or_left_out(tmp_path: Path) -> None:
    agents = {"hw": "b200", "conc": 8, "model": "m", "scenario_type": "agentic-coding", "request_metrics": {}}
    (tmp_path / "agg.json").write_text(json.dumps([agents]))
    assert format_of(tmp_path / "agg.json") == "inferencex"
    with pytest.raises(StudyError, match=r"^agg\.json: holds only results of agents \(agentic-coding\)"):
        read(tmp_path / "agg.json")
    (tmp_path / "agg.json").write_text(json.dumps([agents, load("inferencex_2026_08.json")]))
    (row,) = read(tmp_path / "agg.json")
    assert row.provenance.row == "result 2" and any("results of agents" in note for note in row.notes)
    (tmp_path / "agg.json").write_text(json.dumps([load("inferencex_2026_08.json"), {"x": 1}]))
    with pytest.raises(StudyError, match=r"^agg\.json result 2: is not an aggregated result"):
        read(tmp_path / "agg.json")
