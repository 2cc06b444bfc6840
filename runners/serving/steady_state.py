"""The steady part of a client run: which requests count, and whether the server kept up with its load.

Notation
--------
n          requests of the run
N(t)       requests in flight at t: sent and not ended
c          concurrency of a closed loop
[a, b]     the window, seconds on the clock of the records
X, R, N    requests per second, mean seconds of a request, mean of N(t); Little's law says N = X·R

The start-up are the requests that were sent before the first one ended. In a closed loop it is a burst of c prompts at
once: the window opens at the first end after the last of these prompts has its first token. In an open loop the server
starts empty: the window opens when the whole start-up has ended, but not later than after a third of the arrivals (a
server that falls behind never gets there). There is no drain between start-up and window. The window closes when the
last request has been sent; what ends later ran on a server that emptied.

Requests count if they were due in the window, but for the last N of the run: these ended on a server that emptied.
Which ones count must not depend on how long they took, or long ones would be missing: so the last ones go by their
number, and a request of the window counts even if it ends after it.

Rates count fractions: a request that is half in the window is half a request. So requests of equal length, which come
in waves, are counted as they are served. A backlog is counted by what is served: waiting is no part of a request then.

An open loop is saturated where each second of arrivals adds to the time that a request takes: at a load of ρ > 1 times
the capacity it adds ρ - 1 seconds, below it none. This needs some 100 requests (settings.SATURATION_GROWTH).

Sources: Little, "A proof for the queuing formula L = λW", 1961; "Simulation Modeling and Analysis", chapter 9.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from planner.space.types import BoolArray, FloatArray
from runners.serving import settings
from runners.serving.records import Records

__all__ = ["Window", "in_flight", "window_of"]


@dataclass(frozen=True, eq=False)
class Window:
    """The steady part of a run.

    members: whether each request counts, (n,). in_flight: mean of N(t). saturation_index: requests that are due and not
    ended in the last fifth of the arrivals, over their mean: near 1 in a steady state, near 2 where the server falls
    behind all the time. saturated: an open loop whose requests take longer all the time, by more than chance: times are
    those of a backlog. littles_law: N / (X·R), and how far from 1 it may be.
    """

    start: float
    end: float
    members: BoolArray
    in_flight: float
    saturation_index: float
    saturated: bool
    littles_law: float
    littles_tolerance: float

    @property
    def seconds(self) -> float:
        """Length of the window."""
        return self.end - self.start

    @property
    def is_consistent(self) -> bool:
        """Whether Little's law holds as well as the requests on the window's edges allow."""
        return abs(self.littles_law - 1) <= self.littles_tolerance


def window_of(records: Records, concurrency: int | None) -> Window | None:
    """The window of a run; None if it has no steady part: too few requests for this load.

    concurrency: of a closed loop; None for an open loop.
    """
    good = records[records.good]
    if len(good) < 2:
        return None
    start = _opening(good) if concurrency is not None else _opening_of_open_loop(good)
    end = float(good.sent.max())
    if concurrency is not None:
        end = min(end, _last_full(good, concurrency, end))
    if start is None or end <= start:
        return None
    mean = _mean_in_flight(good, start, end)
    ratio, tolerance = _littles_law(good, start, end, mean)
    saturated = concurrency is None and _falls_behind(good)
    return Window(start, end, _members(records, start, end, mean), mean, _saturation_index(good), saturated, ratio,
                  tolerance)


def in_flight(records: Records, at: FloatArray) -> FloatArray:
    """N(t) at each time, (len(at),)."""
    sent, end = np.sort(records.sent), np.sort(records.end)
    count: FloatArray = (np.searchsorted(sent, at, "right") - np.searchsorted(end, at, "right")).astype(np.float64)
    return count


def _saturation_index(good: Records) -> float:
    """Requests that are due and not ended: their number in the last fifth of the arrivals, over its mean."""
    first, last = float(good.due.min()), float(good.due.max())
    waiting = Records(good.due, good.due, good.first, good.end, good.input_tokens, good.output_tokens, good.errors)
    mean = _mean_in_flight(waiting, first, last)
    return _mean_in_flight(waiting, last - (last - first) / 5, last) / mean if mean > 0 else 1.0


def _falls_behind(good: Records) -> bool:
    """Whether requests take longer and longer: the slope of their time over when they were due, by least squares."""
    due, seconds = good.due - good.due.mean(), good.end - good.due
    spread = float((due**2).sum())
    if len(good) < 4 or spread == 0:
        return False
    slope = float((due * seconds).sum()) / spread
    rest = seconds - seconds.mean() - slope * due
    error = float(np.sqrt((rest**2).sum() / (len(good) - 2) / spread))
    return slope > settings.SATURATION_GROWTH and slope > settings.SATURATION_DEVIATIONS * error


def _start_up(good: Records) -> Records:
    return good[good.sent < good.end.min()]


def _opening(good: Records) -> float | None:
    """When the window of a closed loop opens; None if no request ends after the burst's prompts are done."""
    burst = float(_start_up(good).first.max())
    later = good.end[good.end >= burst]
    return float(later.min()) if len(later) else None


def _opening_of_open_loop(good: Records) -> float:
    """When the window of an open loop opens."""
    first, last = float(good.due.min()), float(good.due.max())
    return min(float(_start_up(good).end.max()), first + (last - first) * settings.LONGEST_START_UP)


def _last_full(good: Records, concurrency: int, end: float) -> float:
    """The last moment up to `end` at which at least `settings.FULL` of the places were taken."""
    times = np.unique(np.concatenate([good.sent, good.end]))
    times = times[times <= end]
    full = times[in_flight(good, times) >= settings.FULL * min(concurrency, len(good))]
    return float(full[-1]) if len(full) else -np.inf


def _members(records: Records, start: float, end: float, mean: float) -> BoolArray:
    """Whether each request counts, (n,); mean: of N(t)."""
    order = np.argsort(np.argsort(records.due, kind="stable"), kind="stable")
    members: BoolArray = (records.due >= start) & (records.due <= end) & (order < len(records) - math.ceil(mean))
    return members


def _mean_in_flight(good: Records, start: float, end: float) -> float:
    """Mean of N(t) in [start, end]."""
    overlap = np.clip(np.minimum(good.end, end) - np.maximum(good.sent, start), 0, None)
    return float(overlap.sum() / (end - start)) if end > start else 0.0


def _littles_law(good: Records, start: float, end: float, mean: float) -> tuple[float, float]:
    """N / (X·R), with X from whole requests, and how far it may be from 1: those on the edges are uncertain."""
    ended = (good.end > start) & (good.end <= end)
    begun = (good.sent >= start) & (good.sent < end)
    count = (ended.sum() + begun.sum()) / 2
    both = ended | begun
    if not both.any():
        return np.nan, np.inf
    rate, seconds = count / (end - start), float((good.end - good.sent)[both].mean())
    tolerance = settings.LITTLES_LAW + settings.EDGES * (mean + 1) / count
    return mean / (rate * seconds), min(tolerance, settings.LOOSEST)
