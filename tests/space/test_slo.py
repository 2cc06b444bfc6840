"""Conditions on metrics are read as they were written, or refused in one line."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.space.slo import Boundary, Condition, Tier, parse_condition, parse_tier
from planner.space.types import StudyError

METRICS = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True)


@given(METRICS, st.sampled_from(["<=", "<", ">=", ">"]), st.floats(-1e12, 1e12), st.sampled_from(["", " ", "  "]))
def test_what_is_written_is_read(metric: str, sign: str, bound: float, gap: str) -> None:
    read = parse_condition(f"{gap}{metric}{gap}{sign}{gap}{bound!r}{gap}", "slo[0]")
    assert read == Condition(metric, bound, sign.startswith("<"))
    again = parse_condition(str(read), "slo[0]")
    assert again.metric == metric and again.is_upper == read.is_upper
    assert math.isclose(again.bound, bound, rel_tol=1e-9, abs_tol=1e-300)


@pytest.mark.parametrize("text", ["", "fast", "a <= b", "5 <= a", "a == 5", "a <= 1e", "a <= 1 <= 2", "a <= nan",
                                  "a <= inf", "a b <= 5", "a <= 1e999", "a =< 5", "a <= ٣"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(StudyError, match=r"^--slo: ") as refused:
        parse_condition(text, "--slo")
    assert "write it like" in str(refused.value) or "give one" in str(refused.value)


@given(st.lists(METRICS.filter(lambda name: name.lower() != "and"), min_size=1, max_size=4),
       st.sampled_from([" and ", " AND "]))
def test_a_tier_is_its_conditions(metrics: list[str], word: str) -> None:
    tier = parse_tier(word.join(f"{metric} <= 5" for metric in metrics), "stop.boundary")
    assert tier == Tier(tuple(dict.fromkeys(Condition(metric, 5.0, True) for metric in metrics)))
    assert parse_tier(str(tier), "") == tier
    assert tier.metrics == tuple(dict.fromkeys(metrics))


@pytest.mark.parametrize("text", ["", "a <= 5 and", "a <= 5 or b <= 4", "and a <= 5", "a <= 5 and and b <= 3",
                                  "a <= 5, b <= 3"])
def test_any_other_tier_is_refused(text: str) -> None:
    with pytest.raises(StudyError, match=r"^stop.boundary: cannot read"):
        parse_tier(text, "stop.boundary")


def test_a_boundary_names_each_metric_once() -> None:
    tiers = (parse_tier("a <= 5 and b >= 2", ""), parse_tier("b <= 3", ""))
    assert Boundary(tiers, 0.95).metrics == ("a", "b")
