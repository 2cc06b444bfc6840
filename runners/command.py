"""Runs any benchmark as a command: no shell, a session of its own, one JSON object of metrics.

An execution succeeds if the command exits 0 and the last line of its output (or `metrics_file`) is one JSON object.
Each metric is a number or a list of numbers, its repeats; null means undefined at this point. Values that are not
numbers (dates, names) are ignored, unless a target is among them. What a command leaves running in its session is
ended after each execution, so that it cannot disturb the next. What has left the session (a daemon) may serve the
executions that follow: it ends when one fails that started it, or when we end.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import IO, Annotated, Any, ClassVar

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from planner.space.devices import accelerators_expression
from planner.space.expressions import Expression, parse
from planner.space.failure import failure_kind
from planner.space.fingerprint_id import environment_id
from planner.space.runner_hints import Columns
from planner.space.types import (
    Axis,
    Cost,
    FloatArray,
    Measurement,
    Point,
    Proposal,
    Reading,
    RunnerContext,
    RunnerError,
    Status,
    StudyError,
    Value,
)
from runners.command_text import (
    OutputError,
    Template,
    age,
    command_fingerprint,
    ending,
    fresh_text,
    last_line,
    parse_metrics,
    tail,
)
from runners.device_watch import watched
from runners.devices import own_devices
from runners.memory_kills import memory_kills
from runners.process_group import ProcessGroup
from runners.process_table import GRACE_S

__all__ = ["CommandRunner", "CommandSettings"]


def _words(value: Any) -> Any:
    if isinstance(value, str):
        raise ValueError("give a list of words, as in [python3, bench.py, '{batch_size}']; there is no shell")
    return value


def _devices(value: Any) -> str | float | None:
    if value is None:
        return None
    if isinstance(value, str) and value.strip():
        return value.strip()
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise ValueError("give a number above 0 or an expression over axes")
    return float(value)


class CommandSettings(BaseModel):
    """The keys of a command runner."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    command: Annotated[list[str], BeforeValidator(_words)] = Field(min_length=1)
    """Program and arguments; {axis}, {seed} and {devices} are filled in, {{ and }} are braces."""
    timeout_s: float = Field(default=600.0, gt=0, allow_inf_nan=False)
    """Seconds that one execution may take."""
    accelerators: Annotated[str | float | None, BeforeValidator(_devices)] = None
    """Devices that a run occupies: a number or an expression over axes. Default: the product of the axes that are
    parallel sizes, or 1."""
    metrics_file: str | None = Field(default=None, min_length=1)
    """File that the command writes its JSON object to, instead of the last line of its output."""
    env: dict[str, str] = Field(default_factory=dict)
    """Environment variables to add; filled in like the command."""
    cwd: str = Field(default=".", min_length=1)
    """Directory to run in, relative to the study file."""
    repeats: int = Field(default=1, ge=1)
    """Executions that are measured in a run."""
    warmup: int = Field(default=0, ge=0)
    """Executions before them, charged and not measured."""


@dataclass(frozen=True)
class _Outcome:
    """How one execution ended: metrics, or why there are none."""

    metrics: Mapping[str, tuple[float, ...]]
    reason: str = ""


class CommandRunner:
    """A Runner that executes a command for each measurement.

    `measure` raises RunnerError if the program itself cannot be started. The command and all it starts are a
    `ProcessGroup`: Ctrl-C does not reach it, so that the current run can finish, and it ends when we do.
    """

    Config: ClassVar[type[CommandSettings]] = CommandSettings

    def __init__(self, config: CommandSettings, context: RunnerContext) -> None:
        self._settings = config
        self._targets = context.targets
        self._directory = context.directory / config.cwd
        if not self._directory.is_dir():
            raise StudyError(f"runner.cwd: there is no directory '{config.cwd}'; it is relative to the study file")
        self._axes = context.axes
        axes = tuple(axis.name for axis in context.axes)
        self._command = [Template(part, axes, "runner.command") for part in config.command]
        self._env = {name: Template(text, axes, f"runner.env.{name}") for name, text in config.env.items()}
        self._metrics_file = Template(config.metrics_file or "", axes, "runner.metrics_file")
        if not config.command[0].strip():
            raise StudyError("runner.command: its first word is empty; name the program to run")
        self._devices_said = (
            accelerators_expression(context.axes) if config.accelerators is None else config.accelerators)
        self._accelerators: Expression | float = (
            parse(self._devices_said, axes, "runner.accelerators")
            if isinstance(self._devices_said, str) else self._devices_said)
        if all(axis.values for axis in context.axes):  # does it give a number at all?
            self._devices(_column({axis.name: axis.values[-1] for axis in context.axes}))
        self._group: ProcessGroup | None = None
        self._ends = math.inf  # when the present run must have hung

    @property
    def trajectory_axis(self) -> str | None:
        """None: nothing is known of what a command does before it ends."""
        return None

    def accelerators(self, point: Point) -> float:
        """Devices that a run at `point` occupies. Raises StudyError if the expression is not above 0 there."""
        return float(self.accelerators_at(_column(point))[0])

    def accelerators_at(self, columns: Columns) -> FloatArray:
        """Devices that a run at each point occupies, (N,). Raises StudyError that names the first point where the
        expression is not above 0."""
        devices = self._devices(columns)
        wrong = np.flatnonzero(~((devices > 0) & (devices < np.inf)))
        if wrong.size:
            point = {axis.name: _as_written(columns[axis.name][wrong[0]], axis) for axis in self._axes}
            raise StudyError(f"runner.accelerators: '{self._devices_said}' gives {devices[wrong[0]]:g} at "
                             f"{point}; change it to be above 0 at every point")
        return devices

    def metrics(self) -> None:
        """None: which metrics a command prints is not known before it has run."""
        return

    def _devices(self, columns: Columns) -> FloatArray:
        points = len(next(iter(columns.values())))
        if isinstance(self._accelerators, float):
            return np.full(points, self._accelerators)
        try:
            value = np.asarray(self._accelerators(columns), dtype=np.float64)
        except ValueError as error:
            if isinstance(error, StudyError):
                raise
            raise StudyError(f"runner.accelerators: '{self._devices_said}' gives no number; write it like "
                             "'2 * tensor_parallel_size'") from error
        return np.broadcast_to(value, points).copy()

    def fingerprint(self) -> Mapping[str, str]:
        """The command, the files it names, Python, platform and processor."""
        return dict(self._fingerprint)

    @cached_property
    def _fingerprint(self) -> dict[str, str]:
        kept = self._settings.model_dump(mode="json", exclude={"timeout_s"})  # no measurement depends on it
        kept["accelerators"] = self._devices_said
        return command_fingerprint(kept, self._directory)

    @cached_property
    def _environment(self) -> str:
        return environment_id(self._fingerprint)

    @watched
    def measure(self, proposal: Proposal) -> Measurement:
        """The metrics of one run: the command is executed for each warm-up, then for each repeat."""
        begin = time.monotonic()
        self._ends = begin + (proposal.limit_s or math.inf)
        metrics: dict[str, list[float]] = {}
        reason = self._warm_up(proposal)
        warm = time.monotonic() if self._settings.warmup else begin
        for _ in range(0 if reason else self._settings.repeats):
            outcome = self._execute(proposal)
            if outcome.reason:
                reason = outcome.reason
                break
            for name, values in outcome.metrics.items():
                metrics.setdefault(name, []).extend(values)
        cost = Cost(0.0, warm - begin, time.monotonic() - warm, self.accelerators(proposal.point))
        if reason:
            return Measurement(Status.FAILED, cost, reason=reason, environment=self._environment,
                               failure=failure_kind(reason))
        repeats = {name: tuple(values) for name, values in metrics.items()}
        reading = Reading(dict(proposal.point), repeats, cost.warmup_s + cost.measure_s)
        return Measurement(Status.OK, cost, (reading,), environment=self._environment)

    def close(self) -> None:
        """End the current execution, if there is one."""
        if self._group is not None:
            self._group.end(GRACE_S)
            self._group = None

    def _warm_up(self, proposal: Proposal) -> str:
        """The reason of the first warm-up that failed, '' if none did."""
        for _ in range(self._settings.warmup):
            outcome = self._execute(proposal)
            if outcome.reason:
                return f"warm-up: {outcome.reason}"
        return ""

    def _execute(self, proposal: Proposal) -> _Outcome:
        fill: dict[str, Value] = {"seed": proposal.seed, "devices": own_devices(), **proposal.point}
        written = self._directory / self._metrics_file.fill(fill) if self._settings.metrics_file else None
        if written is not None:
            age(written)
        timeout_s, kills = self._timeout_s(), memory_kills()
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            try:
                code = self._run(fill, out, err, timeout_s)
            except OutputError as error:
                return _Outcome({}, str(error))
            said = tail(err) or tail(out)
            if code is None:
                return _Outcome({}, f"timed out after {timeout_s:.4g} s" + (f": {said}" if said else ""))
            if code:
                how = ending(code, memory_kills() > kills)
                return _Outcome({}, f"{how}: {said}" if said else how)
            try:
                text = last_line(out) if written is None else fresh_text(written, self._directory)
                return _Outcome(parse_metrics(text, self._targets))
            except OutputError as error:
                return _Outcome({}, str(error))

    def _timeout_s(self) -> float:
        """Seconds that the next execution may take: those of the settings, or what is left of the run's limit."""
        return min(self._settings.timeout_s, max(0.0, self._ends - time.monotonic()))

    def _run(self, fill: Mapping[str, Value], out: IO[bytes], err: IO[bytes], timeout_s: float) -> int | None:
        """Exit status, negative for a signal; None after a timeout."""
        env = {**os.environ, **{name: text.fill(fill) for name, text in self._env.items()}}
        command = [part.fill(fill) for part in self._command]
        if command[0] in {"python", "python3"} and shutil.which(command[0], path=env.get("PATH")) is None:
            command[0] = sys.executable  # a virtual environment that is used without being activated
        try:
            # Files, not pipes: a grandchild that keeps a pipe open would make us wait after the command has ended.
            group = self._group = ProcessGroup(command, env, cwd=self._directory, stdout=out, stderr=err)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
            if self._command[0].varies:  # the program of another point may exist
                raise OutputError(f"cannot start '{command[0]}' ({why})") from error
            raise RunnerError(f"runner.command: cannot start '{command[0]}' ({why}); install it or correct the "
                              "command (it runs without a shell)") from error
        code: int | None = None
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = group.process.wait(timeout_s)
        finally:  # also after KeyboardInterrupt
            group.end(GRACE_S, detached=code != 0)
            self._group = None
        return code


def _column(point: Point) -> Columns:
    """One point as columns of length 1, of the types that a grid's columns have."""
    return {name: np.array([value], dtype=object if isinstance(value, str) else np.float64)
            for name, value in point.items()}


def _as_written(value: Any, axis: Axis) -> Value:
    """The axis value that equals `value`; columns hold all numbers as floats."""
    return next((own for own in axis.values if own == value), value)
