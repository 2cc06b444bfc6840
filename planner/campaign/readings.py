"""Checks of a measurement against the study: missing targets, and values that cannot be learned."""

from __future__ import annotations

from dataclasses import replace

from planner.ledger.observations import Observations, Run
from planner.space.expressions import suggestion
from planner.space.metrics import refusal
from planner.space.types import Kind, Measurement, Metric, Point, Reading, Status, StudyError

__all__ = ["check_gives_targets", "learnable"]


def learnable(measurement: Measurement, point: Point, observations: Observations) -> Measurement:
    """The measurement without target values for which their transforms are undefined (a zero has no logarithm).

    A run with such a value at its executed point becomes a failed run, with the reason. At a shorter point of its
    trajectory the value is left out.
    """
    metrics = [observations.metric(name) for name in observations.targets]
    readings = []
    for reading in measurement.readings:
        refused = _refused(reading, metrics)
        if refused and dict(reading.point) == dict(point):
            metric, value = refused[0]
            return replace(measurement, status=Status.FAILED, readings=(), trajectory_s=(),
                           reason=refusal(metric, value))
        names = {metric.name for metric, _ in refused}
        kept = {name: values for name, values in reading.metrics.items() if name not in names}
        readings.append(replace(reading, metrics=kept) if names else reading)
    return replace(measurement, readings=tuple(readings))


def _refused(reading: Reading, metrics: list[Metric]) -> list[tuple[Metric, float]]:
    found = []
    for metric in metrics:
        bad = [value for value in reading.metrics.get(metric.name, ()) if not metric.takes(value)]
        found += [(metric, bad[0])] if bad else []
    return found


def check_gives_targets(run: Run, observations: Observations) -> None:
    """Raises StudyError if a successful run lacks a target that is defined at its point and that no run has given."""
    own = next((r.metrics for r in run.measurement.readings if dict(r.point) == dict(run.point)), None)
    row = observations.grid.find(run.point)
    if run.measurement.status is not Status.OK or own is None or row is None:
        return
    given = set(observations.metrics)
    for name in observations.targets:
        undefined = observations.metric(name).kind is Kind.STEP and bool(observations.grid.single_token[row])
        if name not in given and not undefined:
            raise StudyError(f"targets: run {run.number} gave no '{name}'{suggestion(name, own)}; the study ends here, "
                             "its runs are kept")
