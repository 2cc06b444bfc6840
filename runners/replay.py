"""Replays a recorded grid as if it were measured now, and charges the recorded time.

Cost of a run: `measure_s` is the sum of the drawn rows' recorded seconds, `warmup_s` is `run_overhead_s` of the
settings, and `start_s` is their `engine_start_s` if the engine-scope axes differ from the previous run's (and for the
first run). The settings' `machine` can slow all three, and end runs: runners/replay_machine.py says what is drawn when.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Final

import numpy as np

from planner.space.failure import FailureKind, failure_kind
from planner.space.fingerprint_id import environment_id
from planner.space.metrics import described, time_power
from planner.space.types import (
    Cost,
    FloatArray,
    IntArray,
    Measurement,
    Point,
    Proposal,
    Reading,
    RunnerContext,
    Scope,
    Status,
    Value,
)
from planner.tables.axis_cells import kinds_of
from planner.tables.load import load_table
from planner.tables.recorded import RecordedTable
from planner.tables.settings import TableSettings
from runners.replay_machine import ReplayMachine

__all__ = ["ReplayRunner"]

_SEED_MASK: Final = 2**64 - 1


class ReplayRunner:
    """A Runner over a recorded table.

    A run draws `repeats` rows of its point: the same rows for the same study seed, proposal seed and point. It fails
    if one of them failed; all of them are charged either way. Covered points (trajectory) use the rows of the same
    readings if the study names a `repeat` column and they have such rows, else they draw their own; a covered point
    that failed in the table has no reading. `measure` raises KeyError for a point that the table does not have: that
    is the caller's mistake, not a failed run.

    With `machine` in the settings, each repeat has a factor: that of the drift when the run begins, times its noise,
    times that of an outlier if it is one. It multiplies the seconds and all times of the repeat, covered points
    included, and divides its rates; shares and other metrics stay. Overhead and engine start have the drift's factor
    only. A run that hangs or crashes fails with the reason "hang" or "crash", whatever the table says of its point,
    and the engine must start again: with another seed the same point may work. A hang costs `hang_s`, a crash half of
    the run, each besides the engine start that the run needed. A run that takes longer than the proposal's limit is
    ended there, whatever it is.
    """

    Config: ClassVar[type[TableSettings]] = TableSettings

    def __init__(self, config: TableSettings, context: RunnerContext, table: RecordedTable | None = None) -> None:
        """table: what `recorded` has read with the same settings, if it has; the file is then not read again."""
        self._settings = config
        self._context = context
        self._seed = context.seed
        self._table = self.recorded(config, context) if table is None else table
        self._engine_axes = tuple(axis.name for axis in context.axes if axis.scope is Scope.ENGINE)
        self._engine: tuple[Value, ...] | None = None
        self._fingerprint = _fingerprint(config, self._table)
        self._environment = environment_id(self._fingerprint)
        self._names = tuple(self._table.metrics)
        self._values = np.column_stack([np.empty((len(self._table.point), 0)), *self._table.metrics.values()])
        self._powers = np.array([time_power(described(name, context.metrics)) for name in self._names])
        self._machine = ReplayMachine(config.machine, self._seed & _SEED_MASK)

    @classmethod
    def recorded(cls, config: TableSettings, context: RunnerContext) -> RecordedTable:
        """The recorded grid that the settings name; an axis without values gets the table's. Raises StudyError."""
        axes = {axis.name: axis.values or None for axis in context.axes}
        return load_table(config, context.directory, axes, context.metrics or context.targets,
                          kinds=kinds_of(context.axes))

    @property
    def table(self) -> RecordedTable:
        """The recorded table: the truth, for simulations and evaluations only."""
        return self._table

    @property
    def settings(self) -> TableSettings:
        """Which part of the table is used, and what a run of it costs."""
        return self._settings

    def reseeded(self, seed: int) -> ReplayRunner:
        """A new runner of the same recording that draws with another seed; no engine is running, and the machine is
        as it was at first."""
        return type(self)(self._settings, replace(self._context, seed=seed), self._table)

    @property
    def trajectory_axis(self) -> str | None:
        """The axis whose smaller values a run measures too, or None."""
        return self._settings.trajectory

    @property
    def study_repeats(self) -> int | None:
        """Rows that a run reads where the study asks for no fewer; None if every run is to read those."""
        return self._settings.repeats if self._settings.adaptive_repeats else None

    def accelerators(self, point: Point) -> float:
        """Devices that a run at `point` occupied. Raises KeyError."""
        return float(self._table.accelerators[self._table.find(point)])

    def metrics(self) -> frozenset[str]:
        """The table's columns that hold metrics."""
        return frozenset(self._names)

    def fingerprint(self) -> Mapping[str, str]:
        """The digest of the table and the settings that change what is read from it."""
        return dict(self._fingerprint)

    def slowdown_now(self) -> float:
        """What the machine's times are multiplied by now, and its rates divided by, against the table."""
        return self._machine.slowdown_now()

    def measure(self, proposal: Proposal) -> Measurement:
        """The recorded run of `proposal.point`, with a reading of each covered point that did not fail."""
        point = self._table.find(proposal.point)
        key = self._key(point, proposal)
        measurement = self._run(point, proposal, self._machine.repeat_factors(key, self._wanted(proposal)))
        if fault := self._machine.fault(key):
            measurement = self._broken(measurement, fault)
        measurement = self._ended(measurement, proposal.limit_s)
        self._machine.charge(measurement.cost.seconds)
        return measurement

    def _run(self, point: int, proposal: Proposal, factors: FloatArray) -> Measurement:
        """What a run gives that the machine does not end. factors: of its repeats."""
        table, speed = self._table, self._machine.slowdown_now()
        rows = self._draw(point, proposal)
        spent = float((table.cost_s[rows] * factors[self._repeats(rows, rows)]).sum())
        cost = Cost(self._start(proposal.point) * speed, self._settings.run_overhead_s * speed, spent,
                    float(table.accelerators[point]))
        failed = rows[~table.ok[rows]]
        if failed.size:
            reason = table.status[failed[0]]
            status = Status.SATURATED if reason == Status.SATURATED.value else Status.FAILED
            return Measurement(status, cost, reason=reason, environment=self._environment,
                               failure=failure_kind(reason) if status is Status.FAILED else None)
        readings, plain = [], min(self._settings.repeats, len(table.rows(point)))
        for covered in proposal.covers:
            number = table.find(covered)
            taken = rows if number == point else self._also(number, rows, proposal)
            if table.ok[taken].any():
                readings.append(self._reading(covered, taken, factors[self._repeats(taken, rows)], plain))
        return Measurement(Status.OK, cost, tuple(readings), environment=self._environment)

    def _broken(self, measurement: Measurement, fault: str) -> Measurement:
        """The run, had the machine ended it: no readings, and no engine afterwards."""
        self._engine, cost = None, measurement.cost
        if fault == "hang":
            cost = replace(cost, warmup_s=0.0, measure_s=self._settings.machine.hang_s or 0.0)
        else:
            cost = replace(cost, warmup_s=cost.warmup_s / 2, measure_s=cost.measure_s / 2)
        return Measurement(Status.FAILED, cost, reason=fault, environment=self._environment,
                           failure=failure_kind(fault))

    def _ended(self, measurement: Measurement, limit_s: float | None) -> Measurement:
        """The run, ended where it takes longer than the limit: it counts as hung, and no engine is left."""
        cost = measurement.cost
        if limit_s is None or cost.run_s <= limit_s:
            return measurement
        self._engine = None
        hung = measurement.failure is FailureKind.HANG
        reason = measurement.reason if hung else f"did not end within {limit_s:.3g} s, far longer than predicted"
        return Measurement(Status.FAILED, replace(cost, warmup_s=0.0, measure_s=limit_s), reason=reason,
                           environment=self._environment, failure=FailureKind.HANG)

    def close(self) -> None:
        """Forget the running engine: the next run is charged for a start."""
        self._engine = None

    def _start(self, point: Point) -> float:
        engine = tuple(point[name] for name in self._engine_axes)
        changed = engine != self._engine
        self._engine = engine
        return self._settings.engine_start_s if changed else 0.0

    def _wanted(self, proposal: Proposal) -> int:
        """Rows of a point that a run reads, where there are so many."""
        asked = self._settings.repeats if proposal.repeats is None else min(self._settings.repeats, proposal.repeats)
        return min(asked, len(self._table.point))

    def _key(self, point: int, proposal: Proposal) -> list[int]:
        """What the draws at a point are seeded with."""
        # The point's values, not its number: new values on an axis must not change earlier draws.
        coded = zip(self._table.axes.items(), self._table.codes[point].tolist(), strict=True)
        named = zlib.crc32(repr(sorted((name, values[code]) for (name, values), code in coded)).encode())
        return [self._seed & _SEED_MASK, proposal.seed & _SEED_MASK, named]

    def _draw(self, point: int, proposal: Proposal) -> IntArray:
        """The rows of the point that a run takes, ascending."""
        rows, wanted = self._table.rows(point), self._wanted(proposal)
        if len(rows) <= wanted:
            return rows
        generator = np.random.default_rng(self._key(point, proposal))
        return rows[np.sort(generator.permutation(len(rows))[:wanted])]

    def _repeats(self, rows: IntArray, drawn: IntArray) -> IntArray:
        """Which repeat of the run each of the `rows` belongs to, if it drew `drawn` at the executed point."""
        readings = self._table.reading
        if readings is not None and np.isin(readings[rows], readings[drawn]).all():
            return np.searchsorted(np.unique(readings[drawn]), readings[rows])
        return np.arange(len(rows))

    def _also(self, point: int, drawn: IntArray, proposal: Proposal) -> IntArray:
        """The rows of a covered point that belong to the run of the `drawn` rows."""
        readings = self._table.reading
        if readings is not None:
            rows = self._table.rows(point)
            same = rows[np.isin(readings[rows], readings[drawn])]
            if same.size:
                return same
        return self._draw(point, proposal)

    def _reading(self, point: Point, rows: IntArray, factors: FloatArray, repeats: int) -> Reading:
        """The metrics of those `rows` that are ok, with the seconds that a run of `repeats` such rows would take.
        factors: of the rows."""
        table, ok = self._table, self._table.ok[rows]
        overhead = self._settings.run_overhead_s * self._machine.slowdown_now()
        seconds = float((table.cost_s[rows] * factors).mean()) * repeats + overhead
        columns = (self._values[rows[ok]] * factors[ok, None] ** self._powers).T.tolist()
        metrics: dict[str, tuple[float, ...]] = {}
        for name, column in zip(self._names, columns, strict=True):
            there = tuple(value for value in column if value == value)  # noqa: PLR0124 - without NaN, and fast
            if there:
                metrics[name] = there
        return Reading(dict(point), metrics, seconds)


def _fingerprint(settings: TableSettings, table: RecordedTable) -> dict[str, str]:
    """Facts that identify the recording. Without the file's name: a copy of the file is the same recording."""
    kept = settings.model_dump(mode="json", exclude={"table"})
    kept["machine"] = settings.machine.model_dump(mode="json", exclude_defaults=True)
    for key in ("ok", "map", "machine"):  # unset, they are left out: studies from before they existed go on
        if not kept[key]:
            del kept[key]
    del kept["adaptive_repeats"]  # how many rows are read changes none of them
    return {"runner": "replay", "table_sha256": table.sha256, "settings": json.dumps(kept, sort_keys=True)}
