"""The two rates by which a service is judged: tokens per second of each user, and of each accelerator.

Each follows by definition from a study's predictions, with its 90 % interval. If two predictions enter one rate, their
errors count as fully correlated in the unfavourable direction: the interval is too wide rather than too narrow.

Notation: N grid points; arrays (N,); a rate is NaN where it is undefined (tokens after the first, at one output token).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

from planner.analysis import settings
from planner.analysis.pareto import Figure, nondominated
from planner.analysis.predict import answers
from planner.analysis.quality_front import QualityFront, quality_front, quality_metric
from planner.ledger.observations import Observations
from planner.space.grid import Grid
from planner.space.types import BoolArray, FloatArray, IntArray, Role
from planner.strategies.strategy import Posterior

__all__ = ["Band", "Rates", "rates_of", "sources"]

_STATISTICS: Final = ("", "median_", "p50_", "mean_")
# Whole requests, and the factor that makes their unit milliseconds.
_LATENCIES: Final = {"e2el_ms": 1.0, "request_latency_ms": 1.0, "latency_ms": 1.0, "e2el_s": 1e3, "latency_s": 1e3}


@dataclass(frozen=True, eq=False)
class Band:
    """Values and the ends of their 90 % intervals, (N,) each."""

    value: FloatArray
    low: FloatArray
    high: FloatArray

    def scaled(self, factor: FloatArray | float) -> Band:
        """All three, multiplied by a positive factor."""
        return Band(self.value * factor, self.low * factor, self.high * factor)

    def inverse(self, numerator: FloatArray | float) -> Band:
        """numerator / this; an end that crosses zero is unknown."""
        parts = []
        for part in (self.value, self.high, self.low):
            safe = np.where(part > 0, part, np.nan)
            parts.append(np.asarray(numerator / safe, dtype=float))
        return Band(*parts)


@dataclass(frozen=True, eq=False)
class Rates:
    """tokens/s of each user and of each accelerator, and their derivation as text.

    decoding: the user's rate is that after the first token (1000 / tpot); else of the whole request, wait included.
    usable: points that are expected to run and have both rates, (N,). front: rows of their Pareto front, the highest
    rate per user first. quality: with its front of three; None where the study measures none.
    """

    user: Band
    accelerator: Band
    decoding: bool
    how: str
    usable: BoolArray
    front: IntArray
    quality: QualityFront | None = None


def sources(metrics: Iterable[str]) -> list[str]:
    """Those of `metrics` from which the rates can be derived."""
    known = set(metrics)
    found = [_named(base, known) for base in ("tpot_ms", "ttft_ms", "batch_ttft_ms", "output_throughput")]
    whole = [name for base in _LATENCIES if (name := _named(base, known))]
    return [name for name in found if name] + whole[:1]


def rates_of(accelerators: FloatArray, observations: Observations, posterior: Posterior) -> Rates | str:
    """The rates, or a line that says why they are not known. accelerators: of a run of each point, (N,)."""
    grid = observations.grid
    known = {name: Band(*answers(posterior, observations, name)) for name in sources(posterior.prediction.value)}
    sizes = {role: _sizes(grid, role) for role in (Role.BATCH, Role.CONCURRENCY, Role.OUTPUT_TOKENS)}
    outputs, batch = sizes[Role.OUTPUT_TOKENS], sizes[Role.BATCH]
    users = batch if batch is not None else sizes[Role.CONCURRENCY]
    total, total_how = _total(known, outputs, batch)
    if total is None:
        return ("needs output_throughput as a target; or the latency of whole requests (e2el_ms), or ttft_ms with "
                "tpot_ms, over axes that say their roles `batch` and `output_tokens`")
    user, user_how, decoding = _user(known, outputs, users, total)
    if user is None:
        return "needs tpot_ms as a target; or an axis whose role is `batch` or `concurrency`"
    share = total.scaled(1 / accelerators)
    runs = ~observations.failed & (observations.measured | (posterior.feasibility >= settings.LIKELY))
    usable = runs & np.isfinite(user.value) & np.isfinite(share.value)
    if not usable.any():
        return "no point of the grid has both rates"
    figures = (Figure("user", user.value, True), Figure("accelerator", share.value, True))
    good = quality_metric(map(observations.metric, posterior.prediction.value))
    quality = None if good is None else quality_front(
        good, answers(posterior, observations, good.name)[0], figures, usable)
    return Rates(user, share, decoding, f"Per user: {user_how}. In all: {total_how}", usable,
                 nondominated(figures, usable), quality)


def _total(
    known: dict[str, Band], outputs: FloatArray | None, batch: FloatArray | None
) -> tuple[Band | None, str]:
    """Output tokens per second of the whole engine."""
    name = _named("output_throughput", known)
    if name:
        return known[name], name
    if outputs is None or batch is None:
        return None, ""
    latency, how = _latency(known)
    if latency is None:
        first, step = _first(known), _named("tpot_ms", known)
        if not first or not step:
            return None, ""
        steps = np.maximum(outputs - 1, 0)
        rest = known[step].scaled(steps)
        # At one token there is no time between tokens: the request ends with its first.
        parts = [np.where(steps == 0, a, a + b) for a, b in
                 zip(_ends(known[first]), _ends(rest), strict=True)]
        latency, how = Band(*parts), f"{first} + (output tokens − 1) × {step}"
    return latency.inverse(1000 * batch * outputs), f"batch × output tokens / ({how})"


def _user(
    known: dict[str, Band], outputs: FloatArray | None, users: FloatArray | None, total: Band
) -> tuple[Band | None, str, bool]:
    """Tokens per second that one user sees; how; whether after the first token."""
    step = _named("tpot_ms", known)
    if step:
        return known[step].inverse(1000.0), f"1000 / {step}", True
    (latency, how), first = _latency(known), _first(known)
    if latency is not None and first and outputs is not None:
        prefill = known[first]
        decode = Band(latency.value - prefill.value, latency.low - prefill.high, latency.high - prefill.low)
        steps = np.where(outputs > 1, outputs - 1, np.nan)
        return decode.inverse(1000 * steps), f"(output tokens − 1) / ({how} − {first})", True
    if users is None:
        return None, "", False
    return total.scaled(1 / users), "the engine's tokens/s over its concurrent requests", False


def _latency(known: dict[str, Band]) -> tuple[Band | None, str]:
    for base, factor in _LATENCIES.items():
        name = _named(base, known)
        if name:
            return known[name].scaled(factor), name
    return None, ""


def _first(known: dict[str, Band]) -> str | None:
    """A static batch's own time to its first tokens, where it is known: e2el is the batch's too."""
    return _named("batch_ttft_ms", known) or _named("ttft_ms", known)


def _named(base: str, known: Iterable[str]) -> str | None:
    """The metric itself, or its median or mean."""
    return next((prefix + base for prefix in _STATISTICS if prefix + base in set(known)), None)


def _ends(band: Band) -> tuple[FloatArray, FloatArray, FloatArray]:
    return band.value, band.low, band.high


def _sizes(grid: Grid, role: Role) -> FloatArray | None:
    """Values of the axis with this role at all points, (N,); None if no numeric axis has it."""
    axis = grid.by_role(role)
    if axis is None or any(isinstance(value, str) for value in axis.values):
        return None
    return grid.size_column(role)
