"""Which latency model a grid has."""

from __future__ import annotations

from typing import TypeAlias

from planner.models.large_server_model import LargeServerModel
from planner.models.latency_model import Covers, LatencyModel
from planner.models.sampled import is_large
from planner.models.server_model import ServerModel
from planner.space.grid import Grid

__all__ = ["AnyLatencyModel", "latency_model_of"]

AnyLatencyModel: TypeAlias = LatencyModel | ServerModel | LargeServerModel


def latency_model_of(grid: Grid, covers: Covers, length_independent: bool = False) -> AnyLatencyModel:
    """The server model where an axis is a load on a server, else the latency model of static batches."""
    if not grid.is_served:
        return LatencyModel(grid, covers, length_independent)
    return LargeServerModel(grid, covers) if is_large(grid) else ServerModel(grid, covers)
