"""One run of the record, and a run that another worker is making."""

from __future__ import annotations

from dataclasses import dataclass

from optuna.trial import FrozenTrial, Trial

from planner.space.types import Measurement, Point

__all__ = ["IMPORTED", "Run", "Underway", "begun_at"]

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


@dataclass(frozen=True, slots=True)
class Underway:
    """A run that another worker is making. row: its point, None if that is not in the grid. engine: the configuration
    that the worker's last run left running, None if there is none."""

    row: int | None
    engine: int | None = None


def begun_at(trial: FrozenTrial | Trial) -> float | None:
    """When a trial began, in seconds since 1970, as the clock of its machine says; None if it has not."""
    return trial.datetime_start.timestamp() if trial.datetime_start else None
