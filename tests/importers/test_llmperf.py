"""LLMPerf, on files that it wrote (tests/data/importers/README.md says which)."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from planner.importers.registry import OURS, format_of
from planner.importers.rows import Row
from planner.space.types import StudyError

DATA = Path(__file__).parents[1] / "data/importers/llmperf"
NAME = "01-ai-Yi-1-5-34B-Chat_550_150"
SUMMARY, REQUESTS = DATA / f"vllm_2/{NAME}_summary.json", DATA / f"vllm_2/{NAME}_individual_responses.json"


def read(path: Path) -> list[Row]:
    return OURS["llmperf"].read(path, str(path), {}, {})


def changed(tmp_path: Path, **changes: Any) -> Path:
    """A summary alone, with other values."""
    path = tmp_path / "a_summary.json"
    path.write_text(json.dumps(json.loads(SUMMARY.read_text()) | changes))
    return path


def test_a_summary_agrees_with_its_requests() -> None:
    """Seconds become milliseconds, the deviation is vLLM's, and tpot is that of a request."""
    (row,) = read(SUMMARY)
    requests = json.loads(REQUESTS.read_text())
    ttft, e2el = (np.array([1000 * r[key] for r in requests]) for key in ("ttft_s", "end_to_end_latency_s"))
    tokens = np.array([r["number_output_tokens"] for r in requests])
    for name, values in (("ttft", ttft), ("e2el", e2el), ("tpot", (e2el - ttft) / (tokens - 1))):
        assert row.metrics[f"{name}_ms"] == row.metrics[f"median_{name}_ms"] == pytest.approx((np.median(values),))
        assert row.metrics[f"mean_{name}_ms"] == pytest.approx((values.mean(),))
        assert row.metrics[f"std_{name}_ms"] == pytest.approx((values.std(),))
        assert row.metrics[f"p99_{name}_ms"] == pytest.approx((np.percentile(values, 99),))
    assert len(requests) == 100 and row.seconds == pytest.approx(100 / 14.13572641706053 * 60)
    assert row.metrics["output_throughput"] == pytest.approx((tokens.sum() / row.seconds,))
    assert row.metrics["request_throughput"] == pytest.approx((100 / row.seconds,))
    assert row.counts is not None and row.counts.requests == 100 and row.counts.duration_s == row.seconds
    assert row.counts.output_tokens == pytest.approx(tokens.sum()) and row.counts.input_tokens == 55_000


def test_what_llmperf_calls_inter_token_latency_is_no_metric_of_vllms() -> None:
    """It counts the first token: 51.3 ms where the others came after 46.2 ms each."""
    (row,) = read(SUMMARY)
    assert row.metrics["tpot_ms"] == pytest.approx((46.2237,), abs=1e-4)
    assert row.others["results_inter_token_latency_s_quantiles_p50"] == pytest.approx(0.0513, abs=1e-4)
    assert not [name for name in row.metrics if "itl" in name]


def test_settings_are_those_that_were_asked_for() -> None:
    (row,) = read(SUMMARY)
    assert row.fields == {"model": "01-ai/Yi-1.5-34B-Chat", "max_concurrency": 2, "input_len": 550, "output_len": 150,
                          "stddev_input_tokens": 0, "stddev_output_tokens": 0}
    assert row.provenance.version == "2023-08-31" and "Llama 2" in row.notes[-1]


def test_both_files_of_a_run_are_one_reading() -> None:
    (summary,), (requests,) = read(SUMMARY), read(REQUESTS)
    assert summary.provenance.identity == requests.provenance.identity
    assert (summary.metrics, summary.fields) == (requests.metrics, requests.fields)
    assert format_of(SUMMARY) == format_of(REQUESTS) == format_of(DATA) == "llmperf"
    assert len(read(DATA)) == 2


def test_a_run_with_errors_has_no_figures() -> None:
    """44 of the 128 requests failed; LLMPerf's figures are those of the others."""
    (row,) = read(DATA / f"tgi_32/{NAME}_summary.json")
    assert row.failure == "44 of 128 requests failed" and not row.metrics
    assert row.fields["max_concurrency"] == 32 and row.seconds == pytest.approx(117.9956, abs=1e-3)
    assert row.others["results_ttft_s_quantiles_p50"] == pytest.approx(10.0716, abs=1e-3)


def test_without_its_requests_a_summary_has_no_tpot(tmp_path: Path) -> None:
    shutil.copy(SUMMARY, tmp_path)
    (row,) = read(tmp_path)
    assert row.metrics["ttft_ms"] == pytest.approx((593.2397525,)) and "tpot_ms" not in row.metrics
    assert any("no tpot" in note for note in row.notes)


def test_requests_of_another_run_are_not_used(tmp_path: Path) -> None:
    shutil.copy(SUMMARY, tmp_path)
    others = json.loads(REQUESTS.read_text())[:50]
    (tmp_path / REQUESTS.name).write_text(json.dumps(others))
    (row,) = read(tmp_path)
    assert "tpot_ms" not in row.metrics and any("no tpot" in note for note in row.notes)
    (alone,) = read(tmp_path / REQUESTS.name)
    assert alone.fields == {} and alone.provenance.identity != row.provenance.identity


def test_requests_alone(tmp_path: Path) -> None:
    requests = [{"error_code": None, "ttft_s": 0.5, "end_to_end_latency_s": 1.5, "inter_token_latency_s": 0.1,
                 "number_output_tokens": 11, "number_input_tokens": 20},
                {"error_code": None, "ttft_s": 0.7, "end_to_end_latency_s": 0.7, "inter_token_latency_s": 0.7,
                 "number_output_tokens": 1, "number_input_tokens": 30}]
    path = tmp_path / "x_individual_responses.json"
    path.write_text(json.dumps(requests))
    (row,) = read(path)
    assert row.metrics["tpot_ms"] == pytest.approx((100.0,))  # the request of a single token has none
    assert row.metrics["ttft_ms"] == pytest.approx((600.0,)) and row.metrics["e2el_ms"] == pytest.approx((1100.0,))
    assert row.fields == {} and row.seconds == 0.0 and "output_throughput" not in row.metrics
    assert row.counts is not None and (row.counts.input_tokens, row.counts.output_tokens) == (50, 12)
    path.write_text(json.dumps([requests[0], requests[1] | {"ttft_s": 1e200}]))
    assert "ttft_ms" not in read(path)[0].metrics and "e2el_ms" in read(path)[0].metrics
    path.write_text(json.dumps([requests[0], requests[1] | {"error_code": 500}]))
    assert read(path)[0].failure == "1 of 2 requests failed"


def test_sampling_is_a_setting_and_the_users_metadata_has_no_meaning(tmp_path: Path) -> None:
    (row,) = read(changed(tmp_path, additional_sampling_params_temperature=0.7, gpu="A10G", run="007"))
    assert row.fields["temperature"] == 0.7 and row.fields["model"] == "01-ai/Yi-1.5-34B-Chat"
    assert (row.others["gpu"], row.others["run"]) == ("A10G", "007") and "gpu" not in row.fields


def test_values_that_are_undefined_are_left_out(tmp_path: Path) -> None:
    """No streaming gives a first token at 0, and a single request has no deviation."""
    zeros = {f"results_ttft_s_{key}": 0 for key in ("mean", "min", "max", "quantiles_p50", "quantiles_p90",
                                                   "quantiles_p95", "quantiles_p99")}
    (row,) = read(changed(tmp_path, results_end_to_end_latency_s_stddev=math.nan, **zeros))
    assert not [name for name in row.metrics if "ttft" in name]
    assert "std_e2el_ms" not in row.metrics and row.metrics["e2el_ms"] == pytest.approx((8163.446196,))
    (row,) = read(changed(tmp_path, results_ttft_s_mean=-1.0, results_num_completed_requests_per_min="?"))
    assert "mean_ttft_ms" not in row.metrics and row.seconds == 0.0
    assert any("results_ttft_s_mean" in note for note in row.notes)


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x_summary.json").write_text('{"ttft": 1}')
    with pytest.raises(StudyError, match=r"x_summary\.json: is not a \*_summary\.json"):
        read(tmp_path / "x_summary.json")
    with pytest.raises(StudyError, match=r"holds no \*_summary\.json of LLMPerf"):
        read(tmp_path)
