"""A tie names every configuration that may be the best one."""

from __future__ import annotations

import pytest

from planner.analysis.choice_status import CaseStatus, ChoiceStatus
from planner.space.types import Point
from planner.views.choice import choice_lines


def points(count: int) -> tuple[Point, ...]:
    return tuple({"batch_size": 2**k} for k in range(count))


@pytest.mark.parametrize(("count", "said"), [
    (2, "cannot tell batch_size=1 from batch_size=2, 1.0 % worse (−4.0 … +3.0 %); more"),
    (3, "cannot tell batch_size=1 from batch_size=2, 1.0 % worse (−4.0 … +3.0 %), nor from batch_size=4; more"),
    (7, "batch_size=2, 1.0 % worse (−4.0 … +3.0 %), nor from batch_size=4, batch_size=8, batch_size=16 and 2 more; m")])
def test_the_others_of_a_tie_are_named(count: int, said: str) -> None:
    among = points(count)
    case = CaseStatus({}, among[0], among[1], False, 0.6, 0.01, (-0.01, -0.04, 0.03), None, "tied", among)
    (_, line) = choice_lines(ChoiceStatus(0.95, (case,)))
    assert said in line
    assert case.to_json()["among"] == list(among)


def test_a_shortlist_is_named() -> None:
    case = CaseStatus({"input_len": 8}, *points(2), False, 0.7, 0.01, (0.0, -0.1, 0.1), None, "narrowed", points(3))
    first, line, _ = choice_lines(ChoiceStatus(0.95, (case, case)))
    assert first.endswith("; 2 down to the shortlist")
    assert line == "input_len=8: batch_size=1, batch_size=2 or batch_size=4: one is within 2 % of the best with 95.0 %"
