"""The expected cost of a study, before anything is run."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from planner.acquisition.initial_design import cost_proxy, initial_design
from planner.analysis import settings
from planner.analysis.spending import start_parts
from planner.campaign.setup import StudySetup
from planner.ledger.observations import Observations
from planner.space.text import duration
from planner.space.types import FloatArray, StudyError

__all__ = ["Plan", "plan_of"]

_SERVED: Final = ("servers under load differ much, and few recorded grids are like this one: the study may need any "
                  "share of the sweep; set stop.cost")


@dataclass(frozen=True, slots=True)
class Plan:
    """Sizes, and costs in accelerator-seconds. adaptive_cost_s: from and to. basis: where the costs come from. warning:
    why the forecast of the adaptive cost is hardly one; else empty."""

    grid_points: int
    engine_configurations: int
    axes: dict[str, int]
    first_runs: int
    full_cost_s: float
    adaptive_cost_s: tuple[float, float]
    budget_s: float | None
    basis: str
    warning: str = ""

    def to_json(self) -> dict[str, Any]:
        """The form of `plan --json`."""
        return asdict(self)


def plan_of(study: StudySetup, observations: Observations | None, run_s: float, start_s: float) -> Plan:
    """The expected cost of the study: from its measurements, from a recorded grid's costs, or from two assumptions.

    observations: None without a record. run_s, start_s: assumed seconds of a median run and an engine start.
    """
    for name, value in (("run_s", run_s), ("start_s", start_s)):
        if not 0 <= value < math.inf:
            raise StudyError(f"plan: {name} must be a number of seconds, 0 or more (not {value:g})")
    grid, runner = study.grid, study.runner
    devices = study.accelerators
    first = np.unique(grid.engine, return_index=True)[1]
    seconds, start, basis = _seconds(study, observations, run_s, start_s)
    imports = observations.import_s if observations is not None else 0.0
    starts = float((start * devices[first]).sum()) + imports * float(devices[first[0]])
    full = float((seconds * devices).sum()) + starts
    design = initial_design(grid, runner.trajectory_axis, 0, study.prices)
    limits = study.limits()
    budget = limits.ceiling(full)
    share = settings.SERVED_SHARE if grid.is_served else settings.ADAPTIVE_SHARE
    adaptive = (full - starts) * np.array(share) + starts
    if budget is not None:
        adaptive = np.minimum(adaptive, budget)
    if limits.cost is None:
        # On a small grid the initial design alone is more; a share of the sweep's cost is unknown before it.
        adaptive = np.maximum(adaptive, float((seconds * devices)[design].sum()) + starts)
    return Plan(
        len(grid), len(first), {axis.name: len(axis.values) for axis in grid.axes},
        len(design), full, (float(adaptive[0]), float(adaptive[1])), budget, basis,
        _SERVED if grid.is_served else "",
    )


def _starts(observations: Observations) -> str:
    """What an engine start took and consists of, where that is known."""
    parts = start_parts(observations)
    if not parts:
        return ""
    named = ", ".join(f"{part.name} {duration(part.seconds / part.starts)}" for part in parts)
    return f"; engine starts: {named}"


def _seconds(
    study: StudySetup, observations: Observations | None, run_s: float, start_s: float
) -> tuple[FloatArray, float, str]:
    from planner.models.cost import CostModel

    if recorded := study.recorded_grid:
        return recorded.plain_seconds, recorded.runner.settings.engine_start_s, "the recorded grid's own times"
    if observations is not None and observations.measured.any():
        cost = CostModel(study.grid, study.accelerators).fit(observations)
        return cost.seconds(), float(np.median(cost.start_seconds())), (
            f"{observations.finished} runs made so far (estimated){_starts(observations)}")
    proxy = cost_proxy(study.grid) if study.prices is None else study.prices / study.accelerators
    assumed = f"assumed: a median run {duration(run_s)}, an engine start {duration(start_s)} (--run-s, --start-s)"
    return proxy / np.median(proxy) * run_s, start_s, assumed
