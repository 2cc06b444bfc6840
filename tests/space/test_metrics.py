"""What is known of a metric: by its whole name, never by a word in it."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from planner.space.metrics import KNOWN, described, metric_named, quantile_of, said, time_power
from planner.space.spec import TargetSpec, parse_spec
from planner.space.types import Direction, Kind, Metric, StudyError, Transform

WORDS = (
    "ttft", "tpot", "itl", "e2el", "first", "step", "throughput", "goodput", "latency", "tokens", "request", "output",
    "total", "token", "per", "s", "sec", "ms", "qps", "rps", "joule", "p99", "mean", "std", "accuracy", "mfu", "rate",
    "gpu", "train", "batch")
DISTRIBUTIONS = ("ttft_ms", "tpot_ms", "itl_ms", "e2el_ms")


def is_statistic(name: str) -> bool:
    prefix, _, rest = name.partition("_")
    return rest in DISTRIBUTIONS and (prefix in {"mean", "median",
                                                 "std"} or (prefix[:1] == "p" and prefix[1:].isdigit()))


@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map("_".join))
@example("train_step_s")
@example("step_time_ms")
@example("accuracy")
@example("pass_at_1")
@example("mfu")
@example("cache_hit_rate")
@example("acceptance_rate")
@example("tokens_per_watt")
@example("step")
@example("first")
@example("my_output_throughput")
def test_a_name_that_is_not_known_as_a_whole_says_nothing(name: str) -> None:
    if name not in KNOWN and not is_statistic(name):
        assert metric_named(name) == Metric(name)


@pytest.mark.parametrize("name", [*KNOWN, "p99_ttft_ms", "median_itl_ms", "p99.9_e2el_ms"])
def test_known_names_say_all(name: str) -> None:
    metric = metric_named(name)
    assert metric.unit and metric.direction is not None and metric.kind is not Kind.OTHER
    assert metric.higher_is_better == ("put" in name) and metric.transform is Transform.LOG


def test_seconds_are_as_well_known_as_milliseconds() -> None:
    for name, metric in KNOWN.items():
        if name.endswith("_ms"):
            seconds = metric_named(name.removesuffix("_ms") + "_s")
            assert name == "batch_ttft_ms" or (seconds.unit, seconds.kind) == ("s", metric.kind)
    assert metric_named("p99_ttft_s").kind is Kind.FIRST


def test_a_spread_may_be_zero() -> None:
    assert metric_named("std_ttft_ms") == Metric("std_ttft_ms", "ms", Direction.MINIMIZE, Kind.FIRST, Transform.LINEAR)


def test_a_direction_that_nobody_said_is_asked_for() -> None:
    with pytest.raises(StudyError, match=r"\{metric: mfu, direction: maximize\}"):
        _ = metric_named("mfu").higher_is_better


@pytest.mark.parametrize(("given_", "metric"), [
    ({"metric": "accuracy", "direction": "maximize", "kind": "share"},
     Metric("accuracy", "", Direction.MAXIMIZE, Kind.SHARE, Transform.LOGIT)),
    ({"metric": "tput", "kind": "throughput", "unit": "tokens/s"},
     Metric("tput", "tokens/s", Direction.MAXIMIZE, Kind.THROUGHPUT)),
    ({"metric": "gap_ms", "kind": "step"}, Metric("gap_ms", "", Direction.MINIMIZE, Kind.STEP)),
    ({"metric": "drift", "transform": "linear"}, Metric("drift", transform=Transform.LINEAR)),
    ({"metric": "ttft_ms"}, KNOWN["ttft_ms"]),
    ({"metric": "ttft_ms", "direction": "maximize"},
     Metric("ttft_ms", "ms", Direction.MAXIMIZE, Kind.FIRST)),  # what a study file says counts
])
def test_a_study_file_says_what_a_name_cannot(given_: dict[str, str], metric: Metric) -> None:
    assert TargetSpec.model_validate(given_).resolve() == metric
    assert Metric.from_json(metric.to_json()) == metric
    assert said(metric)


def test_targets_may_be_names_or_more() -> None:
    spec = parse_spec("""
space: {axes: {a: {values: [1, 2]}}}
runner: {kind: command, command: [x]}
targets: [ttft_ms, {metric: mfu, direction: maximize, kind: share}]
""")
    assert [metric.name for metric in spec.metrics] == ["ttft_ms", "mfu"] and spec.metrics[1].higher_is_better
    assert described("mfu", spec.metrics) == spec.metrics[1] and described("e2el_ms", spec.metrics) == KNOWN["e2el_ms"]


def test_what_a_slower_machine_does_to_a_metric() -> None:
    powers = {name: time_power(metric_named(name)) for name in ("p99_ttft_ms", "tpot_ms", "latency_s",
                                                                "request_goodput", "mfu")}
    assert powers == {"p99_ttft_ms": 1, "tpot_ms": 1, "latency_s": 1, "request_goodput": -1, "mfu": 0}
    assert time_power(Metric("mfu", kind=Kind.SHARE)) == 0


def test_a_bare_name_is_a_median() -> None:
    names = ("ttft_ms", "median_ttft_ms", "p90_e2el_s", "p99.9_ttft_ms", "mean_ttft_ms", "acme_wait")
    assert [quantile_of(name) for name in names] == [0.5, 0.5, 0.9, pytest.approx(0.999), None, 0.5]


@pytest.mark.parametrize(("targets", "says"), [
    ("[{metric: mfu, direction: up}]", "maximize"), ("[{metric: mfu, kind: speed}]", "kind"),
    ("[mfu, {metric: mfu}]", "stands twice"), ("[{direction: maximize}]", "metric: is missing"),
    ("[{metric: mfu, way: up}]", "unknown key"),
])
def test_what_is_wrong_with_a_target_is_said_in_one_line(targets: str, says: str) -> None:
    with pytest.raises(StudyError) as error:
        parse_spec(f"space: {{axes: {{a: {{values: [1]}}}}}}\nrunner: {{kind: command}}\ntargets: {targets}\n")
    assert says in str(error.value) and "targets" in str(error.value)
