"""The idealized runtime of each engine configuration, from the study's own timings, to compare models.

The overhead of a black box (queues, batching, a slow network) is the ratio of its timings to the idealized ones. If a
configuration was not timed with one request at a time at every prompt length and at the longest output, the study's
predictions are used for the missing ones, and the answer says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Final, TypeVar

import numpy as np

from planner.analysis import settings
from planner.analysis.isolated_latency.regression import (
    IsolatedLatency,
    LoadedLatency,
    Timings,
    fit_isolated,
    fit_loaded,
    is_settled,
)
from planner.ledger.observations import Observations
from planner.models.latency_model import batch_of
from planner.space.grid import Grid
from planner.space.types import Z90, Axis, BoolArray, FloatArray, IntArray, Role, StudyError
from planner.strategies.strategy import Posterior

__all__ = ["Idealized", "Prompt", "Triple", "idealize", "latency_metrics", "reference_prompts"]

Triple = tuple[float, float, float]
"""A value and the ends of its 90 % interval."""
_WHOLE: Final = ("e2el_ms", "median_e2el_ms", "latency_ms", "request_latency_ms", "latency_s", "e2el_s")
_PARTS: Final = ("ttft_ms", "tpot_ms")
_NOTHING: Final = (float("nan"),) * 3
L = TypeVar("L")


@dataclass(frozen=True, slots=True)
class Prompt:
    """A request: tokens in, tokens out."""

    inputs: int
    outputs: int


@dataclass(frozen=True, eq=False)
class Idealized:
    """One engine configuration. row: a grid row of it.

    source: "measured", "predicted" or "mixed", what the latency model was fitted to; `measured` of its `points` were
    measured. r2, mape: of the fit. latency: the model itself; draws: of a bootstrap over runs.
    loaded, loaded_…: the same with a batch, None if too little is known.
    """

    row: int
    accelerators: float
    source: str
    measured: int
    points: int
    r2: float
    mape: float
    latency: IsolatedLatency
    draws: tuple[IsolatedLatency, ...]
    loaded: LoadedLatency | None = None
    loaded_draws: tuple[LoadedLatency, ...] = ()
    loaded_source: str = ""
    loaded_r2: float = float("nan")
    loaded_mape: float = float("nan")

    @property
    def beta(self) -> Triple:
        """Seconds a token after the first."""
        return _triple(self.latency, self.draws, lambda latency: np.array(latency.beta))

    @property
    def alpha(self) -> list[Triple]:
        """α, seconds, at each of the model's lengths. Less certain than a runtime: with long outputs only, little of
        them is prefill, and a β that rises with the prompt biases α."""
        drawn = np.array([draw.alpha for draw in self.draws])
        low, high = np.quantile(drawn, [0.05, 0.95], axis=0)
        return [(float(value), min(float(least), float(value)), max(float(most), float(value)))
                for value, least, most in zip(self.latency.alpha, low, high, strict=True)]

    def seconds(self, prompt: Prompt) -> Triple:
        """The idealized runtime of a prompt."""
        p, o = np.array(float(prompt.inputs)), np.array(float(prompt.outputs))
        return _triple(self.latency, self.draws, lambda latency: latency.seconds(p, o))

    def loaded_seconds(self, prompt: Prompt, batch: float) -> Triple:
        """The runtime of a batch of such prompts."""
        if self.loaded is None:
            return _NOTHING
        sizes = (np.array(float(prompt.inputs)), np.array(float(prompt.outputs)), np.array(float(batch)))
        return _triple(self.loaded, self.loaded_draws, lambda latency: latency.seconds(*sizes))


def latency_metrics(measured: Sequence[str]) -> tuple[str, ...]:
    """The metrics that give a request's whole latency: one, or first token and time between tokens. Raises
    StudyError."""
    whole = next((metric for metric in _WHOLE if metric in measured), None)
    if whole is not None:
        return (whole,)
    if set(_PARTS) <= set(measured):
        return _PARTS
    raise StudyError(f"runner: no run gave a latency; idealize needs one of {', '.join(_WHOLE)}, or both of "
                     f"{' and '.join(_PARTS)}")


def reference_prompts(grid: Grid) -> list[Prompt]:
    """A short, a medium and a long prompt, from the grid's own values."""

    def sizes(role: Role) -> list[int]:
        axis = grid.by_role(role)
        values = [round(float(value)) for value in axis.values] if axis else [1]
        return [values[len(values) // 4], values[len(values) // 2], values[-1]]

    pairs = zip(sizes(Role.INPUT_TOKENS), sizes(Role.OUTPUT_TOKENS), strict=True)
    return list(dict.fromkeys(Prompt(*pair) for pair in pairs))


def idealize(
    observations: Observations, posterior: Posterior, accelerators: FloatArray, seed: int = 0
) -> tuple[list[Idealized], list[int]]:
    """Each engine configuration whose latency model is known, and a grid row of each other one. Raises StudyError where
    the grid has no requests one at a time, or output lengths never vary apart from input lengths."""
    grid = observations.grid
    _check(grid)
    alone = batch_of(grid) == 1
    metrics = latency_metrics(observations.metrics)
    found, silent = [], []
    for engine in range(int(grid.engine.max()) + 1):
        rows = np.flatnonzero(grid.engine == engine)
        fitted = _idealized(observations, posterior, metrics, rows, alone, float(accelerators[rows[0]]), seed)
        if fitted is None:
            silent.append(int(rows[0]))
        else:
            found.append(fitted)
    return found, silent


def _check(grid: Grid) -> None:
    outputs, inputs = grid.by_role(Role.OUTPUT_TOKENS), grid.by_role(Role.INPUT_TOKENS)
    if outputs is None or len(outputs.values) < 2:
        raise StudyError("space.axes: idealize needs an axis of role output_tokens with two values and more; add one")
    if inputs is outputs:
        raise StudyError(f"space.axes.{outputs.name}: input and output lengths never vary apart, so what a prompt "
                         "takes cannot be separated from what its answer takes; give each an axis of its own")
    for role in (Role.BATCH, Role.CONCURRENCY):
        axis: Axis | None = grid.by_role(role)
        if axis is not None and 1 not in axis.values:
            raise StudyError(f"space.axes.{axis.name}: idealize needs requests one at a time; add the value 1")


def _idealized(
    observations: Observations, posterior: Posterior, metrics: tuple[str, ...], rows: IntArray, alone: BoolArray,
    accelerators: float, seed: int,
) -> Idealized | None:
    ours = rows[alone[rows]]
    noise = max((n for n in (observations.repeat_noise(metric) for metric in metrics) if np.isfinite(n)), default=0.0)
    measured = _measured(observations, metrics, ours)
    predicted = _predicted(observations, posterior, metrics,
                           ours[~observations.known[ours] & (posterior.feasibility[ours] >= settings.LIKELY)])
    timings = measured + (_missing(measured, predicted) if is_settled(measured) else predicted)
    if not is_settled(timings):
        return None
    latency, draws = _bootstrapped(fit_isolated, _spread1, timings, noise, seed)
    r2, mape = _fit_of(timings.seconds, latency.seconds(timings.p, timings.o))
    loaded = _loaded(observations, posterior, metrics, rows, noise, seed)
    return Idealized(int(rows[0]), accelerators, _source(timings), timings.measured, len(timings), r2, mape, latency,
                     draws,
                     *loaded)


def _missing(measured: Timings, predicted: Timings) -> Timings:
    """The predictions at prompt lengths that were not timed, and at the longest output if it was not."""
    keep = ~np.isin(predicted.p, measured.p)
    if len(predicted) and predicted.o.max() > measured.o.max():
        keep |= predicted.o == predicted.o.max()
    return Timings(*(getattr(predicted, field.name)[keep] for field in fields(Timings)))


def _source(timings: Timings) -> str:
    if timings.measured == len(timings):
        return "measured"
    return "mixed" if timings.measured else "predicted"


def _loaded(
    observations: Observations, posterior: Posterior, metrics: tuple[str, ...], rows: IntArray, noise: float, seed: int
) -> tuple[LoadedLatency | None, tuple[LoadedLatency, ...], str, float, float]:
    timings = _measured(observations, metrics, rows)
    if len(timings) < settings.LEAST_LOADED:
        open_rows = rows[~observations.known[rows] & (posterior.feasibility[rows] >= settings.LIKELY)]
        timings += _predicted(observations, posterior, metrics, open_rows)
    if len(timings) < settings.LEAST_LOADED or len(np.unique(timings.b)) < 2:
        return None, (), "", float("nan"), float("nan")
    latency, draws = _bootstrapped(fit_loaded, _spread2, timings, noise, seed)
    fit = _fit_of(timings.seconds, latency.seconds(timings.p, timings.o, timings.b))
    return latency, draws, _source(timings), *fit


def _bootstrapped(
    fit: Callable[[Timings, FloatArray | None], L], spread: Callable[[L, Timings], FloatArray], timings: Timings,
    noise: float, seed: int,
) -> tuple[L, tuple[L, ...]]:
    """The fit, and fits to resampled runs (Bayesian bootstrap: exponential weights, so that no length is lost), each
    run with a run effect of the size of residuals and repeats."""
    latency = fit(timings, None)
    run_std = max(noise, float(np.std(spread(latency, timings))))
    rng = np.random.default_rng(seed)
    return latency, tuple(fit(*timings.drawn(run_std, rng)) for _ in range(settings.FIT_BOOTSTRAPS))


def _spread1(latency: IsolatedLatency, timings: Timings) -> FloatArray:
    """Relative residuals, (n,), corrected for the degrees of freedom of the fit."""
    freedom = max(len(timings) - len(latency.lengths) - 1, 1)
    residual = latency.seconds(timings.p, timings.o) / timings.seconds - 1
    widened: FloatArray = residual * np.sqrt(len(timings) / freedom)
    return widened


def _spread2(latency: LoadedLatency, timings: Timings) -> FloatArray:
    freedom = max(len(timings) - len(latency.weights), 1)
    residual = latency.seconds(timings.p, timings.o, timings.b) / timings.seconds - 1
    widened: FloatArray = residual * np.sqrt(len(timings) / freedom)
    return widened


def _timings(
    observations: Observations, rows: IntArray, seconds: FloatArray, runs: IntArray, std: FloatArray
) -> Timings:
    """Those of `rows` (n,) that have a latency; seconds, runs and std (n,)."""
    good = np.isfinite(seconds) & (seconds > 0) & np.isfinite(std)
    grid, rows = observations.grid, rows[good]
    return Timings(grid.size_column(Role.INPUT_TOKENS)[rows], grid.size_column(Role.OUTPUT_TOKENS)[rows],
                   batch_of(grid)[rows], seconds[good], runs[good], std[good])


def _measured(observations: Observations, metrics: tuple[str, ...], rows: IntArray) -> Timings:
    seconds = _whole(metrics, [observations.column(metric) for metric in metrics], observations.grid)[rows]
    return _timings(observations, rows, seconds, observations.run_of[rows], np.zeros(len(rows)))


def _predicted(observations: Observations, posterior: Posterior, metrics: tuple[str, ...], rows: IntArray) -> Timings:
    ends = [_whole(metrics, [end[metric] for metric in metrics], observations.grid)[rows]
            for end in (posterior.prediction.value, posterior.prediction.low, posterior.prediction.high)]
    with np.errstate(divide="ignore", invalid="ignore"):
        std = np.log(ends[2] / ends[1]) / (2 * Z90)
    return _timings(observations, rows, ends[0], np.full(len(rows), -1, dtype=np.int64), std)


def _whole(metrics: tuple[str, ...], columns: list[FloatArray], grid: Grid) -> FloatArray:
    """Seconds until the last token."""
    if len(columns) == 1:
        return columns[0] / (1000 if metrics[0].endswith("_ms") else 1)
    first, between = columns
    later = grid.size_column(Role.OUTPUT_TOKENS) - 1
    whole: FloatArray = (first + np.where(later > 0, later * between, 0.0)) / 1000
    return whole


def _fit_of(seconds: FloatArray, fitted: FloatArray) -> tuple[float, float]:
    """R² in seconds and the mean absolute relative error."""
    total = float(np.sum((seconds - seconds.mean()) ** 2))
    r2 = 1 - float(np.sum((seconds - fitted) ** 2)) / total if total > 0 else float("nan")
    return r2, float(np.mean(np.abs(fitted / seconds - 1)))


def _triple(latency: L, draws: tuple[L, ...], of: Callable[[L], FloatArray]) -> Triple:
    value = float(of(latency))
    if not np.isfinite(value):
        return _NOTHING
    drawn = np.array([float(of(draw)) for draw in draws])
    low, high = np.quantile(drawn, [0.05, 0.95])
    return value, min(float(low), value), max(float(high), value)
