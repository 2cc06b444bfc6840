"""Optional protocols of a runner, beyond its contract.

All methods take the grid's points as columns: axis name → its values at all points, (N,).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from planner.space.evaluation import Evaluation
from planner.space.grid import Grid
from planner.space.types import FloatArray, Point, Runner, StudyError

__all__ = ["Columns", "CountsAccelerators", "EstimatesCost", "Evaluates", "FreesDevices", "LeavesCore", "NamesMetrics",
           "Prepares", "Repeats", "accelerators_of", "check_evaluates", "columns_of", "estimated_seconds", "metrics_of",
           "repeats_of"]

Columns: TypeAlias = Mapping[str, NDArray[Any]]


@runtime_checkable
class CountsAccelerators(Protocol):
    """A runner that counts the devices of all points at once."""

    def accelerators_at(self, columns: Columns) -> FloatArray:
        """`Runner.accelerators` of each point, (N,). Raises StudyError as that does."""
        ...


@runtime_checkable
class NamesMetrics(Protocol):
    """A runner that knows beforehand which metrics its runs give."""

    def metrics(self) -> frozenset[str] | None:
        """Every metric that a run may give; None if that is unknown before the first run."""
        ...


@runtime_checkable
class Repeats(Protocol):
    """A runner that can make fewer warm-ups and repeats than the study asks for."""

    @property
    def study_repeats(self) -> int | None:
        """Repeats of each run that the study asks for; None if every run is to make just those."""
        ...


@runtime_checkable
class Prepares(Protocol):
    """A runner that can begin what takes long, while the first run is being planned."""

    def prepare_engine(self) -> None:
        """Begin in the background; `measure` waits for it, and charges all of it. Called once, before the first
        run. Raises RunnerError as `measure` does."""
        ...


@runtime_checkable
class FreesDevices(Protocol):
    """A runner that keeps more between runs than what occupies devices."""

    def free_devices(self) -> None:
        """End what occupies a device, and nothing else. The next `measure` starts it again."""
        ...


@runtime_checkable
class Evaluates(Protocol):
    """A runner that evaluates the quality of its engine's configuration (RunnerContext.quality) in the runs whose
    proposal asks for it: the metrics are in the readings, what it took is in `Cost.evaluation_s`, how it was done, or
    why it failed, in `Measurement.quality`. A failed evaluation leaves the run as it is."""

    @property
    def evaluates(self) -> bool:
        """Whether it can, with its settings."""
        ...


@runtime_checkable
class LeavesCore(Protocol):
    """A runner that knows whether its runs leave a core of this machine idle."""

    def leaves_core(self, point: Point) -> bool:
        """Whether a run at `point` takes as long, and measures the same, while one core here is busy."""
        ...


@runtime_checkable
class EstimatesCost(Protocol):
    """A runner that estimates the time of a run before any run."""

    def estimate_cost(self, columns: Columns) -> FloatArray | None:
        """Seconds of a run at each point without engine start, (N,), above 0; only their ratios matter before the
        first run. None if there is no estimate."""
        ...


def check_evaluates(runner: Runner, kind: str, asked: Evaluation | None) -> None:
    """Raises StudyError if an evaluation is asked for, and the runner has nothing that could be evaluated."""
    if asked is not None and not (isinstance(runner, Evaluates) and runner.evaluates):
        raise StudyError(f"quality: the runner '{kind}' has no server to evaluate; use vllm-serve, or let its runs "
                         "give the metric and say `depends_on` in `targets`")


def columns_of(grid: Grid) -> Columns:
    """The points of a grid as columns."""
    return {axis.name: grid.column(axis.name) for axis in grid.axes}


def accelerators_of(runner: Runner, grid: Grid) -> FloatArray:
    """Devices that a run of each grid point occupies, (N,)."""
    if isinstance(runner, CountsAccelerators):
        return np.asarray(runner.accelerators_at(columns_of(grid)), dtype=np.float64)
    return np.array([runner.accelerators(grid.point(row)) for row in range(len(grid))], dtype=np.float64)


def repeats_of(runner: Any) -> int | None:
    """Repeats of each run that the study asks for, where the runner may make fewer; None where each run makes all."""
    return runner.study_repeats if isinstance(runner, Repeats) else None


def metrics_of(runner: Runner) -> frozenset[str] | None:
    """The metrics that the runner's runs may give; None if the runner does not say."""
    return runner.metrics() if isinstance(runner, NamesMetrics) else None


def estimated_seconds(runner: Runner, grid: Grid) -> FloatArray | None:
    """Seconds of a run of each grid point as the runner estimates them, (N,); None without an estimate."""
    if not isinstance(runner, EstimatesCost):
        return None
    seconds = runner.estimate_cost(columns_of(grid))
    return None if seconds is None else np.asarray(seconds, dtype=np.float64)
