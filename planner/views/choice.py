"""How sure it is which configuration is best, in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from planner.analysis.choice_status import TOLERANCE, CaseStatus, ChoiceStatus
from planner.space.text import percent, point_text
from planner.space.types import Point

__all__ = ["choice_lines", "choice_text", "sure_lines"]

_MOST_CASES: Final = 4
_MOST_NAMED: Final = 3


def choice_text(found: ChoiceStatus) -> str:
    """What is decided, in one line."""
    if len(found.cases) == 1:
        (case,) = found.cases
        return f"best so far: {_point(case.chosen)}; {_sure(case)}, asked for {percent(found.asked)}"
    tied, narrowed = found.count("tied"), found.count("narrowed")
    return (f"decided: {found.count('decided'):,} of {len(found.cases):,} cases with {percent(found.asked)}"
            + (f"; {narrowed:,} down to the shortlist" if narrowed else "")
            + (f"; of {tied:,} noise hides which is best" if tied else ""))


def choice_lines(found: ChoiceStatus) -> Iterator[str]:
    """What is decided, and which configurations the others are between."""
    yield choice_text(found)
    left = [case for case in found.cases if case.state in {"tied", "narrowed"}]
    for case in left[:_MOST_CASES]:
        yield f"{_given(case)}{_tie(case) if case.state == 'tied' else _between(case, found.asked)}"
    if len(left) > _MOST_CASES:
        yield f"and {len(left) - _MOST_CASES:,} more; all are in --json"


def sure_lines(case: CaseStatus, runner_up: Point | None) -> Iterator[str]:
    """How sure it is that the configuration named is the best one. runner_up: that of which lines follow on what
    separates it."""
    yield f"  {_sure(case)}{_competitor(case, runner_up)}"
    if case.state == "tied":
        short = runner_up is not None and runner_up == case.runner_up
        yield f"  {f'noise hides whether the runner-up is better; {_more(case)}' if short else _tie(case)}"


def _competitor(case: CaseStatus, runner_up: Point | None) -> str:
    """Which other one stands in the way of being surer, by what it has other than the configuration named; empty where
    that is the runner-up, or none does."""
    other, chosen = case.runner_up, case.chosen
    if case.state != "open" or other is None or chosen is None or other == runner_up or case.ahead[2] <= TOLERANCE:
        return ""
    return f"; {_point({name: value for name, value in other.items() if value != chosen[name]})} may be better"


def _sure(case: CaseStatus) -> str:
    if case.none:
        return f"none meets every condition with {percent(case.probability)}"
    return f"within {TOLERANCE:.0%} of the best with {percent(case.probability)}".replace("2%", "2 %")


def _tie(case: CaseStatus) -> str:
    if case.runner_up is None:
        return f"noise hides whether {_point(case.chosen)} meets every condition; {_more(case)}"
    return (f"cannot tell {_point(case.chosen)} from {_point(case.runner_up)}, {_ahead(case)}{_nor(case)}; "
            f"{_more(case)}")


def _between(case: CaseStatus, asked: float) -> str:
    """The configurations of which one is as good as the best."""
    names = [_point(point) for point in case.among]
    within = f"one is within {100 * TOLERANCE:g} % of the best with {percent(asked)}"
    return f"{', '.join(names[:-1])} or {names[-1]}: {within}"


def _nor(case: CaseStatus) -> str:
    """The others of which one may be as good as the best."""
    others = case.among[2:]
    if not others:
        return ""
    more = f" and {len(others) - _MOST_NAMED:,} more" if len(others) > _MOST_NAMED else ""
    return f", nor from {', '.join(map(_point, others[:_MOST_NAMED]))}{more}"


def _more(case: CaseStatus) -> str:
    return (f"{case.runs} runs of each would tell" if case.runs else
            "more runs would hardly help: take either, or ask for more repeats a run")


def _ahead(case: CaseStatus) -> str:
    middle, low, high = (100 * share for share in case.ahead)
    return f"{abs(middle):.1f} % {'better' if middle > 0 else 'worse'} ({low:+.1f} … {high:+.1f} %)".replace("-", "−")


def _given(case: CaseStatus) -> str:
    return f"{_point(case.given)}: " if case.given else ""


def _point(point: Point | None) -> str:
    return "none" if point is None else point_text(point, " ") or "the one configuration"
