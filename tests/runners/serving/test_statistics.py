"""Metrics of a window: the times a user waits, no percentile of too few requests, intervals that hold what they say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom, t

from planner.space.types import FloatArray
from runners.serving import settings
from runners.serving.records import Records
from runners.serving.statistics import (
    half_width,
    least_requests,
    metric_names,
    metrics_of,
    percentile_of,
    relative_half_width,
    statistic_named,
)
from runners.serving.steady_state import Window, window_of
from tests.runners.serving.queues import play, poisson

SEED = 20261127


def one_after_another(seconds: FloatArray) -> tuple[Records, Window]:
    """Requests of these times, all of which count."""
    n = len(seconds)
    due = np.arange(n, dtype=np.float64)
    records = Records(due, due, due + seconds, due + 2 * seconds, np.full(n, 7), np.full(n, 3), ("",) * n)
    return records, Window(-1.0, n + 1.0, np.ones(n, dtype=bool), 1.0, 1.0, False, 1.0, 0.1)


@pytest.mark.parametrize(("percentile", "least"), [(99, 662), (95, 130), (90, 64), (50, 11)])
def test_a_percentile_of_too_few_requests_is_absent(percentile: int, least: int) -> None:
    assert least_requests(percentile) == least
    assert binom.cdf(1, least, 1 - percentile / 100) <= 0.01 < binom.cdf(1, least - 1, 1 - percentile / 100)
    times = np.random.default_rng(SEED).exponential(1.0, least)
    enough, few = metrics_of(*one_after_another(times)), metrics_of(*one_after_another(times[:-1]))
    for name in ("ttft", "tpot", "e2el"):
        assert enough[f"p{percentile}_{name}_ms"] >= enough[f"median_{name}_ms"]
        assert f"p{percentile}_{name}_ms" not in few
        assert few[f"median_{name}_ms"] > 0, "what few requests can tell is there"


def test_gaps_between_tokens_are_no_sample_of_their_own() -> None:
    """100 requests of 50 gaps are 100 requests: no p99 of 5,000."""
    records, window = one_after_another(np.full(100, 0.5))
    found = metrics_of(records, window, [[0.01] * 50] * 100)
    assert (found["itl_ms"], found["p90_itl_ms"]) == (pytest.approx(10), pytest.approx(10))
    assert "p95_itl_ms" not in found and "p99_itl_ms" not in found


def test_times_by_their_definitions() -> None:
    records, window = one_after_another(np.array([0.1, 0.2, 0.6]))
    found = metrics_of(records, window)
    assert found["ttft_ms"] == found["median_ttft_ms"] == pytest.approx(200)
    assert found["mean_ttft_ms"] == pytest.approx(300)
    assert found["e2el_ms"] == pytest.approx(400)
    assert found["tpot_ms"] == pytest.approx(100), "two tokens after the first"
    one_token = metrics_of(replace(records, output_tokens=np.ones(3, dtype=np.int64)), window)
    assert not [name for name in one_token if "tpot" in name], "undefined, so absent"
    assert set(found) <= metric_names()


def test_a_limit_of_the_client_does_not_hide_the_queue() -> None:
    """9 requests a second for a client that lets through 8 of one second each: the queue is in the client."""
    rng = np.random.default_rng(SEED)
    records = play(np.full(400, 0.02), np.full(400, 0.98), 64, poisson(rng, 9.0, 400), limit=8)
    window = window_of(records, None)
    assert window is not None
    found = metrics_of(records, window)
    assert found["sent_ttft_ms"] == pytest.approx(20), "all that the server sees"
    assert found["sent_e2el_ms"] == pytest.approx(1000)
    assert found["ttft_ms"] > 50 * found["sent_ttft_ms"]
    members = records[window.members]
    assert found["ttft_ms"] == pytest.approx(1e3 * np.median(members.first - members.due))
    assert found["mean_client_queue_time_ms"] == pytest.approx(found["mean_ttft_ms"] - found["mean_sent_ttft_ms"])


def test_without_a_wait_in_the_client_both_are_one() -> None:
    records, window = one_after_another(np.full(20, 0.5))
    found = metrics_of(records, window)
    assert not [name for name in found if "sent_" in name or "queue" in name]


def test_failed_requests_are_counted_and_no_time_is_theirs() -> None:
    records, window = one_after_another(np.full(40, 0.5))
    failed = np.arange(40) % 10 == 0
    wrong = replace(
        records, first=np.where(failed, np.nan, records.first), end=np.where(failed, np.nan, records.end),
        output_tokens=np.where(failed, 0, 3), errors=tuple("HTTP 500" if bad else "" for bad in failed))
    found = metrics_of(wrong, window)
    assert (found["failed_requests"], found["window_requests"]) == (4, 36)
    assert found["ttft_ms"] == pytest.approx(500)
    assert found["request_throughput"] == pytest.approx(36 / 42)


# ----------------------------------------------------------------------------------------------------------- intervals


def autocorrelated(rng: np.random.Generator, n: int, correlation: float = 0.9) -> FloatArray:
    """Times of requests that share the server's state: an autoregressive process around 1."""
    noise = rng.normal(0.0, 0.1, n)
    values = np.empty(n)
    values[0] = rng.normal(0.0, 0.1 / np.sqrt(1 - correlation**2))
    for i in range(1, n):
        values[i] = correlation * values[i - 1] + noise[i]
    found: FloatArray = np.exp(values)
    return found


def test_an_interval_of_batch_means_holds_the_truth_in_nine_of_ten_runs() -> None:
    """Requests of one run are no independent readings: an interval that takes them for such holds it in a third."""
    rng = np.random.default_rng(SEED)
    truth, runs = 1.0, 300  # the median of exp(0)
    held = naive = 0
    statistic = statistic_named("ttft_ms")
    assert statistic is not None
    for _ in range(runs):
        times = autocorrelated(rng, 1000)
        records, window = one_after_another(times)
        middle = np.mean([np.median(part) for part in np.array_split(times, settings.BATCHES)])
        held += abs(middle - truth) <= half_width(records, window, statistic) * middle
        width = t.ppf(0.95, 999) * np.std(times, ddof=1) / np.sqrt(1000)
        naive += abs(np.mean(times) - np.exp(0.5 * 0.01 / (1 - 0.81))) <= width
    assert held / runs == pytest.approx(0.9, abs=0.05)
    assert naive / runs < 0.5


def test_an_interval_from_runs_holds_the_truth_in_nine_of_ten() -> None:
    rng = np.random.default_rng(SEED)
    held = [abs(np.mean(values) - 5) <= relative_half_width(values) * np.mean(values)
            for values in rng.normal(5.0, 1.0, (2000, 3)).tolist()]
    assert np.mean(held) == pytest.approx(0.9, abs=0.025)


def test_nothing_is_said_of_too_few() -> None:
    records, window = one_after_another(np.full(19, 0.5))
    statistic = statistic_named("mean_ttft_ms")
    assert statistic is not None
    assert half_width(records, window, statistic) == np.inf
    assert relative_half_width([3.0]) == relative_half_width([3.0, np.nan]) == relative_half_width([]) == np.inf
    assert relative_half_width([3.0, 3.0]) == 0
    assert relative_half_width([-1.0, 1.0]) == np.inf


def test_what_batches_can_tell_of_a_metric() -> None:
    """Means and medians of times. A percentile of a batch would be one of too few requests, and what is sent later than
    due has no interval of another's."""
    records, _ = one_after_another(np.array([0.1, 0.2, 0.6]))
    found = {name: given(records) for name in ("ttft_ms", "median_ttft_ms", "p50_ttft_ms", "mean_ttft_ms", "tpot_ms")
             if (given := statistic_named(name)) is not None}
    assert found == {"ttft_ms": pytest.approx(0.2), "median_ttft_ms": pytest.approx(0.2),
                     "p50_ttft_ms": pytest.approx(0.2), "mean_ttft_ms": pytest.approx(0.3),
                     "tpot_ms": pytest.approx(0.1)}
    for name in ("p99_ttft_ms", "p90_e2el_ms", "sent_ttft_ms", "std_ttft_ms", "output_throughput", "itl_ms"):
        assert statistic_named(name) is None, name
    assert [percentile_of(name) for name in ("p99_ttft_ms", "p90_itl_ms", "ttft_ms", "output_throughput")] == [
        99, 90, None, None]
