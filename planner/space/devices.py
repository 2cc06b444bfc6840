"""How many accelerators a configuration occupies: one rule for what files say and for what a study leaves unsaid.

The total, where something gives it (`num_gpus`); else the product of the parallel sizes, tensor × pipeline × data.
Expert parallelism shares these devices and is no factor.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Final

from planner.space.meaning import as_number
from planner.space.types import Axis, Role, Value

__all__ = ["PARALLEL_SIZES", "accelerators_expression", "devices_of", "replicas_axis"]

PARALLEL_SIZES: Final = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")
"""vLLM's names of the sizes whose product is the number of devices."""
_TOTALS: Final = ("num_gpus", "n_gpus", "gpu_count", "num_gpu", "gpus", "num_accelerators", "n_accelerators")
_OTHER_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "tensor_parallel_size": ("tensor_parallel", "tp_size", "tp"),
    "pipeline_parallel_size": ("pipeline_parallel", "pp_size", "pp"),
    "data_parallel_size": ("data_parallel", "dp_size", "dp"),
}


def devices_of(settings: Mapping[str, Value]) -> float | None:
    """The number of devices that settings give, under any tool's names; None if they give none."""
    for name in _TOTALS:
        if (total := _count(settings.get(name))) is not None:
            return total
    found = [[size for name in names if (size := _count(settings.get(name))) is not None] for names in _names()]
    sizes = [sizes[0] for sizes in found if sizes]
    return math.prod(sizes) if sizes else None


def accelerators_expression(axes: Iterable[Axis]) -> str | float:
    """The number of devices as an expression over axes, 1 if no axis is about devices: a total, or else the product
    of the axes that are parallel sizes by name or by role."""
    axes = list(axes)
    if total := next((axis.name for axis in axes if axis.name in _TOTALS), None):
        return total
    parallel = {name for names in _names() for name in names}
    return " * ".join(axis.name for axis in axes if axis.name in parallel or Role.ACCELERATORS in axis.roles) or 1.0


def replicas_axis(axes: Iterable[Axis]) -> Axis | None:
    """The axis that says how many replicas of a model serve together, by its name; None if there is none, or if it
    holds text."""
    names = {"data_parallel_size", *_OTHER_NAMES["data_parallel_size"]}
    return next((axis for axis in axes
                 if axis.name in names and not any(isinstance(value, str) for value in axis.values)), None)


def _names() -> Iterable[tuple[str, ...]]:
    return ((name, *_OTHER_NAMES[name]) for name in PARALLEL_SIZES)


def _count(value: Value | None) -> float | None:
    number = as_number(value)
    return number if math.isfinite(number) and number >= 1 else None
