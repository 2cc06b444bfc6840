"""A recorded table, matched once to a study's grid and priced; and the contract of a runner that replays it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np

from planner.space.grid import Grid
from planner.space.types import FloatArray, IntArray, Runner, RunnerContext
from planner.tables.recorded import RecordedTable
from planner.tables.settings import TableSettings

__all__ = ["Drifts", "GridSource", "RecordedGrid", "RecordedRunner", "Sweep"]


@runtime_checkable
class GridSource(Protocol):
    """A class of runners whose grid is a recorded table: the points that have a row, and no others."""

    @classmethod
    def recorded(cls, config: Any, context: RunnerContext) -> RecordedTable:
        """The table that the settings name. An axis without values uses the table's. Raises StudyError."""
        ...


@runtime_checkable
class RecordedRunner(Runner, Protocol):
    """A runner that replays a recorded table: the truth is known, and costs are the recorded ones.

    Contract: that of `Runner`; `recorded` gives the table before the runner is built; `table` never changes;
    `reseeded` shares the table and forgets the engine.
    """

    @classmethod
    def recorded(cls, config: Any, context: RunnerContext) -> RecordedTable:
        """See GridSource."""
        ...

    @property
    def table(self) -> RecordedTable:
        """The replayed table, with the truth; for simulations and evaluations only."""
        ...

    @property
    def settings(self) -> TableSettings:
        """Which rows of the table are used, and what a run costs."""
        ...

    def reseeded(self, seed: int) -> Self:
        """A runner of the same recording that draws with another seed."""
        ...


@runtime_checkable
class Drifts(Protocol):
    """A replay runner whose machine changes while it is used, as a simulated one may."""

    def slowdown_now(self) -> float:
        """What times are multiplied by now, and rates divided by, against the table."""
        ...


@dataclass(frozen=True, slots=True)
class Sweep:
    """Wall seconds and accelerator-seconds of a sweep: estimate, and low and high of its 90 % interval (all three equal
    if the sweep was measured).

    starts_s, starts_cost: the share of engine starts in them.
    """

    seconds: tuple[float, ...]
    cost: tuple[float, ...]
    starts_s: float = 0.0
    starts_cost: float = 0.0


@dataclass(frozen=True, eq=False)
class RecordedGrid:
    """The recording of a grid's points. Arrays are (N,), one entry for each grid point."""

    grid: Grid
    runner: RecordedRunner

    @cached_property
    def rows(self) -> IntArray:
        """The number of each grid point in the table."""
        table = self.runner.table
        return np.array([table.find(self.grid.point(row)) for row in range(len(self.grid))], dtype=np.int64)

    @property
    def accelerators(self) -> FloatArray:
        """Devices that a run of each point occupied, (N,)."""
        devices: FloatArray = self.runner.table.accelerators[self.rows]
        return devices

    @cached_property
    def plain_seconds(self) -> FloatArray:
        """Seconds of a separate run of each point, (N,): repeats and overhead included, engine start excluded; failed
        points too."""
        table, settings = self.runner.table, self.runner.settings
        # A point with fewer rows than `repeats` is run with all its rows.
        repeats = np.minimum(np.bincount(table.point, minlength=len(table))[self.rows], settings.repeats)
        seconds: FloatArray = table.plain_seconds[self.rows] * repeats + settings.run_overhead_s
        return seconds

    @cached_property
    def plain_sweep(self) -> Sweep:
        """The measured cost of the plain sweep: a separate run of each point, a start of each engine configuration."""
        start, devices, seconds = self.runner.settings.engine_start_s, self.accelerators, self.plain_seconds
        first = np.unique(self.grid.engine, return_index=True)[1]
        starts_s, starts_cost = start * len(first), float(start * devices[first].sum())
        return Sweep((float(seconds.sum()) + starts_s,) * 3, (float((seconds * devices).sum()) + starts_cost,) * 3,
                     starts_s, starts_cost)

    def truth(self, metric: str) -> FloatArray:
        """A metric at each point, (N,); NaN where the point failed or the metric is undefined. Raises KeyError."""
        values: FloatArray = self.runner.table.truth(metric)[self.rows]
        return values
