"""Latency over the load of a server: a curve for each engine configuration and workload, and where it saturates.

A grid may have two loads: requests in flight (a closed loop) and arrivals per second (an open loop). Each gives lines
of its own: the points that differ by this load alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from planner.analysis import settings
from planner.analysis.predict import answers
from planner.analysis.rates import Band
from planner.ledger.observations import Observations
from planner.space.grid import Grid
from planner.space.load import ascending_lines
from planner.space.slo import Condition
from planner.space.types import Axis, BoolArray, FloatArray, IntArray, Kind, Role, Scale, Value
from planner.strategies.strategy import Posterior

__all__ = ["LoadCurve", "LoadCurves", "LoadPanel", "load_curves"]

_TIMES = (Kind.FIRST, Kind.STEP, Kind.WHOLE)


@dataclass(frozen=True, eq=False)
class LoadCurve:
    """A line of the grid. rows: ascending by load, without an infinite rate. saturates: the row from which more load
    gives no more throughput, or at which a run was saturated; None if neither is seen in the grid."""

    name: str
    rows: IntArray
    saturates: int | None


@dataclass(frozen=True, eq=False)
class LoadPanel:
    """The lines along one load, those with most measured points first; loads: its value at each point, (N,)."""

    axis: Axis
    loads: FloatArray
    curves: tuple[LoadCurve, ...]


@dataclass(frozen=True, eq=False)
class LoadCurves:
    """Latencies by metric, (N,) each, with the bound that the SLO sets on it; None without one."""

    panels: tuple[LoadPanel, ...]
    latencies: dict[str, Band]
    bounds: dict[str, float | None]
    measured: BoolArray
    saturated: BoolArray


def load_curves(observations: Observations, posterior: Posterior, slo: Sequence[Condition]) -> LoadCurves | None:
    """The curves of a study of servers; None for a grid without a load or a study without a latency."""
    grid = observations.grid
    names = [name for name in observations.targets if observations.metric(name).kind in _TIMES]
    if not names:
        return None
    rates = [name for name in observations.targets if observations.metric(name).kind is Kind.THROUGHPUT]
    served = answers(posterior, observations, rates[0])[0] if rates else None
    panels = [panel for axis in _loads(grid) if (panel := _panel(observations, posterior, axis, served)).curves]
    if not panels:
        return None
    bounds = {name: next((c.bound for c in slo if c.metric == name and c.is_upper), None) for name in names}
    found = {name: Band(*answers(posterior, observations, name)) for name in names}
    return LoadCurves(tuple(panels), found, bounds, observations.measured, observations.saturated)


def _loads(grid: Grid) -> list[Axis]:
    axes = [grid.by_role(role) for role in (Role.CONCURRENCY, Role.RATE)]
    return [axis for axis in axes if axis is not None and axis.scale is not Scale.CATEGORY and len(axis.values) > 1]


def _panel(observations: Observations, posterior: Posterior, axis: Axis, served: FloatArray | None) -> LoadPanel:
    grid = observations.grid
    loads = np.asarray(grid.column(axis.name), dtype=np.float64)
    runs = ~observations.failed & (observations.measured | (posterior.feasibility >= settings.LIKELY))
    curves = []
    for rows in ascending_lines(grid, axis, np.isfinite(loads)):
        if len(rows) < settings.LEAST_LOADS:
            continue
        saturates = _saturates(rows, loads, served, runs, observations)
        curves.append(LoadCurve(_name(grid, axis, int(rows[0])), rows, saturates))
    curves.sort(key=lambda curve: -int(observations.measured[curve.rows].sum()))
    return LoadPanel(axis, loads, tuple(curves))


def _saturates(
    rows: IntArray, loads: FloatArray, served: FloatArray | None, runs: BoolArray, observations: Observations
) -> int | None:
    """The row from which a line is saturated."""
    seen = rows[observations.saturated[rows]]
    usable = rows[runs[rows]]
    if served is not None and len(usable) >= settings.LEAST_LOADS and (served[usable] > 0).all():
        paid = np.log(served[usable]) - np.log2(1 + settings.SATURATION_SHARE) * np.log(loads[usable])
        best = int(np.nanargmax(paid))
        if best < len(usable) - 1:
            return int(usable[best])
    return int(seen[0]) if len(seen) else None


def _name(grid: Grid, axis: Axis, row: int) -> str:
    """What sets a line apart: its other values, of axes that vary. A category needs no name, a length only "in", "out".

    The other load is left out where its value is the largest, which does not limit: an infinite rate, or more requests
    in flight than there are.
    """
    point = grid.point(row)
    idle = {Role.CONCURRENCY, Role.RATE} if grid.by_role(Role.RATE) and grid.by_role(Role.CONCURRENCY) else set()
    others = [other for other in grid.axes if other.name != axis.name and len(other.values) > 1
              and not (idle & set(other.roles) and point[other.name] == other.values[-1])]
    return " · ".join(_said(other, point[other.name]) for other in others)


def _said(axis: Axis, value: Value) -> str:
    if axis.scale is Scale.CATEGORY:
        return str(value)
    if Role.INPUT_TOKENS in axis.roles or Role.OUTPUT_TOKENS in axis.roles:
        return f"{value} {'in' if Role.INPUT_TOKENS in axis.roles else 'out'}"
    return f"{axis.name} {value}"
