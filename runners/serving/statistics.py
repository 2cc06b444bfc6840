"""Metrics of a window under vLLM's names, and how sure they are.

Percentiles whose sample is too small are absent. Intervals come from batch means or from runs: requests of one run
share the server's state, and as independent readings they would make intervals two to three times too narrow.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
from scipy.stats import binom, t

from planner.space.types import FloatArray
from runners.power import Power
from runners.serving import settings
from runners.serving.records import Records
from runners.serving.steady_state import Window

__all__ = ["half_width", "least_requests", "metric_names", "metrics_of", "percentile_of", "power_metrics",
           "relative_half_width", "statistic_named"]

_PERCENTILES: Final = (50, 90, 95, 99)
_DISTRIBUTIONS: Final = ("ttft", "tpot", "itl", "e2el", "sent_ttft", "sent_e2el", "client_queue_time")
_RATES: Final = ("request_throughput", "output_throughput", "total_token_throughput")
_POWER: Final = ("mean_power_w", "peak_power_w", "energy_per_output_token_j")
_ABOUT: Final = ("in_flight", "saturation_index", "littles_law", "window_requests", "window_s", "failed_requests")


@functools.cache
def least_requests(percentile: float) -> int:
    """Requests of which at least two lie beyond the percentile with 99 % probability: 662 for p99, 64 for p90."""
    beyond = 1 - percentile / 100
    n = 2
    while binom.cdf(1, n, beyond) > 1 - settings.PERCENTILE_CONFIDENCE:
        n += 1
    return n


def percentile_of(metric: str) -> int | None:
    """The percentile that a metric is, of those that need a sample of some size; None for any other."""
    head, _, _ = metric.partition("_")
    return next((q for q in _PERCENTILES if head == f"p{q}"), None)


def metric_names() -> frozenset[str]:
    """The name of every metric that a run of a server may give."""
    names = {f"{statistic}_{name}_ms" for name in _DISTRIBUTIONS
             for statistic in ("mean", "median", "std", *(f"p{q}" for q in _PERCENTILES))}
    return frozenset({*names, *(f"{name}_ms" for name in _DISTRIBUTIONS), *_RATES, *_ABOUT, *_POWER})


def metrics_of(
    records: Records, window: Window, gaps: Sequence[Sequence[float]] = (), latencies: bool = True
) -> dict[str, float]:
    """The metrics of a window: milliseconds, requests and tokens per second.

    gaps: seconds between the tokens of each request, for itl; () where unknown. latencies: whether the times of
    requests are given; of a backlog they are not. ttft, e2el count from when a request was due, sent_ttft, sent_e2el
    from when it was sent; the latter are given where the client held requests back.
    """
    members = records[window.members & records.good]
    found = _rates(records[records.good], window)
    found |= {
        "in_flight": window.in_flight, "saturation_index": window.saturation_index, "littles_law": window.littles_law,
        "window_requests": float(len(members)), "window_s": window.seconds,
        "failed_requests": float(np.sum(~records.good))}
    if latencies and len(members):
        for name, seconds in _times(members).items():
            found |= _distribution(name, seconds)
        rows: list[int] = np.flatnonzero(window.members & records.good).tolist()
        between = np.concatenate([np.asarray(gaps[row]) for row in rows]) if len(gaps) == len(records) else np.array([])
        if len(between):
            found |= _distribution("itl", between, len(members))
    return found


def power_metrics(power: Power | None, records: Records | None = None) -> dict[str, float]:
    """Watts during a run of the client, and joules for each output token that it made; what is unknown is absent."""
    if power is None:
        return {}
    found = {"mean_power_w": power.mean_w}
    if power.peak_w is not None:
        found["peak_power_w"] = power.peak_w
    tokens = 0 if records is None else int(records.output_tokens.sum())
    return found | ({"energy_per_output_token_j": power.energy_j / tokens} if tokens else {})


def half_width(records: Records, window: Window, statistic: Callable[[Records], float]) -> float:
    """Half of the 90 % interval of a statistic of the window's requests, relative to its mean, from batch means;
    infinite with fewer than two requests a batch."""
    members = records[window.members & records.good]
    if len(members) < 2 * settings.BATCHES:
        return float("inf")
    values = [statistic(members[part]) for part in np.array_split(np.arange(len(members)), settings.BATCHES)]
    return relative_half_width(values)


def relative_half_width(values: Sequence[float]) -> float:
    """Half of the 90 % interval of the mean of batches or runs, relative to it; infinite for fewer than two."""
    if len(values) < 2 or not np.isfinite(values).all():
        return float("inf")
    spread, mean = float(np.std(values, ddof=1)), float(np.mean(values))
    if spread == 0:
        return 0.0
    width = float(t.ppf(0.95, len(values) - 1)) * spread / np.sqrt(len(values))
    return float(width / abs(mean)) if mean else float("inf")


def statistic_named(metric: str) -> Callable[[Records], float] | None:
    """What to take of a batch of requests for a metric's interval: its mean or median time. None for a metric whose
    interval needs several runs: one that is no time of requests, and a percentile, for which batches are too small."""
    kind, _, name = metric.removesuffix("_ms").rpartition("_")
    if not metric.endswith("_ms") or name not in {"ttft", "tpot", "e2el"} or kind not in {"", "median", "p50", "mean"}:
        return None
    middle = np.mean if kind == "mean" else np.median
    return lambda batch: float(middle(times)) if len(times := _times(batch).get(name, np.array([]))) else np.nan


def _times(members: Records) -> Mapping[str, FloatArray]:
    """Seconds of each request by what they time; what is undefined or adds nothing is absent."""
    times = {"ttft": members.first - members.due, "e2el": members.end - members.due}
    several = members.output_tokens > 1
    if several.any():
        times["tpot"] = (members.end - members.first)[several] / (members.output_tokens[several] - 1)
    waited = members.sent - members.due
    if waited.mean() > settings.HELD_BACK * times["ttft"].mean():
        times |= {"sent_ttft": members.first - members.sent, "sent_e2el": members.end - members.sent,
                  "client_queue_time": waited}
    return times


def _distribution(name: str, seconds: FloatArray, sample: int | None = None) -> dict[str, float]:
    """vLLM's numbers of a distribution, in ms; percentiles where the sample (of requests) is large enough."""
    ms = seconds * 1e3
    median = float(np.median(ms))
    found = {f"{name}_ms": median, f"mean_{name}_ms": float(ms.mean()), f"median_{name}_ms": median,
             f"std_{name}_ms": float(ms.std())}
    n = len(ms) if sample is None else sample
    return found | {f"p{q}_{name}_ms": float(np.percentile(ms, q)) for q in _PERCENTILES if n >= least_requests(q)}


def _rates(good: Records, window: Window) -> dict[str, float]:
    """Requests and tokens per second, by fractions of requests in the window; of a backlog, by what is served: requests
    that wait longer and longer would count for too much."""
    start, end = window.start, window.end
    served = _share(good.first if window.saturated else good.sent, good.end, start, end)
    first = ((good.first > start) & (good.first <= end)).astype(np.float64)
    tokens = first + (good.output_tokens - 1) * _share(good.first, good.end, start, end)
    prompts = good.input_tokens * _share(good.first if window.saturated else good.sent, good.first, start, end)
    output = float(tokens.sum()) / window.seconds
    return {"request_throughput": float(served.sum()) / window.seconds, "output_throughput": output,
            "total_token_throughput": output + float(prompts.sum()) / window.seconds}


def _share(begin: FloatArray, until: FloatArray, start: float, end: float) -> FloatArray:
    """Share of each span [begin, until] that lies in [start, end], (n,); of an empty span: whether it does."""
    length = until - begin
    overlap = np.clip(np.minimum(until, end) - np.maximum(begin, start), 0, None)
    inside = ((until > start) & (until <= end)).astype(np.float64)
    share: FloatArray = np.where(length > 0, overlap / np.where(length > 0, length, 1.0), inside)
    return share
