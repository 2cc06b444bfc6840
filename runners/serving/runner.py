"""The runner `vllm-serve`: a server for each engine configuration, a client for each load."""

from __future__ import annotations

import json
import math
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from planner.space.failure import FailureKind, failure_kind
from planner.space.runner_hints import Columns
from planner.space.types import (
    FloatArray,
    Measurement,
    Point,
    Proposal,
    Reading,
    RunnerContext,
    RunnerError,
    Status,
    Value,
)
from runners import environment
from runners.device_watch import watched
from runners.engine_start import Start, StartWatch
from runners.fork_server import ForkServer
from runners.serving.client import Client, ClientError, Target
from runners.serving.clients import make_client
from runners.serving.datasets import prepared
from runners.serving.model_files import has_tokenizer, with_word_tokenizer
from runners.serving.quality import Evaluator
from runners.serving.serve_settings import ServeSettings
from runners.serving.server import (
    Server,
    ServerError,
    command_line,
    describe,
    module_line,
    on_cores,
    reset_prefix_cache,
)
from runners.serving.statistics import metric_names
from runners.serving.study import ServeStudy
from runners.serving.visit import Outcome, Rules, Visit
from runners.vllm_imports import SERVER_MODULES, VllmImports
from runners.vllm_offline import engine_environment, matters, require_engine

__all__ = ["VllmServeRunner"]


@dataclass(frozen=True, slots=True)
class _Launch:
    """What a server is started with: its arguments, its variables, the cores of its front end, its tokenizer."""

    arguments: Mapping[str, Any]
    variables: Mapping[str, str]
    cores: tuple[int, ...]
    tokenizer: str


class VllmServeRunner:
    """The runner `vllm-serve`; see planner.space.types.Runner for the contract.

    The server starts with the first run that needs it and lives until a run needs another one, an error, or `close`.
    The cost of a start (ending the old server included) is charged to the run that caused it. Where `base_url` names a
    server, none is started and none ended.
    """

    Config: ClassVar[type[Any]] = ServeSettings
    evaluates: ClassVar[bool] = True

    def __init__(self, config: ServeSettings, context: RunnerContext) -> None:
        self._settings, self._context = config, context
        self._targets = tuple(metric_names().intersection(context.targets))
        self._study = ServeStudy(config, context)
        self._quality = Evaluator(context.quality, context.directory) if context.quality else None
        self._imports = VllmImports(SERVER_MODULES)
        # vLLM is imported under the server's variables: without the network, where its model is a folder.
        own = config.tokenizer is None or Path(config.tokenizer).is_dir()
        self._client: Client = make_client(config.client, self._imports if own else None)
        self._server: Server | None = None
        self._values: Mapping[str, Value] = {}
        self._target: Target | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._environment = ""
        self._facts: Mapping[str, str] = {}

    @property
    def trajectory_axis(self) -> None:
        """None: a run of a server measures its own load only."""
        return

    def accelerators(self, point: Point) -> float:
        """Devices at the point: of the settings, or tensor × pipeline × data parallel size."""
        return float(self.accelerators_at({name: np.array([value]) for name, value in point.items()})[0])

    def accelerators_at(self, columns: Columns) -> FloatArray:
        """Devices at each point, (N,)."""
        return self._study.accelerators(columns)

    def metrics(self) -> frozenset[str]:
        """Every metric that a run may give."""
        return metric_names() | (self._context.quality.names if self._context.quality else frozenset())

    def estimate_cost(self, columns: Columns) -> FloatArray:
        """Seconds of a run at each point, (N,): the steady part asked for and its start-up."""
        return self._study.seconds(columns)

    def fingerprint(self) -> Mapping[str, str]:
        """Facts about engine, client, device, machine, settings and models; of a server that is up, what it says of
        itself. Raises RunnerError if there is no engine, or no answer."""
        if not self._facts:
            self._facts = self._found_facts()
        return dict(self._facts)

    def leaves_core(self, point: Point) -> bool:
        """Whether the planner may compute during a run. Where a server that is up runs is not known: it may be here."""
        return self._settings.base_url is None and environment.spare_core(self.accelerators(point))

    def prepare_engine(self) -> None:
        """Begin to import vLLM in the background, where a server will be started."""
        if self._settings.base_url is None:
            require_engine()
            first = {axis.name: axis.values[0] for axis in self._context.axes}
            self._imports.begin(self._launch(self._study.engine_values(first)).variables)

    def measure(self, proposal: Proposal) -> Measurement:
        """A run of the load of `proposal.point`, warm-up and repeats."""
        return self._measured_here(proposal) if self._settings.base_url is None else self._measured(proposal)

    @watched
    def _measured_here(self, proposal: Proposal) -> Measurement:
        return self._measured(proposal)

    def _measured(self, proposal: Proposal) -> Measurement:
        accelerators = self.accelerators(proposal.point)
        watch = StartWatch()
        try:
            start = self._ready(proposal.point, watch)
        except ServerError as failure:
            start = watch.done()
            return Measurement(Status.FAILED, start.cost(0.0, 0.0, accelerators), reason=str(failure),
                               environment=self._environment, start_parts=start.parts,
                               failure=failure_kind(str(failure), FailureKind.START))
        except BaseException:
            self.close()
            raise
        began = time.perf_counter()
        try:
            outcome = self._visit(proposal).measure()
        except ClientError as failure:
            outcome = Outcome(Status.FAILED, str(failure), measure_s=time.perf_counter() - began)
        except BaseException:
            self.close()
            raise
        outcome = self._explained(outcome)
        kind = failure_kind(outcome.reason) if outcome.status is Status.FAILED else None
        if kind is FailureKind.HANG:
            self.free_devices()  # what its unanswered requests still do would disturb the next run
        cost = start.cost(outcome.warmup_s, outcome.measure_s, accelerators)
        measured = Measurement(outcome.status, cost, _readings(proposal, outcome), outcome.reason,
                               environment=self._environment, records=outcome.records, start_parts=start.parts,
                               failure=kind)
        return self._quality.added(measured, proposal, self._target) if self._quality else measured

    def close(self) -> None:
        """Stop server and client, if any."""
        self.free_devices()
        self._client.close()
        self._imports.close()
        folder, self._folder = self._folder, None
        if folder is not None:
            folder.cleanup()

    def _found_facts(self) -> dict[str, str]:
        facts = {**self._study.facts(), **self._client.facts(), **(self._quality.facts() if self._quality else {})}
        if self._settings.base_url is not None:
            server = describe(self._settings.base_url)
            if not server:
                raise RunnerError(f"runner.base_url: nothing answers at {self._settings.base_url}/v1/models; start the "
                                  "server, or correct the address")
            return {**environment.machine_facts(), **facts, **server}
        require_engine()
        variables = {name: value for name, value in sorted(os.environ.items()) if matters(name)}
        return {**environment.machine_facts(), **facts, "variables": json.dumps(variables)}

    def _ready(self, point: Point, watch: StartWatch) -> Start:
        """The start of the point's server: of 0 s if it is up. Raises ServerError."""
        values = self._study.engine_values(point)
        self._environment = self._environment or environment.digest(self.fingerprint())
        if self._settings.base_url is not None:
            self._target = self._target or self._found_target(self._settings.base_url)
            return Start()
        if self._server is not None and self._server.alive and values == self._values:
            return Start()
        self.free_devices()
        watch.ended_last()
        return self._start(values, watch)

    def _start(self, values: Mapping[str, Value], watch: StartWatch) -> Start:
        launch = self._launch(values)
        fork_server = watch.imported(
            lambda: self._imports.for_engine(launch.variables, self._settings.start_timeout_s))
        self._client.warm_up()
        server = self._imports.started(fork_server, lambda forked: self._entered(launch, forked))
        self._server, self._values = server, values
        self._target = Target(server.base_url, str(launch.arguments["served_model_name"]), launch.tokenizer)
        return watch.done(server.log())

    def _entered(self, launch: _Launch, fork_server: ForkServer | None) -> Server:
        """A server that answers, forked if that is possible. Raises ServerError and ForkServerError."""
        timeout_s = self._settings.start_timeout_s
        if fork_server is None:
            server = Server(on_cores(command_line(launch.arguments), launch.cores), launch.variables, timeout_s)
        else:
            server = Server(module_line(launch.arguments), launch.variables, timeout_s,
                            partial(fork_server.popen, cores=launch.cores))
        return server.__enter__()

    def _launch(self, values: Mapping[str, Value]) -> _Launch:
        arguments = self._study.server_arguments(values)
        name = str(arguments["model"])
        arguments["model"], tokenizer = self._model_files(name)
        arguments.setdefault("served_model_name", Path(name).name)
        bind, rest = self._study.cores(values)
        variables = engine_environment(arguments, bind)
        variables.pop("VLLM_ENABLE_V1_MULTIPROCESSING")  # a server's engine is a process of its own
        variables["VLLM_SERVER_DEV_MODE"] = "1"  # lets us empty the prefix cache between runs
        return _Launch(arguments, variables, rest, tokenizer)

    def free_devices(self) -> None:
        """Stop the server; what has imported vLLM stays."""
        server, self._server = self._server, None
        if server is not None:
            server.__exit__(None, None, None)

    def _model_files(self, name: str) -> tuple[str, str]:
        """What to load, and the tokenizer: for a bare folder with random weights, a copy with a tokenizer."""
        tokenizer = self._settings.tokenizer
        folder = Path(name)
        if folder.is_dir() and tokenizer is None and not has_tokenizer(folder) and (
                self._settings.load_format == "dummy"):
            name = str(with_word_tokenizer(folder, self._own_folder() / folder.name))
        return name, tokenizer or name

    def _own_folder(self) -> Path:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="sweepwise-")
        return Path(self._folder.name)

    def _found_target(self, base_url: str) -> Target:
        served = describe(base_url).get("served", "").split(", ")[0]
        if not served:
            raise ServerError(f"nothing answers at {base_url}")
        model = self._settings.model or served
        return Target(base_url.rstrip("/"), served, self._settings.tokenizer or self._study.models.argument(model))

    def _visit(self, proposal: Proposal) -> Visit:
        settings, target = self._settings, self._target
        assert target is not None
        load = self._study.load(proposal.point)
        rules = Rules(settings.duration_s, settings.max_duration_s, settings.tolerance, settings.repeats,
                      settings.failed_share, settings.timeout_s, self._targets, proposal.limit_s or math.inf)
        scales = (float(self._study.value(proposal.point, "input_scale")),
                  float(self._study.value(proposal.point, "output_scale")))
        seeded = load.with_seed(self._context.seed * 7919 + proposal.seed)
        return Visit(self._client, target, seeded, rules, accelerators=math.ceil(self.accelerators(proposal.point)),
                     before=partial(reset_prefix_cache, target.base_url),
                     prepare=partial(prepared, folder=self._own_folder(), scales=scales,
                                     longest=self._study.longest_allowed))

    def _explained(self, outcome: Outcome) -> Outcome:
        """The outcome, and for a server that died under it, why; the next run then starts another. A front end may live
        on while its engine is dead."""
        server = self._server
        if server is None or (server.alive and (outcome.status is not Status.FAILED or server.answers)):
            return outcome
        reason = (f"the server answers no longer: {outcome.reason}" if server.alive else
                  f"the server ended during the run: {server.why()}")
        self.free_devices()
        return Outcome(Status.FAILED, reason, (), outcome.warmup_s, outcome.measure_s, outcome.records)


def _readings(proposal: Proposal, outcome: Outcome) -> tuple[Reading, ...]:
    """The reading of the point; of a saturated server only its rates."""
    if outcome.status is Status.FAILED or not outcome.repeats:
        return ()
    names = [name for name in outcome.repeats[0] if all(name in repeat for repeat in outcome.repeats)]
    metrics = {name: tuple(float(repeat[name]) for repeat in outcome.repeats) for name in names}
    return (Reading(proposal.point, metrics, outcome.warmup_s + outcome.measure_s),)
