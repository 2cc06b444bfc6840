"""Checks of a measurement against the study: missing targets, and values that cannot be learned."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from planner.ledger.observations import Observations, Run
from planner.space.expressions import suggestion
from planner.space.metrics import refusal
from planner.space.types import Kind, Measurement, Metric, Point, Reading, Status, StudyError

__all__ = ["check_gives_targets", "learnable"]


def learnable(measurement: Measurement, point: Point, observations: Observations) -> Measurement:
    """The measurement without target values for which their transforms are undefined (a zero has no logarithm).

    A run with such a value at its executed point becomes a failed run, with the reason. At a shorter point of its
    trajectory the value is left out. A run that gives no target at any point, where earlier runs gave all of them, is a
    failed run too.
    """
    metrics = [observations.metric(name) for name in observations.targets]
    if _gives_nothing_asked(measurement, point, observations):
        given = ", ".join(sorted({name for reading in measurement.readings for name in reading.metrics}))
        return _failed(measurement, f"measured none of the targets {', '.join(observations.targets)}; it gave {given}")
    readings = []
    for reading in measurement.readings:
        refused = _refused(reading, metrics)
        if refused and dict(reading.point) == dict(point):
            metric, value = refused[0]
            return _failed(measurement, refusal(metric, value))
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


def _failed(measurement: Measurement, reason: str) -> Measurement:
    return replace(measurement, status=Status.FAILED, readings=(), trajectory_s=(), reason=reason)


def check_gives_targets(run: Run, observations: Observations) -> None:
    """Raises StudyError if a successful run lacks a target that is defined at its point and that no run has given."""
    own = _own(run.measurement, run.point)
    if own is None:
        return
    for name in _lacking(own, run.point, observations):
        if why := run.measurement.quality.get("failed"):
            raise StudyError(f"quality: run {run.number} could not evaluate '{name}' ({why}); the study ends here, its "
                             "runs are kept")
        raise StudyError(f"targets: run {run.number} gave no '{name}'{suggestion(name, own)}; the study ends here, "
                         "its runs are kept")


def _own(measurement: Measurement, point: Point) -> Mapping[str, tuple[float, ...]] | None:
    """What a successful run measured at the point that it executed."""
    if measurement.status is not Status.OK:
        return None
    return next((reading.metrics for reading in measurement.readings if dict(reading.point) == dict(point)), None)


def _gives_nothing_asked(measurement: Measurement, point: Point, observations: Observations) -> bool:
    """Whether a successful run gives none of the targets, which its point defines and earlier runs gave."""
    asked = set(observations.targets)
    if measurement.status is not Status.OK or any(asked & reading.metrics.keys() for reading in measurement.readings):
        return False
    return bool(_defined(point, observations)) and not _lacking((), point, observations)


def _lacking(own: Iterable[str], point: Point, observations: Observations) -> list[str]:
    """Targets that neither this run nor an earlier one gave, though the point defines them."""
    given = {*observations.metrics, *own}
    return [name for name in _defined(point, observations) if name not in given]


def _defined(point: Point, observations: Observations) -> list[str]:
    """The targets that have a value at the point: no time between tokens where there is one token."""
    row = observations.grid.find(point)
    if row is None:
        return []
    single = bool(observations.grid.single_token[row])
    return [name for name in observations.targets if not (single and observations.metric(name).kind is Kind.STEP)]
