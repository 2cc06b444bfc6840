"""Isolated latencies as tables and as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from planner.analysis.isolated_latency.answer import IsolatedLatencies
from planner.analysis.isolated_latency.blackbox import Ratio
from planner.analysis.isolated_latency.idealize import Idealized, Prompt, Triple
from planner.space.grid import Grid
from planner.space.text import percent, point_text
from planner.space.types import Scope
from planner.views.listing import Listing

__all__ = ["idealized_json", "idealized_tables", "ratio_table"]

_THOUSAND = 1000.0


def idealized_json(found: IsolatedLatencies) -> dict[str, Any]:
    """The form of `idealize --json`."""
    return {
        "engines": [_engine_json(found, engine) for engine in found.engines],
        "unknown": [_axes(found.grid, row) for row in found.silent],
        "blackbox": None if found.blackbox is None else [
            {"engine": _axes(found.grid, ratio.row), **{k: v for k, v in asdict(ratio).items() if k != "row"}}
            for ratio in found.blackbox],
    }


def idealized_tables(found: IsolatedLatencies) -> Iterator[Listing | str]:
    """The latency model of each engine, its runtimes of the reference prompts, and the same under load."""
    if found.engines:
        yield _latency_models(found)
        yield _runtimes(found)
        if any(engine.loaded for engine in found.engines):
            yield _loads(found)
    for row in found.silent:
        yield f"{_name(found.grid, row)}: no answer; too few points with one request at a time were measured or can run"


def ratio_table(ratios: Sequence[Ratio], grid: Grid) -> Listing:
    """A black box's timings over the idealized runtime."""
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


def _latency_models(found: IsolatedLatencies) -> Listing:
    table = Listing("Idealized runtime T(p, o) = α(p) + (o − 1)·β of p tokens in and o out, one request at a time",
                    ["engine", "accelerators", "β, ms a token", "α of shortest prompt, ms", "α of longest prompt, ms",
                     "R²", "error", "points measured", "points PREDICTED"], ["engine"])
    for e in found.engines:
        table.add_row(_name(found.grid, e.row), f"{e.accelerators:g}", _span(_scaled(e.beta, 1000)),
                      _span(_scaled(e.alpha[0], 1000)), _span(_scaled(e.alpha[-1], 1000)), f"{e.r2:.3f}",
                      percent(e.mape), str(e.measured), str(e.points - e.measured))
    table.caption = ("in brackets 90 % intervals of the fit; predictions stand in for what was not measured one at a "
                     "time, and R² and error are of the fit to them too; α is what the fit leaves for the prompt, no "
                     "measured time to the first token")
    return table


def _runtimes(found: IsolatedLatencies) -> Listing:
    columns = ["engine"]
    for prompt in found.prompts:
        columns += [f"{_prompt(prompt)}, s", *(["cost of 1,000"] if found.price is not None else [])]
    last = found.prompts[-1]
    table = Listing("Reference prompts, idealized: seconds", [*columns, "to the fastest"], ["engine"],
                    f"in brackets 90 % intervals; – beyond the lengths of the grid; to the fastest: at {_prompt(last)}")
    for engine, ratio in zip(found.engines, found.to_fastest(last), strict=True):
        cells = [_name(found.grid, engine.row)]
        for prompt in found.prompts:
            cells += _priced(found, engine, engine.seconds(prompt), 1.0)
        table.add_row(*cells, f"{ratio:.2f}×" if math.isfinite(ratio) else "–")
    return table


def _loads(found: IsolatedLatencies) -> Listing:
    batches, prompt = found.batches, found.prompts[min(1, len(found.prompts) - 1)]
    columns = ["engine"]
    for batch in batches:
        columns += [f"{batch:g} at once, s", *(["cost of 1,000"] if found.price is not None else [])]
    table = Listing(f"Loaded engines: a batch of requests of {_prompt(prompt)}", [*columns, "R²", "error", "from"],
                    ["engine", "from"])
    for engine in found.engines:
        cells = [_name(found.grid, engine.row)]
        for batch in batches:
            cells += _priced(found, engine, engine.loaded_seconds(prompt, batch), batch)
        table.add_row(*cells, f"{engine.loaded_r2:.3f}", percent(engine.loaded_mape), engine.loaded_source or "–")
    return table


def _priced(found: IsolatedLatencies, engine: Idealized, seconds: Triple, batch: float) -> list[str]:
    """The seconds of a batch, and the cost of a thousand such requests if there is a price."""
    cost = found.cost(seconds, engine, batch, _THOUSAND)
    return [_span(seconds)] if cost is None else [_span(seconds), _span(cost)]


def _engine_json(found: IsolatedLatencies, engine: Idealized) -> dict[str, Any]:
    def of(prompt: Prompt) -> dict[str, Any]:
        seconds = engine.seconds(prompt)
        loaded = [{"batch": batch, "seconds": (s := engine.loaded_seconds(prompt, batch)),
                   "cost": found.cost(s, engine, batch, 1.0)} for batch in found.batches]
        return {"prompt_tokens": prompt.inputs, "output_tokens": prompt.outputs, "seconds": seconds,
                "cost": found.cost(seconds, engine, 1.0, 1.0), "loaded": loaded if engine.loaded else []}

    return {
        "engine": _axes(found.grid, engine.row), "accelerators": engine.accelerators, "source": engine.source,
        "points": engine.points, "measured_points": engine.measured, "r2": engine.r2, "mape": engine.mape,
        "beta_s": engine.beta,
        "alpha_s": [[float(p), *alpha] for p, alpha in zip(engine.latency.lengths, engine.alpha, strict=True)],
        "loaded": {"source": engine.loaded_source, "r2": engine.loaded_r2, "mape": engine.loaded_mape}
        if engine.loaded else None,
        "prompts": [of(prompt) for prompt in found.prompts],
    }


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
    return point_text(_axes(grid, row)) or "the one engine"
