"""Savings: what the study spent against what the plain sweep costs (DESIGN: definitions).

Notation: G the points of the grid, S the runs of the study, t seconds of a run, n its accelerators.
"""

from __future__ import annotations

from dataclasses import dataclass

from planner.ledger.observations import Observations
from planner.space.types import Status
from planner.tables.recorded_grid import Sweep

__all__ = ["Gain", "Gains", "gains"]


@dataclass(frozen=True, slots=True)
class Gain:
    """A ratio, and its 90 % interval (equal to it where the sweep was measured)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Gains:
    """experiments: |G|/|S|. time: Σ_G t / Σ_S t. resource: Σ_G n·t / Σ_S n·t. longest: resource gain over the sweep
    of longest runs alone, None without trajectories. `estimated` unless every point of Σ_G was measured."""

    experiments: float
    time: Gain
    resource: Gain
    longest: Gain | None
    estimated: bool


def gains(observations: Observations, plain: Sweep, longest: Sweep | None) -> Gains:
    """The gains so far, with every overhead of the study: starts, warm-ups, repeats, failures, planning.

    plain, longest: the plain sweep, and that of longest runs alone. NaN while nothing has been spent.
    """
    seconds = sum(run.measurement.cost.seconds + run.planner_s for run in observations.runs)
    runs = sum(run.measurement.status is not Status.INTERRUPTED for run in observations.runs)
    return Gains(
        len(observations.grid) / runs if runs else float("nan"),
        _ratio(plain.seconds, seconds),
        _ratio(plain.cost, observations.spent),
        _ratio(longest.cost, observations.spent) if longest else None,
        not observations.known.all(),
    )


def _ratio(sweep: tuple[float, ...], spent: float) -> Gain:
    """The sweep's (value, low, high) over what was spent."""
    value, low, high = (part / spent if spent > 0 else float("nan") for part in sweep)
    return Gain(value, low, high)
