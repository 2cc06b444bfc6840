"""One run of the record, and a run that another worker is making."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from optuna.trial import FrozenTrial, Trial

from planner.space.types import FloatArray, Measurement, Point

__all__ = ["IMPORTED", "Run", "Underway", "beginnings", "begun_at"]

IMPORTED = "imported"
"""The trial's user attribute with the origin of an imported run."""


@dataclass(frozen=True, slots=True)
class Run:
    """One finished run of the record: its trial number, executed point and measurement.

    planner_s: seconds for which the accelerators waited for the planner before this run. started_at: when it began, in
    seconds since 1970; None where unknown. imported: another tool made it.
    """

    number: int
    point: Point
    measurement: Measurement
    planner_s: float = 0.0
    started_at: float | None = None
    imported: bool = False


def beginnings(runs: Sequence[Run]) -> FloatArray:
    """Seconds from the beginning of the first run to that of each, (n,): a run takes at least what it costs.

    By their numbers, which they got when they began: of runs that began together the short ones end first, and that the
    long ones come later must not look like a machine that slows down. Those of several workers count as one after the
    other.
    """
    order = np.argsort([run.number for run in runs], kind="stable")
    begun = np.zeros(len(runs))
    for before, here in pairwise(order.tolist()):
        last, run = runs[before], runs[here]
        apart = run.started_at - last.started_at if run.started_at and last.started_at else 0.0
        begun[here] = begun[before] + max(last.measurement.cost.seconds + last.planner_s, apart)
    return begun


@dataclass(frozen=True, slots=True)
class Underway:
    """A run that another worker is making. row: its point, None if that is not in the grid. engine: the configuration
    that the worker's last run left running, None if there is none."""

    row: int | None
    engine: int | None = None


def begun_at(trial: FrozenTrial | Trial) -> float | None:
    """When a trial began, in seconds since 1970, as the clock of its machine says; None if it has not."""
    return trial.datetime_start.timestamp() if trial.datetime_start else None
