"""The steady part of a run, on queues whose truth is known: nothing of the start-up, no drain, no choice by length."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from planner.space.types import BoolArray, FloatArray
from runners.serving.records import Records
from runners.serving.statistics import metrics_of
from runners.serving.steady_state import Window, in_flight, window_of
from tests.runners.serving.queues import mm, play, poisson

SEED = 20261127


def closed(answers: FloatArray, places: int, prompt_s: float = 0.01) -> tuple[Records, Window]:
    records = play(np.full(len(answers), prompt_s), answers, places, None, places)
    window = window_of(records, places)
    assert window is not None
    return records, window


def times(records: Records, rows: BoolArray) -> FloatArray:
    return (records.end - records.due)[rows]


# ---------------------------------------------------------------------------------------------- start-up and no drain


def test_the_burst_at_the_start_is_outside_whatever_its_prompts_take() -> None:
    """32 prompts at once on a server that takes one at a time: the last waits for 31 others. Later ones come singly."""
    rng = np.random.default_rng(SEED)
    answers, prompts = rng.uniform(5, 15, 1600), np.full(1600, 0.05)
    usual = play(prompts, answers, 32, None, 32, prompts_at_once=1)
    slow = prompts.copy()
    slow[:32] = 1.0
    burst = play(slow, answers, 32, None, 32, prompts_at_once=1)
    found = []
    for records in (usual, burst):
        window = window_of(records, 32)
        assert window is not None
        assert not window.members[:32].any()
        assert window.start >= records.first[:32].max()
        found.append(metrics_of(records, window))
    with_burst = np.percentile((burst.first - burst.due)[:1000] * 1e3, 99)
    assert with_burst > 40 * found[1]["p99_ttft_ms"], "the burst would have moved it"
    assert found[1]["p99_ttft_ms"] == pytest.approx(found[0]["p99_ttft_ms"], rel=0.25)
    assert found[1]["median_ttft_ms"] == pytest.approx(50, rel=0.05)


def test_the_window_opens_while_all_places_are_taken_and_closes_before_the_server_empties() -> None:
    """No drain between warm-up and measurement: from the first end after the burst on, N(t) never falls."""
    records, window = closed(np.random.default_rng(SEED).uniform(0.5, 1.5, 400), 16)
    assert window.start < np.sort(records.end)[16], "at the first end, not after a drain of all"
    inside = np.linspace(window.start, window.end, 5000)[:-1]
    assert in_flight(records, inside).min() >= 15
    assert window.in_flight == pytest.approx(16, rel=0.01)
    assert window.end == records.sent.max()
    assert in_flight(records, np.array([records.end.max() - 0.01])) < 8, "the drain, which is outside"


def test_an_open_loop_does_not_wait_for_a_backlog_to_end() -> None:
    """A server that falls behind never ends its start-up: the window still opens, after a third of the arrivals."""
    records = mm(np.random.default_rng(SEED), 3.0, 1, 600)
    window = window_of(records, None)
    assert window is not None and window.saturated
    assert window.start <= records.due[0] + (records.due[-1] - records.due[0]) / 3 + 1e-9


def test_the_empty_server_at_the_start_of_an_open_loop_is_outside() -> None:
    records = play(np.full(200, 0.1), np.full(200, 9.9), 64, np.arange(200) * 0.5)
    window = window_of(records, None)
    assert window is not None
    assert window.start == pytest.approx(19.5 + 10, abs=10), "20 are in flight from then on"
    assert in_flight(records, np.array([window.start + 1, window.end - 1])) == pytest.approx(20, abs=1)


@pytest.mark.parametrize("n", [0, 1, 4])
def test_too_few_requests_have_no_steady_part(n: int) -> None:
    records = play(np.full(n, 0.1), np.full(n, 1.0), 4, None, 4)
    assert window_of(records, 4) is None


# -------------------------------------------------------------------------------------------- members, whatever length


@pytest.mark.parametrize("mix", ["uniform", "exponential", "one in ten is long"])
@pytest.mark.parametrize(("places", "n"), [(4, 60), (16, 160)])
def test_whether_a_request_counts_does_not_depend_on_its_length(mix: str, places: int, n: int) -> None:
    """Closed loops of mixed lengths, mean 1: the members' mean is the true one. That of all requests which ended in
    the window is too small, for a long one that began in it ends in it less often."""
    rng = np.random.default_rng(SEED)
    draws = {"uniform": lambda: rng.uniform(0.2, 1.8, n), "exponential": lambda: rng.exponential(1.0, n),
             "one in ten is long": lambda: np.where(rng.random(n) < 0.1, 5.5, 0.5)}
    members, ended = [], []
    for _ in range(400):
        records = play(np.full(n, 1e-6), draws[mix](), places, None, places)
        window = window_of(records, places)
        if window is not None:
            members.append(times(records, window.members).mean())
            ended.append(times(records, (records.end > window.start) & (records.end <= window.end)).mean())
    error = np.std(members) / np.sqrt(len(members))
    assert len(members) > 390
    assert abs(np.mean(members) - 1) < 3.3 * error
    if mix != "uniform":
        assert np.mean(ended) < 1 - 3.3 * error, "the test can tell"


def test_members_of_an_open_loop_do_not_depend_on_their_length_either() -> None:
    rng = np.random.default_rng(SEED)
    means, ended_in = [], []
    for _ in range(300):
        answers = np.where(rng.random(120) < 0.1, 5.5, 0.5)
        records = play(np.full(120, 1e-6), answers, 1000, poisson(rng, 8.0, 120))
        window = window_of(records, None)
        assert window is not None
        means.append(times(records, window.members).mean())
        ended_in.append(times(records, (records.due >= window.start) & (records.end <= window.end)).mean())
    error = np.std(means) / np.sqrt(len(means))
    assert abs(np.mean(means) - 1) < 3.3 * error
    assert np.mean(ended_in) < 1 - 10 * error


def test_the_last_requests_do_not_count_for_they_ran_on_a_server_that_emptied() -> None:
    records, window = closed(np.full(80, 1.0), 8)
    assert not window.members[-8:].any() and window.members[:-8].any()
    assert (records.end[window.members] <= window.end + 1e-9).all()


# --------------------------------------------------------------------------------------------------------------- rates


@pytest.mark.parametrize(("places", "waves"), [(1, 6), (3, 7), (8, 6), (64, 9)])
def test_rates_of_waves_of_equal_length_are_exact(places: int, waves: int) -> None:
    """c requests of T seconds at a time are c / T a second, though all start and end together."""
    n = places * waves
    records = play(np.full(n, 0.25), np.full(n, 1.0), places, None, places, tokens=5)
    window = window_of(records, places)
    assert window is not None
    found = metrics_of(records, window)
    assert found["request_throughput"] == pytest.approx(places / 1.25, rel=1e-9)
    assert found["output_throughput"] == pytest.approx(5 * places / 1.25, rel=1e-9)
    assert found["total_token_throughput"] == pytest.approx(21 * places / 1.25, rel=1e-9)
    assert (found["littles_law"], found["saturation_index"]) == (pytest.approx(1, abs=0.2), pytest.approx(1, abs=0.2))


def test_the_rate_of_an_open_loop_is_that_of_its_arrivals() -> None:
    rng = np.random.default_rng(SEED)
    rates = []
    for _ in range(100):
        records = play(np.full(400, 0.01), rng.uniform(0.5, 1.5, 400), 64, poisson(rng, 20.0, 400))
        window = window_of(records, None)
        assert window is not None
        rates.append(metrics_of(records, window)["request_throughput"])
    assert abs(np.mean(rates) - 20) < 3.3 * np.std(rates) / 10


def test_the_rate_of_a_backlog_is_the_capacity() -> None:
    """Three requests arrive for two that are served: the waiting ones must not count as served."""
    rng = np.random.default_rng(SEED)
    runs = [play(np.full(600, 0.25), np.full(600, 0.75), 8, poisson(rng, 12.0, 600)) for _ in range(20)]
    found = [metrics_of(records, window, latencies=False) for records in runs
             if (window := window_of(records, None)) is not None]
    assert np.mean([each["request_throughput"] for each in found]) == pytest.approx(8, rel=0.02)
    assert np.mean([each["total_token_throughput"] for each in found]) == pytest.approx(8 * 18, rel=0.02)
    assert not [name for name in found[0] if name.endswith("_ms")], "times of a backlog are none"


# ---------------------------------------------------------------------------------------------------------- saturation


def flagged(load: float, servers: int, n: int, runs: int = 100) -> float:
    rng = np.random.default_rng([SEED, servers, n])
    windows = [window_of(mm(rng, load, servers, n), None) for _ in range(runs)]
    return float(np.mean([window is not None and window.saturated for window in windows]))


@pytest.mark.parametrize("servers", [1, 8])
def test_a_server_above_its_capacity_is_saturated_and_one_below_is_not(servers: int) -> None:
    """From 100 requests on, which a visit sends at least where it may matter."""
    assert flagged(1.5, servers, 100) >= 0.95
    assert flagged(1.5, servers, 300) == 1
    assert flagged(0.7, servers, 100) < 0.05
    assert flagged(0.7, servers, 300) < 0.02


def test_a_batch_that_fills_up_before_a_queue_builds_is_seen_to_saturate() -> None:
    """64 places that are all empty at first: the number in flight at the end is less than 1.5 times its mean."""
    rng = np.random.default_rng(SEED)
    windows = [window_of(play(np.full(300, 0.01), rng.exponential(1.0, 300), 64, poisson(rng, 96.0, 300)), None)
               for _ in range(40)]
    assert np.mean([window is not None and window.saturated for window in windows]) >= 0.95


def test_long_requests_on_a_server_that_is_far_from_full_are_no_backlog() -> None:
    """Lengths with a coefficient of variation of 2, a request being a fifth of the run: requests at the end may be
    much longer than at the start, by chance."""
    rng = np.random.default_rng(SEED)
    variance = np.log1p(4.0)
    windows = [window_of(play(np.full(100, 1e-3), rng.lognormal(-variance / 2, np.sqrt(variance), 100), 1000,
                              poisson(rng, 20.0, 100)), None) for _ in range(100)]
    assert np.mean([window is not None and window.saturated for window in windows]) < 0.05


def test_the_index_is_near_1_in_a_steady_state_and_near_2_behind() -> None:
    rng = np.random.default_rng(SEED)
    index = {load: np.median([window.saturation_index for _ in range(20)
                              if (window := window_of(mm(rng, load, 8, 600), None)) is not None])
             for load in (0.5, 2.0)}
    assert index == {0.5: pytest.approx(1, abs=0.2), 2.0: pytest.approx(1.8, abs=0.15)}


def test_a_queue_of_the_client_counts_too() -> None:
    """A limit on what is in flight hides a backlog from the server, not from us."""
    rng = np.random.default_rng(SEED)
    records = play(np.full(300, 0.01), np.full(300, 1.0), 64, poisson(rng, 12.0, 300), limit=8)
    assert in_flight(records, records.sent).max() <= 8
    window = window_of(records, None)
    assert window is not None and window.saturated


def test_a_closed_loop_is_never_saturated() -> None:
    _, window = closed(np.linspace(0.5, 3.0, 200), 8)
    assert not window.saturated


# ---------------------------------------------------------------------------------------------------------- self-check


def test_littles_law_holds_for_every_queue() -> None:
    rng = np.random.default_rng(SEED)
    for _ in range(30):
        assert closed(rng.exponential(1.0, 200), 8)[1].is_consistent
        window = window_of(mm(rng, 0.7, 8, 300), None)
        assert window is not None and window.is_consistent


@pytest.mark.parametrize("places", [1, 8])
def test_records_with_a_wrong_clock_contradict_it(places: int) -> None:
    """Half of the requests end on another clock: X and R come from whole requests, N from what overlaps."""
    records, sound = closed(np.random.default_rng(SEED).uniform(0.5, 1.5, 240), places)
    assert sound.is_consistent
    later = np.arange(240) % 2 == 1
    window = window_of(replace(records, end=records.end + np.where(later, 1000.0, 0.0)), None)
    assert window is not None and not window.is_consistent
