"""What a step of a model costs a device, as far as their data sheets tell: the roofline of each point.

Notation (all per grid point, (N,); 1 where a number is not known for every value of its axis)
--------
P, A       parameters of the model, and those that one token uses (fewer in a mixture of experts), in billions
b          requests that share a step
W(b)       parameters that a step of b requests reads: P·(1 − (1 − A/P)^b), since each picks its experts anew
F, B       peak of the device's arithmetic and of its memory, in TFLOP/s and GB/s
kv         bytes that a token of context takes in the cache
S          work of attention for a pair of tokens: layers × width, √P where they are not known

Without any of these numbers W = A = P, S = √P, and all else is 1.

Source: Williams, Waterman & Patterson, "Roofline", Communications of the ACM 52 (2009).
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from planner.models import settings
from planner.space.grid import Grid
from planner.space.types import FloatArray, IntArray, Scale

__all__ = ["Roofline"]


@dataclass(frozen=True, eq=False)
class Roofline:
    """The numbers at some points, (n,) each; `reads` is W."""

    P: FloatArray
    A: FloatArray
    F: FloatArray
    B: FloatArray
    kv: FloatArray
    S: FloatArray

    @classmethod
    def of(cls, grid: Grid) -> Roofline:
        """Those of every point."""
        P = np.maximum(_numbers(grid, "params_b", _numbers(grid, "whole_b", np.ones(len(grid)))),
                       settings.LEAST_PARAMETERS)
        A = np.clip(_numbers(grid, "active_b", P), settings.LEAST_PARAMETERS, P)
        one = np.ones(len(grid))
        F, B, kv, layers, width = (_numbers(grid, name, one) for name in (
            "tflops", "bandwidth_gb_s", "kv_bytes", "layers", "width"))
        return cls(P, A, F, B, kv, np.sqrt(P) if layers is one or width is one else layers * width)

    def reads(self, b: FloatArray) -> FloatArray:
        """W(b), (n,)."""
        reads: FloatArray = self.P * (1 - (1 - self.A / self.P) ** b)
        return reads

    def __getitem__(self, rows: IntArray | slice) -> Roofline:
        return Roofline(*(getattr(self, field.name)[rows] for field in fields(self)))


def _numbers(grid: Grid, name: str, unknown: FloatArray) -> FloatArray:
    """The descriptor of that name at each point, (N,); `unknown` where no axis has it, or a number is not above 0."""
    for position, axis in enumerate(grid.axes):
        if axis.scale is Scale.CATEGORY and name in axis.descriptors:
            numbers = np.array(axis.descriptors[name], dtype=np.float64)
            if name == "params_b" or (numbers > 0).all():
                found: FloatArray = numbers[grid.codes[:, position]]
                return found
    return unknown
