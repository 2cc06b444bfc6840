"""A file checked against itself: rates against requests ÷ duration, lengths asked for against tokens counted, latencies
against their parts, requests in flight against the concurrency limit.

A contradiction of more than `NOTED` is a note. The row is refused where its figures would be false: a request had less
than half the tokens of the point, or more than twice as many, or a rate is a hundred times another (a wrong unit).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from planner.importers.rows import Counts, Row
from planner.space.grid import Grid
from planner.space.meaning import as_number
from planner.space.types import Point, Role

__all__ = ["NOTED", "REFUSED", "Finding", "contradictions"]

NOTED: Final = 0.05
"""Relative difference from which on a contradiction is noted. vLLM's own files agree to 0.1 %."""
NOTED_LENGTH: Final = 0.1
"""The same for lengths: chat templates add tokens, and tokenizers split differently."""
TEMPLATE: Final = 64
"""Tokens that a chat template may add to a prompt: so many more are never refused."""
REFUSED: Final = 0.5
"""Relative difference (of the larger length) from which on the row is refused: one is twice the other."""
REFUSED_RATE: Final = 0.99
"""The same for rates, which several tools count in their own way: one is a hundred times the other."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A contradiction as one line. kind: what is contradicted. false: whether the row's figures cannot be used."""

    kind: str
    text: str
    false: bool = False


def contradictions(row: Row, point: Point, grid: Grid) -> list[Finding]:
    """What contradicts itself in a row that has its place at `point`."""
    counts = row.counts or Counts()
    found = [*_rates(row, counts), *_lengths(counts, point, grid), *_parts(row, point, grid),
             *_flight(row, point, grid)]
    if counts.cut_off:
        found.append(Finding("cut off", f"{counts.cut_off:g} requests were cut off at the end"))
    return found


def _rates(row: Row, counts: Counts) -> Iterator[Finding]:
    if not counts.duration_s or counts.duration_s <= 0:
        return
    tokens = (counts.input_tokens + counts.output_tokens
              if counts.input_tokens is not None and counts.output_tokens is not None else None)
    for name, count, what in (("request_throughput", counts.requests, "requests"),
                              ("output_throughput", counts.output_tokens, "output tokens"),
                              ("total_token_throughput", tokens, "tokens")):
        if count and len(row.metrics.get(name, ())) == 1:
            said, computed = row.metrics[name][0], count / counts.duration_s
            gap = _gap(said, computed)
            if gap > NOTED:
                yield Finding(name, f"{name} is {said:.4g}, but {count:g} {what} in {counts.duration_s:.4g} s are "
                              f"{computed:.4g}", gap >= REFUSED_RATE)


def _lengths(counts: Counts, point: Point, grid: Grid) -> Iterator[Finding]:
    if not counts.requests:
        return
    for role, tokens in ((Role.INPUT_TOKENS, counts.input_tokens), (Role.OUTPUT_TOKENS, counts.output_tokens)):
        asked, name = _at(point, grid, role)
        if math.isfinite(asked) and tokens:
            counted = tokens / counts.requests
            gap = _gap(asked, counted)
            if gap > NOTED_LENGTH:
                template = role is Role.INPUT_TOKENS and 0 < counted - asked <= TEMPLATE
                yield Finding(name, f"{name} is {asked:g}, but a request had {counted:.4g} tokens on average",
                              gap >= REFUSED and not template)


def _parts(row: Row, point: Point, grid: Grid) -> Iterator[Finding]:
    """Means add up: e2el = ttft + tpot · (output tokens − 1) holds for each request."""
    outputs, _ = _at(point, grid, Role.OUTPUT_TOKENS)
    parts = [row.metrics.get(f"mean_{name}_ms", ()) for name in ("ttft", "tpot", "e2el")]
    if not math.isfinite(outputs) or any(len(values) != 1 for values in parts):
        return
    (first,), (step,), (whole,) = parts
    gap = _gap(whole, first + step * (outputs - 1))
    if gap >= REFUSED:
        yield Finding("parts", f"mean_e2el_ms is {whole:.4g}, but mean_ttft_ms + mean_tpot_ms × {outputs - 1:g} is "
                      f"{first + step * (outputs - 1):.4g}")


def _flight(row: Row, point: Point, grid: Grid) -> Iterator[Finding]:
    """Requests in flight are throughput × latency (Little, 1961), at most the concurrency limit."""
    limit, name = _at(point, grid, Role.CONCURRENCY)
    rate, latency = (row.metrics.get(metric, ()) for metric in ("request_throughput", "mean_e2el_ms"))
    if math.isfinite(limit) and len(rate) == len(latency) == 1:
        flying = rate[0] * latency[0] / 1000
        if flying > limit * (1 + NOTED_LENGTH):
            yield Finding("in flight", f"{name} is {limit:g}, but throughput × latency are {flying:.4g} requests at "
                          "once", _gap(limit, flying) >= REFUSED_RATE)


def _at(point: Point, grid: Grid, role: Role) -> tuple[float, str]:
    axis = next((axis for axis in grid.axes if role in axis.roles), None)
    return (as_number(point[axis.name]), axis.name) if axis else (math.nan, "")


def _gap(one: float, other: float) -> float:
    largest = max(abs(one), abs(other))
    return abs(one - other) / largest if largest > 0 else 0.0
