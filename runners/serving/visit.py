"""One point on a server that is up: how many requests to send, what their windows give, and when it is enough."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from planner.space.types import Status
from runners.power import Power, PowerMeter
from runners.serving import settings
from runners.serving.client import Client, ClientRun, LateError, Load, Target
from runners.serving.records import Records
from runners.serving.statistics import (
    half_width,
    least_requests,
    metrics_of,
    percentile_of,
    power_metrics,
    relative_half_width,
    statistic_named,
)
from runners.serving.steady_state import Window, window_of

__all__ = ["Outcome", "Rules", "Visit"]

_SHORTEST: Final = 4.0  # unloaded requests that fit into an open loop's window, one after the other
_WAVES: Final = 4  # requests of equal length come in waves: a window has some of them
_WAVES_OF_DRAWN: Final = 12  # with 4, the rate of lengths that differ much is 5 to 10 % too high, with 12 up to 5 %
_SLOWED: Final = 1.25  # time of a request over that of one alone from which a load may be too much
_LATE_CLIENT: Final = 0.1
_NO_REQUEST_S: Final = 1e7  # four months: no request takes so long, and no sum of such times overflows
_LONGER: Final = 3.0
_CONFIDENT_RUNS: Final = 3
_SEEDS: Final = 1_000
_BACKLOG: Final = "saturated: more requests arrive than the server serves, and its times are those of a backlog"


@dataclass(frozen=True, slots=True)
class Rules:
    """When a point has been measured; see study.ServeSettings for the meaning of each."""

    duration_s: float
    max_duration_s: float
    tolerance: float | None
    repeats: int
    failed_share: float
    timeout_s: float
    targets: tuple[str, ...]
    limit_s: float = math.inf  # of the whole visit; it is longer only where something hangs


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a visit gave: a status with its reason, the metrics of each repeat, seconds, and the last run's records."""

    status: Status
    reason: str = ""
    repeats: tuple[Mapping[str, float], ...] = ()
    warmup_s: float = 0.0
    measure_s: float = 0.0
    records: str = ""


class _NotSteadyError(Exception):
    """A run gave no steady state that can be read. The text is the reason."""


class _TooShortError(_NotSteadyError):
    """A longer run may show a steady state."""


@dataclass
class Visit:
    """Measures one load. Build it, call `measure` once.

    before: called before each run of the client, such as to empty the prefix cache. prepare: the load as the client
    takes it, such as a trace cut to length. accelerators: devices whose power is read. clock: seconds.
    """

    client: Client
    target: Target
    load: Load
    rules: Rules
    before: Callable[[], object] = lambda: None
    prepare: Callable[[Load], Load] = lambda load: load
    accelerators: int = 1
    clock: Callable[[], float] = time.perf_counter
    _ends: float = math.inf
    _runs: int = 0
    _sent: int = 0
    _packed: str = ""
    _power: Power | None = None
    _windows: list[tuple[Records, Window]] = field(default_factory=list)

    def measure(self) -> Outcome:
        """Warm up, then send the load until it is known well enough. Raises ClientError."""
        began = warm = self.clock()
        self._ends = began + self.rules.limit_s
        found: Sequence[Mapping[str, float]] = ()
        try:
            rate, seconds = self._pilot()
            warm = self.clock()
            status, reason, found = self._known(rate, seconds, warm)
        except LateError as late:
            status, reason = Status.FAILED, str(late)
            if not self.load.is_closed and self._runs > 1:  # the pilot of an open loop is one request after another
                came_s = self._sent / self.load.request_rate
                status, reason = Status.SATURATED, f"saturated: {late}, which came in {came_s:.3g} s"
        except _NotSteadyError as error:
            status, reason = Status.FAILED, str(error)
        return Outcome(status, reason, tuple(found), warm - began, self.clock() - warm, self._packed)

    def _known(self, rate: float, seconds: float, began: float) -> tuple[Status, str, list[Mapping[str, float]]]:
        """Status, reason and repeats, when they are known well enough or the time is over.

        rate, seconds: of the pilot. Raises LateError and _NotSteadyError.
        """
        found: list[Mapping[str, float]] = []
        duration = self._duration(rate, seconds)
        while True:
            run = self._send(self._requests(rate, duration), self.rules.timeout_s)
            self._packed = run.records.pack() if run.records is not None else self._packed
            left = self.rules.max_duration_s - (self.clock() - began)
            try:
                metrics, window = self._metrics(run)
            except _TooShortError:
                if (_LONGER + 1) * (self.rules.max_duration_s - left) <= self.rules.max_duration_s:
                    duration *= _LONGER
                    continue
                if len(found) >= self.rules.repeats:
                    return Status.OK, "", found
                raise
            enough = settings.SATURATION_REQUESTS / rate
            if settings.MORE_ARRIVALS * enough < left and self._is_open_question(metrics, window, seconds):
                duration = enough
                continue
            if window is not None and window.saturated:
                return Status.SATURATED, _BACKLOG, [metrics]
            if run.records is not None and window is not None:
                self._windows.append((run.records, window))
            found.append(metrics)
            if self._is_enough(found, self.rules.max_duration_s - left):
                return Status.OK, "", found

    def _pilot(self) -> tuple[float, float]:
        """Requests per second and seconds of a request, roughly: from two requests for each place of a closed loop, or
        two alone. The first ones bring the server to work, and their prompts come all at once; the second ones tell."""
        places = (self.load.max_concurrency or 1) if self.load.is_closed else 1
        alone = replace(self.load, request_rate=math.inf, max_concurrency=places)
        run = self._send(2 * places, self.rules.timeout_s, alone)
        if run.records is None:
            seconds = float(run.metrics.get("mean_e2el_ms", 0.0)) / 1e3
        else:
            self._check_failures(run.records, share=1.0)  # of a few requests, one is a large share
            good = run.records[run.records.good]
            self._check_times(good)
            seconds = float((good.end - good.sent)[-places:].mean())
        seconds = min(max(1e-3, seconds), _NO_REQUEST_S)  # in this order, NaN becomes the least
        return places / seconds if self.load.is_closed else self.load.request_rate, seconds

    def _duration(self, rate: float, seconds: float) -> float:
        """Seconds that a window should last: as asked, and so long that the sample is large enough for the percentiles
        that are targets, if `max_duration_s` allows."""
        most = self.rules.max_duration_s
        percentiles = [q for q in map(percentile_of, self.rules.targets) if q]
        samples = [settings.MORE_ARRIVALS * least_requests(q) / rate for q in percentiles]
        durations = [self.rules.duration_s, *(needed for needed in samples if needed <= most)]
        if not self.load.is_closed:
            durations.append(min(_SHORTEST * seconds, most))
        return max(durations)

    def _is_open_question(
        self, metrics: Mapping[str, float], window: Window | None, seconds: float
    ) -> bool:
        """Whether an open loop has sent too few requests to tell if it is saturated: it seems so, or its requests take
        longer than one alone did (`seconds`)."""
        if self.load.is_closed or window is None or len(window.members) >= settings.SATURATION_REQUESTS:
            return False
        return window.saturated or self._is_drawn or metrics["mean_e2el_ms"] > _SLOWED * seconds * 1e3

    @property
    def _is_drawn(self) -> bool:
        """Whether requests have different lengths."""
        return self.load.dataset != "random" or self.load.range_ratio > 0

    def _requests(self, rate: float, duration: float) -> int:
        """How many requests give a window of `duration` seconds. Raises _NotSteadyError where they come too slowly."""
        wanted = max(settings.LEAST_REQUESTS, math.ceil(rate * duration))
        if self.load.is_closed:  # the burst before the window, some waves, and the wave that ends after it
            places = self.load.max_concurrency or 1
            waves = _WAVES_OF_DRAWN if self._is_drawn else _WAVES
            return max(wanted, waves * places) + 2 * places
        requests = math.ceil(settings.MORE_ARRIVALS * wanted)
        if requests / rate >= self.rules.timeout_s:
            raise _NotSteadyError(f"{requests} requests at {rate:g} per second come in {requests / rate:.3g} s; give "
                                  "them more by runner.timeout_s, or raise the rate")
        return requests

    def _send(self, requests: int, timeout_s: float, load: Load | None = None) -> ClientRun:
        self.before()
        self._sent = requests
        self._runs += 1
        wanted = replace(load or self.load, requests=requests, seed=self.load.seed * _SEEDS + self._runs)
        timeout_s = min(timeout_s, max(1.0, self._ends - self.clock()))
        with PowerMeter(self.accelerators) as meter:
            run = self.client.run(self.target, self.prepare(wanted), timeout_s)
        self._power = meter.reading()
        return run

    def _metrics(self, run: ClientRun) -> tuple[Mapping[str, float], Window | None]:
        """The metrics of a run, only rates if it is saturated, and its window, if known. Raises _NotSteadyError."""
        if run.records is None:
            told = {name: float(value) for name, value in run.metrics.items() if isinstance(value, int | float)}
            return told | power_metrics(self._power), None
        self._check_failures(run.records, self.rules.failed_share)
        self._check_readings(run.records)
        window = window_of(run.records, self.load.max_concurrency if self.load.is_closed else None)
        if window is None:
            raise _TooShortError(f"{len(run.records)} requests have no steady part; give it more by "
                                 "runner.max_duration_s")
        if window.saturated:
            rates = metrics_of(run.records, window, latencies=False)
            return rates | power_metrics(self._power, run.records), window
        if self.load.is_closed and window.in_flight > (1 + settings.LITTLES_LAW) * (self.load.max_concurrency or 1):
            raise _NotSteadyError(f"{window.in_flight:.3g} requests were in flight, and no more than "
                                  f"{self.load.max_concurrency} may be: the client's times are wrong")
        members = int((window.members & run.records.good).sum())
        if members < settings.LEAST_MEMBERS:
            raise _TooShortError(f"{members or 'no'} of {len(run.records)} requests began and ended in the "
                                 f"{window.seconds:.2g} s of the steady part; give it more by runner.max_duration_s")
        if not window.is_consistent:
            raise _TooShortError(f"no steady state: {window.in_flight:.3g} requests in flight are "
                                 f"{window.littles_law:.2f} times what rate and latency make (Little's law)")
        return metrics_of(run.records, window, run.detail) | power_metrics(self._power, run.records), window

    def _check_failures(self, records: Records, share: float) -> None:
        bad = [error or "an answer without tokens" for error, good in zip(records.errors, records.good, strict=True)
               if not good]
        if len(bad) > share * len(records) or len(bad) == len(records):
            (most, _), = Counter(bad).most_common(1)
            raise _NotSteadyError(f"{len(bad)} of {len(records)} requests failed, most of them: {most}")

    def _check_times(self, good: Records) -> None:
        spans = good.end - good.due
        wrong = ~((good.first > good.sent) & (good.end >= good.first) & (good.sent >= good.due - 1e-3)
                  & (spans < _NO_REQUEST_S))
        if wrong.any():
            raise _NotSteadyError(f"{int(wrong.sum())} requests have impossible times, such as a first token "
                                  "before the request was sent")

    def _check_readings(self, records: Records) -> None:
        good = records[records.good]
        self._check_times(good)
        steps = good.output_tokens > settings.TOKENS_TO_STREAM
        tpot = (good.end - good.first)[steps] / (good.output_tokens - 1)[steps]
        if (tpot < settings.LEAST_STEP_S).sum() > settings.BUNDLED_SHARE * len(good):
            raise _NotSteadyError(f"the tokens of {int((tpot < settings.LEAST_STEP_S).sum())} requests came all at "
                                  "once: the server does not stream, or its front end has no core of its own")
        self._check_rate(good)
        if self._is_drawn:
            return
        other = good.output_tokens != self.load.output_len
        if other.sum() > self.rules.failed_share * len(good):
            tokens = float(np.median(good.output_tokens[other]))
            raise _NotSteadyError(f"{int(other.sum())} of {len(good)} requests gave {tokens:g} output tokens and not "
                                  f"{self.load.output_len}; the server stops early (does it know ignore_eos?)")

    def _check_rate(self, good: Records) -> None:
        """An open loop must send what it was asked to: a client that is late measures a lighter load."""
        span = float(good.due.max() - good.due.min())
        if self.load.is_closed or len(good) < settings.LEAST_REQUESTS or span <= 0:
            return
        sent = (len(good) - 1) / span
        if sent < (1 - _LATE_CLIENT) * self.load.request_rate:
            raise _NotSteadyError(f"the client sent {sent:.3g} requests per second instead of "
                                  f"{self.load.request_rate:g}: it cannot keep up; lower the rate, or give it more "
                                  "cores")

    def _is_enough(self, found: Sequence[Mapping[str, float]], spent_s: float) -> bool:
        if len(found) < self.rules.repeats:
            return False
        if self.rules.tolerance is None or spent_s * (1 + 1 / len(found)) > self.rules.max_duration_s:
            return True
        widths = [self._half_width(name, found) for name in self.rules.targets]
        return max(widths, default=0.0) <= self.rules.tolerance

    def _half_width(self, metric: str, found: Sequence[Mapping[str, float]]) -> float:
        """Half of the 90 % interval of a metric, relative: from three runs or more, else from batches within them."""
        values = [repeat[metric] for repeat in found if metric in repeat]
        statistic = statistic_named(metric)
        if len(values) >= _CONFIDENT_RUNS or statistic is None or not self._windows:
            return relative_half_width(values)
        widths = [half_width(records, window, statistic) for records, window in self._windows]
        return math.sqrt(sum(width**2 for width in widths)) / len(widths)
