"""Where a new version differs from an old one, as a short text and a table."""

from __future__ import annotations

from typing import Final

from rich.console import Group, RenderableType

from planner.analysis.comparison.difference import ChangedRegion, Difference
from planner.space.text import percent
from planner.space.types import Value
from planner.views.listing import Listing

__all__ = ["difference_table"]

_LISTED: Final = 8


def difference_table(found: Difference) -> RenderableType:
    """The answer first, then the points that changed, then what else there is to know."""
    parts: list[RenderableType] = [_answer(found)]
    if found.regions:
        parts.append(_regions(found))
    return Group(*parts, *_rest(found))


def _answer(found: Difference) -> str:
    question = found.change.question
    against = f"{found.name} against {found.prior}"
    if not found.changed:
        known = "no point" if found.is_known else "no point so far"
        return f"{against}: {known} of {found.counted:,} is worse or better by {_plain(question.amount)} or more"
    better = found.changed - found.worse
    said = [f"{count:,} of {found.counted:,} points ({percent(count / found.counted)}) {what}"
            for count, what in ((found.worse, "worse"), (better, "better")) if count]
    return (f"{against}: {', '.join(said)} by {_plain(question.amount)} or more; of these at most "
            f"{_plain(1 - question.confidence)} are expected to be wrong")


def _plain(share: float) -> str:
    return f"{share * 100:.3g} %"


def _regions(found: Difference) -> Listing:
    engines = list(dict.fromkeys(axis for region in found.regions for axis in region.engine))
    sizes = list(dict.fromkeys(axis for region in found.regions for axis in region.spans))
    confidence = f"{found.change.question.confidence * 100:.3g} %"
    more = len(found.regions) - _LISTED
    table = Listing("what changed", ["target", "is", *engines, *sizes, "points", "measured", f"new/old ({confidence})"],
                    ["target", "is", *engines], f"and {more} more; --json has all" if more > 0 else "")
    for region in found.regions[:_LISTED]:
        table.add_row(region.target, "worse" if region.is_worse else "better",
                      *(str(region.engine.get(axis, "")) for axis in engines),
                      *(_span(*region.spans[axis]) for axis in sizes), f"{len(region.all):,}", f"{region.measured:,}",
                      _ratio(region))
    return table


def _ratio(region: ChangedRegion) -> str:
    return f"{region.ratio:.2f} ({region.low:.2f} … {region.high:.2f})"


def _span(low: Value, high: Value) -> str:
    return str(low) if low == high else f"{low} to {high}"


def _rest(found: Difference) -> list[str]:
    seen, question = found.observations, found.change.question
    lines = [f"{'everywhere else' if found.changed else 'everywhere'}: less than {percent(found.rest)} either way, at "
             f"95 % of the points with {question.confidence * 100:.3g} % confidence each"]
    if not found.is_known:
        lines.append(f"not finished: {found.undecided:,} points are undecided; run it again with more cost or trials "
                     "to go on")
    for target, (ratio, low, high) in found.shared.items():
        lines.append(f"{target}: all points share {ratio:.2f} ({low:.2f} … {high:.2f}); another machine than the old "
                     "study's shows the same: run the old version at a few of these points to tell")
    if found.drift is not None and found.drift.is_seen:
        lines.append(f"the machine has changed meanwhile: runs take {found.drift.ratio:.2f} times as long as at first "
                     f"({found.drift.low:.2f} … {found.drift.high:.2f}); that is taken out above")
    share = f" ({percent(seen.spent / found.whole_cost)} of the whole grid's)" if found.whole_cost else ""
    lines.append(f"{seen.finished:,} runs, {seen.spent:,.0f} accelerator-seconds{share}")
    return lines
