"""EvalScope, on files that nine of its versions wrote (tests/data/importers/README.md says how).

The server gave the first token after 50 ms, and 7 more 10 ms apart or somewhat more: 8 tokens after 120 ms or somewhat
later. So tpot is 10 ms or somewhat more, whatever a version of EvalScope calls so.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from planner.importers.importer import Source
from planner.importers.registry import OURS, format_of
from planner.importers.rows import Row
from planner.space.types import StudyError

DATA = Path(__file__).parents[1] / "data/importers"
RUN = DATA / "evalscope/parallel_2_number_12"
VERSIONS = ("0_10_1", "0_12_1", "0_16_0", "0_17_1", "1_4_0", "1_8_1")


def read(path: Path) -> list[Row]:
    return OURS["evalscope"].read(path, str(path), {}, {})


def changed(tmp_path: Path, run: Path = RUN, arguments: Mapping[str, Any] | None = None,
            summary: Mapping[str, Any] | None = None) -> Row:
    """The row of a run with other arguments, or other values in its summary."""
    folder = tmp_path / "run"
    shutil.copytree(run, folder, dirs_exist_ok=True)
    for name, values in (("benchmark_args.json", arguments or {}), ("benchmark_summary.json", summary or {})):
        (folder / name).write_text(json.dumps({**json.loads((run / name).read_text()), **values}))
    (row,) = read(folder)
    return row


def only(row: Row, name: str) -> float:
    (value,) = row.metrics[name]
    return value


def test_the_newest_version_by_hand() -> None:
    """Figures as they stand in the three files, in milliseconds."""
    (row,) = read(RUN)
    assert row.fields == {"model": "tiny", "dataset": "line_by_line", "api": "openai", "temperature": 0.0,
                          "max_concurrency": 2, "request_rate": "inf", "output_len": 8}
    assert only(row, "request_throughput") == 15.3408 and only(row, "output_throughput") == 122.7265
    assert only(row, "total_token_throughput") == 613.6326 and row.seconds == 0.7822
    assert only(row, "mean_e2el_ms") == pytest.approx(130.1) and only(row, "e2el_ms") == pytest.approx(129.5)
    assert only(row, "mean_ttft_ms") == 54.27 and only(row, "ttft_ms") == 52.7685
    assert only(row, "mean_tpot_ms") == 10.84 and only(row, "tpot_ms") == only(row, "median_tpot_ms") == 10.759
    assert only(row, "mean_itl_ms") == 10.83 and only(row, "p99_itl_ms") == 16.7871
    assert only(row, "p90_ttft_ms") == 60.7968 and only(row, "p95_tpot_ms") == 11.2258
    assert row.counts is not None and (row.counts.requests, row.counts.duration_s) == (12, 0.7822)
    assert (row.counts.input_tokens, row.counts.output_tokens) == (384, 96)
    assert row.others["apply_chat_template"] is True and row.others["Success Requests"] == 12


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_says_what_the_server_did(version: str) -> None:
    """Units and names changed five times; 12 requests of 32 and 8 tokens, two at a time, did not."""
    (row,) = read(DATA / f"evalscope_{version}")
    assert row.fields["max_concurrency"] == 2 and row.fields["output_len"] == 8 and row.fields["model"] == "tiny"
    assert 50 < only(row, "mean_ttft_ms") < 60 and 50 < only(row, "ttft_ms") < 60
    assert 120 < only(row, "mean_e2el_ms") < 145
    for name in ("mean_tpot_ms", "tpot_ms", "mean_itl_ms", "itl_ms"):
        assert name not in row.metrics or 10 < only(row, name) < 12
    assert only(row, "request_throughput") == pytest.approx(12 / row.seconds, rel=1e-3)
    assert only(row, "output_throughput") == pytest.approx(96 / row.seconds, rel=1e-3)
    assert row.counts is not None and (row.counts.input_tokens, row.counts.output_tokens) == (384, 96)
    assert row.fields["request_rate"] == "inf"


def test_what_is_not_vllms_tpot_is_not_read() -> None:
    """It was the test's duration by the tokens, then the latency by the tokens, then chunks by the tokens."""
    for version, written in (("0_10_1", 0.00858), ("0_12_1", 0.016), ("0_16_0", 0.0110)):
        (row,) = read(DATA / f"evalscope_{version}")
        assert row.others["Average time per output token (s)"] == pytest.approx(written, abs=2e-4)
        assert not [name for name in row.metrics if "tpot" in name or "itl" in name]
        assert any("not vLLM's tpot" in note for note in row.notes)
    assert read(DATA / "evalscope_0_17_1")[0].metrics["tpot_ms"] == pytest.approx((11.0,))


def test_gaps_before_a_chunk_without_text_are_not_read() -> None:
    """0.17.1 counts one, 9.7 ms on average; 1.4.0 does not, but its file looks the same."""
    for version in ("0_17_1", "1_4_0"):
        (row,) = read(DATA / f"evalscope_{version}")
        assert not [name for name in row.metrics if "itl" in name] and any("inter-token" in note for note in row.notes)
    mean = read(DATA / "evalscope_0_17_1")[0].others["Average inter-token latency (s)"]
    assert isinstance(mean, float) and mean < 0.0102
    assert "itl_ms" in read(DATA / "evalscope_1_8_1")[0].metrics


def test_a_percentile_that_rounding_took_is_left_out(tmp_path: Path) -> None:
    """1.8 writes every latency of about 0.126 s as 0.13; of 5 s it loses nothing that matters."""
    (row,) = read(DATA / "evalscope_1_8_1")
    assert only(row, "mean_e2el_ms") == pytest.approx(126.8) and "e2el_ms" not in row.metrics
    assert any("rounded to 0.01" in note for note in row.notes)
    rows = [dict.fromkeys(("Latency (s)",), 5.13) | {"Percentiles": "50%"}]
    shutil.copytree(DATA / "evalscope_1_8_1", tmp_path / "run")
    (tmp_path / "run/benchmark_percentile.json").write_text(json.dumps(rows))
    assert read(tmp_path / "run")[0].metrics["e2el_ms"] == pytest.approx((5130.0,))
    slow = changed(tmp_path, DATA / "evalscope_0_10_1", summary={"Average QPS": 0.012})
    assert "request_throughput" not in slow.metrics and "output_throughput" in slow.metrics


def test_an_open_loop_has_a_rate_and_no_limit() -> None:
    (row,) = read(DATA / "evalscope_rate")
    assert row.fields["request_rate"] == 20.0 and row.fields["open_loop"] is True
    assert "max_concurrency" not in row.fields  # written as -1


def test_without_streaming_there_is_no_first_token(tmp_path: Path) -> None:
    """EvalScope writes the whole latency in its place."""
    (row,) = read(DATA / "evalscope_no_stream")
    assert row.others["Avg TTFT (ms)"] == 125.33 and only(row, "mean_e2el_ms") == pytest.approx(125.3)
    assert not [name for name in row.metrics if "ttft" in name or "tpot" in name or "itl" in name]
    assert row.fields["stream"] is False
    older = changed(tmp_path, DATA / "evalscope_1_8_1", arguments={"stream": None})
    assert "mean_ttft_ms" not in older.metrics and "mean_e2el_ms" in older.metrics
    shutil.copy(DATA / "evalscope_no_stream/benchmark_summary.json", tmp_path / "alone.json")
    text = json.loads((tmp_path / "alone.json").read_text())
    del text["Stream Requests"], text["Non-Stream Requests"]
    (tmp_path / "alone.json").write_text(json.dumps(text))
    assert "mean_ttft_ms" not in read(tmp_path / "alone.json")[0].metrics  # seen by its value
    mixed = changed(tmp_path, summary={"Stream Requests": 9, "Non-Stream Requests": 3})
    assert "ttft_ms" in mixed.metrics and any(note.startswith("3 of the answers") for note in mixed.notes)


def test_lengths_are_those_that_were_asked_for(tmp_path: Path) -> None:
    random = {"dataset": "random", "min_prompt_length": 1024, "max_prompt_length": 1024}
    assert changed(tmp_path, arguments=random).fields["input_len"] == 1024
    spread = changed(tmp_path, arguments=random | {"min_prompt_length": 512}).fields
    assert "input_len" not in spread and (spread["min_prompt_length"], spread["max_prompt_length"]) == (512, 1024)
    cap = changed(tmp_path, arguments={"min_tokens": None}).fields
    assert "output_len" not in cap and cap["max_tokens"] == 8
    ignoring = {"min_tokens": None, "max_tokens": [64, 64], "extra_args": {"ignore_eos": True}}
    fields = changed(tmp_path, arguments=ignoring).fields
    assert fields["output_len"] == 64 and fields["extra_args_ignore_eos"] is True
    assert changed(tmp_path, arguments={"max_tokens": [16, 64]}).fields["max_tokens"] == "[16, 64]"


def test_a_summary_alone_has_lengths_that_all_requests_had(tmp_path: Path) -> None:
    path = tmp_path / "benchmark_summary.json"
    shutil.copy(RUN / "benchmark_summary.json", path)
    (row,) = read(path)
    assert row.fields == {"max_concurrency": 2, "request_rate": "inf", "input_len": 32, "output_len": 8}
    assert "mean_ttft_ms" in row.metrics and "ttft_ms" not in row.metrics
    assert any("no medians" in note for note in row.notes)
    path.write_text(path.read_text().replace('"Avg Input Tokens": 32.0', '"Avg Input Tokens": 32.5'))
    assert "input_len" not in read(path)[0].fields


def test_failed_requests_are_a_failed_run() -> None:
    (row,) = read(DATA / "evalscope/parallel_1_number_3")
    assert row.failure == "1 of 3 requests failed" and not row.metrics and row.seconds == 0.255


def test_a_folder_of_runs_gives_a_row_each(tmp_path: Path) -> None:
    assert format_of(DATA / "evalscope") == format_of(RUN) == format_of(RUN / "benchmark_summary.json") == "evalscope"
    rows = read(DATA / "evalscope")
    assert [(row.fields["max_concurrency"], bool(row.failure)) for row in rows] == [(1, True), (1, False), (2, False)]
    assert rows[2].provenance.identity == read(RUN)[0].provenance.identity
    (tmp_path / "benchmark_summary.json").write_text('{"Failed Requests": 0, "total": 3}')  # another tool's
    assert not OURS["evalscope"].recognises(Source(tmp_path))
    with pytest.raises(StudyError, match="holds no benchmark_summary"):
        read(tmp_path)


def test_impossible_values_cost_a_note(tmp_path: Path) -> None:
    odd = {"Avg TTFT (ms)": -1, "Test Duration (s)": "?", "Avg Output Tokens": float("nan")}
    row = changed(tmp_path, summary=odd)
    assert "mean_ttft_ms" not in row.metrics and "ttft_ms" in row.metrics and row.seconds == 0.0
    assert row.counts is not None and row.counts.duration_s is None and row.counts.output_tokens is None
    assert sum("impossible" in note for note in row.notes) == 3


def test_nothing_secret_is_kept() -> None:
    (row,) = read(DATA / "evalscope_0_10_1")
    assert not {"api_key", "url"} & {*row.others, *row.fields} and "headers_Authorization" not in row.others
