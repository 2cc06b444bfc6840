"""An audit: random points that the study did not measure, measured now, together with some that it did.

The latter are *controls*. If they differ from the study's values, the machine has changed since, and the audit's errors
are not those of the predictions alone.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from planner.campaign.observers import Observer
from planner.campaign.settings import POINTS_PER_CONTROL
from planner.campaign.setup import StudySetup
from planner.ledger.ledger import Ledger
from planner.ledger.observations import Observations
from planner.ledger.patience import PatientLedger
from planner.models.cost import CostModel
from planner.space.types import IntArray, Proposal, Status, StudyError

__all__ = ["Audit", "Drift", "measure"]


@dataclass(frozen=True, slots=True)
class Drift:
    """A target's controls as ratios to the study's own values: median, smallest and largest. 1: no change."""

    controls: int
    ratio: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Audit:
    """The result of an audit: the audited points, and by target the drift of the controls."""

    audited: Observations
    drift: Mapping[str, Drift]


def measure(
    study: StudySetup, observations: Observations, count: int, seed: int, observer: Observer | None = None
) -> Audit:
    """The measurements of `count` random points that no run of the study covered, each by a separate run, and of a
    control for every five of them. A run that takes far longer than the study's costs say has hung, and is ended.

    They are recorded in a separate study, "NAME (audit)", and do not count in the study itself. observer: receives the
    audit's own observations. Raises StudyError if every point is known, or count is below 1.
    """
    if count < 1:
        raise StudyError(f"audit: the number of points must be 1 or more (not {count})")
    watching = observer or Observer()
    watching.begun(observations)
    unmeasured = np.flatnonzero(~observations.known)
    if not len(unmeasured):
        raise StudyError("audit: every point is measured; there is nothing left to predict")
    rng = np.random.default_rng(seed)
    rows = rng.choice(unmeasured, min(count, len(unmeasured)), replace=False)
    rows = np.concatenate([rows, _controls(observations, rows, rng)])
    rows = rng.permutation(rows)  # controls are mixed with the others, so that both see the same state of the machine
    rows = rows[np.argsort(study.grid.engine[rows], kind="stable")]
    with threadpool_limits(limits=1):  # as in the loop
        cost = CostModel(study.grid, study.accelerators).fit(observations)
    ledger = PatientLedger(Ledger.create_or_resume(
        study.storage, f"{study.name} (audit)", study.grid.axes, study.metrics, study.text,
        study.runner.fingerprint()), watching.waiting)
    audited, controls = Observations(study.grid, study.metrics), Observations(study.grid, study.metrics)
    try:
        for number, row in enumerate(rows):
            trial, point = ledger.begin(study.grid.point(int(row)), seed + number)
            kept = controls if observations.known[row] else audited
            watching.started(point, kept)
            proposal = Proposal(point, (point,), seed + number, limit_s=cost.limit_s(int(row)))
            run = ledger.finish(trial, study.runner.measure(proposal))
            kept.add(run)
            watching.finished(run, kept)
    finally:
        study.runner.close()
        ledger.leave()
    drifts = {target: _drift(observations, controls, target) for target in study.targets}
    return Audit(audited, {target: drift for target, drift in drifts.items() if drift is not None})


def _controls(observations: Observations, audited: IntArray, rng: np.random.Generator) -> IntArray:
    """Grid rows of runs of the study, on engine configurations that the audit starts anyway: at least one for each,
    drawn from the cheaper half."""
    grid = observations.grid
    chosen: list[int] = []
    engines, sizes = np.unique(grid.engine[audited], return_counts=True)
    for engine, size in zip(engines, sizes, strict=True):
        costs = {
            row: run.measurement.cost.run_s
            for run in observations.runs
            if run.measurement.status is Status.OK and (row := grid.find(run.point)) is not None
            and grid.engine[row] == engine
        }
        cheap = sorted(costs, key=costs.__getitem__)[: math.ceil(len(costs) / 2)]
        wanted = min(len(cheap), math.ceil(size / POINTS_PER_CONTROL))
        chosen += rng.choice(cheap, wanted, replace=False).tolist() if cheap else []
    return np.array(chosen, dtype=np.int64)


def _drift(observations: Observations, controls: Observations, target: str) -> Drift | None:
    again, before = controls.column(target), observations.column(target)
    there = np.isfinite(again) & np.isfinite(before) & (before != 0)
    ratios = again[there] / before[there]
    ratios = ratios[ratios > 0]
    if not len(ratios):
        return None
    return Drift(len(ratios), statistics.median(ratios.tolist()), float(ratios.min()), float(ratios.max()))
