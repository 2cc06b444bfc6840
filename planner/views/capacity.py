"""A capacity plan in some fifteen lines, and JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from rich.console import Console

from planner.analysis.capacity import Capacity, Fleet
from planner.space.text import percent, point_json
from planner.views.cells import number
from planner.views.decision import parts_text, question_text
from planner.views.listing import Listing

__all__ = ["capacity_json", "capacity_lines", "fleets_table", "sensitivity_table", "show_capacity"]

_SHORT_S: Final = 1e-4
_QUEUEING: Final = {
    "open loop": "replicas get random shares of the arrivals; all waiting is in the latencies that were measured",
    "closed loop": "replicas get random shares of the arrivals and hold back what exceeds their slots; the wait is "
                   "calculated (Erlang C) and counts as latency",
    "static batch": "from static batches: waiting is NOT included, so this is a lower bound; measure a server to know",
}


def show_capacity(out: Console, found: Capacity, top: int) -> None:
    """Print the answer."""
    for line in capacity_lines(found):
        out.print(line, soft_wrap=True)
    if found.fleets:
        out.print(fleets_table(found, top))
        out.print(sensitivity_table(found))


def capacity_lines(found: Capacity) -> Iterator[str]:
    """What was asked, and the answer in words."""
    conditions = question_text(found.question).partition(" with ")[2]
    yield (f"{number(found.rate)} requests/s{_requests(found)}, {conditions}, with a probability of "
           f"{percent(found.question.confidence)}")
    best = found.best
    if best is None:
        yield (f"no configuration is known to serve any load of the grid so ({found.considered} considered); loosen a "
               "level, measure lower loads, or ask with a smaller --confidence")
        return
    yield f"cheapest: {_replicas(best)} of {_name(best, found)}: {', '.join(_price(best, found))}"
    yield f"  {_QUEUEING[best.replica.loop]}{_waits(best)}"
    if (step := found.step) is not None:
        same = step.then.replica is best.replica
        yield (f"  enough up to {number(step.rate)} requests/s; then {_replicas(step.then)}"
               f"{'' if same else f' of {_name(step.then, found)}'}: {', '.join(_more(best, step.then))}")
    yield from (f"  {note}" for note in (found.workload.notes if found.workload else ()))


def _requests(found: Capacity) -> str:
    said = parts_text(found.mix.given, found.mix.weights)
    return f" of {said}" if said else ""


def _replicas(fleet: Fleet) -> str:
    devices = f", {number(fleet.accelerators)} accelerators" if fleet.accelerators != fleet.replicas else ""
    return f"{fleet.replicas:,} replica{'s' if fleet.replicas > 1 else ''}{devices}"


def _name(fleet: Fleet, found: Capacity) -> str:
    """The configuration: its values on axes that have several."""
    point = fleet.replica.point
    said = [f"{name}={point[name]}" for name in _names(found) if name in point]
    if fleet.replica.slots is not None:
        slots = f"{fleet.replica.slots:g}"
        said.append(f"batches of {slots}" if fleet.replica.loop == "static batch" else f"{slots} slots")
    return ", ".join(said) or "the one configuration"


def _names(found: Capacity) -> list[str]:
    return [axis.name for axis in found.mix.grid.axes if len(axis.values) > 1]


def _price(fleet: Fleet, found: Capacity) -> Iterator[str]:
    if fleet.price_an_hour is not None:
        yield f"${number(fleet.price_an_hour)} an hour"
    if (cost := found.cost_per_million(fleet)) is not None:
        yield f"${number(cost)} a million output tokens"
    if fleet.watts is not None:
        yield f"{number(fleet.watts)} W"
    yield f"{percent(fleet.spare)} to spare"


def _more(before: Fleet, after: Fleet) -> Iterator[str]:
    more = after.accelerators - before.accelerators
    yield f"{'−' if more < 0 else '+'}{number(abs(more))} accelerator{'' if abs(more) == 1 else 's'}"
    if before.price_an_hour is not None and after.price_an_hour is not None:
        yield f"{'+' if after.price_an_hour >= before.price_an_hour else '−'}" \
              f"${number(abs(after.price_an_hour - before.price_an_hour))} an hour"


def _waits(fleet: Fleet) -> str:
    if fleet.waiting is None:
        return ""
    share, seconds = fleet.waiting
    mean = number(1e3 * seconds) if seconds >= _SHORT_S else f"under {number(1e3 * _SHORT_S)}"
    return f": {percent(share)} of the requests wait, {mean} ms on average over all"


def fleets_table(found: Capacity, top: int) -> Listing:
    """The cheapest fleets."""
    shown = found.fleets[:top]
    priced, powered = found.price is not None, any(fleet.watts is not None for fleet in shown)
    heading = _heading(found, shown)
    table = Listing(
        "Cheapest first", [heading, "replicas", "accelerators", "each bears", "spare", *["$ an hour"] * priced,
                           *["power, W"] * powered, "probability"], [heading], _caption(found, shown))
    for fleet in shown:
        low, high = fleet.interval
        more = "≥ " if fleet.replica.is_cut_off(found.question.confidence) else ""
        cells = [_values(fleet, found), f"{fleet.replicas:,}", number(fleet.accelerators),
                 f"{more}{number(fleet.bears)} ({number(low)} … {number(high)})", percent(fleet.spare)]
        if priced:
            cells.append(number(fleet.price_an_hour or 0.0))
        if powered:
            cells.append("–" if fleet.watts is None else number(fleet.watts))
        table.add_row(*cells, percent(fleet.probability))
    return table


def _heading(found: Capacity, shown: Sequence[Fleet]) -> str:
    """The chosen axes, as `_values` has their values."""
    names = [name for name in _names(found) if any(name in fleet.replica.point for fleet in shown)]
    return " · ".join([*names, *["slots"] * any(fleet.replica.slots is not None for fleet in shown)])


def _values(fleet: Fleet, found: Capacity) -> str:
    point, slots = fleet.replica.point, fleet.replica.slots
    said = [str(point[name]) for name in _names(found) if name in point]
    return " · ".join([*said, *([] if slots is None else [f"{slots:g}"])])


def _caption(found: Capacity, shown: Sequence[Fleet]) -> str:
    said = [f"each bears: requests/s that a replica serves so with {percent(found.question.confidence)} (with 95 % … "
            "with 5 %)"]
    if any(fleet.replica.loop == "closed loop" for fleet in shown):
        said.append("slots: requests in flight at most")
    if any(fleet.replica.is_cut_off(found.question.confidence) for fleet in shown):
        said.append("≥: the highest load of the grid")
    if len(found.fleets) > len(shown):
        said.append(f"{len(found.fleets)} configurations serve it, --top shows more")
    return "; ".join(said)


def sensitivity_table(found: Capacity) -> Listing:
    """The cheapest fleet at each load."""
    priced, heading = found.price is not None, f"cheapest {_heading(found, found.sensitivity)}"
    table = Listing("At other loads", ["requests/s", heading, "replicas", "accelerators", *["$ an hour"] * priced,
                                       "spare"], [heading])
    for fleet in found.sensitivity:
        table.add_row(number(fleet.rate), _values(fleet, found), f"{fleet.replicas:,}", number(fleet.accelerators),
                      *[number(fleet.price_an_hour or 0.0)] * priced, percent(fleet.spare))
    return table


def capacity_json(found: Capacity, top: int) -> dict[str, Any]:
    """The form of `capacity --json`."""
    step = found.step
    return {
        "rate": found.rate, "slo": [str(condition) for condition in found.question.conditions],
        "confidence": found.question.confidence, "share": found.question.share,
        "workload": [{**point_json(point), "weight": float(weight)}
                     for point, weight in zip(found.mix.given, found.mix.weights, strict=True)],
        "considered": found.considered, "serving": len(found.fleets),
        "fleets": [_entry(fleet, found) for fleet in found.fleets[:top]],
        "sensitivity": [_entry(fleet, found) for fleet in found.sensitivity],
        "step": None if step is None else {"rate": step.rate, "then": _entry(step.then, found)},
    }


def _entry(fleet: Fleet, found: Capacity) -> dict[str, Any]:
    wait = fleet.waiting
    return {
        "rate": fleet.rate, "point": point_json(fleet.replica.point), "measured_by": fleet.replica.loop,
        "slots": fleet.replica.slots, "replicas": fleet.replicas, "accelerators": fleet.accelerators,
        "bears": fleet.bears, "bears_interval": list(fleet.interval),
        "bears_more": fleet.replica.is_cut_off(found.question.confidence), "limit": fleet.limit, "spare": fleet.spare,
        "probability": fleet.probability, "price_an_hour": fleet.price_an_hour,
        "cost_per_million_output_tokens": found.cost_per_million(fleet), "power_w": fleet.watts,
        "waiting": None if wait is None else {"share": wait[0], "mean_s": wait[1]},
    }
