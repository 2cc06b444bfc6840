"""What separates two configurations, in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from planner.analysis.recommendation.separation import Gap, Separation
from planner.views.cells import number

__all__ = ["gain_text", "gap_text", "gap_texts", "separation_text"]

_MOST_GAPS: Final = 3
_LARGE: Final = 1.0  # from twice as much on, a factor reads better than a percentage
_NOTHING: Final = 0.0005  # below it a percentage with one digit is 0.0


def separation_text(found: Separation, objective: str) -> str:
    """How the other differs from the best: in the objective, and in what else surely differs."""
    return ", ".join(list(gap_texts(found, objective))[:_MOST_GAPS])


def gap_texts(found: Separation, objective: str) -> Iterator[str]:
    """The difference in the objective, then those of other metrics that are no chance."""
    for gap in found.gaps:
        if gap.metric == objective:
            yield gap_text(gap) + ("" if gap.is_sure or _tiny(gap.more) else ", which may be chance")
        elif gap.is_sure and not _tiny(gap.more):
            yield gap_text(gap)


def gap_text(gap: Gap) -> str:
    """A metric's difference with its interval: 1.5 % less output_throughput (−3.0 … +0.1 %)."""
    word = "more" if gap.more > 0 else "less"
    if all(map(_tiny, (gap.more, gap.low, gap.high))):
        return f"the same {gap.metric}"
    if not gap.is_share:
        return f"{number(abs(gap.more))} {word} {gap.metric} ({_signed(gap.low)} … {_signed(gap.high)})"
    if gap.more >= _LARGE or gap.high >= 2 * _LARGE:
        return f"{1 + gap.more:.2g}× the {gap.metric} ({1 + gap.low:.2g} … {1 + gap.high:.2g})"
    return (f"{100 * abs(gap.more):.1f} % {word} {gap.metric} ({100 * gap.low:+.1f} … {100 * gap.high:+.1f} %)"
            ).replace("-", "−")


def _signed(value: float) -> str:
    return f"{'+' if value > 0 else '−'}{number(abs(value))}"


def gain_text(gain: tuple[float, float, float]) -> str:
    """The tuning gain with its interval: 3.21× (2.90 … 3.56)."""
    value, low, high = gain
    return f"{value:.2f}× ({low:.2f} … {high:.2f})"


def _tiny(share: float) -> bool:
    return abs(share) < _NOTHING
