"""Token times made by hand → metrics that can be checked in the head."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from runners.vllm_metrics import (
    PREEMPTIONS,
    batch_times,
    is_exact,
    median_half_width,
    metric_names,
    point_metrics,
    steady,
    token_times,
)

pytestmark = pytest.mark.filterwarnings("error")  # no warning of numpy's ever reaches a user

# Two requests of four tokens; the second starts a second later and has the shorter gaps.
TIMES = np.array([[1.0, 2.0, 4.0, 8.0], [2.0, 3.0, 4.0, 5.0]])


def test_whole_run() -> None:
    metrics = point_metrics(TIMES, input_len=10, output_len=4)
    assert metrics["ttft_ms"] == 1500.0
    assert metrics["batch_ttft_ms"] == 2000.0
    assert metrics["e2el_ms"] == 8000.0, "the batch's: its last request's last token"
    assert metrics["median_e2el_ms"] == 6500.0, "the requests'"
    assert metrics["tpot_ms"] == pytest.approx(np.median([7 / 3, 1.0]) * 1e3)
    assert metrics["itl_ms"] == 1000.0, "gaps 1 2 4 1 1 1"
    assert metrics["mean_itl_ms"] == pytest.approx(1e4 / 6)
    assert metrics["output_throughput"] == 1.0
    assert metrics["total_token_throughput"] == 3.5
    assert metrics["request_throughput"] == 0.25


def test_shorter_point_of_the_same_run() -> None:
    metrics = point_metrics(TIMES, input_len=10, output_len=2)
    assert metrics["e2el_ms"] == 3000.0
    assert metrics["tpot_ms"] == metrics["itl_ms"] == 1000.0
    assert metrics["output_throughput"] == pytest.approx(4 / 3)
    assert metrics == point_metrics(TIMES[:, :2], input_len=10, output_len=2)


def test_one_token_has_no_time_per_further_token() -> None:
    metrics = point_metrics(TIMES, input_len=10, output_len=1)
    assert not [name for name in metrics if "tpot" in name or "itl" in name]
    assert metrics["e2el_ms"] == metrics["batch_ttft_ms"] == 2000.0
    assert all(math.isfinite(value) for value in metrics.values())


def test_every_distribution_has_vllms_names() -> None:
    metrics = point_metrics(TIMES, input_len=10, output_len=4)
    for metric in ("ttft", "tpot", "itl", "e2el"):
        for prefix in ("mean", "median", "std", "p50", "p90", "p95", "p99"):
            assert f"{prefix}_{metric}_ms" in metrics
        assert metrics[f"p50_{metric}_ms"] == pytest.approx(metrics[f"median_{metric}_ms"])
    assert metrics["std_ttft_ms"] == 500.0, "over n, as vLLM has it"
    assert metrics["p90_ttft_ms"] == 1900.0


def test_several_tokens_in_one_step() -> None:
    metrics = point_metrics(np.array([[1.0, 1.0, 1.0, 4.0]]), input_len=1, output_len=4)
    assert metrics["itl_ms"] == 0.0
    assert metrics["tpot_ms"] == 1000.0


def test_batch_times_are_those_of_the_slowest_and_rise() -> None:
    assert batch_times(TIMES).tolist() == [2.0, 3.0, 4.0, 8.0]


def test_token_times_refuses_a_request_that_stopped_early() -> None:
    assert token_times({"a": [1.0, 2.0], "b": [1.0, 3.0]}, 2).tolist() == [[1.0, 2.0], [1.0, 3.0]]
    with pytest.raises(ValueError, match="request b gave 1 output tokens instead of 2"):
        token_times({"a": [1.0, 2.0], "b": [1.0]}, 2)


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6, 10, 30, 200])
def test_half_width_of_the_median(n: int) -> None:
    values = np.random.default_rng(n).normal(100.0, 5.0, n)
    expected = 1.2533 * stats.t.ppf(0.95, n - 1) * values.std(ddof=1) / (math.sqrt(n) * np.median(values))
    assert median_half_width(values.tolist()) == pytest.approx(expected, rel=1e-3)


def test_half_width_covers_the_median_at_least_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    samples = rng.normal(100.0, 5.0, (4000, 7))
    widths = np.array([median_half_width(row.tolist()) for row in samples])
    medians = np.median(samples, axis=1)
    covered = np.mean(np.abs(medians - 100.0) <= widths * medians)
    assert 0.89 < covered < 0.95


def test_repeats_go_on_until_steady() -> None:
    assert not steady([], 1, 1, None)
    assert not steady([1.0, 1.0], 3, 9, 0.05)
    assert steady([1.0, 1.0, 1.0], 3, 9, 0.05)
    assert steady([1.0, 1.5, 2.0], 3, 9, None)
    assert not steady([1.0, 1.5, 2.0], 3, 9, 0.05)
    assert steady([1.0, 1.5, 2.0], 3, 3, 0.05), "max_repeats reached"
    assert not steady([1.0], 1, 9, 0.05), "one repeat says nothing of its spread"


@given(arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(1, 5)),
              elements=st.sampled_from([0.0, 0.0, 1e-9, 0.5, 2.0])), st.integers(1, 3))
def test_any_times_give_finite_metrics_and_no_warning(gaps: np.ndarray, input_len: int) -> None:
    """Zeros, single tokens, single requests, identical values: what is undefined is absent."""
    times = gaps.cumsum(axis=1)
    for k in range(1, times.shape[1] + 1):
        metrics = point_metrics(times, input_len, k)
        assert all(type(value) is float and math.isfinite(value) for value in metrics.values())
        assert ("output_throughput" in metrics) == bool(times[:, k - 1].any())
        assert ("tpot_ms" in metrics) == (k > 1)
        assert metrics.keys() <= metric_names()
        assert is_exact(times, k) in {True, False}


def test_the_names_of_all_metrics_are_those_that_a_run_gives() -> None:
    names = set(point_metrics(TIMES, input_len=10, output_len=4)) | {PREEMPTIONS}
    assert metric_names() == names
    assert len(names) == 4 * 7 + 5 + 3 + 1  # four distributions, five plain times, three rates, preemptions


@pytest.mark.parametrize(("values", "width"), [
    ([0.0, 0.0], 0.0), ([3.0, 3.0, 3.0], 0.0), ([0.0, 0.0, 1.0], math.inf), ([0.0], math.inf), ([], math.inf)])
def test_half_width_of_equal_and_zero_values(values: list[float], width: float) -> None:
    assert median_half_width(values) == width
    assert steady(values, 1, 9, 0.05) == (width == 0.0)
