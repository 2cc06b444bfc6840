"""How sure it is which configuration is best, in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from planner.analysis.choice_status import TOLERANCE, CaseStatus, ChoiceStatus
from planner.space.text import percent, point_text
from planner.space.types import Point

__all__ = ["choice_lines", "choice_text", "sure_lines"]

_MOST_CASES: Final = 4


def choice_text(found: ChoiceStatus) -> str:
    """What is decided, in one line."""
    if len(found.cases) == 1:
        (case,) = found.cases
        return f"best so far: {_point(case.chosen)}; {_sure(case)}, asked for {percent(found.asked)}"
    tied = found.count("tied")
    return (f"decided: {found.count('decided'):,} of {len(found.cases):,} cases with {percent(found.asked)}"
            + (f"; of {tied:,} noise hides which is best" if tied else ""))


def choice_lines(found: ChoiceStatus) -> Iterator[str]:
    """What is decided, and which configurations cannot be told apart."""
    yield choice_text(found)
    tied = [case for case in found.cases if case.state == "tied"]
    for case in tied[:_MOST_CASES]:
        yield f"{_given(case)}{_tie(case)}"
    if len(tied) > _MOST_CASES:
        yield f"and {len(tied) - _MOST_CASES:,} more; all are in --json"


def sure_lines(case: CaseStatus) -> Iterator[str]:
    """How sure it is that the configuration named is the best one."""
    yield f"  {_sure(case)}"
    if case.state == "tied":
        yield f"  {_tie(case)}"


def _sure(case: CaseStatus) -> str:
    if case.none:
        return f"none meets every condition with {percent(case.probability)}"
    return f"within {TOLERANCE:.0%} of the best with {percent(case.probability)}".replace("2%", "2 %")


def _tie(case: CaseStatus) -> str:
    if case.runner_up is None:
        return f"noise hides whether {_point(case.chosen)} meets every condition; {_more(case)}"
    return f"cannot tell {_point(case.chosen)} from {_point(case.runner_up)}, {_ahead(case)}; {_more(case)}"


def _more(case: CaseStatus) -> str:
    return (f"{case.runs} runs of each would" if case.runs else
            "more runs would hardly help: take either, or ask for more repeats a run")


def _ahead(case: CaseStatus) -> str:
    middle, low, high = (100 * share for share in case.ahead)
    return f"{abs(middle):.1f} % {'better' if middle > 0 else 'worse'} ({low:+.1f} … {high:+.1f} %)".replace("-", "−")


def _given(case: CaseStatus) -> str:
    return f"{_point(case.given)}: " if case.given else ""


def _point(point: Point | None) -> str:
    return "none" if point is None else point_text(point, " ") or "the one configuration"
