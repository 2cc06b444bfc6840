"""The terms of sweepwise as frozen dataclasses, and the contracts between its rooms.

It imports only numpy, the standard library, `failure` and `evaluation`: importing it costs plug-ins next to nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from planner.space.evaluation import Evaluation
from planner.space.failure import FailureKind, failure_kind

__all__ = [
    "Z90", "Axis", "BoolArray", "Cost", "Direction", "Features", "FloatArray", "IntArray", "Kind", "Measurement",
    "Metric", "Point", "Proposal", "Reading", "RecordError", "Role", "Runner", "RunnerContext", "RunnerError", "Scale",
    "Scope", "Status", "StudyError", "Transform", "Value",
]

Value: TypeAlias = str | int | float | bool
Point: TypeAlias = Mapping[str, Value]
FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]
BoolArray: TypeAlias = NDArray[np.bool_]

Z90 = 1.6448536269514722
"""Half a 90 % interval of a normal distribution, in standard deviations."""


class StudyError(ValueError):
    """Bad input from a user. The message is one line that names the key and the fix; exit code 2."""

    def __init__(self, message: str) -> None:
        super().__init__(_one_line(message))


class RunnerError(RuntimeError):
    """A runner cannot measure anything on this machine (no engine installed, for example). One line with the fix."""

    def __init__(self, message: str) -> None:
        super().__init__(_one_line(message))


class RecordError(RuntimeError):
    """The record cannot be read or written now: a full disk, a database that another process holds, a server that is
    down. One line with the fix; exit code 1. passes: whether it may be over in a minute."""

    def __init__(self, message: str, passes: bool = False) -> None:
        super().__init__(_one_line(message))
        self.passes = passes


def _one_line(message: str) -> str:
    """The message, which may quote a user's text, without line breaks and unprintable characters."""
    return "".join(character for character in " ".join(message.split()) if character.isprintable())


class Scope(StrEnum):
    """What changing the axis costs: a restart of the engine, or nothing."""

    ENGINE = "engine"
    WORKLOAD = "workload"


class Scale(StrEnum):
    """How an axis is encoded: as it is, as log2 (log2(1 + x) where it contains 0), or as a category."""

    LINEAR = "linear"
    LOG = "log"
    CATEGORY = "category"


class Role(StrEnum):
    """What an axis is in the latency model."""

    INPUT_TOKENS = "input_tokens"
    OUTPUT_TOKENS = "output_tokens"
    BATCH = "batch"
    CONCURRENCY = "concurrency"
    RATE = "rate"
    ACCELERATORS = "accelerators"
    MODEL = "model"
    DEVICE = "device"


class Status(StrEnum):
    """How a run ended. SATURATED: a server was offered more than it serves; rates are known, latencies are those of a
    growing backlog and are not given. INTERRUPTED: our own process died; the run counts neither as a failure nor as a
    trial."""

    OK = "ok"
    SATURATED = "saturated"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


class Direction(StrEnum):
    """Whether higher or lower values of a metric are better."""

    MAXIMIZE = "maximize"
    MINIMIZE = "minimize"


class Kind(StrEnum):
    """What a metric measures: time to the first token, time per later token, a whole request or batch, work per second,
    a share between 0 and 1, or anything else."""

    FIRST = "first"
    STEP = "step"
    WHOLE = "whole"
    THROUGHPUT = "throughput"
    SHARE = "share"
    OTHER = "other"


class Transform(StrEnum):
    """The scale on which a metric is learned: logarithm, linear, or logit (for shares)."""

    LOG = "log"
    LINEAR = "linear"
    LOGIT = "logit"


@dataclass(frozen=True, slots=True)
class Metric:
    """The properties of a metric. planner.space.metrics has those of known names; a study file can give others.

    unit: as people write it, empty if unknown. direction: None if unknown. depends_on: the only axes that can change
    it, as of a model's quality, which no load changes; None: all axes.
    """

    name: str
    unit: str = ""
    direction: Direction | None = None
    kind: Kind = Kind.OTHER
    transform: Transform = Transform.LOG
    depends_on: tuple[str, ...] | None = None

    def depending_on(self, axes: tuple[str, ...] | None) -> Metric:
        """The same, which these axes alone can change."""
        return replace(self, depends_on=axes)

    @property
    def higher_is_better(self) -> bool:
        """Whether higher values are better. Raises StudyError if the direction is unknown."""
        if self.direction is None:
            raise StudyError(f"targets: the direction of '{self.name}' is not given; write {{metric: {self.name}, "
                             "direction: maximize}, or minimize")
        return self.direction is Direction.MAXIMIZE

    @property
    def is_relative(self) -> bool:
        """Whether errors are relative to the true value. Errors of a share are absolute differences."""
        return self.kind is not Kind.SHARE

    def takes(self, value: float) -> bool:
        """Whether the transform is defined at `value`."""
        if self.transform is Transform.LOG:
            return value > 0
        return self.transform is Transform.LINEAR or 0 <= value <= 1

    def to_json(self) -> dict[str, Any]:
        """The form in which the ledger keeps it; `from_json` is its inverse."""
        kept = {} if self.depends_on is None else {"depends_on": list(self.depends_on)}
        return {"name": self.name, "unit": self.unit, "direction": self.direction and self.direction.value,
                "kind": self.kind.value, "transform": self.transform.value, **kept}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Metric:
        """Read back what `to_json` wrote."""
        direction, axes = data["direction"], data.get("depends_on")
        return cls(data["name"], data["unit"], Direction(direction) if direction else None, Kind(data["kind"]),
                   Transform(data["transform"]), None if axes is None else tuple(axes))


@dataclass(frozen=True, slots=True)
class Axis:
    """A swept parameter: its values in ascending order (categories in the order given), each once."""

    name: str
    values: tuple[Value, ...]
    scope: Scope = Scope.WORKLOAD
    scale: Scale = Scale.LINEAR
    roles: tuple[Role, ...] = ()
    descriptors: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Descriptor → numbers, one for each value of a category axis."""
    given: bool | None = None
    """Whether traffic sets it, where the study file says so; see `workload.is_given`."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """What to run next: the point to execute, and every grid point that this run measures.

    `covers` holds `point` itself and, where the runner reads trajectories, the points that differ from it
    only by a smaller value of the trajectory axis.
    """

    point: Point
    covers: tuple[Point, ...]
    seed: int = 0
    repeats: int | None = None
    """Repeats that will do, where the runner can make fewer than the study asks for; None for all."""
    warmup: bool = True
    """False: the warm-ups may be left out."""
    limit_s: float | None = None
    """Seconds after which the run, engine start apart, must have hung: a runner that can end it does so."""
    evaluate: bool = False
    """Whether the run also evaluates the quality of its engine configuration (RunnerContext.quality)."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The readings of a run at one grid point.

    `metrics` holds the raw repeats of each metric, in vLLM's names and units; a metric that is undefined at
    the point is absent. `seconds` is what a run of this point alone would take, warm-ups and repeats
    included, engine start excluded: for the executed point the time spent, for a shorter point of the
    trajectory the time at which its last token was out. Where fewer repeats were made than the study asks for, what
    all of them would have taken: the price of the point in a plain sweep.
    """

    point: Point
    metrics: Mapping[str, tuple[float, ...]]
    seconds: float


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of a run: wall seconds by kind, on `accelerators` devices at once.

    import_s: what all engines of a session need once, such as importing vLLM, charged to the first of them. start_s:
    what each start of an engine needs again. evaluation_s: evaluating the quality of its configuration, once.
    """

    start_s: float = 0.0
    warmup_s: float = 0.0
    measure_s: float = 0.0
    accelerators: float = 1.0
    import_s: float = 0.0
    evaluation_s: float = 0.0

    @property
    def seconds(self) -> float:
        """Wall seconds, engine start, imports and evaluation included."""
        return self.import_s + self.start_s + self.run_s + self.evaluation_s

    @property
    def run_s(self) -> float:
        """Wall seconds of the run by itself: warm-up and repeats."""
        return self.warmup_s + self.measure_s

    @property
    def accelerator_seconds(self) -> float:
        """The price of the run: wall seconds × accelerators."""
        return self.seconds * self.accelerators


@dataclass(frozen=True, slots=True)
class Measurement:
    """The result of a run. A failed run has a reason and a cost but no readings; no number stands in for them. A
    saturated one has a reading of its rates at most."""

    status: Status
    cost: Cost
    readings: tuple[Reading, ...] = ()
    reason: str = ""
    trajectory_s: tuple[tuple[float, ...], ...] = ()
    """For each repeat, the second at which every request of the batch had its k-th output token."""
    environment: str = ""
    records: str = ""
    """What happened to each request, compressed, where the runner keeps it."""
    warmup_ratio: float | None = None
    """Time of the last warm-up over the median time of the repeats, where both were made."""
    start_parts: tuple[tuple[str, float], ...] = ()
    """The parts of the engine's start before the run, imports included, and their seconds, where the runner knows."""
    disturbances: tuple[str, ...] = ()
    """What slowed the run besides its load, where the runner knows: throttled clocks, other processes."""
    failure: FailureKind | None = None
    """Of a failed run, where the runner says; `failure_kind` has it in any case."""
    placement: Mapping[str, Any] = field(default_factory=dict)
    """Where and when it was made, if others may run beside it: machine, host, devices, began, ended (Unix seconds)."""
    quality: Mapping[str, Any] = field(default_factory=dict)
    """How the quality of its configuration was evaluated: files, versions, seed. Else `run`, the one whose result it
    has, or `failed`, the reason why there is none."""

    @property
    def failure_kind(self) -> FailureKind | None:
        """Why the run failed: as the runner says, else read off the reason. None: it did not fail."""
        return (self.failure or failure_kind(self.reason)) if self.status is Status.FAILED else None

    def to_json(self) -> dict[str, Any]:
        """The form in which the ledger keeps it; `from_json` is its inverse."""
        kept: dict[str, Any] = {"records": self.records} if self.records else {}
        if self.warmup_ratio is not None:
            kept["warmup_ratio"] = self.warmup_ratio
        if self.start_parts:
            kept["start_parts"] = dict(self.start_parts)
        if self.disturbances:
            kept["disturbances"] = list(self.disturbances)
        if self.failure is not None:
            kept["failure"] = self.failure.value
        if self.placement:
            kept["placement"] = dict(self.placement)
        if self.quality:
            kept["quality"] = dict(self.quality)
        cost = {name: value for name, value in asdict(self.cost).items() if value or name != "evaluation_s"}
        return {
            "status": self.status.value,
            "reason": self.reason,
            "environment": self.environment,
            "cost": cost,
            "readings": [
                {"point": dict(r.point), "seconds": r.seconds,
                 "metrics": {name: list(values) for name, values in r.metrics.items()}}
                for r in self.readings
            ],
            "trajectory_s": [list(times) for times in self.trajectory_s], **kept,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Measurement:
        """Read back what `to_json` wrote."""
        readings = tuple(
            Reading(r["point"], {name: tuple(v) for name, v in r["metrics"].items()}, r["seconds"])
            for r in data["readings"]
        )
        return cls(
            Status(data["status"]), Cost(**data["cost"]), readings, data["reason"],
            tuple(tuple(times) for times in data["trajectory_s"]), data["environment"], data.get("records", ""),
            data.get("warmup_ratio"), tuple(data.get("start_parts", {}).items()), tuple(data.get("disturbances", ())),
            FailureKind(data["failure"]) if "failure" in data else None, data.get("placement", {}),
            data.get("quality", {}),
        )


@dataclass(frozen=True, slots=True)
class RunnerContext:
    """What a runner may know of the study: its axes, its targets, the directory of its file, its seed.

    metrics: the targets as the study describes them; empty if all have their usual meaning. quality: what to evaluate
    where a proposal asks for it.
    """

    axes: tuple[Axis, ...]
    targets: tuple[str, ...]
    directory: Path
    seed: int = 0
    metrics: tuple[Metric, ...] = ()
    quality: Evaluation | None = None


@runtime_checkable
class Runner(Protocol):
    """Measures. The planner finds a runner's class by the entry point group "sweepwise.runners".

    Contract
    --------
    - `Config` is a pydantic model of the study file's `runner` section without `kind`; unknown keys are
      refused. Building a runner checks its settings (StudyError) and starts nothing expensive.
    - `measure` is called from one thread, one proposal at a time. Any error of the benchmark becomes
      a Measurement with status FAILED, a reason and the cost spent; the next call starts afresh. It raises
      only RunnerError (nothing can be measured here) and KeyboardInterrupt.
    - A reading is given for each point of `proposal.covers` that can be read, the executed point always.
    - Proposals that share the values of all axes of scope `engine` share an engine where the runner has one.
    - `fingerprint` is cheap, starts no engine, and is equal exactly when measurements may be mixed. Keys
      that start with "model:" belong to a value of the model axis.
    - `close` frees everything, may be called twice, and is also called after an error.
    """

    Config: ClassVar[type[Any]]

    def __init__(self, config: Any, context: RunnerContext) -> None: ...

    @property
    def trajectory_axis(self) -> str | None:
        """The axis whose smaller values a run measures too, or None."""
        ...

    def accelerators(self, point: Point) -> float:
        """Devices that a run at `point` occupies. Known before any run."""
        ...

    def fingerprint(self) -> Mapping[str, str]:
        """What must not change within a study: engine version, device, model hashes, settings."""
        ...

    def measure(self, proposal: Proposal) -> Measurement:
        """Execute one run."""
        ...

    def close(self) -> None:
        """Stop the engine, if any."""
        ...


@dataclass(frozen=True, slots=True)
class Features:
    """Encoded points, the input of regressors.

    numeric: (n, d) numeric axes and descriptors, log2 for axes of scale log, standardised over the grid.
    category: (n, c) codes of the category axes, 0 … levels − 1.
    levels: number of values of each category axis, length c.
    """

    numeric: FloatArray
    category: IntArray
    levels: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.numeric)

    def __getitem__(self, rows: Any) -> Features:
        return Features(self.numeric[rows], self.category[rows], self.levels)
