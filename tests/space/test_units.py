"""Units in headers: found where they stand, converted where they differ, asked about where they are not known."""

from __future__ import annotations

import pytest

from planner.space.types import StudyError
from planner.space.units import factor, unit_in, unit_named


@pytest.mark.parametrize(("header", "what", "size"), [
    ("TTFT (ms)", "time", 1e-3), ("duration [s]", "time", 1), ("latency_us", "time", 1e-6), ("E2E {sec}", "time", 1),
    ("Throughput (tok/s)", "tokens/time", 1), ("requests per second (req/min)", "requests/time", 1 / 60),
    ("tokens_per_second", "tokens/time", 1), ("requests_per_sec", "requests/time", 1), ("tps", "tokens/time", 1),
    ("TPOT (µs)", "time", 1e-6), ("wall_ns", "time", 1e-9), ("Total Time (hours)", "time", 3600),
])
def test_units_that_headers_name(header: str, what: str, size: float) -> None:
    unit = unit_in(header)
    assert unit is not None and unit.what == what and unit.size == pytest.approx(size)


@pytest.mark.parametrize("header", ["model", "params", "latency", "num_tokens", "TTFT (mean)", "TTFT (p99)", "class",
                                    "batch_size", "status", "gpus"])
def test_headers_without_a_unit(header: str) -> None:
    assert unit_in(header) is None and unit_in(header, "key") is None


@pytest.mark.parametrize(("header", "wanted", "scale"), [
    ("E2E Latency (ms)", "s", 1e-3), ("TTFT (s)", "ms", 1000), ("TTFT (ms)", "ms", 1), ("TTFT (p99)", "ms", 1),
    ("latency", "s", 1), ("latency_us", "ms", 1e-3), ("x (furlong)", "", 1),
    ("Throughput (tok/min)", "tokens/s", 1 / 60),
    ("Rate (1/s)", "requests/s", 1),
])
def test_conversions(header: str, wanted: str, scale: float) -> None:
    assert factor(header, wanted, "key") == pytest.approx(scale)


@pytest.mark.parametrize(("header", "wanted", "says"), [
    ("Throughput (tok/s)", "s", "is in tok/s, and s is needed"), ("TTFT (ms)", "tokens/s", "is in ms"),
    ("Speed (furlong)", "s", "the unit 'furlong' of the column 'Speed (furlong)' is not known"),
    ("Tokens (tok/s)", "requests/s", "is in tok/s"), ("Rate (1/s)", "s", "is in 1/s"),
    ("Latency (min)", "s", "the unit 'min'"),  # minutes, or the smallest?
])
def test_other_dimensions_are_refused(header: str, wanted: str, says: str) -> None:
    with pytest.raises(StudyError) as caught:
        factor(header, wanted, "runner.cost_s")
    assert str(caught.value).startswith("runner.cost_s: ") and says in str(caught.value)


def test_names_of_units() -> None:
    assert unit_named("parsec") is None and unit_named("") is None
    assert unit_named(" MS ") is not None
