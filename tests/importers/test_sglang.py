"""SGLang's result lines, written by its own bench_serving (tests/data/importers/README.md says how)."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import pytest

from planner.importers.importer import Source
from planner.importers.registry import OURS, format_of
from planner.importers.rows import Row
from planner.space.types import StudyError

DATA = Path(__file__).parents[1] / "data/importers"
FILES = sorted(DATA.glob("sglang_*.jsonl"))


def lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / name).read_text().splitlines()]


def read(path: Path) -> list[Row]:
    return OURS["sglang"].read(path, path.name, {}, {})


def changed(tmp_path: Path, name: str, change: dict[str, Any], without: tuple[str, ...] = ()) -> Row:
    """The first line of a file with other values."""
    record = {key: value for key, value in {**lines(name)[0], **change}.items() if key not in without}
    (tmp_path / "changed.jsonl").write_text(json.dumps(record))
    (row,) = read(tmp_path / "changed.jsonl")
    return row


def one(row: Row, name: str) -> float:
    (value,) = row.metrics[name]
    return value


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_it_is_asked_before_the_reader_of_vllms_files(path: Path) -> None:
    assert format_of(path) == "sglang"


def test_files_of_vllm_are_not_taken() -> None:
    for path in sorted(DATA.glob("vllm_*.json")):
        assert not OURS["sglang"].recognises(Source(path)), path.name


def test_latencies_by_each_request() -> None:
    """Milliseconds in vLLM's sense, recomputed from the seconds that --output-details lists."""
    failed, row = read(DATA / "sglang_details.jsonl")
    record = lines("sglang_details.jsonl")[1]
    first = record["ttfts"]
    assert row.metrics["ttft_ms"] == (pytest.approx(1000 * statistics.median(first)),)
    assert one(row, "mean_ttft_ms") == pytest.approx(1000 * statistics.mean(first))
    gaps = [gap for request in record["itls"] for gap in request]
    assert one(row, "itl_ms") == pytest.approx(1000 * statistics.median(gaps))
    assert len(gaps) == 8 * 7
    # A latency ends with the closing message, a little after the last token.
    whole = statistics.mean(begin + sum(request) for begin, request in zip(first, record["itls"], strict=True))
    assert 1000 * whole < one(row, "mean_e2el_ms") < 1000 * whole + 5
    assert one(row, "mean_tpot_ms") == pytest.approx((one(row, "mean_e2el_ms") - one(row, "mean_ttft_ms")) / 7)
    assert one(row, "output_throughput") == pytest.approx(8 * 8 / row.seconds)
    assert one(row, "total_token_throughput") == pytest.approx(8 * 40 / row.seconds)
    assert one(row, "request_throughput") == pytest.approx(8 / row.seconds)
    assert failed.failure == "1 of 8 requests failed" and not failed.metrics
    assert failed.counts is not None and failed.counts.requests == 7


def test_what_was_asked_for_is_a_setting_and_what_was_observed_is_not() -> None:
    two, four = read(DATA / "sglang_0.5.23.jsonl")
    assert (two.fields["max_concurrency"], four.fields["max_concurrency"]) == (2, 4)
    assert {name: value for name, value in two.fields.items() if name != "max_concurrency"} == {
        name: value for name, value in four.fields.items() if name != "max_concurrency"}
    assert two.fields["request_rate"] == 100.0 and two.fields["model"] == "tiny/model"
    assert (two.fields["input_len"], two.fields["output_len"]) == (32, 8)
    for name in ("concurrency", "total_output_tokens_retokenized", "duration", "input_throughput", "completed"):
        assert name not in two.fields, name
    # The alias of max_concurrency is no name of the observed mean.
    assert "concurrency" not in two.others and two.others["mean_concurrency"] == pytest.approx(1.8267, rel=1e-3)
    assert two.others["total_output_tokens_retokenized"] == 64
    assert one(two, "request_goodput") == lines("sglang_0.5.23.jsonl")[0]["request_goodput"]
    assert (two.fields["goodput_ttft_ms"], two.fields["goodput_tpot_ms"]) == (50.0, 5.0)


def test_the_servers_settings_by_vllms_names(tmp_path: Path) -> None:
    row, _ = read(DATA / "sglang_0.5.23.jsonl")
    expected = {"tensor_parallel_size": 4, "data_parallel_size": 4, "pipeline_parallel_size": 1, "max_num_seqs": 64,
                "dtype": "bfloat16", "quantization": "fp8", "kv_cache_dtype": "auto", "enable_dp_attention": True}
    assert {name: row.fields[name] for name in expected} == expected
    assert row.provenance.version == "0.5.23" and row.accelerators == 4  # attention shares the GPUs
    assert row.others["mem_fraction_static"] == 0.83 and "mem_fraction_static" not in row.fields
    assert "secret" not in {*row.fields.values(), *row.others.values()} and "random_seed" not in row.fields
    info = lines("sglang_0.5.23.jsonl")[0]["server_info"]
    replicas = changed(tmp_path, "sglang_0.5.23.jsonl", {"server_info": {**info, "enable_dp_attention": False}})
    assert replicas.accelerators == 16
    odd = changed(tmp_path, "sglang_0.5.23.jsonl", {"server_info": {**info, "tp_size": "four"}})
    assert odd.accelerators is None and one(odd, "ttft_ms") == one(row, "ttft_ms")


def test_prefill_and_decode_workers(tmp_path: Path) -> None:
    prefill = {"tp_size": 4, "dp_size": 1, "pp_size": 1, "dtype": "auto"}
    decode = {"tp_size": 8, "dp_size": 8, "enable_dp_attention": True, "dtype": "bfloat16", "version": "0.5.9"}
    row = changed(tmp_path, "sglang_0.5.23.jsonl", {"server_info": {"prefill": [prefill, prefill], "decode": [decode]}})
    assert row.accelerators == 2 * 4 + 8 and row.provenance.version == "0.5.9"
    assert "tensor_parallel_size" not in row.fields and row.fields["dtype"] == "bfloat16"
    assert (row.fields["prefill_num_workers"], row.fields["prefill_tensor_parallel_size"]) == (2, 4)
    assert (row.fields["decode_num_workers"], row.fields["decode_tensor_parallel_size"]) == (1, 8)


def test_random_lengths_are_no_input_len(tmp_path: Path) -> None:
    """The default ratio draws from 1 token to the length that was asked for: half of it on average."""
    random, chats = read(DATA / "sglang_lengths.jsonl")
    assert not {"input_len", "output_len", "random_input_len", "random_output_len"} & {*random.fields, *random.others}
    assert (random.fields["max_input_len"], random.fields["max_output_len"]) == (32, 8)
    assert random.counts is not None and random.counts.input_tokens == 100
    assert any("at most 32" in note for note in random.notes)
    # Each line has random_input_len, also of other data sets: 1024 by default, and without a meaning.
    assert lines("sglang_lengths.jsonl")[1]["random_input_len"] == 1024
    assert not {"input_len", "max_input_len", "random_input_len"} & {*chats.fields, *chats.others}
    assert chats.fields["output_len"] == 8 and chats.fields["dataset_name"] == "sharegpt"
    # The longest for each request, by count: then every request has it, whatever the ratio.
    full = changed(tmp_path, "sglang_lengths.jsonl", {"total_input_tokens": 8 * 32})
    assert full.fields["input_len"] == 32 and full.fields["max_output_len"] == 8


def test_answers_that_were_not_streamed_have_no_first_token() -> None:
    """SGLang then writes the whole latency as ttft, and a tpot about 0, here below."""
    whole, single = read(DATA / "sglang_whole.jsonl")
    record = lines("sglang_whole.jsonl")[0]
    assert record["median_ttft_ms"] == pytest.approx(record["median_e2e_latency_ms"], rel=0.01)
    assert record["median_tpot_ms"] < 0
    assert not [name for name in whole.metrics if "ttft" in name or "tpot" in name or "itl" in name]
    assert one(whole, "e2el_ms") == record["median_e2e_latency_ms"]
    # One token, streamed: its ttft is one, and tpot undefined.
    assert one(single, "ttft_ms") == lines("sglang_whole.jsonl")[1]["median_ttft_ms"]
    assert not [name for name in single.metrics if "tpot" in name or "itl" in name]


def test_the_first_versions_write_few_figures() -> None:
    (row,) = read(DATA / "sglang_0.2.15.jsonl")
    (record,) = lines("sglang_0.2.15.jsonl")
    assert "request_throughput" not in record and "mean_tpot_ms" not in record
    assert one(row, "request_throughput") == pytest.approx(8 / record["duration"])
    assert one(row, "total_token_throughput") == pytest.approx((256 + 64) / record["duration"])
    assert one(row, "output_throughput") == record["output_throughput"]
    assert one(row, "e2el_ms") == record["median_e2e_latency_ms"] and "tpot_ms" not in row.metrics
    assert row.fields["request_rate"] == float("inf") and "max_concurrency" not in row.fields


@pytest.mark.parametrize("change", [{"speculative_algorithm": "EAGLE"}, {"stream_interval": 8}])
def test_gaps_that_are_divided_among_tokens_are_not_vllms(tmp_path: Path, change: dict[str, Any]) -> None:
    info = lines("sglang_0.5.23.jsonl")[0]["server_info"]
    row = changed(tmp_path, "sglang_0.5.23.jsonl", {"server_info": {**info, **change}})
    assert not [name for name in row.metrics if "itl" in name] and "tpot_ms" in row.metrics
    assert any(note.startswith("itl is left out") for note in row.notes)


def test_conversations_count_no_input(tmp_path: Path) -> None:
    row = changed(tmp_path, "sglang_0.5.23.jsonl", {"total_input_tokens": 0, "dataset_name": "agentic-trace"})
    assert "total_token_throughput" not in row.metrics and "input_len" not in row.fields


def test_a_figure_that_is_impossible_costs_itself_only(tmp_path: Path) -> None:
    row = changed(tmp_path, "sglang_0.4.6.jsonl", {"mean_ttft_ms": -1.0, "concurrency": float("nan")})
    assert "mean_ttft_ms" not in row.metrics and "ttft_ms" in row.metrics
    assert "mean_ttft_ms is -1.0, which is impossible: left out" in row.notes
    none = changed(tmp_path, "sglang_0.4.6.jsonl", {"completed": 0, "mean_e2e_latency_ms": float("nan")})
    assert none.failure == "no request completed" and not none.metrics


def test_lines_with_a_model_and_a_number_of_prompts(tmp_path: Path) -> None:
    """As a fork writes them."""
    names = ("server_info", "dataset_name", "random_range_ratio")
    change = {"model_id": "m", "num_prompts": 8, "request_rate": "inf", "total_token_throughput": 1.0}
    row = changed(tmp_path, "sglang_0.4.6.jsonl", change, names)
    assert one(row, "total_token_throughput") == pytest.approx(8 * 40 / row.seconds)  # SGLang has another name for it
    assert row.fields["model"] == "m" and row.fields["input_len"] == 32 and row.fields["request_rate"] == "inf"
    lost = changed(tmp_path, "sglang_0.4.6.jsonl", {"num_prompts": 10})
    assert lost.failure == "2 of 10 requests failed"


def test_one_batch() -> None:
    old, new, early = read(DATA / "sglang_one_batch.jsonl")
    # output_throughput of the line is 8 · 128 / (2.5 − 0.4): decoding alone.
    assert old.metrics == {"e2el_ms": (2500.0,), "request_throughput": (3.2,), "output_throughput": (409.6,),
                           "total_token_throughput": (3686.4,)}
    assert old.fields == {"batch_size": 8, "input_len": 1024, "output_len": 128} and old.seconds == 2.5
    assert one(new, "batch_ttft_ms") == 730.0
    assert one(new, "tpot_ms") == pytest.approx((4000 - 730) / 127)
    assert one(new, "output_throughput") == 512.0 and "output_throughput" not in new.others
    assert early.fields == {"batch_size": 16, "input_len": 1024, "max_output_len": 128}
    assert one(early, "output_throughput") == pytest.approx(1000 / 3) and "tpot_ms" not in early.metrics


def test_a_batch_that_is_there_again_may_have_run_under_the_profiler(tmp_path: Path) -> None:
    record = lines("sglang_one_batch.jsonl")[0]
    again, other = {**record, "latency": 3.5}, {**record, "batch_size": 4}
    (tmp_path / "twice.jsonl").write_text("\n".join(json.dumps(line) for line in (record, other, again)))
    assert [any("profiler" in note for note in row.notes) for row in read(tmp_path / "twice.jsonl")] == [
        False, False, True]


def test_offline() -> None:
    (row,) = read(DATA / "sglang_offline.jsonl")
    assert row.metrics == {"request_throughput": (5.0,), "output_throughput": (600.0,),
                           "total_token_throughput": (2100.0,)}
    assert row.seconds == 20.0 and row.fields == {"backend": "engine"}


def test_a_line_of_another_kind_is_named(tmp_path: Path) -> None:
    (tmp_path / "mixed.jsonl").write_text((DATA / "sglang_0.2.15.jsonl").read_text() + '{"x": 1}\n')
    with pytest.raises(StudyError, match=r"^mixed\.jsonl result 2: is not a result line of SGLang"):
        read(tmp_path / "mixed.jsonl")
