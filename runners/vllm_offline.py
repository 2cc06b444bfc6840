"""FMwork's measurement: static batches on a vLLM engine in a child process.

A run submits a whole batch at once and notes when each token is out, so that it also measures every shorter output
length. Such a reading equals that of a separate run while all requests decode together; if prefill takes several
steps, lengths whose time would be too long are left out (vllm_metrics.is_exact).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from planner.space.failure import FailureKind, failure_kind
from planner.space.runner_hints import Columns
from planner.space.types import (
    Cost,
    FloatArray,
    Measurement,
    Point,
    Proposal,
    Reading,
    Role,
    RunnerContext,
    RunnerError,
    Status,
    Value,
)
from runners import environment
from runners.device_watch import watched
from runners.engine_start import Start, StartWatch
from runners.vllm_imports import ENGINE_MODULES, VllmImports
from runners.vllm_metrics import metric_names
from runners.vllm_process import EngineError, EngineProcess
from runners.vllm_reply import RunReply, run_reply, start_parts_of
from runners.vllm_settings import VllmSettings, VllmStudy

__all__ = ["VllmRunner", "engine_environment", "matters", "require_engine"]


class VllmRunner:
    """The runner `vllm`; see planner.space.types.Runner for the contract.

    The engine starts with the first run that needs it and lives until a run needs another engine, an error, or `close`.
    The cost of a start (closing the old engine, importing vLLM, loading, first steps) is charged to the run that
    caused it. vLLM is imported once for all engines (vllm_imports), which is charged to the first of them.
    """

    Config: ClassVar[type[Any]] = VllmSettings

    def __init__(self, config: VllmSettings, context: RunnerContext) -> None:
        self._settings = config
        self._context = context
        self._study = VllmStudy(config, context)
        self._engine: EngineProcess | None = None
        self._engine_values: Mapping[str, Value] = {}
        self._imports = VllmImports(ENGINE_MODULES)
        self._environment = ""

    @property
    def trajectory_axis(self) -> str | None:
        """The axis of the output length; None if there is none or trajectories are switched off."""
        axis = self._study.size_axes.get(Role.OUTPUT_TOKENS)
        return axis.name if axis and self._settings.trajectory else None

    def accelerators(self, point: Point) -> float:
        """Devices at the point: tensor × pipeline × data parallel size."""
        return float(self.accelerators_at({name: np.array([value]) for name, value in point.items()})[0])

    def accelerators_at(self, columns: Columns) -> FloatArray:
        """Devices at each point, (N,): tensor × pipeline × data parallel size."""
        return self._study.accelerators(columns)

    def metrics(self) -> frozenset[str]:
        """Every metric that a static batch gives; a run of one token has no tpot and itl."""
        return metric_names()

    def estimate_cost(self, columns: Columns) -> FloatArray:
        """Seconds of a run at each point, (N,), estimated from its sizes (vllm_estimate). Repeats that only `tolerance`
        asks for are not counted."""
        return self._study.seconds(columns)

    def fingerprint(self) -> Mapping[str, str]:
        """Facts about engine, device, machine, settings and models. Raises RunnerError if vLLM is not installed."""
        require_engine()
        facts = {**environment.machine_facts(), **self._study.facts()}
        variables = {name: value for name, value in sorted(os.environ.items()) if matters(name)}
        facts["variables"] = json.dumps(variables)
        if environment.cpu_engine():
            facts["preload"] = " ".join(path.name for path in environment.preload_libraries())
        return facts

    @property
    def study_repeats(self) -> int | None:
        """Repeats of each batch that the study asks for; None if every run is to make them."""
        settings = self._settings
        return settings.repeats if settings.adaptive_repeats and settings.tolerance is None else None

    def leaves_core(self, point: Point) -> bool:
        """Whether the planner may compute during a run: not where the engine is on the CPU too."""
        return environment.spare_core(self.accelerators(point))

    def prepare_engine(self) -> None:
        """Begin to import vLLM in the background."""
        require_engine()
        first = {axis.name: axis.values[0] for axis in self._context.axes}
        arguments = self._study.engine_arguments(self._study.engine_values(first))
        self._imports.begin(engine_environment(arguments, None))

    @watched
    def measure(self, proposal: Proposal) -> Measurement:
        """A run of the batch of `proposal.point`, warm-ups and repeats, with a reading of every point it covers."""
        accelerators = self.accelerators(proposal.point)
        watch = StartWatch()
        try:
            engine, start = self._engine_for(proposal.point, watch)
        except EngineError as failure:
            self.free_devices()
            start = watch.done()
            return self._failed(failure, FailureKind.START, start.cost(0.0, 0.0, accelerators), start.parts)
        except BaseException:
            self.close()
            raise
        began = time.perf_counter()
        try:
            answer = engine.ask({"run": self._request(proposal, fresh=start.start_s > 0)}, self._timeout_s(proposal))
            if "refused" in answer:
                cost = start.cost(0.0, time.perf_counter() - began, accelerators)
                return self._failed(answer["refused"], FailureKind.CONFIGURATION, cost, start.parts)
            reply = run_reply(answer, self._study.workload(proposal.point).output_len)
        except EngineError as failure:
            self.free_devices()
            spent = time.perf_counter() - began
            return self._failed(failure, FailureKind.CRASH, start.cost(0.0, spent, accelerators), start.parts)
        except BaseException:
            self.close()
            raise
        cost = start.cost(reply.warmup_s, reply.measure_s, accelerators)
        return Measurement(
            Status.OK, cost, tuple(self._readings(proposal, reply)),
            trajectory_s=tuple(tuple(times) for times in reply.repeats), environment=self._environment,
            warmup_ratio=_warmup_ratio(reply), start_parts=start.parts)

    def _timeout_s(self, proposal: Proposal) -> float:
        """Seconds in which the run must end: those of the settings, or those after which it must have hung."""
        return min(self._settings.timeout_s, proposal.limit_s or self._settings.timeout_s)

    def close(self) -> None:
        """Stop the engine and everything it started, if any."""
        self.free_devices()
        self._imports.close()

    def free_devices(self) -> None:
        """Stop the engine; what has imported vLLM stays."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()

    def _engine_for(self, point: Point, watch: StartWatch) -> tuple[EngineProcess, Start]:
        """The engine for the point, and its start: of 0 s if it was running already."""
        values = self._study.engine_values(point)
        if self._engine is not None and self._engine.alive and values == self._engine_values:
            return self._engine, Start()
        require_engine()
        self.free_devices()
        watch.ended_last()
        arguments = self._study.engine_arguments(values)
        self._environment = self._environment or environment.digest(self.fingerprint())
        variables = engine_environment(arguments, self._study.omp_threads_bind(values))
        timeout_s = self._settings.start_timeout_s
        fork_server = watch.imported(lambda: self._imports.for_engine(variables, timeout_s))
        engine = self._imports.started(
            fork_server, lambda forked: EngineProcess(variables, fork_server=forked))
        reply = engine.ask({"start": arguments, "length": self._study.longest_request()},
                           timeout_s)
        self._engine, self._engine_values = engine, values
        return engine, watch.done(engine.log(), start_parts_of(reply))

    def _request(self, proposal: Proposal, fresh: bool) -> dict[str, Any]:
        """The request to the engine's process. fresh: it is the engine's first."""
        settings, work = self._settings, self._study.workload(proposal.point)
        repeats = settings.repeats if proposal.repeats is None else min(settings.repeats, proposal.repeats)
        return {
            "input_len": work.input_len, "output_len": work.output_len, "batch_size": work.batch_size,
            "lengths": sorted({self._study.workload(point).output_len for point in proposal.covers}),
            "seed": [self._context.seed, proposal.seed], "warmup": settings.warmup if proposal.warmup or fresh else 0,
            "repeats": repeats, "max_repeats": settings.max_repeats or repeats,
            "tolerance": settings.tolerance,
        }

    def _readings(self, proposal: Proposal, reply: RunReply) -> Iterator[Reading]:
        """The readings of the covered points; a length whose reading would not be exact is left out."""
        for point in proposal.covers:
            output_len = str(self._study.workload(point).output_len)
            if all(output_len in repeat for repeat in reply.metrics):
                yield self._reading(point, proposal, reply)

    def _reading(self, point: Point, proposal: Proposal, reply: RunReply) -> Reading:
        """The reading of one of these points."""
        output_len = self._study.workload(point).output_len
        repeats = [repeat[str(output_len)] for repeat in reply.metrics]
        names = [name for name in repeats[0] if all(name in repeat for repeat in repeats)]
        batches = reply.warmups + reply.repeats
        if output_len == self._study.workload(proposal.point).output_len:
            seconds = reply.warmup_s + reply.measure_s
        else:
            seconds = sum(times[output_len - 1] for times in batches)
        if proposal.repeats is not None or not proposal.warmup:  # what the plain sweep would make of it
            seconds *= max(1.0, (self._settings.warmup + self._settings.repeats) / len(batches))
        return Reading(point, {name: tuple(repeat[name] for repeat in repeats) for name in names}, seconds)

    def _failed(
        self, reason: object, otherwise: FailureKind, cost: Cost, parts: tuple[tuple[str, float], ...]
    ) -> Measurement:
        """A failed run. otherwise: its kind, where the reason shows no other."""
        return Measurement(Status.FAILED, cost, reason=str(reason), environment=self._environment, start_parts=parts,
                           failure=failure_kind(str(reason), otherwise))


def _warmup_ratio(reply: RunReply) -> float | None:
    """Seconds of the last warm-up over the median seconds of the repeats."""
    if not reply.warmups or len(reply.repeats) < 2:
        return None
    median = float(np.median([times[-1] for times in reply.repeats]))
    return reply.warmups[-1][-1] / median if median else None


def engine_environment(arguments: Mapping[str, Any], omp_threads_bind: str | None) -> dict[str, str]:
    """Environment variables for an engine with these arguments: our own, with the changes that it needs.

    omp_threads_bind: cores of each rank on a CPU; None divides them equally if there are several ranks.
    """
    variables = dict(os.environ)
    variables |= {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the engine steps in the child, not in a process behind it
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": os.environ.get("VLLM_LOGGING_LEVEL", "INFO"),  # it says what a start consists of
    }
    if Path(str(arguments["model"])).is_dir():
        variables["HF_HUB_OFFLINE"] = "1"
    if "kv_cache_memory_bytes" in arguments:
        variables.pop("VLLM_CPU_KVCACHE_SPACE", None)  # vLLM would prefer it to the argument
    if environment.cpu_engine():
        ranks = int(arguments.get("tensor_parallel_size", 1)) * int(arguments.get("pipeline_parallel_size", 1))
        bind = omp_threads_bind or os.environ.get("VLLM_CPU_OMP_THREADS_BIND") or _share_cores(ranks)
        if bind:
            variables["VLLM_CPU_OMP_THREADS_BIND"] = bind
        libraries = [os.environ.get("LD_PRELOAD", ""), *map(str, environment.preload_libraries())]
        variables["LD_PRELOAD"] = ":".join(filter(None, libraries))
    return variables


def _share_cores(ranks: int) -> str | None:
    """An equal share of the cores for each rank; without it, vLLM needs a NUMA node for each of several ranks."""
    cores = environment.cores()
    share = len(cores) // ranks
    if ranks == 1:
        return None
    if not share:
        return "nobind"
    return "|".join(",".join(map(str, cores[i * share:(i + 1) * share])) for i in range(ranks))


def matters(variable: str) -> bool:
    """Whether one of the user's environment variables may change what vLLM measures. Secrets never do."""
    return variable.startswith("VLLM_") and not any(
        word in variable for word in ("KEY", "TOKEN", "LOGGING", "USAGE", "CACHE_ROOT", "TRACE"))


def require_engine() -> None:
    if environment.engine_version() is None:
        raise RunnerError("vLLM is not installed; run `make quickstart` (CPU) or `pip install 'sweepwise[vllm]'`")
