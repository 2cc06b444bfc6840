"""A file checked against itself."""

from __future__ import annotations

from typing import Any

import pytest

from planner.importers.placing.consistency import contradictions
from planner.importers.rows import Counts, Provenance, Row
from planner.space.grid import Grid, full_grid
from planner.space.types import Axis, Role

POINT = {"isl": 1024, "osl": 128, "streams": 4}


def grid() -> Grid:
    roles = {"isl": Role.INPUT_TOKENS, "osl": Role.OUTPUT_TOKENS, "streams": Role.CONCURRENCY}
    return full_grid([Axis(name, (value,), roles=(roles[name],)) for name, value in POINT.items()])


def said(metrics: dict[str, float], **counts: Any) -> list[tuple[str, bool]]:
    row = Row({}, {name: (value,) for name, value in metrics.items()}, 1.0, Provenance("f", "", "x", "row 1"),
              counts=Counts(**counts))
    return [(found.text, found.false) for found in contradictions(row, POINT, grid())]


SOUND = {"request_throughput": 0.4, "output_throughput": 51.2, "total_token_throughput": 460.8, "mean_e2el_ms": 9900.0,
         "mean_ttft_ms": 1010.0, "mean_tpot_ms": 70.0}
COUNTED = {"duration_s": 100.0, "requests": 40, "input_tokens": 40960, "output_tokens": 5120}


def test_a_sound_file_has_nothing_to_say() -> None:
    assert said(SOUND, **COUNTED) == []
    assert said({**SOUND, "request_throughput": 0.4 * 1.04}, **COUNTED) == []  # below the tolerance
    assert said({}) == [] and said({"request_throughput": 9.0}, requests=4) == []  # nothing to check it against


@pytest.mark.parametrize(("name", "what"), [
    ("request_throughput", "40 requests in 100 s"), ("output_throughput", "5120 output tokens in 100 s"),
    ("total_token_throughput", "46080 tokens in 100 s")])
@pytest.mark.parametrize(("times", "false"), [
    (0.75, False), (1.3, False), (0.5, False), (11, False), (0.005, True), (1000, True)])
def test_a_rate_that_its_counts_contradict(name: str, what: str, times: float, false: bool) -> None:
    found = [(text, wrong) for text, wrong in said({name: times * SOUND[name]}, **COUNTED) if text.startswith(name)]
    assert len(found) == 1 and what in found[0][0] and found[0][1] is false


@pytest.mark.parametrize(("tokens", "what", "false"), [
    ({"input_tokens": 40960 * 0.85}, "isl is 1024, but a request had 870.4 tokens", False),
    ({"output_tokens": 5120 * 0.4}, "osl is 128, but a request had 51.2 tokens", True)])
def test_lengths_asked_for_and_counted(tokens: dict[str, float], what: str, false: bool) -> None:
    ((text, wrong),) = said({}, **{**COUNTED, **tokens})
    assert what in text and wrong is false


def test_chat_templates_may_add_tokens() -> None:
    assert said({}, **{**COUNTED, "input_tokens": 40960 * 1.05}) == []


def test_latencies_and_their_parts() -> None:
    """The time to first token is in seconds: nothing else says so."""
    assert said({"mean_e2el_ms": 9900.0, "mean_ttft_ms": 1.01, "mean_tpot_ms": 0.07}) != []
    assert said({"mean_e2el_ms": 9900.0, "mean_ttft_ms": 1010.0, "mean_tpot_ms": 70.0}) == []


def test_more_in_flight_than_the_limit_allows() -> None:
    ((text, false),) = said({"request_throughput": 0.8, "mean_e2el_ms": 9900.0})
    assert "streams is 4" in text and "7.92 requests at once" in text and not false
    assert said({"request_throughput": 800.0, "mean_e2el_ms": 9900.0})[0][1]


def test_requests_that_were_cut_off_are_counted() -> None:
    assert said({}, cut_off=4.0) == [("4 requests were cut off at the end", False)]
