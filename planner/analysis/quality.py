"""What is known of the quality of each configuration: results with their sampling errors, and which run made them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from planner.ledger.observations import Observations
from planner.space.evaluation import STDERR
from planner.space.types import Point

__all__ = ["Quality", "QualityResult", "quality_of"]


@dataclass(frozen=True, slots=True)
class QualityResult:
    """The result of one evaluation.

    configuration: the values of the axes that it depends on. metrics: metric → its value and one standard deviation of
    its sampling error, None where the evaluation does not say. seconds: what it took. how: files, versions, seed.
    """

    run: int
    configuration: Point
    metrics: Mapping[str, tuple[float, float | None]]
    seconds: float
    how: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As `status --json` has it."""
        return {"run": self.run, "configuration": dict(self.configuration), "evaluation_s": self.seconds,
                "metrics": {name: {"value": value, "stderr": stderr} for name, (value, stderr) in self.metrics.items()},
                "how": dict(self.how)}


@dataclass(frozen=True, slots=True)
class Quality:
    """The results, in order of time; of how many configurations there could be some."""

    results: tuple[QualityResult, ...]
    of: int

    def to_json(self) -> dict[str, Any]:
        """As `status --json` has it."""
        return {"evaluated": len(self.results), "of": self.of, "results": [one.to_json() for one in self.results]}


def quality_of(observations: Observations) -> Quality | None:
    """The quality of each configuration; None where no target is of configurations alone."""
    names = [name for name in observations.targets if observations.metric(name).depends_on is not None]
    if not names:
        return None
    places = {place: None for name in names for place in observations.readings(name)}
    in_time = sorted(places, key=lambda place: place[1])
    results = tuple(_result(observations, row, position, names) for row, position in in_time)
    return Quality(results, max(len(np.unique(observations.combination(name))) for name in names))


def _result(observations: Observations, row: int, position: int, names: list[str]) -> QualityResult:
    run, point = observations.runs[position], observations.grid.point(row)
    metrics: dict[str, tuple[float, float | None]] = {}
    axes: dict[str, None] = {}
    for name in names:
        if values := observations.readings(name).get((row, position)):
            said = observations.readings(name + STDERR).get((row, position))
            metrics[name] = statistics.median(values), statistics.median(said) if said else None
            axes |= dict.fromkeys(observations.metric(name).depends_on or ())
    return QualityResult(run.number, {name: point[name] for name in axes}, metrics,
                         run.measurement.cost.evaluation_s, run.measurement.quality)
