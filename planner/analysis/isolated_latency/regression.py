"""The idealized runtime of arXiv 2305.02440: T(p, o) = α(p) + (o − 1)·β, fitted to one engine's own timings.

Notation: p prompt tokens; o output tokens; b requests at once; T seconds; n timings; k distinct prompt lengths.
Least squares of relative errors, so that short requests count as much as long ones. α rises with p and β ≥ 0: with
α as a sum of non-negative steps that is one non-negative least squares problem. Between the lengths that were timed α
is a monotone cubic; beyond them it is unknown.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.optimize import nnls

from planner.space.types import FloatArray, IntArray

__all__ = ["IsolatedLatency", "LoadedLatency", "Timings", "fit_isolated", "fit_loaded", "is_settled"]


@dataclass(frozen=True, eq=False)
class Timings:
    """Timings of one engine, (n,) each. run: the run of each, −1 if predicted; std: of the logarithm of a predicted
    one, 0 if measured."""

    p: FloatArray
    o: FloatArray
    b: FloatArray
    seconds: FloatArray
    run: IntArray
    std: FloatArray

    @property
    def measured(self) -> int:
        """Number of measured timings."""
        return int((self.run >= 0).sum())

    def __add__(self, other: Timings) -> Timings:
        return Timings(*(np.concatenate([getattr(self, f.name), getattr(other, f.name)]) for f in fields(self)))

    def drawn(self, run_std: float, rng: np.random.Generator) -> tuple[Timings, FloatArray]:
        """Resampled timings, and a weight for each: one run effect and one weight for each run, one error for all
        predictions."""
        runs, of_run = np.unique(self.run, return_inverse=True)
        z, weight = rng.standard_normal(len(runs))[of_run], rng.exponential(size=len(runs))[of_run]
        seconds = self.seconds * np.exp(z * np.where(self.run < 0, self.std, run_std))
        return replace(self, seconds=seconds), weight

    def __len__(self) -> int:
        return len(self.seconds)


@dataclass(frozen=True, eq=False)
class IsolatedLatency:
    """The latency model of one request at a time. lengths: (k,) ascending; alpha: (k,) seconds at these; beta: s a
    token."""

    lengths: FloatArray
    alpha: FloatArray
    beta: float
    longest: float

    def prefill(self, p: FloatArray) -> FloatArray:
        """α(p), shape of p; NaN beyond the lengths that were timed."""
        p = np.asarray(p, dtype=float)
        if len(self.lengths) == 1:
            return np.where(p == self.lengths[0], self.alpha[0], np.nan)
        inside: FloatArray = PchipInterpolator(self.lengths, self.alpha, extrapolate=False)(p)
        return inside

    def seconds(self, p: FloatArray, o: FloatArray) -> FloatArray:
        """T(p, o); NaN beyond what was timed."""
        o = np.asarray(o, dtype=float)
        return np.where((o >= 1) & (o <= self.longest), self.prefill(p) + (o - 1) * self.beta, np.nan)


@dataclass(frozen=True, eq=False)
class LoadedLatency:
    """T(p, o, b) of a static batch: launch, prefill of b prompts with attention; and for each later token launch, b
    requests, and b contexts of p + o/2 tokens. Non-negative weights; NaN beyond the sizes in `ends`, of p, o and b."""

    weights: FloatArray
    ends: tuple[tuple[float, float], ...]

    def seconds(self, p: FloatArray, o: FloatArray, b: FloatArray) -> FloatArray:
        """T(p, o, b)."""
        p, o, b = (np.asarray(size, dtype=float) for size in (p, o, b))
        inside = np.all([(size >= low) & (size <= high)
                         for size, (low, high) in zip((p, o, b), self.ends, strict=True)], axis=0)
        return np.where(inside, _loaded_terms(p, o, b) @ self.weights, np.nan)


def is_settled(timings: Timings) -> bool:
    """Whether prompt and output tokens vary independently, and there are more timings than unknowns."""
    lengths, of = np.unique(timings.p, return_inverse=True)
    design = np.column_stack([np.eye(len(lengths))[of], timings.o - 1])
    return len(timings) > len(lengths) + 1 and int(np.linalg.matrix_rank(design)) == len(lengths) + 1


def fit_isolated(timings: Timings, weight: FloatArray | None = None) -> IsolatedLatency:
    """The latency model of timings that are settled. weight: (n,) of each timing's squared relative error."""
    lengths, of = np.unique(timings.p, return_inverse=True)
    steps = (np.arange(len(lengths))[None, :] <= of[:, None]).astype(float)
    found = _relative_nnls(np.column_stack([steps, timings.o - 1]), timings.seconds, weight)
    return IsolatedLatency(lengths, np.cumsum(found[:-1]), float(found[-1]), float(timings.o.max()))


def fit_loaded(timings: Timings, weight: FloatArray | None = None) -> LoadedLatency:
    """The latency model of a loaded engine."""
    sizes = (timings.p, timings.o, timings.b)
    found = _relative_nnls(_loaded_terms(*sizes), timings.seconds, weight)
    return LoadedLatency(found, tuple((float(size.min()), float(size.max())) for size in sizes))


def _relative_nnls(design: FloatArray, seconds: FloatArray, weight: FloatArray | None) -> FloatArray:
    root = np.ones(len(seconds)) if weight is None else np.sqrt(weight)
    relative = design / seconds[:, None]
    length = np.linalg.norm(relative, axis=0)
    length[length == 0] = 1.0
    found: FloatArray = nnls(relative / length * root[:, None], root)[0] / length
    return found


def _loaded_terms(p: FloatArray, o: FloatArray, b: FloatArray) -> FloatArray:
    p, o, b = np.broadcast_arrays(p, o, b)
    later = o - 1
    return np.stack([np.ones_like(p), p, b, b * p, b * p**2, later, later * b, later * b * (p + o / 2)], axis=-1)
