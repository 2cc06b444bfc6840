"""A latency model of a server under load: a steady state of decoding and of prompts that come in between.

Notation (all per grid point, (N,), from the roles of the axes; 1 where no axis has the role)
--------
i, o, n     input tokens, output tokens, accelerators, as in latency_model.py; W, A, S, F, B, kv as in roofline.py
c           requests in flight, as the axis of concurrency says (closed loop)
R           replicas of the model that serve together
b           requests that share a step: c, c·R or c/R, whichever fits best. Some tools say how many are in flight for
            each replica, some for all; and replicas whose experts are shared wait for each other's steps
λ           requests that arrive in a second (open loop); infinite in closed loop, where c loads the server
x           λ · (o + r·i)/n, the work that arrives in a second; r is what an input token costs of an output token
ρ           utilisation x/x₁ of an engine that is saturated at x₁

Terms φ of the latency of a server, latency ≈ f · Σ_k w_k φ_k with w ≥ 0:

step        s(b): launch 1, weights read W(b)/(nB), per-request work b and b·A/(nF), cache b·(i + o/2)·kv/(nB)
prefill     p(i) of one prompt: i, i·A/(nF), i²·S/(nF)
a wave      b·p(i): a burst of prompts, and the clients that one step has let go together, wait for each other
between     b·p(i)/o: in steady state each request brings a prompt once in o steps

A first token waits for the running step, its own prefill, and those before it: step, prefill, wave and between. A later
token takes a step and the prompts between. A whole request takes its first token and o steps; the o · between of these
steps is the wave. In open loop latencies grow as 1/(1 − ρ), so each term comes once more, divided by that; a whole
request, as the inverse of a throughput, takes 1/λ up to saturation and ρ/λ beyond. x₁ and r are those that fit best.

f is a factor for each value of each category axis, such as a device or a precision: alike in shape, they differ in
speed. It is fitted in turn with w, by the same squares, and drawn towards 1.

Sources: Little, Operations Research 9 (1961); Kleinrock, Queueing Systems I (1975), for 1/(1 − ρ); Agrawal et al.,
"Taming throughput-latency tradeoff in LLM inference with Sarathi-Serve", arXiv 2403.02310, for prompts between steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from planner.models import settings
from planner.models.latency_model import Covers, batch_of
from planner.models.regression import distinct_terms, fit_weights, logarithm_of, relative_error
from planner.models.roofline import Roofline
from planner.space.devices import replicas_axis
from planner.space.grid import Grid
from planner.space.types import FloatArray, IntArray, Role, Scale

__all__ = ["Columns", "ServerModel", "Shape", "factor_tables", "shapes_of", "terms_of"]


@dataclass(frozen=True, slots=True)
class Shape:
    """A set of terms. batch: which of `Columns.batches` b is. input_cost, most: r, and the utilisation of the heaviest
    load, where a rate adds terms; most is 0 where none are added."""

    batch: int
    input_cost: float = 0.0
    most: float = 0.0


@dataclass(frozen=True, eq=False)
class Columns:
    """What the terms are made of, at some points, (n,) each. batches: what b may be. heaviest: the largest work of the
    whole grid for each r."""

    i: FloatArray
    o: FloatArray
    n: FloatArray
    roofline: Roofline
    rates: FloatArray
    batches: tuple[FloatArray, ...]
    heaviest: dict[float, float]

    @classmethod
    def of(cls, grid: Grid) -> Columns:
        """Those of every point."""
        i, o = grid.size_column(Role.INPUT_TOKENS), grid.size_column(Role.OUTPUT_TOKENS)
        n, rates = grid.size_column(Role.ACCELERATORS), _rates(grid)
        heaviest = {r: float(_work(i, o, n, rates, r).max()) for r in settings.INPUT_TOKEN_COSTS}
        return cls(i, o, n, Roofline.of(grid), rates, tuple(_batches(grid)), heaviest)

    def __getitem__(self, rows: IntArray | slice) -> Columns:
        return Columns(self.i[rows], self.o[rows], self.n[rows], self.roofline[rows], self.rates[rows],
                       tuple(batch[rows] for batch in self.batches), self.heaviest)


class ServerModel:
    """The latency model of one grid with an axis of load.

    covers: what the latency is of: the whole output, its first token, or a step after it.
    """

    def __init__(self, grid: Grid, covers: Covers) -> None:
        columns = Columns.of(grid)
        self._shapes = [distinct_terms(terms_of(columns, covers, shape)) for shape in shapes_of(grid)]
        self._codes = [grid.codes[:, place] for place, axis in enumerate(grid.axes)
                       if axis.scale is Scale.CATEGORY and len(axis.values) > 1]
        self._levels = [int(codes.max()) + 1 for codes in self._codes]

    @property
    def is_trivial(self) -> bool:
        """Whether the model is a constant: never, since the load is an axis, unless it has one value."""
        return all(terms.shape[1] < 2 for terms in self._shapes)

    def fit(self, rows: IntArray, latency: FloatArray) -> FloatArray:
        """Logarithm of the fitted latency at every grid point, (N,), in its unit. latency: (n,) above 0, at `rows`."""
        fits = [self._fit(terms, rows, latency) for terms in self._shapes]
        errors = [relative_error(fit[rows], latency) for fit in fits]
        best = int(np.argmin(errors))
        usual = errors[best] > errors[0] - settings.SERVER_LEAST_IMPROVEMENT
        return logarithm_of(fits[0 if usual else best], latency)

    def _fit(self, terms: FloatArray, rows: IntArray, latency: FloatArray) -> FloatArray:
        """Latency at every grid point, (N,), with these terms (N, K)."""
        factors = np.ones(len(terms))
        for _ in range(settings.FACTOR_ROUNDS if self._codes else 1):
            common: FloatArray = terms @ fit_weights(terms[rows], latency / factors[rows])
            tables = factor_tables(common[rows], latency, [codes[rows] for codes in self._codes], self._levels)
            factors = np.ones(len(terms))
            for table, codes in zip(tables, self._codes, strict=True):
                factors *= table[codes]
        return common * factors


def factor_tables(
    common: FloatArray, latency: FloatArray, codes: list[IntArray], levels: list[int]
) -> list[FloatArray]:
    """f of each of the `levels` values of each category axis, given what all categories share, (n,). codes: (n,) of
    each axis."""
    factors, tables = np.ones(len(common)), []
    for own, count in zip(codes, levels, strict=True):
        ratio = common * factors / latency
        runs, sums, squares = (np.bincount(own, power, count) for power in (np.ones(len(own)), ratio, ratio**2))
        best = np.where(squares > 0, sums / np.where(squares > 0, squares, 1), 1)
        tables.append(best ** (runs / (runs + settings.FACTOR_WEIGHT)))
        factors *= tables[-1][own]
    return tables


def shapes_of(grid: Grid) -> list[Shape]:
    """The shapes that are tried, the plainest first."""
    closed = [Shape(batch) for batch in range(len(_batches(grid)))]
    if grid.by_role(Role.RATE) is None:
        return closed
    loads = list(product(settings.INPUT_TOKEN_COSTS, settings.MOST_UTILISATIONS))
    return closed + [Shape(one.batch, *load) for one in closed for load in loads]


def terms_of(columns: Columns, covers: Covers, shape: Shape) -> list[FloatArray]:
    """The terms φ of a shape, (n,) each."""
    terms = _closed(columns, covers, columns.batches[shape.batch])
    if not shape.most:
        return terms
    work = _work(columns.i, columns.o, columns.n, columns.rates, shape.input_cost)
    rho = shape.most * work / max(columns.heaviest[shape.input_cost], settings.TINY)
    return [*terms, *_open(columns, covers, terms, rho)]


def _batches(grid: Grid) -> list[FloatArray]:
    """What b may be. Where a rate loads the server, it says nothing of how many requests are in flight."""
    c, axis = np.where(np.isfinite(_rates(grid)), 1.0, batch_of(grid)), replicas_axis(grid.axes)
    return [c] if axis is None else [c, c * grid.numbers(axis.name), c / grid.numbers(axis.name)]


def _closed(columns: Columns, covers: Covers, b: FloatArray) -> list[FloatArray]:
    i, o, n, r = columns.i, columns.o, columns.n, columns.roofline
    step = [np.ones(len(i)), r.reads(b) / n / r.B, b, b * r.A / n / r.F, b * (i + o / 2) / n * r.kv / r.B]
    prefill = [i, i * r.A / n / r.F, i**2 * r.S / n / r.F]
    wave, between = [b * p for p in prefill], [b * p / o for p in prefill]
    match covers:
        case "first":
            return [*step, *prefill, *wave, *between]
        case "step":
            return [*step, *between]
        case "output":
            return [*step, *prefill, *wave, *(o * term for term in step)]


def _open(columns: Columns, covers: Covers, terms: list[FloatArray], rho: FloatArray) -> list[FloatArray]:
    """What a request rate adds at this utilisation; nothing where the rate is infinite, in closed loop."""
    if covers == "output":
        return [np.maximum(1, rho) / columns.rates]
    crowded = np.where(np.isfinite(columns.rates), 1 / np.maximum(1 - rho, settings.LEAST_IDLE[covers]), 0.0)
    return [crowded * term for term in terms]


def _work(i: FloatArray, o: FloatArray, n: FloatArray, rates: FloatArray, input_cost: float) -> FloatArray:
    """Work that arrives in a second, x (n,)."""
    work: FloatArray = np.where(np.isfinite(rates), rates, 0.0) * (o + input_cost * i) / n
    return work


def _rates(grid: Grid) -> FloatArray:
    """λ, (N,), infinite in closed loop."""
    axis = grid.by_role(Role.RATE)
    return np.full(len(grid), np.inf) if axis is None else np.asarray(grid.column(axis.name), dtype=np.float64)
