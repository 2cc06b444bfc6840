"""What a metric's name tells of it."""

from __future__ import annotations

import pytest

from planner.space.metrics import higher_is_better, is_first, is_step


@pytest.mark.parametrize("name", [
    "output_throughput", "request_goodput", "throughput_tok_s", "tokens_per_second", "requests_per_sec", "qps",
    "tokens_per_s_per_gpu", "tokens_per_joule", "mean_total_token_throughput", "req_s", "TPS",
])
def test_more_of_a_rate_is_better(name: str) -> None:
    assert higher_is_better(name)


@pytest.mark.parametrize("name", [
    "ttft_ms", "p99_tpot_ms", "e2el_s", "latency_s", "seconds_per_token", "joules_per_token", "request_latency_ms",
    "gpu_memory_gb", "tokens", "cost_per_request",
])
def test_less_of_anything_else_is(name: str) -> None:
    assert not higher_is_better(name)


def test_which_token_a_metric_is_about() -> None:
    assert [name for name in ("p50_ttft_ms", "first", "batch_ttft_ms") if is_first(name)] == [
        "p50_ttft_ms", "first", "batch_ttft_ms"]
    assert all(map(is_step, ("step", "tpot_ms", "p99_itl_ms")))
    assert not any(map(is_step, ("ttft_ms", "e2el_ms", "output_throughput", "steps_done")))
    assert not any(map(is_first, ("tpot_ms", "e2el_ms")))
