"""The executor `ray`: runs on the nodes of a Ray cluster, each on devices that Ray gives it.

Devices are reserved as a placement group, on one node. An actor there (ray_host) holds the runner, and its engine stays
warm from run to run while the number of devices stays the same. Placement groups are also the queue: one that is
pending says that somebody waits. Then no other is asked for, and who holds devices gives them back after the run. All
of it ends with this process: Ray removes groups and actors whose driver has died.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import signal
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from planner.space.executor import Assignment
from planner.space.fingerprint_id import environment_id
from planner.space.types import Cost, Measurement, Proposal, RunnerError, Status, StudyError
from runners import environment
from runners.local_executor import check_files
from runners.ray_host import Host
from runners.worker_process import WorkerProcess

__all__ = ["RayExecutor"]

_NAME: Final = "sweepwise"
"""Of the namespace, and the beginning of each placement group's name. Ray refuses a name that another group has."""
_POLL_S: Final = 0.2
_CLOSE_S: Final = 60.0
"""Seconds for an engine to end. A node that is gone does not answer at all."""
_PATIENCE_S: Final = 120.0
"""Seconds to wait for a node that is large enough, after one was lost: a cluster that scales replaces it in minutes at
best, and a person who starts it again needs as long. By judgement."""
_WHY_CHARACTERS: Final = 200
_MOST_LOSSES: Final = 3
"""Times that a point may lose its node before the point is taken for the reason; and nodes on which a runner may fail
to start before it is taken for something that all of them lack. By judgement."""


@dataclass(frozen=True, slots=True)
class _Held:
    """Devices that Ray has given us, and the actor on them."""

    count: int
    group: Any
    actor: Any


class RayExecutor:
    """The executor `ray`; see planner.space.executor.Executor for the contract. Sweepwise must be installed on each
    node, and the study's folder must be there too."""

    start = WorkerProcess

    def __init__(self, assignment: Assignment) -> None:
        self._assignment, self._runner = assignment, assignment.runner
        check_files(assignment)
        self._was_connected = _ray().is_initialized()  # by who uses us from Python
        self._ray = _connected(assignment.address)
        cpu_engine = assignment.kind.startswith("vllm") and environment.cpu_engine()
        self._resource = "CPU" if cpu_engine or not self._ray.cluster_resources().get("GPU") else "GPU"
        if assignment.most > self._largest():
            raise StudyError(f"--executor ray: a point needs {assignment.most} {self._resource}s and no node has more "
                             f"than {self._largest()}; add a node, or leave such points out by space.constraints")
        self._held: _Held | None = None
        self._facts: Mapping[str, str] = {}
        self._losses: Counter[str] = Counter()

    @property
    def trajectory_axis(self) -> str | None:
        """As the runner's."""
        return self._runner.trajectory_axis

    def fingerprint(self) -> Mapping[str, str]:
        """As the runner's, on a node of the cluster; on another if that one is lost meanwhile. Raises RunnerError."""
        for attempt in range(1, _MOST_LOSSES + 1):
            try:
                if not self._facts:
                    self._hold(self._assignment.fewest)
                break
            except self._ray.exceptions.RayError as error:
                self._drop()
                if attempt == _MOST_LOSSES:
                    raise RunnerError(f"--executor ray: no runner could be started on a node ({_short(error)}); is "
                                      "sweepwise installed there, and the study's folder in place?") from error
        return dict(self._facts)

    def measure(self, proposal: Proposal) -> Measurement:
        """A run on some node. One whose node is lost does not count, unless its point loses one node after another."""
        count, began = math.ceil(self._runner.accelerators(proposal.point)), math.inf
        try:
            actor = self._hold(count)
            began = time.monotonic()
            answer: Measurement | str = self._ray.get(actor.measure.remote(proposal))
        except self._ray.exceptions.RayError as error:
            self._drop()
            spent = max(0.0, time.monotonic() - began)
            return self._lost(proposal, _short(error), Cost(measure_s=spent, accelerators=count))
        except BaseException:
            self._drop()
            raise
        if isinstance(answer, str):
            raise RunnerError(answer)
        if self._is_wanted():
            self._give_back()
        return replace(answer, environment=environment_id(self._facts))

    def close(self) -> None:
        """Give everything back, and leave the cluster if it was we who joined it."""
        if self._ray.is_initialized():
            self._give_back()
            if not self._was_connected:
                self._ray.shutdown()

    def _hold(self, count: int) -> Any:
        """The actor on just so many devices. Raises KeyboardInterrupt, RunnerError, and Ray's errors."""
        held = self._held
        if held is not None and held.count == count and not self._is_wanted():
            return held.actor
        self._give_back()
        group = self._reserved(count)
        gpus = count if self._resource == "GPU" else 0
        options = {"num_gpus": gpus, "num_cpus": 0 if gpus else count, "max_restarts": 0,
                   "scheduling_strategy": _inside(group)}
        assignment = self._assignment
        actor = self._ray.remote(Host).options(**options).remote(
            assignment.kind, assignment.settings, assignment.context, bool(gpus))
        self._held = _Held(count, group, actor)
        self._check(self._ray.get(actor.fingerprint.remote()))
        return actor

    def _check(self, facts: Mapping[str, str] | str) -> None:
        """Raises RunnerError if a node is not like the first."""
        if isinstance(facts, str):
            raise RunnerError(facts)
        self._facts = self._facts or facts
        if differs := sorted(key for key in {*facts, *self._facts} if facts.get(key) != self._facts.get(key)):
            raise RunnerError(f"--executor ray: nodes differ in {', '.join(differs)}, and one study cannot mix them; "
                              "give it a cluster of equal nodes")

    def _reserved(self, count: int) -> Any:
        """A placement group that has its devices. Raises KeyboardInterrupt and RunnerError."""
        from ray.util import placement_group, remove_placement_group

        group, patience = None, time.monotonic() + _PATIENCE_S
        try:
            while not self._assignment.stop_requested():
                if self._largest() >= count:
                    patience = time.monotonic() + _PATIENCE_S
                elif time.monotonic() > patience:
                    raise RunnerError(f"--executor ray: no node has {count} {self._resource}s any more; add a node, "
                                      "then run the same command to go on")
                if group is None and not self._is_wanted():
                    group = placement_group([{self._resource: count}], strategy="STRICT_PACK",
                                            name=f"{_NAME}-{uuid.uuid4().hex}")
                if group is not None and group.wait(timeout_seconds=_POLL_S):
                    return group
                time.sleep(_POLL_S)
            raise KeyboardInterrupt
        except BaseException:
            if group is not None:
                remove_placement_group(group)
            raise

    def _is_wanted(self) -> bool:
        """Whether another process of any study waits for devices."""
        from ray.util import placement_group_table

        return any(group["name"].startswith(_NAME) and group["state"] == "PENDING"
                   for group in placement_group_table().values())

    def _largest(self) -> int:
        """Devices of the largest node that lives."""
        return max((int(node["Resources"].get(self._resource, 0)) for node in self._ray.nodes() if node["Alive"]),
                   default=0)

    def _give_back(self) -> None:
        """Devices are free for others once the engine has ended."""
        if self._held is not None:
            with contextlib.suppress(self._ray.exceptions.RayError):
                self._ray.get(self._held.actor.close.remote(), timeout=_CLOSE_S)
            self._drop()

    def _drop(self) -> None:
        from ray.util import remove_placement_group

        held, self._held = self._held, None
        if held is not None:
            with contextlib.suppress(self._ray.exceptions.RayError):
                self._ray.kill(held.actor)
            with contextlib.suppress(self._ray.exceptions.RayError):
                remove_placement_group(held.group)

    def _lost(self, proposal: Proposal, why: str, cost: Cost) -> Measurement:
        key = repr(sorted(proposal.point.items()))
        self._losses[key] += 1
        if self._losses[key] >= _MOST_LOSSES:
            return Measurement(Status.FAILED, cost, reason=f"lost with its node or process, "
                               f"{self._losses[key]} times; the last: {why}")
        return Measurement(Status.INTERRUPTED, cost, reason=f"lost with its node or process: {why}")


def _ray() -> Any:
    """Raises StudyError if it is not installed."""
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise StudyError("--executor: Ray is not installed; run `pip install 'sweepwise[ray]'`") from error
    return ray


def _inside(group: Any) -> Any:
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    return PlacementGroupSchedulingStrategy(placement_group=group, placement_group_bundle_index=0)


def _connected(address: str | None) -> Any:
    """Ray, connected to a cluster that runs. Raises StudyError and RunnerError."""
    ray = _ray()
    if ray.is_initialized():
        return ray
    where = address or os.environ.get("RAY_ADDRESS") or "auto"
    try:
        with _own_signals():
            ray.init(address=where, namespace=_NAME, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise RunnerError(f"--executor ray: cannot reach a cluster at {where} ({_short(error)}); start one with `ray "
                          "start --head`, or correct --address") from error
    return ray


def _short(error: Exception) -> str:
    """Its first sentences: Ray explains at length."""
    return " ".join(str(error).split())[:_WHY_CHARACTERS]


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Ray takes SIGTERM for itself; ours must drop the run in hand and record that."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError, TypeError):  # not in the main thread, or another language's handler
            signal.signal(signal.SIGTERM, before)
