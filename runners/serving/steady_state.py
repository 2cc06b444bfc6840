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

Requests count if they were due in the window, and if they and all that were due before them ended in it: whether a
request counts must not depend on how long it took. Rates count fractions: a request that is half in the window is half
a request. So requests of equal length, which come in waves, are counted as they are served.

Sources: Little, "A proof for the queuing formula L = λW", 1961; "Simulation Modeling and Analysis", chapter 9.
"""

from __future__ import annotations

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
    behind all the time. saturated: an open loop whose queue grew like that, by more than chance: times are those of a
    backlog. littles_law: N / (X·R), and how far from 1 it may be.
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
    index, grows = _queue(good)
    ratio, tolerance = _littles_law(good, start, end, mean)
    return Window(start, end, _members(records, start, end), mean, index, concurrency is None and grows, ratio,
                  tolerance)


def in_flight(records: Records, at: FloatArray) -> FloatArray:
    """N(t) at each time, (len(at),)."""
    sent, end = np.sort(records.sent), np.sort(records.end)
    count: FloatArray = (np.searchsorted(sent, at, "right") - np.searchsorted(end, at, "right")).astype(np.float64)
    return count


def _queue(good: Records) -> tuple[float, bool]:
    """The saturation index over all arrivals, and whether the queue grew by more than chance from their second fifth to
    their last."""
    first, last = float(good.due.min()), float(good.due.max())
    fifth = (last - first) / 5
    if fifth <= 0:
        return 1.0, False
    waiting = Records(good.due, good.due, good.first, good.end, good.input_tokens, good.output_tokens, good.errors)
    late, early = (_mean_in_flight(waiting, moment, moment + fifth) for moment in (last - fifth, first + fifth))
    mean = _mean_in_flight(waiting, first, last)
    index = late / mean if mean > 0 else 1.0
    chance = settings.SATURATION_DEVIATIONS * np.sqrt(2 * max(early, 1.0))
    return index, bool(index > settings.SATURATION_INDEX and late - early > chance)


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


def _members(records: Records, start: float, end: float) -> BoolArray:
    ended_late = ~(records.end <= end) & records.good
    cut = float(records.due[ended_late].min()) if ended_late.any() else np.inf
    members: BoolArray = (records.due >= start) & (records.due < cut) & (records.due <= end)
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
    return mean / (rate * seconds), settings.LITTLES_LAW + settings.EDGES * (mean + 1) / count
