"""Which latency model a grid has, and what it says of each quantity.

Notation: N grid points.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

import numpy as np

from planner.models.large_server_model import LargeServerModel
from planner.models.latency_model import Covers, LatencyModel, batch_of
from planner.models.quantities import Data, Quantity
from planner.models.sampled import is_large
from planner.models.server_model import ServerModel
from planner.space.grid import Grid
from planner.space.types import FloatArray, Kind, Role, Transform

__all__ = ["AnyLatencyModel", "QuantityLatencies", "latency_model_of"]

_COVERS: Final[Mapping[Kind, Covers]] = {Kind.FIRST: "first", Kind.STEP: "step"}  # any other: a whole latency

AnyLatencyModel: TypeAlias = LatencyModel | ServerModel | LargeServerModel


def latency_model_of(grid: Grid, covers: Covers, length_independent: bool = False) -> AnyLatencyModel:
    """The server model where an axis is a load on a server, else the latency model of static batches."""
    if not grid.is_served:
        return LatencyModel(grid, covers, length_independent)
    return LargeServerModel(grid, covers) if is_large(grid) else ServerModel(grid, covers)


class QuantityLatencies:
    """The latency models of the quantities of one grid, each built when it is first asked for."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._models: dict[str, AnyLatencyModel] = {}

    def logarithm(self, quantity: Quantity, data: Data) -> FloatArray | None:
        """Logarithm of the quantity by a latency model at every point, (N,); None where none can be fitted."""
        if quantity.transform is not Transform.LOG or quantity.depends_on is not None:
            return None
        if quantity.name not in self._models:
            covers = _COVERS.get(quantity.kind, "output")
            self._models[quantity.name] = latency_model_of(self._grid, covers, quantity.length_independent)
        model = self._models[quantity.name]
        if model.is_trivial:
            return None
        if quantity.kind is not Kind.THROUGHPUT:
            return model.fit(data.rows, np.exp(data.values))
        # A throughput is work over latency; work in requests × output tokens, to a constant.
        work = np.log(batch_of(self._grid) * self._grid.size_column(Role.OUTPUT_TOKENS))
        return work - model.fit(data.rows, np.exp(work[data.rows] - data.values))
