"""Units in the headers of columns: 'TTFT (ms)', 'duration [s]', 'latency_us', 'Throughput (tok/s)'.

A column that is used for something with a unit is converted to it, so that milliseconds are never taken for seconds. A
header without a unit is taken as it is; one in brackets that is not known is asked about.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from planner.space.types import StudyError

__all__ = ["Unit", "factor", "unit_in", "unit_named"]


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit. what: "time", "tokens/time", "requests/time" or "1/time"; size: in seconds, or per second."""

    name: str
    what: str
    size: float


_TIMES: Final = {
    **dict.fromkeys(("ns", "nanosecond", "nanoseconds"), 1e-9),
    **dict.fromkeys(("us", "µs", "μs", "usec", "microsecond", "microseconds"), 1e-6),
    **dict.fromkeys(("ms", "msec", "msecs", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600.0),
}
_THINGS: Final = {
    **dict.fromkeys(("tok", "toks", "token", "tokens"), "tokens"),
    **dict.fromkeys(("req", "reqs", "request", "requests"), "requests"),
}
_SHORT_RATES: Final = {"tps": ("tokens", "s"), "rps": ("requests", "s"), "qps": ("requests", "s"),
                       "rpm": ("requests", "min"), "tpm": ("tokens", "min")}
_BRACKETS: Final = re.compile(r"[(\[{]\s*([^()\[\]{}]+?)\s*[)\]}]\s*$")
_RATE: Final = re.compile(r"(?:(?P<thing>[a-zµμ]+)\s*|1\s*(?=/))?(?:/|\s+per\s+|_per_|_)\s*(?P<time>[a-zµμ]+)")
_STATISTIC: Final = re.compile(r"(?:mean|avg|average|median|max|std|stdev|p\s*\d+(?:\.\d+)?|%|count|n)", re.IGNORECASE)
_SUFFIXES: Final = ("ns", "us", "µs", "ms", "s", "sec", "secs", "seconds", "msec", "usec", "milliseconds",
                    "microseconds", "minutes", "hours")


def unit_named(text: str) -> Unit | None:
    """The unit that is written so: a time, or a number of tokens or requests per time. None if it is not known."""
    name = text.strip()
    lower = name.lower()
    if lower in _TIMES:
        return Unit(name, "time", _TIMES[lower])
    if lower in _SHORT_RATES:
        thing, time = _SHORT_RATES[lower]
        return Unit(name, f"{thing}/time", 1 / _TIMES[time])
    rate = _RATE.fullmatch(lower)
    if rate and rate["time"] in _TIMES and (rate["thing"] is None or rate["thing"] in _THINGS):
        what = f"{_THINGS[rate['thing']]}/time" if rate["thing"] else "1/time"
        return Unit(name, what, 1 / _TIMES[rate["time"]])
    return None


def unit_in(header: str, key: str = "") -> Unit | None:
    """The unit that a column's header ends with, in brackets or behind an underscore; None if it names none.

    key: given, a word in brackets that is neither a unit nor a statistic raises StudyError that starts with it.
    """
    if found := _BRACKETS.search(header):
        unit = None if found[1].lower() == "min" else unit_named(found[1])  # minutes, or the smallest?
        if unit is None and key and not _STATISTIC.fullmatch(found[1]):
            raise StudyError(f"{key}: the unit '{found[1]}' of the column '{header}' is not known; convert it, as in "
                             f"\"`{header}` * 1\"")
        return unit
    lower = header.strip().lower()
    if unit := unit_named(lower):
        return unit
    words = re.split(r"[_\s]+", lower)
    if len(words) >= 3 and words[-1] in ("s", "sec", "second", "min", "minute"):
        thing = words[-3] if words[-2] == "per" else words[-2]
        if words[-2] == "per" or thing in _THINGS:
            what = f"{_THINGS[thing]}/time" if thing in _THINGS else "1/time"
            return Unit(f"{thing if thing in _THINGS else ''}/{words[-1]}", what, 1 / _TIMES[words[-1]])
    if len(words) >= 2 and words[-1] in _SUFFIXES:
        return Unit(words[-1], "time", _TIMES[words[-1]])
    return None


def factor(header: str, wanted: str, key: str) -> float:
    """What the numbers of the column `header` are multiplied with to be in the unit `wanted`; 1 if either is unknown.

    wanted: a unit ('s', 'ms', 'tokens/s'), or empty. Raises StudyError, starting with `key`, if the column has a unit
    of another kind, or one that is not known.
    """
    if not wanted:
        return 1.0
    target, source = unit_named(wanted), unit_in(header, key)
    if target is None or source is None:
        return 1.0
    unsaid = "1/time" in (source.what, target.what)
    if source.what != target.what and (not unsaid or "time" in (source.what, target.what)):
        raise StudyError(f"{key}: the column '{header}' is in {source.name}, and {wanted} is needed; name another "
                         "column, or an expression")
    return source.size / target.size
