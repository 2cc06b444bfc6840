"""How a trial ends in Optuna's terms: its state, its values, and what it reported on the way."""

from __future__ import annotations

import statistics
from collections.abc import Container, Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import TrialState

from planner.space.types import Axis, Measurement, Point, Role, Status

__all__ = ["ending", "metrics_at", "report_trajectory"]


def ending(targets: Sequence[str], point: Point, measurement: Measurement) -> tuple[TrialState, list[float] | None]:
    """The final state of a trial with this measurement, and its values."""
    if measurement.status is Status.SATURATED:  # known, but without latencies
        return TrialState.PRUNED, None
    if measurement.status is not Status.OK:
        return TrialState.FAIL, None
    own = metrics_at(point, measurement)
    values = [statistics.median(own[target]) for target in targets if own.get(target)]
    # A target that is undefined at the point (tpot at one output token) leaves the trial without values:
    # Optuna has no partial values, and an invented number would be wrong.
    return (TrialState.COMPLETE, values) if len(values) == len(targets) else (TrialState.PRUNED, None)


def report_trajectory(
    axes: Sequence[Axis], targets: Sequence[str], trial: optuna.Trial, measurement: Measurement,
    reported: Container[int],
) -> None:
    """Report the only target at each output length but those in `reported`; Optuna takes no reports of several."""
    axis = next((a.name for a in axes if Role.OUTPUT_TOKENS in a.roles), None)
    if len(targets) != 1 or axis is None or len(measurement.readings) < 2:
        return
    for reading in measurement.readings:
        step = int(reading.point[axis])
        if step not in reported and (repeats := reading.metrics.get(targets[0])):
            trial.report(statistics.median(repeats), step)


def metrics_at(point: Mapping[str, Any], measurement: Measurement) -> Mapping[str, tuple[float, ...]]:
    """The metrics of a run at its own point."""
    return next((r.metrics for r in measurement.readings if dict(r.point) == dict(point)), {})
