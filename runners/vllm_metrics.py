"""Metrics under vLLM's names from the token times of a static batch. Pure functions, numpy only.

========  ==================================================  =======
symbol    meaning                                             unit
========  ==================================================  =======
times     (b, o): when request i had its token j              seconds
b, o      batch size, output length of the run                1
k         an output length ≤ o that the run also measures     1
n         input length of every request                       tokens
========  ==================================================  =======

Times count from just before the first request is given to the engine, as in `vllm bench latency`: all requests of a
static batch arrive at 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from planner.space.types import FloatArray

__all__ = ["PREEMPTIONS", "batch_times", "is_exact", "median_half_width", "metric_names", "point_metrics", "steady",
           "token_times"]

PREEMPTIONS: Final = "num_preemptions"
"""Counted by the worker, for the whole run only."""

_PERCENTILES = (50, 90, 95, 99)
_MEDIAN_EFFICIENCY = math.sqrt(math.pi / 2)  # standard error of a median over that of a mean, normal data
_HEAD_START = 0.05
_QUANTILE_95 = 1.6448536269514722
_SMALL_T_95 = (6.3137515, 2.9199856, 2.3533634, 2.1318468)


def token_times(rows: Mapping[str, Sequence[float]], output_len: int) -> FloatArray:
    """Token times in seconds, (b, output_len), from one list for each request.

    Raises ValueError if a request has another number of tokens: an engine that stops early (context full, request
    aborted) would otherwise be timed on less work than was asked of it.
    """
    for name, row in rows.items():
        if len(row) != output_len:
            raise ValueError(f"request {name} gave {len(row)} output tokens instead of {output_len}")
    return np.asarray(list(rows.values()), dtype=np.float64).reshape(len(rows), output_len)


def batch_times(times: FloatArray) -> FloatArray:
    """Seconds until every request of the batch has its k-th token, (o,); `times` is (b, o)."""
    slowest: FloatArray = times.max(axis=0)
    return slowest


def is_exact(times: FloatArray, output_len: int) -> bool:
    """Whether the batch, cut off after `output_len` tokens, took as long as a run of that length; `times` is (b, o).

    If prefill takes several steps, early requests decode while others wait for their first token. In a run of fewer
    tokens they would leave sooner and make room, so the time that is read off is too long (by up to 14 % in our tests).
    It counts as exact while that head start is at most a twentieth of the tokens.
    """
    ahead = int((times <= times[:, 0].max()).sum(axis=1).max()) - 1
    return output_len == times.shape[1] or ahead <= _HEAD_START * output_len


def point_metrics(times: FloatArray, input_len: int, output_len: int) -> dict[str, float]:
    """The metrics of one repeat, cut off after `output_len` tokens; `times` is (b, o ≥ output_len).

    Milliseconds, requests and tokens per second. `e2el_ms` and `batch_ttft_ms` belong to the batch (its last
    request), the statistics of e2el and ttft to the requests. What is undefined is absent: tpot and itl with one
    token, throughput where the clock did not advance.
    """
    batch, k = len(times), output_len
    e2el = times[:, k - 1]
    e2el_s = float(e2el.max())
    metrics = {
        **_statistics("ttft", times[:, 0]),
        **_statistics("e2el", e2el),
        "ttft_ms": float(np.median(times[:, 0])) * 1e3,
        "batch_ttft_ms": float(times[:, 0].max()) * 1e3,
        "e2el_ms": e2el_s * 1e3,
    }
    if e2el_s > 0:
        metrics |= {
            "request_throughput": batch / e2el_s,
            "output_throughput": batch * k / e2el_s,
            "total_token_throughput": batch * (input_len + k) / e2el_s,
        }
    if k > 1:
        tpot = (e2el - times[:, 0]) / (k - 1)
        gaps = np.diff(times[:, :k], axis=1).ravel()
        metrics |= _statistics("tpot", tpot) | _statistics("itl", gaps)
        metrics["tpot_ms"] = float(np.median(tpot)) * 1e3
        metrics["itl_ms"] = float(np.median(gaps)) * 1e3
    return metrics


def metric_names() -> frozenset[str]:
    """The name of every metric that a run may give."""
    return frozenset(point_metrics(np.ones((1, 2)), input_len=1, output_len=2)) | {PREEMPTIONS}


def _statistics(name: str, seconds: FloatArray) -> dict[str, float]:
    """vLLM's seven numbers of a distribution, in ms (std with denominator n, linear percentiles)."""
    ms = seconds * 1e3
    percentiles = np.percentile(ms, _PERCENTILES)
    return {
        f"mean_{name}_ms": float(ms.mean()),
        f"median_{name}_ms": float(np.median(ms)),
        f"std_{name}_ms": float(ms.std()),
    } | {f"p{q}_{name}_ms": float(value) for q, value in zip(_PERCENTILES, percentiles, strict=True)}


def steady(values: Sequence[float], repeats: int, max_repeats: int, tolerance: float | None) -> bool:
    """Whether there are enough repeats: at least `repeats`, and as many more as `tolerance` needs.

    tolerance: largest allowed half-width of the interval of the median, relative to it; None for any.
    """
    if len(values) < repeats:
        return False
    if tolerance is None or len(values) >= max_repeats:
        return True
    return median_half_width(values) <= tolerance


def median_half_width(values: Sequence[float]) -> float:
    """Half-width of the 90 % interval of the median of n repeats, relative to it; infinite for n = 1 and for repeats
    that differ around a median of 0.

    √(π/2) · t₀.₉₅,ₙ₋₁ · s / (√n · median): the asymptotic error of a median of normal data, with Student's t
    because s is estimated from the same few repeats. With few repeats it is wider than necessary (n = 7: 93 %).
    """
    n = len(values)
    if n < 2:
        return math.inf
    spread, median = float(np.std(values, ddof=1)), float(np.median(values))
    if spread == 0.0 or median == 0.0:
        return 0.0 if spread == 0.0 else math.inf
    return _MEDIAN_EFFICIENCY * _t95(n - 1) * spread / (math.sqrt(n) * median)


def _t95(freedom: int) -> float:
    """The 0.95 quantile of Student's t (Abramowitz and Stegun 26.7.5; error < 1e-3 from five degrees on)."""
    if freedom <= len(_SMALL_T_95):
        return _SMALL_T_95[freedom - 1]
    z, v = _QUANTILE_95, float(freedom)
    return (
        z
        + (z**3 + z) / (4 * v)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
    )
