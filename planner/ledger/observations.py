"""All measurements so far, by row of the grid: the planner's view of the record.

Notation: N grid points. A metric's column is (N,), NaN where nothing was measured or the metric is undefined.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import replace
from typing import Final, Self

import numpy as np

from planner.ledger.combinations import Combinations
from planner.ledger.run import Run, Underway
from planner.space.failure import TRIES, FailureKind
from planner.space.grid import Grid
from planner.space.metrics import metric_named
from planner.space.types import (
    BoolArray,
    Cost,
    FloatArray,
    IntArray,
    Measurement,
    Metric,
    Reading,
    Scale,
    Status,
    Transform,
    Value,
)

__all__ = ["Observations", "Run", "Underway"]

_CANNOT_RUN: Final = (Status.FAILED, Status.SATURATED)


class Observations:
    """Runs in the order in which they were made. Changes only by `add` and `drop`; a column read earlier never does.

    pending: rows that are being measured now, by runs whose values are not known yet; the record's owner sets it.
    underway: runs of other workers; the record's owner sets it.
    A reading whose point is not in the grid (the axis was narrowed since) is in `runs` but in no column. The same holds
    for a target's value for which its transform is undefined. run_counts: finished runs that executed each point, (N,).
    repeats_a_run: most repeats of any run: those that a study with fewer in some runs makes in a plain sweep.

    A saturated point counts as failed (it has no latencies), and as `saturated`; its rates are in their columns.
    failed: points that cannot run, (N,). A run that failed for a transient reason (planner.space.failure), such as a
    crash, does not close its point, which stays open, until it has done so TRIES times; broken: how many such runs
    each point had, (N,). What they took is no price of the point. kinds: row → why the last run failed there.

    targets: names, or metrics as the study describes them.
    """

    def __init__(self, grid: Grid, targets: Iterable[str | Metric], runs: Iterable[Run] = ()) -> None:
        self._described = tuple(metric_named(target) if isinstance(target, str) else target for target in targets)
        self.targets = tuple(metric.name for metric in self._described)
        self.pending: set[int] = set()
        self.underway: tuple[Underway, ...] = ()
        self.current_engine: int | None = None
        self._clear(grid)
        for run in runs:
            self.add(run)

    def _clear(self, grid: Grid) -> None:
        self.grid = grid
        self.runs: list[Run] = []
        self.measured = np.zeros(len(grid), dtype=bool)
        self.failed = np.zeros(len(grid), dtype=bool)
        self.saturated = np.zeros(len(grid), dtype=bool)
        self.broken: IntArray = np.zeros(len(grid), dtype=np.int64)
        self.kinds: dict[int, FailureKind] = {}
        self.run_of: IntArray = np.full(len(grid), -1, dtype=np.int64)
        self.run_counts: IntArray = np.zeros(len(grid), dtype=np.int64)
        self.seconds: FloatArray = np.full(len(grid), np.nan)
        self._readings: dict[str, dict[tuple[int, int], tuple[float, ...]]] = {}
        self._repeats: dict[str, dict[int, tuple[float, ...]]] = {}
        self._columns: dict[str, FloatArray] = {}
        self._combinations = Combinations(grid)
        self.repeats_a_run = 1
        self._identity, self._additions = object(), 0

    def drop(self, numbers: Container[int]) -> None:
        """Forget the runs with these numbers, which a person has discarded."""
        if any(run.number in numbers for run in self.runs):
            left = [run for run in self.runs if run.number not in numbers]
            self._clear(self.grid)
            for run in left:
                self.add(run, elsewhere=True)  # which engine runs here has not changed

    def left_running(self, run: Run) -> int | None:
        """The engine configuration that runs on after a run, where it was made; None after a failure."""
        row = self.grid.find(run.point)
        goes_on = row is not None and run.measurement.status in (Status.OK, Status.SATURATED)
        return int(self.grid.engine[row]) if row is not None and goes_on else None

    def add(self, run: Run, *, elsewhere: bool = False) -> None:
        """Add a finished run. An interrupted run adds only its cost.

        elsewhere: another process made the run. Only runs of this process leave a running engine here; its
        configuration is `current_engine`, None before the first run here and after a failure.
        """
        position = len(self.runs)
        self.runs.append(run)
        self._additions += 1
        row = self.grid.find(run.point)
        if row is not None and run.measurement.status is not Status.INTERRUPTED:
            self.run_counts[row] += 1
        if row is not None and not elsewhere:
            self.current_engine = self.left_running(run)
        if run.measurement.status in _CANNOT_RUN and row is not None and not self.measured[row]:
            self._add_failure(row, run.measurement)
            self.run_of[row] = position
        for reading in run.measurement.readings:
            self._add_reading(reading, position, run.measurement.status is Status.OK)

    def _add_failure(self, row: int, measurement: Measurement) -> None:
        if (kind := measurement.failure_kind) is not None:
            self.kinds[row] = kind
        if kind is not None and kind.is_transient:
            self.broken[row] += 1
            self.failed[row] |= self.broken[row] >= TRIES
            return
        self.failed[row] = True
        self.saturated[row] = measurement.status is Status.SATURATED
        self.seconds[row] = measurement.cost.run_s

    def _add_reading(self, reading: Reading, position: int, ok: bool) -> None:
        row = self.grid.find(reading.point)
        if row is None or (not ok and self.measured[row]):
            return
        if ok:
            self.measured[row], self.failed[row], self.saturated[row] = True, False, False
        self.run_of[row] = position
        self.seconds[row] = reading.seconds
        for metric, repeats in reading.metrics.items():
            self.repeats_a_run = max(self.repeats_a_run, len(repeats))
            if metric in self.targets and not all(map(self.metric(metric).takes, repeats)):
                continue
            known = self._repeats.setdefault(metric, {})
            known[row] = known.get(row, ()) + tuple(repeats)
            if metric not in self.targets or self._combinations.is_first(self.metric(metric), row, position):
                self._readings.setdefault(metric, {})[row, position] = tuple(repeats)
            if metric not in self._columns:
                self._columns[metric] = np.full(len(self.grid), np.nan)
            self._columns[metric][row] = statistics.median(known[row])

    def combination(self, metric: str) -> IntArray:
        """The combination of the axes that a metric depends on at each point, (N,)."""
        return self._combinations.of(self.metric(metric))

    def prefix(self, runs: int) -> Self:
        """The observations as they stood after the first `runs` runs."""
        return self.of_runs(self.runs[:runs])

    def of_runs(self, runs: Iterable[Run]) -> Self:
        """The observations if only these runs had been made."""
        return type(self)(self.grid, self._described, runs)

    def with_targets(self, targets: Iterable[str]) -> Self:
        """The same runs with other targets. Targets that the study describes keep that description."""
        wanted = {name: self.metric(name) for name in targets}
        return type(self)(self.grid, wanted.values(), self.runs)

    def metric(self, name: str) -> Metric:
        """The metric called `name`: the study's description if there is one, else by its name. A metric that is not a
        target has a linear transform if it has been zero or negative."""
        found = next((metric for metric in self._described if metric.name == name), None)
        if found is not None:
            return found
        known = metric_named(name)
        values = self.column(name)
        positive = bool(np.all(values[np.isfinite(values)] > 0))
        return known if positive or known.transform is not Transform.LOG else replace(known, transform=Transform.LINEAR)

    @property
    def version(self) -> tuple[object, int]:
        """A key for the present runs: equal while no run is added, different between any two Observations, even if one
        is allocated at the other's address. Pending rows do not change it: they have no values yet."""
        return self._identity, self._additions

    @property
    def known(self) -> BoolArray:
        """Whether each point is measured or failed, (N,)."""
        known: BoolArray = self.measured | self.failed
        return known

    @property
    def unmeasured_rows(self) -> IntArray:
        """Rows that are not known, pending ones included, ascending."""
        return np.flatnonzero(~self.known)

    @property
    def open_rows(self) -> IntArray:
        """Rows that are neither known nor pending, ascending: the candidates for the next run."""
        is_open = ~self.known
        is_open[list(self.pending)] = False
        return np.flatnonzero(is_open)

    @property
    def fresh_rows(self) -> IntArray:
        """The open rows at which no run has failed yet, ascending; all open rows where there are no such."""
        rows = self.open_rows
        fresh = rows[self.broken[rows] == 0]
        return fresh if len(fresh) else rows

    @property
    def metrics(self) -> list[str]:
        """The metrics that at least one run gave."""
        return sorted(self._repeats)

    def repeats(self, metric: str) -> Mapping[int, tuple[float, ...]]:
        """Row → raw repeats of the metric."""
        return self._repeats.get(metric, {})

    def readings(self, metric: str) -> Mapping[tuple[int, int], tuple[float, ...]]:
        """Row and position of the run in `runs` → raw repeats of the metric, several for a point measured again. Of a
        metric that some axes alone can change, the first of each combination."""
        return self._readings.get(metric, {})

    def first_readings(self, metric: str) -> tuple[IntArray, IntArray, FloatArray]:
        """Rows, ascending, the position of the run that measured each first, the median of its repeats, (n,) each."""
        first: dict[int, int] = {}
        for row, position in self.readings(metric):
            first[row] = min(position, first.get(row, position))
        rows = sorted(first)
        runs = np.array([first[row] for row in rows], dtype=np.int64)
        values = [statistics.median(self._readings[metric][row, first[row]]) for row in rows]
        return np.array(rows, dtype=np.int64), runs, np.array(values, dtype=np.float64)

    def column(self, metric: str) -> FloatArray:
        """The median over repeats, (N,)."""
        column = self._columns.get(metric)
        return np.full(len(self.grid), np.nan) if column is None else column.copy()

    def repeat_noise(self, metric: str) -> float:
        """Pooled standard deviation of log repeats within a point; NaN if no point has two repeats."""
        squares, freedom = self.repeat_squares(metric)
        return float(np.sqrt(squares.sum() / freedom.sum())) if len(freedom) else float("nan")

    def repeat_squares(self, metric: str) -> tuple[FloatArray, FloatArray]:
        """Sum of squares of the log repeats around their mean at each point with several, and its degrees of freedom,
        (m,) each."""
        several = [np.log(repeats) for repeats in self.repeats(metric).values()
                   if len(repeats) > 1 and min(repeats) > 0]
        return (np.array([float(np.var(repeats)) * len(repeats) for repeats in several]),
                np.array([len(repeats) - 1.0 for repeats in several]))

    @property
    def spent(self) -> float:
        """Accelerator-seconds spent, including failed and interrupted runs and the planner's time."""
        return sum(
            run.measurement.cost.accelerator_seconds + run.planner_s * run.measurement.cost.accelerators
            for run in self.runs
        )

    @property
    def finished(self) -> int:
        """Number of finished runs, failed ones included."""
        return sum(run.measurement.status is not Status.INTERRUPTED for run in self.runs)

    @property
    def failures(self) -> int:
        """Number of failed runs."""
        return sum(run.measurement.status is Status.FAILED for run in self.runs)

    def never_run(self) -> dict[str, list[Value]]:
        """Category axis → its values without a successful run; axes without such values are left out."""
        missing = {}
        for place, axis in enumerate(self.grid.axes):
            if axis.scale is Scale.CATEGORY:
                codes = self.grid.codes[:, place]
                missing[axis.name] = [axis.values[code] for code in np.setdiff1d(codes, codes[self.measured])]
        return {name: values for name, values in missing.items() if values}

    @property
    def import_s(self) -> float:
        """Seconds of what a session's engines need once, the median of what was charged; 0 where nothing was."""
        return self._usual_import(lambda cost: cost.import_s)

    @property
    def import_cost(self) -> float:
        """`import_s` in accelerator-seconds."""
        return self._usual_import(lambda cost: cost.import_s * cost.accelerators)

    def _usual_import(self, amount: Callable[[Cost], float]) -> float:
        found = [amount(run.measurement.cost) for run in self.runs if run.measurement.cost.import_s > 0]
        return float(np.median(found)) if found else 0.0

    def engine_starts(self) -> dict[int, list[float]]:
        """Engine configuration → seconds of each recorded start."""
        starts: dict[int, list[float]] = {}
        for run in self.runs:
            row = self.grid.find(run.point)
            if row is not None and run.measurement.cost.start_s > 0:
                starts.setdefault(int(self.grid.engine[row]), []).append(run.measurement.cost.start_s)
        return starts
