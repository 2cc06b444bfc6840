"""Which runs were made beside which, on one machine at one time, and what that changed."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from planner.evaluation.settings import NEIGHBOUR_SHARE
from planner.ledger.observations import Run
from planner.space.types import Status

__all__ = ["Disturbance", "beside", "disturbance"]


@dataclass(frozen=True, slots=True)
class Disturbance:
    """One point measured twice. alone, beside: numbers of the runs; neighbours: of those that ran beside the second.
    ratios: target → its median beside a neighbour over that alone."""

    alone: int
    beside: int
    neighbours: tuple[int, ...]
    ratios: dict[str, float]

    @property
    def largest(self) -> tuple[str, float]:
        """The target that differs most, and its ratio."""
        return max(self.ratios.items(), key=lambda item: abs(item[1] - 1))

    @property
    def is_large(self) -> bool:
        """Whether that is more than may be overlooked."""
        return abs(self.largest[1] - 1) > NEIGHBOUR_SHARE


def beside(runs: Iterable[Run]) -> dict[int, tuple[int, ...]]:
    """Number of each run that has a placement → those of the runs that went on beside it, ascending."""
    placed = sorted((run for run in runs if run.measurement.placement), key=_began)
    found: dict[int, set[int]] = {run.number: set() for run in placed}
    going: list[Run] = []
    for run in placed:
        going = [other for other in going if other.measurement.placement["ended"] > _began(run)]
        for other in going:
            if other.measurement.placement["machine"] == run.measurement.placement["machine"]:
                found[run.number].add(other.number)
                found[other.number].add(run.number)
        going.append(run)
    return {number: tuple(sorted(others)) for number, others in found.items()}


def disturbance(alone: Run, second: Run, neighbours: tuple[int, ...], targets: Iterable[str]) -> Disturbance | None:
    """What neighbours changed at a point; None if no target can be compared."""
    ratios = {}
    for target in targets:
        before, after = _median(alone, target), _median(second, target)
        if before and after is not None:
            ratios[target] = after / before
    return Disturbance(alone.number, second.number, neighbours, ratios) if ratios else None


def _median(run: Run, metric: str) -> float | None:
    """Of the executed point."""
    own = [reading for reading in run.measurement.readings if dict(reading.point) == dict(run.point)]
    values = own[0].metrics.get(metric) if own and run.measurement.status is Status.OK else None
    return statistics.median(values) if values else None


def _began(run: Run) -> float:
    return float(run.measurement.placement["began"])
