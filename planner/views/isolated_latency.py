"""Idealized runtimes as tables that a person reads, and as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from planner.analysis.isolated_latency.blackbox import Ratio
from planner.analysis.isolated_latency.idealize import Idealized, Prompt, Triple
from planner.models.latency_model import batch_of
from planner.space.grid import Grid
from planner.space.text import percent
from planner.space.types import Scope
from planner.views.listing import Listing

__all__ = ["idealized_json", "idealized_tables", "ratio_table"]

_BATCHES = 3


def idealized_json(
    engines: list[Idealized], silent: list[int], ratios: list[Ratio] | None, prompts: list[Prompt], grid: Grid,
    price: float | None,
) -> dict[str, Any]:
    """As `idealize --json` writes it."""
    return {
        "engines": [_engine_json(engine, prompts, grid, price) for engine in engines],
        "unknown": [_axes(grid, row) for row in silent],
        "blackbox": None if ratios is None else [
            {"engine": _axes(grid, ratio.row), **{k: v for k, v in asdict(ratio).items() if k != "row"}}
            for ratio in ratios],
    }


def idealized_tables(
    engines: list[Idealized], silent: list[int], prompts: list[Prompt], grid: Grid, price: float | None
) -> Iterator[Listing | str]:
    """The law of each engine, what it makes of the reference prompts, and the same under load."""
    if engines:
        yield _latency_models(engines, grid)
        yield _runtimes(engines, prompts, grid, price)
        if any(engine.loaded for engine in engines):
            yield _loads(engines, prompts[min(1, len(prompts) - 1)], grid, price)
    for row in silent:
        yield f"{_name(grid, row)}: nothing can be told; too little was measured or can run one request at a time"


def ratio_table(ratios: list[Ratio], grid: Grid) -> Listing:
    """What a black box adds to the idealized runtime."""
    table = Listing("Black box: raw over idealized runtime",
                    ["served by", "against", "timings", "outside", "median", "10 % … 90 % of timings"],
                    ["served by", "against"],
                    "outside: more or fewer tokens than the engine was timed on; no ratio is made up for these")
    for ratio in ratios:
        known = math.isfinite(ratio.ratio)
        table.add_row(ratio.service or "the black box", _name(grid, ratio.row), str(ratio.timings),
                      str(ratio.outside), f"{ratio.ratio:.2f}×" if known else "–",
                      f"{ratio.low:.2f} … {ratio.high:.2f}" if known else "")
    return table


def _latency_models(engines: list[Idealized], grid: Grid) -> Listing:
    table = Listing("Idealized runtime T(p, o) = α(p) + (o − 1)·β of p tokens in and o out, one request at a time",
                    ["engine", "accelerators", "β, ms a token", "α of shortest prompt, ms", "α of longest prompt, ms",
                     "R²", "error", "points measured", "points PREDICTED"], ["engine"])
    for e in engines:
        table.add_row(_name(grid, e.row), f"{e.accelerators:g}", _span(_scaled(e.beta, 1000)),
                      _span(_scaled(e.alpha[0], 1000)), _span(_scaled(e.alpha[-1], 1000)), f"{e.r2:.3f}",
                      percent(e.mape), str(e.measured), str(e.points - e.measured))
    table.caption = ("in brackets 90 % intervals of the fit; predictions stand in for what was not measured one at a "
                     "time, and R² and error are of the fit to them too; α is what the fit leaves for the prompt, no "
                     "measured time to the first token")
    return table


def _runtimes(engines: list[Idealized], prompts: list[Prompt], grid: Grid, price: float | None) -> Listing:
    columns = ["engine"]
    for prompt in prompts:
        columns += [f"{_prompt(prompt)}, s", *(["cost of 1,000"] if price is not None else [])]
    table = Listing("Reference prompts, idealized: seconds", [*columns, "to the fastest"], ["engine"],
                    f"in brackets 90 % intervals; – beyond the lengths of the grid; to the fastest: at "
                    f"{_prompt(prompts[-1])}")
    last = [engine.seconds(prompts[-1])[0] for engine in engines]
    fastest = min((value for value in last if math.isfinite(value)), default=math.nan)
    for engine, own in zip(engines, last, strict=True):
        cells = [_name(grid, engine.row)]
        for prompt in prompts:
            seconds = engine.seconds(prompt)
            cells.append(_span(seconds))
            if price is not None:
                cells.append(_span(_cost(seconds, engine, price)))
        table.add_row(*cells, f"{own / fastest:.2f}×" if math.isfinite(own / fastest) else "–")
    return table


def _loads(engines: list[Idealized], prompt: Prompt, grid: Grid, price: float | None) -> Listing:
    batches = _batches(grid)
    columns = ["engine"]
    for batch in batches:
        columns += [f"{batch:g} at once, s", *(["cost of 1,000"] if price is not None else [])]
    table = Listing(f"Loaded engines: a batch of requests of {_prompt(prompt)}", [*columns, "R²", "error", "from"],
                    ["engine", "from"])
    for engine in engines:
        cells = [_name(grid, engine.row)]
        for batch in batches:
            seconds = engine.loaded_seconds(prompt, batch)
            cells.append(_span(seconds))
            if price is not None:
                cells.append(_span(_cost(seconds, engine, price, batch)))
        table.add_row(*cells, f"{engine.loaded_r2:.3f}", percent(engine.loaded_mape), engine.loaded_source or "–")
    return table


def _engine_json(engine: Idealized, prompts: list[Prompt], grid: Grid, price: float | None) -> dict[str, Any]:
    def of(prompt: Prompt) -> dict[str, Any]:
        seconds = engine.seconds(prompt)
        loaded = [{"batch": batch, "seconds": (s := engine.loaded_seconds(prompt, batch)),
                   "cost": None if price is None else _cost(s, engine, price, batch, 1.0)} for batch in _batches(grid)]
        return {"prompt_tokens": prompt.inputs, "output_tokens": prompt.outputs, "seconds": seconds,
                "cost": None if price is None else _cost(seconds, engine, price, requests=1.0),
                "loaded": loaded if engine.loaded else []}

    return {
        "engine": _axes(grid, engine.row), "accelerators": engine.accelerators, "source": engine.source,
        "points": engine.points, "measured_points": engine.measured, "r2": engine.r2, "mape": engine.mape,
        "beta_s": engine.beta,
        "alpha_s": [[float(p), *alpha] for p, alpha in zip(engine.latency.lengths, engine.alpha, strict=True)],
        "loaded": {"source": engine.loaded_source, "r2": engine.loaded_r2, "mape": engine.loaded_mape}
        if engine.loaded else None,
        "prompts": [of(prompt) for prompt in prompts],
    }


def _batches(grid: Grid) -> list[float]:
    """The smallest, a middling and the largest batch of the grid."""
    values = sorted(set(batch_of(grid).tolist()))
    return sorted({values[0], values[len(values) // 2], values[-1]})[:_BATCHES]


def _cost(seconds: Triple, engine: Idealized, price: float, batch: float = 1.0, requests: float = 1000.0) -> Triple:
    return _scaled(seconds, requests * engine.accelerators * price / 3600 / batch)


def _scaled(triple: Triple, factor: float) -> Triple:
    return triple[0] * factor, triple[1] * factor, triple[2] * factor


def _span(triple: Triple) -> str:
    value, low, high = triple
    return f"{value:.3g} ({low:.3g} … {high:.3g})" if math.isfinite(value) else "–"


def _prompt(prompt: Prompt) -> str:
    return f"{prompt.inputs:,} in, {prompt.outputs:,} out"


def _axes(grid: Grid, row: int) -> dict[str, Any]:
    point = grid.point(row)
    return {axis.name: point[axis.name] for axis in grid.axes if axis.scope is Scope.ENGINE}


def _name(grid: Grid, row: int) -> str:
    return "  ".join(f"{name}={value}" for name, value in _axes(grid, row).items()) or "the one engine"
