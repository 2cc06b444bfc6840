"""An audit: random points that the study did not measure, measured now, beside some that it did.

The second kind are *controls*. Where they come out otherwise than they did in the study, the machine has changed since,
and what the audit finds wrong is not the predictions' fault alone.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from planner.campaign.settings import POINTS_PER_CONTROL
from planner.ledger.ledger import Ledger
from planner.ledger.observations import Observations
from planner.space.types import IntArray, Proposal, Status, StudyError

if TYPE_CHECKING:
    from planner.campaign.setup import StudySetup

__all__ = ["Audit", "Drift", "measure"]


@dataclass(frozen=True, slots=True)
class Drift:
    """What a target's controls came out as, as a ratio to the study's: median, smallest and largest. 1: no change."""

    controls: int
    ratio: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Audit:
    """What was measured now: the audited points, and by target what became of the study's own ones."""

    audited: Observations
    drift: Mapping[str, Drift]


def measure(study: StudySetup, observations: Observations, count: int, seed: int) -> Audit:
    """Measure `count` random points that no run of the study covered, each by itself, and a control for every five.

    All are kept in a study of their own, "NAME (audit)": they are no part of the bargain. Raises StudyError where
    every point is known.
    """
    unmeasured = np.flatnonzero(~observations.known)
    if not len(unmeasured):
        raise StudyError("--audit: every point is measured; there is nothing left to predict")
    rng = np.random.default_rng(seed)
    rows = rng.choice(unmeasured, min(count, len(unmeasured)), replace=False)
    rows = np.concatenate([rows, _controls(observations, rows, rng)])
    rows = rng.permutation(rows)  # a control somewhere among the others: both see the same machine
    rows = rows[np.argsort(study.grid.engine[rows], kind="stable")]
    ledger = Ledger.create_or_resume(
        study.storage, f"{study.name} (audit)", study.grid.axes, study.metrics, study.text,
        study.runner.fingerprint())
    audited, controls = Observations(study.grid, study.metrics), Observations(study.grid, study.metrics)
    try:
        for number, row in enumerate(rows):
            trial, point = ledger.begin(study.grid.point(int(row)), seed + number)
            measurement = study.runner.measure(Proposal(point, (point,), seed + number))
            (controls if observations.known[row] else audited).add(ledger.finish(trial, measurement))
    finally:
        study.runner.close()
    return Audit(audited, {target: drift for target in study.targets if (drift := _drift(observations, controls,
        target))})


def _controls(observations: Observations, audited: IntArray, rng: np.random.Generator) -> IntArray:
    """Points that were runs of the study, from engine configurations that are started for the audit anyway.

    One for each configuration at least, the cheaper half to choose from.
    """
    grid = observations.grid
    chosen: list[int] = []
    engines, sizes = np.unique(grid.engine[audited], return_counts=True)
    for engine, size in zip(engines, sizes, strict=True):
        costs = {
            row: run.measurement.cost.seconds - run.measurement.cost.start_s
            for run in observations.runs
            if run.measurement.status is Status.OK and (row := grid.find(run.point)) is not None
            and grid.engine[row] == engine
        }
        cheap = sorted(costs, key=costs.__getitem__)[: math.ceil(len(costs) / 2)]
        wanted = min(len(cheap), math.ceil(size / POINTS_PER_CONTROL))
        chosen += rng.choice(cheap, wanted, replace=False).tolist() if cheap else []
    return np.array(chosen, dtype=np.int64)


def _drift(observations: Observations, controls: Observations, target: str) -> Drift | None:
    ratios = controls.column(target) / observations.column(target)
    ratios = ratios[np.isfinite(ratios) & (ratios > 0)]
    if not len(ratios):
        return None
    return Drift(len(ratios), statistics.median(ratios.tolist()), float(ratios.min()), float(ratios.max()))
