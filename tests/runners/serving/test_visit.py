"""A visit: one load on a server that is up, from the first request to what is known of it. No network, no waiting."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from planner.space.failure import FailureKind, failure_kind
from planner.space.types import Status
from runners.serving import visit as module
from runners.serving.client import ClientError, ClientRun, LateError, Load, Target
from runners.serving.records import Records
from runners.serving.statistics import half_width
from runners.serving.steady_state import Window
from runners.serving.visit import Outcome, Rules, Visit
from tests.runners.serving.queues import Clock, QueueClient, exponential, fixed

TARGET = Target("http://127.0.0.1:1", "tiny", "tiny")
RULES = Rules(30.0, 300.0, None, 1, 0.01, 600.0, ("ttft_ms", "output_throughput"))
CLOSED = Load(1, 8, math.inf, 1.0, 16, 32, 0.0, 5)
OPEN = Load(1, None, 10.0, 1.0, 16, 32, 0.0, 5)


def visit(load: Load, rules: Rules = RULES, **server: Any) -> tuple[Outcome, QueueClient]:
    """The outcome, and the client with what it was asked. A request takes half a second, 64 at a time."""
    clock = Clock()
    client = QueueClient(clock, **server)
    return Visit(client, TARGET, load, rules, clock=clock).measure(), client


def failing(share: float, reason: str = "HTTP 500", seed: int = 0) -> Callable[[Records], Records]:
    """A share of requests fails: with an error, or with no reason and no tokens (HTTP 200)."""
    rng = np.random.default_rng(seed)

    def changed(records: Records) -> Records:
        bad = np.zeros(len(records), dtype=bool)
        if len(records) > 100:  # not the pilot, whose requests are few
            bad[rng.permutation(len(records))[:round(share * len(records))]] = True
        return replace(records, first=np.where(bad, np.nan, records.first), end=np.where(bad, np.nan, records.end),
                       output_tokens=np.where(bad, 0, records.output_tokens),
                       errors=tuple(reason if each else "" for each in bad))
    return changed


# ---------------------------------------------------------------------------------------------------- what it measures


@pytest.mark.parametrize(("places", "slots", "rate"), [(1, 64, 2), (8, 64, 16), (100, 50, 100)])
def test_a_closed_loop_gives_the_known_rate_and_times(places: int, slots: int, rate: float) -> None:
    outcome, client = visit(replace(CLOSED, max_concurrency=places), slots=slots)
    assert outcome.status is Status.OK, outcome.reason
    (found,) = outcome.repeats
    assert found["request_throughput"] == pytest.approx(rate, rel=0.01)
    assert found["output_throughput"] == pytest.approx(32 * rate, rel=0.01)
    assert found["ttft_ms"] == pytest.approx(20 + 500 * max(0, places / slots - 1), rel=0.01)
    assert found["tpot_ms"] == pytest.approx(480 / 31)
    assert found["window_s"] >= RULES.duration_s
    assert outcome.measure_s >= found["window_s"] and outcome.warmup_s > 0
    assert [load.max_concurrency for load in client.loads] == [places, places]


def test_an_open_loop_gives_its_rate_and_no_queue() -> None:
    outcome, client = visit(OPEN)
    assert outcome.status is Status.OK, outcome.reason
    (found,) = outcome.repeats
    assert found["request_throughput"] == pytest.approx(10, rel=0.15)
    assert found["ttft_ms"] == pytest.approx(20)
    pilot, run = client.loads
    assert (pilot.requests, pilot.max_concurrency, pilot.request_rate) == (2, 1, math.inf)
    assert (run.requests, run.max_concurrency, run.request_rate) == (375, None, 10.0)


@pytest.mark.parametrize("places", [1, 8, 64])
def test_the_start_up_burst_moves_neither_p99_nor_median(places: int) -> None:
    """Prompts of one second at first, one at a time: as if a server compiled, or read its weights."""
    class Slow(QueueClient):
        def run(self, target: Target, load: Load, timeout_s: float) -> ClientRun:
            def prompts(_: np.random.Generator, n: int) -> Any:
                return np.where(np.arange(n) < places, 1.0, 0.02)
            self.prompt_s = prompts
            return super().run(target, load, timeout_s)

    clock = Clock()
    client = Slow(clock, answer_s=lambda rng, n: rng.uniform(4.0, 6.0, n), prompts_at_once=1)
    rules = replace(RULES, duration_s=900.0 / places * 5, max_duration_s=1e5, timeout_s=1e5)
    outcome = Visit(client, TARGET, replace(CLOSED, max_concurrency=places), rules, clock=clock).measure()
    assert outcome.status is Status.OK, outcome.reason
    (found,) = outcome.repeats
    assert found["ttft_ms"] == pytest.approx(20, rel=0.2)
    assert found["p99_ttft_ms"] < 200


def test_times_of_a_capped_open_loop_count_from_when_a_request_was_meant_to_go() -> None:
    outcome, _ = visit(replace(OPEN, max_concurrency=6, request_rate=10.0), answer_s=exponential(0.48))
    assert outcome.status is Status.OK, outcome.reason
    (found,) = outcome.repeats
    assert found["sent_ttft_ms"] == pytest.approx(20)
    assert found["mean_ttft_ms"] > 5 * found["mean_sent_ttft_ms"]


def test_the_records_of_the_run_are_kept() -> None:
    outcome, client = visit(CLOSED)
    records = Records.unpack(outcome.records)
    assert len(records) == client.loads[-1].requests
    assert records.good.all()


# -------------------------------------------------------------------------------------------------------- other prompts


def test_prompts_of_two_runs_differ_and_the_prefix_cache_is_emptied_before_each() -> None:
    clock = Clock()
    client = QueueClient(clock)
    prepared: list[int] = []

    def prepare(load: Load) -> Load:
        prepared.append(load.seed)
        return load

    rules = replace(RULES, repeats=4)
    made = partial(Visit, client, TARGET, rules=rules, prepare=prepare, clock=clock,
                   before=lambda: client.events.append("empty"))
    made(CLOSED).measure()
    assert client.events == ["empty", "run"] * 5
    made(CLOSED.with_seed(6)).measure()
    seeds = [load.seed for load in client.loads]
    assert prepared == seeds
    assert len(set(seeds)) == len(seeds) == 10


# --------------------------------------------------------------------------------------------------- how long it lasts


def unsteady(rng: np.random.Generator) -> float:
    """Runs of one server differ by some 5 %."""
    return float(np.exp(rng.normal(0.0, 0.05)))


def test_it_goes_on_until_the_interval_of_each_target_is_narrow() -> None:
    loose, _ = visit(CLOSED, replace(RULES, tolerance=0.5), factor=unsteady)
    tight, many = visit(CLOSED, replace(RULES, tolerance=0.03, max_duration_s=1e4), factor=unsteady)
    assert loose.status is tight.status is Status.OK
    assert 2 <= len(loose.repeats) < len(tight.repeats), "a rate needs runs"
    assert len(many.loads) == len(tight.repeats) + 1
    for name in ("ttft_ms", "output_throughput"):
        values = [repeat[name] for repeat in tight.repeats]
        assert 1.7 * np.std(values, ddof=1) / np.sqrt(len(values)) <= 0.031 * np.mean(values), name


def test_two_runs_are_as_sure_as_their_mean() -> None:
    """Its interval holds the truth in nine of ten, and is narrower than that of one run."""
    rng = np.random.default_rng(0)
    held, narrower = 0, []
    for _ in range(600):
        made = Visit(QueueClient(Clock()), TARGET, CLOSED, RULES)
        for _ in range(2):
            seconds, due = rng.exponential(1.0, 200), np.arange(200.0)
            records = Records(due, due, due + seconds, due + seconds, np.ones(200), np.full(200, 2), ("",) * 200)
            made._windows.append((records, Window(0, 200, np.ones(200, dtype=bool), 1.0, 1.0, False, 1.0, 0.5)))
        means = [float((records.first - records.due).mean()) for records, _ in made._windows]
        width = made._half_width("mean_ttft_ms", [{"mean_ttft_ms": mean * 1e3} for mean in means])
        held += abs(np.mean(means) - 1) <= width * np.mean(means)
        narrower.append(width / np.mean([half_width(*each, lambda batch: float((batch.first - batch.due).mean()))
                                         for each in made._windows]))
    assert held / 600 == pytest.approx(0.9, abs=0.03)
    assert np.mean(narrower) == pytest.approx(1 / math.sqrt(2), rel=0.05)


def test_an_open_loop_lasts_for_some_of_its_requests() -> None:
    """Of ten seconds each: a window of 5 s would hold none, and its server would still be filling up."""
    outcome, client = visit(replace(OPEN, request_rate=2.0), replace(RULES, duration_s=5.0), answer_s=fixed(9.98))
    assert outcome.status is Status.OK, outcome.reason
    assert client.loads[1].requests == 100
    assert outcome.repeats[0]["window_s"] > 25


def test_it_stops_when_the_time_is_over_even_so() -> None:
    outcome, _ = visit(CLOSED, replace(RULES, tolerance=1e-6), factor=unsteady)
    assert outcome.status is Status.OK
    assert len(outcome.repeats) > 2
    assert 200 < outcome.measure_s <= RULES.max_duration_s


def test_without_a_tolerance_it_makes_the_repeats_that_are_asked_for() -> None:
    outcome, _ = visit(CLOSED, replace(RULES, repeats=3))
    assert len(outcome.repeats) == 3


def test_a_percentile_that_is_a_target_gets_the_requests_it_needs() -> None:
    """4 requests a second: 30 s are too few for a p99, and 300 s are enough."""
    load = replace(CLOSED, max_concurrency=2)
    plain, _ = visit(load)
    asked, _ = visit(load, replace(RULES, targets=("p99_ttft_ms",)))
    assert "p99_ttft_ms" not in plain.repeats[0]
    assert "p99_ttft_ms" in asked.repeats[0]
    assert asked.repeats[0]["window_requests"] >= 662
    out_of_reach, _ = visit(replace(CLOSED, max_concurrency=1), replace(RULES, targets=("p99_ttft_ms",)))
    assert out_of_reach.measure_s < 60, "no time is spent on what the limit does not allow"


def another_clock(records: Records) -> Records:
    """Every third request ends by a clock that is ahead."""
    late = (np.arange(len(records)) % 3 == 1) & (len(records) > 2)
    return replace(records, end=records.end + np.where(late, 1e4, 0.0))


def test_a_run_without_a_steady_part_is_followed_by_a_longer_one() -> None:
    outcome, client = visit(replace(OPEN, request_rate=1.0), changed=lambda records: (
        records if len(records) > 50 else another_clock(records)), prompt_s=fixed(0.01), answer_s=fixed(0.09))
    assert outcome.status is Status.OK, outcome.reason
    assert [load.requests for load in client.loads] == [2, 38, 113]


@pytest.mark.parametrize(("members", "runs"), [(0, 2), (1, 2), (4, 2), (5, 1)])
def test_a_window_with_a_handful_of_requests_is_followed_by_a_longer_one(
    members: int, runs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The median of one or two is what a single request happened to take."""
    whole, windows = module.window_of, 0

    def few(records: Records, places: int | None) -> Window | None:
        nonlocal windows
        windows += 1
        window = whole(records, places)
        if window is None or windows > 1:
            return window
        return replace(window, members=window.members & (np.cumsum(window.members) <= members))

    monkeypatch.setattr(module, "window_of", few)
    outcome, client = visit(OPEN)
    assert outcome.status is Status.OK, outcome.reason
    sent = [load.requests for load in client.loads[1:]]
    assert len(sent) == runs and sent == sorted(set(sent)), "each longer than the one before"
    windows = 0
    short, _ = visit(OPEN, replace(RULES, max_duration_s=40.0))
    assert (short.status, "runner.max_duration_s" in short.reason) == (
        (Status.FAILED, True) if runs > 1 else (Status.OK, False))


def test_the_first_slow_requests_of_a_server_do_not_make_the_window_shorter() -> None:
    """A server that compiles at its first prompts: they say nothing of how many requests fill 30 s."""
    def prompts(_: np.random.Generator, n: int) -> Any:
        return np.where((np.arange(n) < 8) & (n <= 16), 10.0, 0.02)
    outcome, client = visit(CLOSED, prompt_s=prompts)
    assert outcome.repeats[0]["window_s"] >= RULES.duration_s
    assert client.loads[-1].requests == 30 * 16 + 16


# ---------------------------------------------------------------------------------------------------------- saturation


@pytest.mark.parametrize("slots", [1, 8])
def test_above_its_capacity_a_server_is_saturated_and_has_no_latencies(slots: int) -> None:
    """One and a half times what the server can: no time is given, and its rate is the capacity."""
    rates, status = [], []
    for seed in range(40):
        outcome, _ = visit(replace(OPEN, request_rate=1.5 * slots, seed=seed), slots=slots, prompt_s=fixed(1e-6),
                           answer_s=exponential(1.0))
        status.append(outcome.status)
        if outcome.status is Status.SATURATED:
            assert "saturated" in outcome.reason and "backlog" in outcome.reason
            assert not [name for name in outcome.repeats[0] if name.endswith("_ms")]
            rates.append(outcome.repeats[0]["request_throughput"])
    assert status.count(Status.SATURATED) >= 0.95 * len(status)
    assert np.mean(rates) == pytest.approx(slots, rel=0.1)


@pytest.mark.parametrize("slots", [1, 8])
def test_below_its_capacity_it_is_not(slots: int) -> None:
    status = [visit(replace(OPEN, request_rate=0.7 * slots, seed=seed), slots=slots, prompt_s=fixed(1e-6),
                    answer_s=exponential(1.0))[0].status for seed in range(60)]
    assert status.count(Status.SATURATED) < 0.05 * len(status)
    assert status.count(Status.OK) >= 0.9 * len(status)


def test_a_load_that_slows_no_request_down_is_not_measured_longer_for_it() -> None:
    """A request in 2 s, of half a second: 25 of them are enough. At one a second on a server that takes one at a time,
    of 0.9 s, they are not: a hundred tell that it keeps up."""
    light, client = visit(replace(OPEN, request_rate=0.5))
    assert light.status is Status.OK
    assert client.loads[-1].requests == 25
    heavy, client = visit(replace(OPEN, request_rate=1.0, seed=9), slots=1, answer_s=fixed(0.88))
    assert heavy.status is Status.OK
    assert [load.requests for load in client.loads] == [2, 38, 100]
    assert len(heavy.repeats) == 1 and heavy.repeats[0]["window_requests"] > 50


def test_a_saturated_server_is_seen_though_few_requests_come_in_the_time_asked_for() -> None:
    """1.5 times its capacity, of requests that take a while: 25 of them would look as if each only took longer."""
    status = []
    for seed in range(40):
        outcome, client = visit(replace(OPEN, request_rate=0.75, seed=seed), replace(RULES, duration_s=5.0), slots=4,
                                prompt_s=fixed(0.1), answer_s=fixed(7.9))
        status.append(outcome.status)
        assert client.loads[-1].requests == 100
    assert status.count(Status.SATURATED) >= 0.95 * len(status)


def test_an_open_loop_whose_requests_do_not_end_in_time_is_saturated() -> None:
    outcome, _ = visit(OPEN, replace(RULES, timeout_s=60.0), slots=1)
    assert outcome.status is Status.SATURATED
    assert outcome.reason == ("saturated: its 375 requests did not end within 60 s, which came in 37.5 s")
    assert not outcome.repeats


def test_a_closed_loop_or_a_single_request_that_does_not_end_in_time_has_failed() -> None:
    """A server that hangs is no server that is saturated."""
    closed, _ = visit(CLOSED, replace(RULES, timeout_s=10.0))
    assert (closed.status, closed.reason) == (Status.FAILED, "its 496 requests did not end within 10 s")
    hung, client = visit(OPEN, answer_s=fixed(1e6))
    assert (hung.status, len(client.loads)) == (Status.FAILED, 1)
    assert "did not end within 600 s" in hung.reason


def test_a_rate_too_low_for_the_time_limit_is_told_apart_from_saturation() -> None:
    """25 requests at one in 100 s need longer than the client is given."""
    outcome, client = visit(replace(OPEN, request_rate=0.01))
    assert outcome.status is Status.FAILED
    assert "runner.timeout_s" in outcome.reason and "2.5e+03 s" in outcome.reason
    assert len(client.loads) == 1


# ------------------------------------------------------------------------------------------------------------ failures


@pytest.mark.parametrize(("reason", "told"), [("HTTP 500", "HTTP 500"), ("", "an answer without tokens")])
def test_failures_above_the_share_fail_the_run(reason: str, told: str) -> None:
    outcome, _ = visit(CLOSED, changed=failing(0.03, reason))
    assert outcome.status is Status.FAILED
    assert outcome.reason == f"15 of 496 requests failed, most of them: {told}"
    assert not outcome.repeats
    assert (~Records.unpack(outcome.records).good).sum() == 15, "kept, to be looked at"


@pytest.mark.parametrize("reason", ["HTTP 500", ""])
def test_failures_below_the_share_are_counted_and_never_dropped(reason: str) -> None:
    outcome, _ = visit(CLOSED, changed=failing(0.008, reason))
    assert outcome.status is Status.OK, outcome.reason
    (found,) = outcome.repeats
    assert found["failed_requests"] == 4
    assert found["ttft_ms"] == pytest.approx(20)
    assert (~Records.unpack(outcome.records).good).sum() == 4


def test_one_failure_among_the_first_few_requests_is_no_failed_run() -> None:
    """The first 16 say roughly how fast the server is: one of them is more than a hundredth."""
    def first_fails(records: Records) -> Records:
        bad = (np.arange(len(records)) == 0) & (len(records) <= 16)
        return replace(records, output_tokens=np.where(bad, 0, records.output_tokens))
    outcome, _ = visit(CLOSED, changed=first_fails)
    assert outcome.status is Status.OK, outcome.reason


def test_a_server_that_answers_nothing_fails_at_once() -> None:
    outcome, client = visit(CLOSED, changed=lambda records: replace(records, errors=("HTTP 401",) * len(records)))
    assert outcome.reason == "16 of 16 requests failed, most of them: HTTP 401"
    assert len(client.loads) == 1


def test_a_client_that_breaks_is_for_the_caller() -> None:
    class Broken(QueueClient):
        def run(self, target: Target, load: Load, timeout_s: float) -> ClientRun:
            raise ClientError("no such tokenizer")
    with pytest.raises(ClientError, match="no such tokenizer"):
        Visit(Broken(Clock()), TARGET, CLOSED, RULES).measure()
    assert issubclass(LateError, ClientError)


def test_the_whole_visit_ends_at_its_limit() -> None:
    """What the pilot took is gone from the time of the run; the settings' own limit stays the upper bound."""
    given: list[tuple[float, float]] = []

    class Watched(QueueClient):
        def run(self, target: Target, load: Load, timeout_s: float) -> ClientRun:
            given.append((self.clock.now, timeout_s))
            return super().run(target, load, timeout_s)

    for limit_s in (90.0, 9000.0):
        given.clear()
        clock = Clock()
        Visit(Watched(clock), TARGET, CLOSED, replace(RULES, limit_s=limit_s), clock=clock).measure()
        assert len(given) == 2 and all(timeout_s == min(RULES.timeout_s, limit_s - now) for now, timeout_s in given)
    clock = Clock()
    late = Visit(QueueClient(clock, answer_s=fixed(400.0)), TARGET, CLOSED, replace(RULES, limit_s=90.0),
                 clock=clock).measure()
    assert late.status is Status.FAILED and failure_kind(late.reason) is FailureKind.HANG


# ------------------------------------------------------------------------------------------------- impossible readings


def shifted(name: str, by: float) -> Callable[[Records], Records]:
    return lambda records: replace(records, **{name: getattr(records, name) + by})


@pytest.mark.parametrize(("name", "by"), [("first", -10.0), ("end", -10.0), ("sent", -0.01), ("first", np.nan)])
def test_impossible_times_are_refused(name: str, by: float) -> None:
    outcome, _ = visit(OPEN, changed=shifted(name, by))
    assert outcome.status is Status.FAILED
    assert "impossible times" in outcome.reason


def test_a_clock_that_contradicts_littles_law_is_refused() -> None:
    """Not at once: a run may be too short to be steady. It is followed by longer ones."""
    outcome, client = visit(OPEN, changed=another_clock)
    assert outcome.status is Status.FAILED
    assert "no steady state" in outcome.reason and "Little's law" in outcome.reason
    assert not outcome.repeats
    requests = [load.requests for load in client.loads]
    assert requests[1:] == sorted(set(requests[1:])) and len(requests) > 2


def test_more_in_flight_than_the_limit_allows_is_refused() -> None:
    """Times between tokens that are told in other units than the sends: N = X·R holds, and 16 of 8 were in flight."""
    def longer(records: Records) -> Records:
        return replace(records, end=records.sent + 2 * (records.end - records.sent))
    outcome, _ = visit(CLOSED, changed=longer)
    assert outcome.status is Status.FAILED
    assert "and no more than 8 may be" in outcome.reason


@pytest.mark.parametrize("share", [1.0, 0.3])
def test_fewer_tokens_than_asked_for_are_refused(share: float) -> None:
    """Another load than the point's: a server that stops at its end of a sentence, for all requests or for some."""
    def short(records: Records) -> Records:
        early = np.random.default_rng(0).random(len(records)) < share
        return replace(records, output_tokens=np.where(early, 20, records.output_tokens))
    outcome, _ = visit(CLOSED, changed=short)
    assert outcome.status is Status.FAILED
    assert "requests gave 20 output tokens and not 32" in outcome.reason
    drawn, _ = visit(replace(CLOSED, range_ratio=0.5), changed=short)
    assert drawn.status is Status.OK, "where lengths are drawn, each has its own"


def test_a_client_that_cannot_keep_up_is_refused() -> None:
    """It sends 6 requests a second where 10 were asked for: a lighter load than the point says."""
    class Late(QueueClient):
        def run(self, target: Target, load: Load, timeout_s: float) -> ClientRun:
            return super().run(target, replace(load, request_rate=0.6 * load.request_rate), timeout_s)
    clock = Clock()
    outcome = Visit(Late(clock), TARGET, OPEN, RULES, clock=clock).measure()
    assert outcome.status is Status.FAILED
    assert "requests per second instead of 10: it cannot keep up" in outcome.reason


def test_a_client_with_statistics_of_its_own_is_taken_at_its_word() -> None:
    class Statistics(QueueClient):
        def run(self, target: Target, load: Load, timeout_s: float) -> ClientRun:
            super().run(target, load, timeout_s)
            return ClientRun(None, {"mean_e2el_ms": 500.0, "output_throughput": 512.0, "version": "1"})
    clock = Clock()
    outcome = Visit(Statistics(clock), TARGET, CLOSED, RULES, clock=clock).measure()
    assert (outcome.status, outcome.repeats) == (Status.OK, ({"mean_e2el_ms": 500.0, "output_throughput": 512.0},))
    assert outcome.records == ""
