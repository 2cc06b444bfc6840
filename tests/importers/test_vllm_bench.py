"""Results of vLLM's benchmarks from 2024 on: figures computed by hand from the samples (tests/data/importers)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from planner.importers.importer import Source
from planner.importers.registry import OURS, format_of
from planner.importers.rows import Counts, Row
from planner.importers.vllm_arguments import ARGUMENTS, ASIDE
from planner.space.types import StudyError, Value

DATA = Path(__file__).parents[1] / "data/importers"
SERVE = json.loads((DATA / "vllm_serve.json").read_text())
LATER = {"request_rate": "inf", "max_concurrency": 2, "model": "tiny", "input_len": 32, "output_len": 8}


def read(name: str, known: dict[str, Value] | None = None) -> list[Row]:
    return OURS["vllm-bench"].read(DATA / name, name, known or {}, {})


def changed(folder: Path, change: dict[str, Any], without: tuple[str, ...] = ()) -> Row:
    """The row of vllm_serve.json with some keys changed, or taken out."""
    record = {key: value for key, value in {**SERVE, **change}.items() if key not in without}
    (folder / "changed.json").write_text(json.dumps(record))
    (row,) = OURS["vllm-bench"].read(folder / "changed.json", "changed.json", {}, {})
    return row


def only(row: Row, *names: str) -> dict[str, float]:
    return {name: row.metrics[name][0] for name in names}


# --------------------------------------------------------------------------------------------------- names over time


def test_january_2024() -> None:
    """request_inthroughput is the rate of requests; total_token_throughput was still two figures."""
    assert format_of(DATA / "vllm_serve_2024_01.json") == "vllm-bench"
    (row,) = read("vllm_serve_2024_01.json")
    assert only(row, "request_throughput", "output_throughput", "total_token_throughput", "ttft_ms", "tpot_ms",
                "mean_ttft_ms") == {"request_throughput": 8, "output_throughput": 64, "total_token_throughput": 322,
                                    "ttft_ms": 40, "tpot_ms": 10.5, "mean_ttft_ms": 45}
    assert "request_inthroughput" not in {**row.fields, **row.others} and row.others["input_throughput"] == 258
    # 129 input tokens of 4 requests are no length; one sequence and no beam search need not be said.
    assert row.fields == {"request_rate": "inf", "model": "facebook/opt-125m", "output_len": 8, "version": "0.2.7"}
    assert row.provenance.version == "0.2.7"
    assert row.counts == Counts(0.5, 4, 129, 32) and row.seconds == 0.5


def test_goodput_under_a_name_with_a_colon() -> None:
    slow, fast = read("vllm_serve_2024_11.json")
    assert slow.metrics["request_goodput"] == (pytest.approx(8 / 3),)
    assert fast.metrics["request_goodput"] == (0.0,)  # that no request was good is a figure
    assert not any("goodput" in name for row in (slow, fast) for name in (*row.fields, *row.others))
    assert slow.fields == {"gpu": "L4", "request_rate": 4.0, "model": "facebook/opt-125m", "input_len": 16,
                           "output_len": 4}
    assert only(slow, "ttft_ms", "tpot_ms", "itl_ms") == {"ttft_ms": 25, "tpot_ms": 11, "itl_ms": 11}
    assert slow.others["burstiness"] == 1.0  # a Poisson process, as in files that do not say it


def test_metadata_of_a_real_client() -> None:
    (row,) = read("vllm_serve_metadata.json")
    assert row.fields == {"gpu": "H100", "compile": "true", "request_rate": 40.0, "burstiness": 0.5, "model": "tiny",
                          "tensor_parallel_size": "2", "input_len": 32, "output_len": 8}
    assert row.accelerators == 2
    assert row.others["run_id"] == "a17" and row.others["tp"] == "2" and row.others["num_prompts"] == 6
    assert row.metrics["request_goodput"] == row.metrics["request_throughput"] == (28.026834741483434,)
    assert row.counts == Counts(0.2140805429989996, 6, 192, 48)


def test_a_ramp_is_a_setting_and_a_prefix_part_of_the_prompt() -> None:
    (row,) = read("vllm_serve_ramp_up.json")
    assert row.fields == {"random_prefix_len": "8", "request_rate": "inf", "ramp_up_strategy": "linear",
                          "ramp_up_start_rps": 10, "ramp_up_end_rps": 40, "model": "tiny", "input_len": 32,
                          "output_len": 4}
    assert row.counts is not None and row.counts.input_tokens == 4 * 32  # which 24 + 8 must be


def test_a_pooling_model_has_no_output() -> None:
    (row,) = read("vllm_serve_pooling.json")
    assert row.fields == {"backend": "openai-embeddings", "request_rate": "inf", "max_concurrency": 2,
                          "model": "tiny", "input_len": 32}
    assert only(row, "request_throughput", "total_token_throughput", "e2el_ms") == {
        "request_throughput": 66.7652488918012, "total_token_throughput": 2136.4879645376386,
        "e2el_ms": 29.666937500223867}
    assert row.counts == Counts(0.05991140700280084, 4, 128, None)


def test_the_rust_client() -> None:
    assert format_of(DATA / "vllm_rust.json") == "vllm-bench"
    (row,) = read("vllm_rust.json")
    assert row.fields == {"max_model_len": 4096, "hardware": "H200", "request_rate": "inf", "max_concurrency": 4,
                          "model": "Qwen/Qwen3-0.6B", "input_len": 128, "output_len": 8}
    assert only(row, "ttft_ms", "tpot_ms", "output_throughput") == {
        "ttft_ms": 23, "tpot_ms": 6, "output_throughput": 128}
    # Its steady-state window is there for --map, and is no metric by itself.
    assert row.others["steady_state_output_throughput"] == 106.7 and "window" not in str(row.metrics)
    (turns,) = read("vllm_rust_multi_turn.json")
    assert turns.fields == {"mode": "multi_turn", "turns_per_conversation": 2, "max_concurrency": 2,
                            "inter_turn_delay_ms": 100, "model": "Qwen/Qwen3-0.6B"}
    assert turns.others["multi_turn_concurrency"] == 2 and turns.others["num_conversations"] == 2
    assert "input_len" not in turns.fields  # prompts grow: 200 tokens are a mean, and no length
    assert only(turns, "ttft_ms", "request_throughput") == {"ttft_ms": 24, "request_throughput": 10}


def test_offline_throughput_counts_its_requests() -> None:
    (row,) = read("vllm_throughput.json")
    assert row.counts == Counts(0.05501263100086362, 8)
    assert row.fields == {"model": "model"} and row.others["total_num_tokens"] == 320


# ------------------------------------------------------------------------------------------------ forks and settings


def test_times_in_seconds_have_no_meaning_of_their_own(tmp_path: Path) -> None:
    """InferenceX's fork of vLLM's benchmark (the figures of a real result)."""
    times = tuple(key for key in SERVE if key.endswith("_ms"))
    row = changed(tmp_path, {"median_ttft": 3.13824, "median_tpot": 0.14105, "input_throughput": 7633.28,
                             "good_completed": None}, times)
    assert row.fields == LATER and not any("ttft" in name or "tpot" in name for name in row.metrics)
    assert (row.others["median_ttft"], row.others["median_tpot"]) == (3.13824, 0.14105)
    assert row.others["input_throughput"] == 7633.28


@pytest.mark.parametrize(("given", "fields"), [
    ({"dtype": "bfloat16"}, {"dtype": "bfloat16"}), ({"max-num-seqs": 64}, {"max_num_seqs": 64}),
    ({"gpu": "007"}, {"gpu": "007"}), ({"enforce_eager": True}, {"enforce_eager": True}),
    ({"disagg": False}, {"disagg": False}), ({"compilation_config.mode": 3}, {"compilation_config.mode": 3}),
    ({"burstiness": 2.0}, {"burstiness": 2.0}), ({"backend": "sglang"}, {"backend": "sglang"}),
    ({"backend": "vllm"}, {}), ({"accept_length": 2.5}, {}), ({"label": "friday"}, {}), ({"job_id": "x"}, {}),
    ({"seed": 3}, {}), ({"end_time": "noon"}, {}), ({"concurrency": 1.9}, {}), ({"nothing": None}, {}),
    ({"per_gpu": float("nan")}, {}), ({"pp": 2}, {"pipeline_parallel_size": 2}),
    ({"dp": 4, "data_parallel_size": 8}, {"data_parallel_size": 8}),
    ({"max_concurrency": None, "request_rate": 2.0}, {"request_rate": 2.0, "max_concurrency": None}),
    ({"random_output_len": 8, "temperature": 0.7}, {"temperature": 0.7}),
    ({"prefix_repetition_prefix_len": 20, "prefix_repetition_suffix_len": 12},
     {"prefix_repetition_prefix_len": 20, "prefix_repetition_suffix_len": 12}),
])
def test_what_is_a_setting(tmp_path: Path, given: dict[str, Any], fields: dict[str, Any]) -> None:
    row = changed(tmp_path, given)
    assert row.fields == {name: value for name, value in {**LATER, **fields}.items() if value is not None}
    for key, value in given.items():  # nothing is lost
        name = key.replace("-", "_")
        assert value is None or name in row.fields or key in row.others, key


def test_a_number_that_nobody_knows_may_differ_between_files(tmp_path: Path) -> None:
    one, two = (changed(tmp_path, {"accept_length": length, "num_prompts": 6}) for length in (2.5, 3.5))
    assert one.fields == two.fields and one.others["accept_length"] != two.others["accept_length"]


def test_arguments_are_of_vllm_itself() -> None:
    """Each kind and version of argument has its example; none is a key that results have for something else."""
    assert {"max_num_seqs", "tensor_parallel_size", "kv_cache_dtype", "num_scheduler_steps", "speculative_model",
            "api_server_count", "random_input_len", "ramp_up_end_rps", "turns_per_conversation"} <= ARGUMENTS
    assert not ARGUMENTS & ASIDE
    assert not ARGUMENTS & (set(SERVE) - {"request_rate", "burstiness", "max_concurrency", "backend"})


@pytest.mark.engine
def test_the_installed_vllm_knows_no_newer_arguments_of_numbers() -> None:
    """A number under a name that we do not know would be no setting."""
    vllm = pytest.importorskip("vllm.benchmarks.serve")
    from vllm.utils.argparse_utils import FlexibleArgumentParser
    parser = FlexibleArgumentParser()
    vllm.add_cli_args(parser)
    numbers = {action.dest for action in parser._actions if action.type in {int, float}}
    assert numbers and numbers <= ARGUMENTS | ASIDE


# --------------------------------------------------------------------------------------- what cannot be, or is missing


def test_a_median_of_zero_is_undefined_even_where_the_mean_is_not(tmp_path: Path) -> None:
    """A real run of SGLang: nothing was streamed, so that most requests had no time for a token."""
    row = changed(tmp_path, {"mean_tpot_ms": 1.76, "median_tpot_ms": -0.0, "p99_tpot_ms": 28.33})
    assert not [name for name in row.metrics if "tpot" in name] and "ttft_ms" in row.metrics
    assert row.notes[1] == "median_tpot_ms is -0.0, mean_tpot_ms 1.76: tpot, which is undefined then, is left out"


@pytest.mark.parametrize("wrong", [-1, float("nan"), "n/a", True])
def test_an_impossible_figure_costs_a_note(tmp_path: Path, wrong: Any) -> None:
    row = changed(tmp_path, {"p99_ttft_ms": wrong, "output_throughput": wrong, "duration": wrong})
    assert "p99_ttft_ms" not in row.metrics and "output_throughput" not in row.metrics
    assert row.metrics["ttft_ms"] == (SERVE["median_ttft_ms"],)
    assert row.seconds == 0 and row.counts is not None and row.counts.duration_s is None
    assert [note.partition(" ")[0] for note in row.notes[1:]] == ["duration", "output_throughput", "p99_ttft_ms"]


def test_a_median_may_be_called_p50(tmp_path: Path) -> None:
    row = changed(tmp_path, {}, ("median_ttft_ms",))
    assert row.metrics["ttft_ms"] == row.metrics["p50_ttft_ms"] == (SERVE["p50_ttft_ms"],)


def test_a_file_without_any_figure_is_refused(tmp_path: Path) -> None:
    rates = ("output_throughput", "total_token_throughput")
    times = tuple(key for key in SERVE if key.endswith("_ms"))
    with pytest.raises(StudyError, match=r"changed\.json result 1: has no figure .*request_throughput is -1"):
        changed(tmp_path, {"request_throughput": -1}, times + rates)


@pytest.mark.parametrize(("change", "without", "reason"), [
    ({"failed": 2, "completed": 4}, (), "2 of 6 requests failed"),
    ({"completed": 4}, ("failed",), "2 of 6 requests failed"),
    ({"errors": ["", "", "timed out", "", "", ""], "completed": 5}, ("failed",), "1 of 6 requests failed"),
    ({"completed": 5, "errors": [""] * 5}, ("failed",), ""),  # the data set had no more than five
    ({"completed": 6}, ("failed", "num_prompts"), ""),
])
def test_failed_requests(tmp_path: Path, change: dict[str, Any], without: tuple[str, ...], reason: str) -> None:
    row = changed(tmp_path, change, without)
    assert row.failure == reason and bool(row.metrics) != bool(reason)


def test_the_number_of_devices(tmp_path: Path) -> None:
    for key in ("num_gpus", "gpu_count"):
        row = changed(tmp_path, {key: 8, "tensor_parallel_size": 4})
        assert row.accelerators == 8 and row.fields["tensor_parallel_size"] == 4 and key not in row.fields
    assert changed(tmp_path, {"tensor_parallel_size": 4}).accelerators is None
    odd = changed(tmp_path, {"num_gpus": "many"})
    assert odd.accelerators is None and "num_gpus is no number of devices: left out" in odd.notes


def test_what_the_user_says_does_not_replace_what_the_file_says(tmp_path: Path) -> None:
    (row,) = read("vllm_serve.json", {"max_concurrency": 64, "input_len": 1, "gpu": "A100"})
    assert row.fields["max_concurrency"] == 2 and row.fields["input_len"] == 32
    record = {**json.loads((DATA / "vllm_latency.json").read_text()), "batch_size": 2}
    (tmp_path / "l.json").write_text(json.dumps(record))
    (one,) = OURS["vllm-bench"].read(tmp_path / "l.json", "l", {"batch_size": 4}, {})
    assert one.metrics["request_throughput"] == tuple(2 / s for s in record["latencies"])


def test_other_files_are_not_recognised(tmp_path: Path) -> None:
    for content in ({"duration": 1, "completed": 2}, {"latencies": []}, [], {"elapsed_time": 1}):
        (tmp_path / "other.json").write_text(json.dumps(content))
        assert not OURS["vllm-bench"].recognises(Source(tmp_path / "other.json"))
