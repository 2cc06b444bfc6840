"""Placed rows → runs: rows of one run are its readings, rows of one point in a run are its repeats."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from planner.importers.rows import Row
from planner.space.devices import devices_of
from planner.space.types import Cost, Measurement, Point, Reading, Status, StudyError, Value

__all__ = ["Imported", "Placed", "gather"]


@dataclass(frozen=True, slots=True)
class Placed:
    """A row that has its place. settings: those that are no axis."""

    point: Point
    row: Row
    settings: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Imported:
    """One run: its point, its measurement, and its origin."""

    point: Point
    measurement: Measurement
    origin: Mapping[str, Any]


def gather(placed: Iterable[Placed], devices: Callable[[Point], float], counts_devices: bool) -> list[Imported]:
    """The runs of the rows. devices: accelerators of a point as the study counts them; counts_devices: whether the
    study file says so itself, or leaves it to what is usual. Raises StudyError if a file says another number."""
    groups: dict[tuple[str, ...], list[Placed]] = {}
    for each in placed:
        groups.setdefault(_group(each.row, each.point), []).append(each)
    return [_run(members, devices, counts_devices) for members in groups.values()]


def _group(row: Row, point: Point) -> tuple[str, ...]:
    """The key of the row's run: by the file's run name, or else by the point."""
    place = "" if row.across_files else row.provenance.sha256
    return (place, row.run or repr(sorted(point.items())), "failed" if row.failure else "")


def _run(members: list[Placed], devices: Callable[[Point], float], counts_devices: bool) -> Imported:
    rows = [each.row for each in members]
    by_point: dict[tuple[Value, ...], list[Placed]] = {}
    for each in members:
        by_point.setdefault(tuple(each.point.values()), []).append(each)
    readings = [_reading(same) for same in by_point.values()]
    # The executed point of a trajectory is its longest.
    executed = max(readings, key=lambda reading: reading.seconds)
    first = members[0]
    place = first.row.provenance
    count = devices(executed.point)
    if not counts_devices:
        for each in members:
            _check_devices(each, count)
    cost = Cost(max(row.start_s for row in rows), 0.0, executed.seconds, count)
    environment = f"imported-{place.sha256[:12]}"
    if first.row.failure:
        measurement = Measurement(Status.FAILED, cost, (), first.row.failure, environment=environment)
    else:
        measurement = Measurement(Status.OK, cost, tuple(readings), environment=environment)
    origin = {"file": place.file, "sha256": place.sha256, "format": place.format, "version": place.version,
              "rows": [row.provenance.row for row in rows], "identities": [row.provenance.identity for row in rows],
              "settings": dict(first.settings)}
    return Imported(executed.point, measurement, origin)


def _check_devices(each: Placed, count: float) -> None:
    """One number of devices holds for cost, gains and figures per accelerator; where a file says another, it is asked
    for."""
    said = each.row.accelerators or devices_of({**each.point, **each.row.others, **each.row.fields})
    if said is not None and said != count:
        raise StudyError(f"{each.row.provenance.where}: ran on {said:g} accelerators, and the study counts {count:g} "
                         f"there; say how many it is in the study file: `accelerators: {said:g}` under `runner`, or "
                         "an expression over axes")


def _reading(same: list[Placed]) -> Reading:
    """The reading of a point in one run, with all its repeats."""
    metrics: dict[str, tuple[float, ...]] = {}
    for each in same:
        for name, values in each.row.metrics.items():
            metrics[name] = metrics.get(name, ()) + values
    price = max if any(each.row.whole for each in same) else sum
    return Reading(same[0].point, metrics, float(price(each.row.seconds for each in same)))
