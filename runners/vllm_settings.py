"""The `runner: {kind: vllm}` section of a study file, and the engine arguments and workload of each point."""

from __future__ import annotations

import ast
import difflib
import functools
import importlib.util
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from planner.space.devices import PARALLEL_SIZES
from planner.space.runner_hints import Columns
from planner.space.types import Axis, FloatArray, Point, Role, RunnerContext, Scope, StudyError, Value
from runners import environment
from runners.vllm_estimate import batch_seconds
from runners.vllm_models import Models, argument_of

__all__ = ["VllmSettings", "VllmStudy", "Workload", "check_counts", "check_keys", "engine_argument_names",
           "kv_cache_argument"]

_SIZES = {Role.INPUT_TOKENS: "input_len", Role.OUTPUT_TOKENS: "output_len", Role.BATCH: "batch_size"}
_FIXED = {
    "skip_tokenizer_init": (True, "prompts are token ids"),
    "enable_prefix_caching": (False, "the repeats of a point use the same prompts"),
}
_PROCESS_KEYS = ("kv_cache_gib", "omp_threads_bind")
_OWN_KEYS = ("repeats", "adaptive_repeats", "max_repeats", "tolerance", "warmup", "timeout_s", "start_timeout_s",
             "trajectory", *_SIZES.values())
_NO_MATTER = ("timeout_s", "start_timeout_s", "trajectory", "adaptive_repeats")
_MEMORY_KEYS = ("kv_cache_memory_bytes", "gpu_memory_utilization", "num_gpu_blocks_override")
_KV_CACHE_GIB = 4.0
_KV_CACHE_SHARE = 0.125  # of a CPU's memory, where that is less
_USUAL_SEQUENCES = 256  # vLLM's smallest default of max_num_seqs for its LLM class


class VllmSettings(BaseModel):
    """Our own settings. Every other key is passed to vLLM's engine as an argument.

    repeats: measured runs of each batch. adaptive_repeats: make fewer, and no warm-up, where they tell less than the
    next point would (planner.acquisition.repeats); not with a tolerance. tolerance: if given, go on beyond `repeats`,
    up to `max_repeats`, until the 90 % interval of the median e2el is no wider than ± this share of it. warmup:
    unmeasured runs before. timeout_s: for one point, warm-ups and repeats together; start_timeout_s: for an engine
    start. trajectory: whether a run also measures every shorter output length of the grid. input_len, output_len,
    batch_size: for studies that have no axis for them. kv_cache_gib: room for the KV cache of each rank.
    omp_threads_bind: the cores of each rank on a CPU ("0-3|4-7").
    """

    model_config = ConfigDict(extra="allow", frozen=True, protected_namespaces=())

    model: str | None = None
    repeats: PositiveInt = 3
    adaptive_repeats: bool = False
    max_repeats: PositiveInt | None = None
    tolerance: PositiveFloat | None = None
    warmup: NonNegativeInt = 1
    timeout_s: PositiveFloat = 600.0
    start_timeout_s: PositiveFloat = 1800.0
    trajectory: bool = True
    input_len: PositiveInt = 128
    output_len: PositiveInt = 128
    batch_size: PositiveInt = 1
    kv_cache_gib: PositiveFloat | None = None
    omp_threads_bind: str | None = None
    load_format: str | None = None
    dtype: str | None = None
    tensor_parallel_size: PositiveInt | None = None
    pipeline_parallel_size: PositiveInt | None = None
    data_parallel_size: PositiveInt | None = None
    max_num_seqs: PositiveInt | None = None
    max_model_len: PositiveInt | None = None
    enforce_eager: bool | None = None

    @model_validator(mode="after")
    def _repeats_in_order(self) -> Self:
        if self.max_repeats is not None and self.max_repeats < self.repeats:
            raise ValueError(f"max_repeats {self.max_repeats} is less than repeats {self.repeats}")
        if self.tolerance is not None and self.max_repeats is None:
            raise ValueError("tolerance needs max_repeats, the number of repeats after which to stop")
        return self


@dataclass(frozen=True, slots=True)
class Workload:
    """One static batch: input and output tokens of each request, number of requests."""

    input_len: int
    output_len: int
    batch_size: int


class VllmStudy:
    """Settings and axes of one study, checked against each other and against the installed vLLM.

    Starts nothing and imports no engine. Raises StudyError.
    """

    def __init__(self, settings: VllmSettings, context: RunnerContext) -> None:
        self.settings = settings
        self.engine_axes = tuple(axis for axis in context.axes if axis.scope == Scope.ENGINE)
        self.size_axes = _size_axes(context.axes)
        self._longest = {role: self._largest(role) for role in _SIZES}
        self._check_keys(context.axes)
        self.models = Models(context.directory, settings.model, self.engine_axes)
        for name in self.models.names():
            self.models.path(name)

    def engine_values(self, point: Point) -> dict[str, Value]:
        """The engine arguments that the point sets. Points with equal ones share an engine."""
        return {argument_of(axis): point[axis.name] for axis in self.engine_axes}

    def workload(self, point: Point) -> Workload:
        """The static batch of the point."""
        sizes = {name: getattr(self.settings, name) for name in _SIZES.values()}
        for role, axis in self.size_axes.items():
            sizes[_SIZES[role]] = int(point[axis.name])
        return Workload(**sizes)

    def accelerators(self, columns: Columns) -> FloatArray:
        """Devices at each point, (N,): the product of the parallel sizes."""
        sizes = [self._argument_at(columns, name, 1.0) for name in PARALLEL_SIZES]
        product: FloatArray = np.prod(sizes, axis=0)
        return product

    def seconds(self, columns: Columns) -> FloatArray:
        """Seconds of a run at each point, warm-ups and repeats, estimated from its sizes, (N,)."""
        input_len, output_len, batch_size = (
            np.asarray(columns[self.size_axes[role].name], dtype=np.float64) if role in self.size_axes
            else np.full(_points(columns), float(getattr(self.settings, name))) for role, name in _SIZES.items())
        parameters = np.ones(_points(columns))
        for axis in self.engine_axes:
            if Role.MODEL in axis.roles and "params_b" in axis.descriptors:
                known = dict(zip(axis.values, axis.descriptors["params_b"], strict=True))
                parameters = np.array([known[value] for value in columns[axis.name]])
        batches = self.settings.warmup + self.settings.repeats
        limit = self._argument_at(columns, "max_num_seqs", np.inf)
        return batches * batch_seconds(
            input_len, output_len, batch_size, limit, parameters, self.accelerators(columns))

    def _argument_at(self, columns: Columns, name: str, default: float) -> FloatArray:
        """A numeric engine argument at each point, (N,): of its axis, else of the settings, else the default."""
        for axis in self.engine_axes:
            if argument_of(axis) == name:
                return np.asarray(columns[axis.name], dtype=np.float64)
        return np.full(_points(columns), float(getattr(self.settings, name) or default))

    def longest_request(self) -> int:
        """Input and output tokens together of the longest request that the axes allow."""
        return self._longest[Role.INPUT_TOKENS] + self._longest[Role.OUTPUT_TOKENS]

    def engine_arguments(self, values: Mapping[str, Value]) -> dict[str, Any]:
        """Arguments of vllm.LLM: defaults that a static batch needs, then the settings, then the point."""
        arguments: dict[str, Any] = {name: value for name, (value, _) in _FIXED.items()}
        arguments["disable_log_stats"] = True
        if self._longest[Role.BATCH] > _USUAL_SEQUENCES:
            # A power of two, so that a few more values on the axis need no other engine.
            arguments["max_num_seqs"] = 1 << (self._longest[Role.BATCH] - 1).bit_length()
        cpu = environment.cpu_engine()
        if cpu:
            arguments["enforce_eager"] = True
        given = self.settings.model_dump(exclude_none=True, exclude=set(_OWN_KEYS)) | dict(values)
        gib = given.pop("kv_cache_gib", None)
        bind = given.pop("omp_threads_bind", None)
        arguments |= kv_cache_argument(gib, given)
        if bind is not None and cpu:
            # vLLM binds threads only if its ranks are processes.
            arguments["distributed_executor_backend"] = "mp"
        arguments |= given
        arguments["model"] = self.models.argument(str(arguments["model"]))
        return arguments

    def omp_threads_bind(self, values: Mapping[str, Value]) -> str | None:
        """The cores that the user gives each rank; None if the user does not say."""
        bind = values.get("omp_threads_bind", self.settings.omp_threads_bind)
        return None if bind is None else str(bind)

    def facts(self) -> dict[str, str]:
        """The part of the fingerprint that the study file determines: settings and models."""
        settings = self.settings.model_dump(mode="json", exclude={*_NO_MATTER, "model"})
        facts = {"settings": json.dumps(settings, sort_keys=True, default=str)}
        return facts | self.models.facts(settings.get("revision") or "main", self.settings.load_format != "dummy")

    def _largest(self, role: Role) -> int:
        axis = self.size_axes.get(role)
        return max(int(v) for v in axis.values) if axis else int(getattr(self.settings, _SIZES[role]))

    def _check_keys(self, axes: tuple[Axis, ...]) -> None:
        extra = self.settings.model_extra or {}
        for name, (value, why) in _FIXED.items():
            if extra.get(name, value) != value or any(argument_of(axis) == name for axis in self.engine_axes):
                raise StudyError(f"runner.{name}: is always {str(value).lower()} here, because {why}; remove it")
        workload = {_SIZES[role]: axis.name for role, axis in self.size_axes.items()}
        check_keys(self.settings, axes, workload, engine_argument_names(), "unknown engine argument")


def kv_cache_argument(gib: Any, given: Mapping[str, Any]) -> dict[str, int]:
    """The argument that makes room for the KV cache: `gib` GiB where the user says so; on a CPU, where vLLM would take
    too much, a share of its memory, unless `given` settles it otherwise; else none."""
    if gib is None and environment.cpu_engine() and not any(name in given for name in _MEMORY_KEYS):
        gib = min(_KV_CACHE_GIB, _KV_CACHE_SHARE * environment.memory_gib())
    return {} if gib is None else {"kv_cache_memory_bytes": int(float(gib) * 2**30)}


def _points(columns: Columns) -> int:
    return len(next(iter(columns.values())))


def _size_axes(axes: tuple[Axis, ...]) -> dict[Role, Axis]:
    found: dict[Role, Axis] = {}
    for axis in axes:
        if axis.scope == Scope.ENGINE:
            continue
        roles = [role for role in axis.roles if role in _SIZES]
        if not roles:
            raise StudyError(f"space.axes.{axis.name}: is not a size of a static batch; say `scope: engine` "
                             "for an engine argument, or `role:` input_tokens, output_tokens or batch")
        for role in roles:
            if role in found:
                raise StudyError(f"space.axes.{axis.name}: has the same role {role} as space.axes.{found[role].name}; "
                                 "change one of the two")
            found[role] = axis
        check_counts(axis)
    return found


def check_counts(axis: Axis) -> None:
    for value in axis.values:
        if isinstance(value, bool | str) or value != int(value) or value < 1:
            raise StudyError(f"space.axes.{axis.name}: {value!r} is not a whole number of at least 1")


def check_keys(
    settings: BaseModel, axes: Iterable[Axis], workload: Mapping[str, str], known: Collection[str], unknown: str
) -> None:
    """Raise StudyError for a key that an axis sweeps too, and for an argument that the installed vLLM does not know.

    workload: key → the workload axis that sets it. known: vLLM's arguments; none where it is not installed. unknown:
    what to say of another.
    """
    extra, engine_axes = settings.model_extra or {}, [axis for axis in axes if axis.scope == Scope.ENGINE]
    swept = {argument_of(axis): axis.name for axis in engine_axes} | dict(workload)
    for key in sorted(settings.model_fields_set | set(extra)):
        if key in swept:
            raise StudyError(f"runner.{key}: is swept by space.axes.{swept[key]}; remove one of the two")
    places = [(f"runner.{key}", key) for key in extra]
    places += [(f"space.axes.{axis.name}", argument_of(axis)) for axis in engine_axes]
    for place, name in places:
        if known and name not in known and name not in _PROCESS_KEYS:
            near = difflib.get_close_matches(name, sorted({*known, *type(settings).model_fields}), n=1)
            raise StudyError(f"{place}: {unknown}{f' (did you mean {near[0]}?)' if near else ''}")
    for axis in engine_axes:
        if argument_of(axis) in PARALLEL_SIZES:
            check_counts(axis)


@functools.cache
def engine_argument_names() -> frozenset[str]:
    """Fields of vLLM's EngineArgs, read from its source because an import takes seconds; empty without vLLM."""
    spec = importlib.util.find_spec("vllm")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        source = Path(folder) / "engine" / "arg_utils.py"
        if not source.is_file():
            continue
        for node in ast.parse(source.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and node.name == "EngineArgs":
                fields = (item.target for item in node.body if isinstance(item, ast.AnnAssign))
                return frozenset(field.id for field in fields if isinstance(field, ast.Name))
    return frozenset()
