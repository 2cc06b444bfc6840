"""The server and the load of each point: the settings and axes of one study, checked against each other."""

from __future__ import annotations

import ast
import difflib
import functools
import importlib.util
import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from planner.space.devices import PARALLEL_SIZES
from planner.space.runner_hints import Columns
from planner.space.types import Axis, FloatArray, Point, Role, RunnerContext, Scope, StudyError, Value
from planner.tables.traffic_file import is_sharegpt
from runners import environment
from runners.serving import settings
from runners.serving.client import Load
from runners.serving.datasets import read
from runners.serving.serve_settings import ServeSettings
from runners.vllm_models import Models, argument_of
from runners.vllm_settings import check_counts, check_keys, engine_argument_names, kv_cache_argument

__all__ = ["ServeStudy", "server_argument_names"]

_ROLES: Final = {Role.INPUT_TOKENS: "input_len", Role.OUTPUT_TOKENS: "output_len", Role.CONCURRENCY: "max_concurrency",
                 Role.RATE: "request_rate"}
_LOAD: Final = ("input_len", "output_len", "max_concurrency", "request_rate", "burstiness", "range_ratio", "dataset",
                "input_scale", "output_scale")
_WHOLE: Final = ("input_len", "output_len", "max_concurrency")
_OWN: Final = (*_LOAD, "client", "base_url", "tokenizer", "duration_s", "max_duration_s", "tolerance", "repeats",
               "failed_share", "timeout_s", "start_timeout_s", "accelerators", "kv_cache_gib", "omp_threads_bind")
_NO_MATTER: Final = ("timeout_s", "start_timeout_s", "max_duration_s", "tolerance", "base_url")
_DRAWN: Final = {"random", "lognormal"}


class ServeStudy:
    """Settings and axes of one study, checked against each other and against the installed vLLM.

    Starts nothing and imports no engine. Raises StudyError.
    """

    def __init__(self, config: ServeSettings, context: RunnerContext) -> None:
        self.settings = config
        self.directory = context.directory
        self.engine_axes = tuple(axis for axis in context.axes if axis.scope == Scope.ENGINE)
        self.load_axes = _load_axes(context.axes)
        self.models = Models(context.directory, config.model, self.engine_axes)
        check_keys(config, context.axes, {name: axis.name for name, axis in self.load_axes.items()},
                   server_argument_names(), "the installed vLLM's server has no such argument")
        self._check_server()
        self._check_load()

    def engine_values(self, point: Point) -> dict[str, Value]:
        """The server arguments that the point sets. Points with equal ones share a server."""
        return {argument_of(axis): point[axis.name] for axis in self.engine_axes}

    def value(self, point: Point, name: str) -> Any:
        """A part of the load at a point: from its axis, or else from the settings."""
        axis = self.load_axes.get(name)
        found = getattr(self.settings, name) if axis is None else point[axis.name]
        return int(found) if name in _WHOLE and found is not None else found

    def load(self, point: Point) -> Load:
        """The load of the point; how many requests, and which prompts, is settled for each run."""
        values = {name: self.value(point, name) for name in _LOAD if not name.endswith("_scale")}
        dataset = str(values.pop("dataset"))
        if dataset in _DRAWN:
            return Load(requests=1, seed=0, dataset=dataset, **values)
        path = self.dataset_path(dataset)
        if is_sharegpt(path):
            return Load(requests=1, seed=0, dataset="sharegpt", traffic=str(path), **values)
        if values["request_rate"] == math.inf:
            values["request_rate"] = read(path).rate
        return Load(requests=1, seed=0, dataset="trace", traffic=str(path), **values)

    def accelerators(self, columns: Columns) -> FloatArray:
        """Devices at each point, (N,)."""
        points = len(next(iter(columns.values())))
        if self.settings.accelerators is not None:
            return np.full(points, self.settings.accelerators)
        product = np.ones(points)
        for name in PARALLEL_SIZES:
            axis = next((axis for axis in self.engine_axes if argument_of(axis) == name), None)
            size = getattr(self.settings, name) or 1 if axis is None else np.asarray(columns[axis.name], dtype=float)
            product = product * size
        return product

    def seconds(self, columns: Columns) -> FloatArray:
        """Seconds of a run at each point, (N,): of the steady part that is asked for, and of what goes before it."""
        points = len(next(iter(columns.values())))
        axis = self.load_axes.get("request_rate")
        rate = np.asarray(columns[axis.name], dtype=float) if axis else np.full(points, self.settings.request_rate)
        steady = np.maximum(self.settings.duration_s, settings.LEAST_REQUESTS / rate)
        seconds: FloatArray = settings.MORE_ARRIVALS * steady * self.settings.repeats
        return seconds

    def server_arguments(self, values: Mapping[str, Value]) -> dict[str, Any]:
        """Arguments of the server: the settings, then the point. `model` is a full path where it is a directory."""
        arguments: dict[str, Any] = {"enforce_eager": True} if environment.cpu_engine() else {}
        given = self.settings.model_dump(exclude_none=True, exclude=set(_OWN)) | dict(values)
        gib = values.get("kv_cache_gib", self.settings.kv_cache_gib)
        given = {name: value for name, value in given.items() if name not in {"omp_threads_bind", "kv_cache_gib"}}
        arguments |= kv_cache_argument(gib, given) | given
        arguments["model"] = self.models.argument(str(arguments.get("model", self.models.names()[0])))
        return arguments

    def cores(self, values: Mapping[str, Value]) -> tuple[str | None, tuple[int, ...]]:
        """The cores of each rank on a CPU, None for vLLM's choice; and those of all else that the server runs, () for
        any.

        Unless the user says otherwise, a single rank leaves the last core to the rest. Where engine and front end share
        a core, the tokens of one request in three come all at once, when it ends.
        """
        given = values.get("omp_threads_bind", self.settings.omp_threads_bind)
        ranks = {name: values.get(name, getattr(self.settings, name)) or 1 for name in PARALLEL_SIZES}
        cores = environment.cores()
        ours = environment.cpu_engine() and "VLLM_CPU_OMP_THREADS_BIND" not in os.environ and len(cores) > 1
        if given is not None or not ours or any(size != 1 for size in ranks.values()):
            return (None if given is None else str(given)), ()
        return ",".join(map(str, cores[:-1])), tuple(cores[-1:])

    def facts(self) -> dict[str, str]:
        """The part of the fingerprint that the study file determines."""
        given = self.settings.model_dump(mode="json", exclude={*_NO_MATTER, "model"})
        facts = {"settings": json.dumps(given, sort_keys=True, default=str)}
        if self.settings.base_url is not None:
            return facts
        return facts | self.models.facts(str(given.get("revision") or "main"), self.settings.load_format != "dummy")

    @property
    def longest_allowed(self) -> int | None:
        """Tokens of the longest request that the server takes, where the study says so."""
        given = (self.settings.model_extra or {}).get("max_model_len")
        return int(given) if isinstance(given, int) else None

    def dataset_path(self, dataset: str) -> Path:
        """The file of real traffic."""
        return self.directory / dataset

    def _values(self, name: str) -> tuple[Any, ...]:
        axis = self.load_axes.get(name)
        return (getattr(self.settings, name),) if axis is None else axis.values

    def _check_server(self) -> None:
        if self.settings.base_url is None:
            for name in self.models.names():
                self.models.path(name)
            return
        if self.engine_axes:
            raise StudyError(f"space.axes.{self.engine_axes[0].name}: scope engine needs a server that we can restart; "
                             "remove runner.base_url, or the axis")
        if self.settings.model_extra:
            raise StudyError(f"runner.{next(iter(self.settings.model_extra))}: the server of runner.base_url is up "
                             "already; remove one of the two")

    def _check_conversations(self, dataset: str) -> None:
        path = self.dataset_path(dataset)
        if self.settings.client != "vllm" and dataset not in _DRAWN and path.is_file() and is_sharegpt(path):
            raise StudyError(f"runner.dataset: {dataset} holds conversations, which {self.settings.client} cannot "
                             "send; measure it with client: vllm")

    def _check_load(self) -> None:
        infinite = any(value == math.inf for value in self._values("request_rate"))
        if infinite and self._values("max_concurrency") == (None,) and set(self._values("dataset")) <= _DRAWN:
            raise StudyError("space.axes: without a limit or a rate all requests are sent at once, which is no steady "
                             "load; add an axis max_concurrency (closed loop) or request_rate (open loop)")
        for dataset in self._values("dataset"):
            self._check_conversations(str(dataset))
            if dataset not in _DRAWN and not self.dataset_path(str(dataset)).is_file():
                raise StudyError(f"runner.dataset: no file {dataset}; it is relative to the study file")


def _load_axes(axes: Iterable[Axis]) -> dict[str, Axis]:
    found: dict[str, Axis] = {}
    for axis in axes:
        if axis.scope == Scope.ENGINE:
            continue
        names = [_ROLES[role] for role in axis.roles if role in _ROLES] or ([axis.name] if axis.name in _LOAD else [])
        if not names:
            near = difflib.get_close_matches(axis.name, [*_LOAD, *server_argument_names()], n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise StudyError(f"space.axes.{axis.name}: is no part of a load{hint}; say `scope: engine` for a server's "
                             f"argument, or use one of {', '.join(_LOAD)}")
        for name in names:
            if name in found:
                raise StudyError(f"space.axes.{axis.name}: sets {name}, as space.axes.{found[name].name} does; change "
                                 "one of the two")
            found[name] = axis
            if name in _WHOLE:
                check_counts(axis)
    return found


@functools.cache
def server_argument_names() -> frozenset[str]:
    """Arguments of vLLM's server, read from its source because an import takes seconds; empty without vLLM."""
    names = set(engine_argument_names())
    spec = importlib.util.find_spec("vllm")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for source in Path(folder).glob("entrypoints/**/cli_args.py"):
            for node in ast.parse(source.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ClassDef) and node.name in {"BaseFrontendArgs", "FrontendArgs"}:
                    names |= {item.target.id for item in node.body
                              if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)}
    return frozenset(names)
