"""The result of a simulation by strategy and target: medians over seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Simulation", "Summary"]


@dataclass(frozen=True, slots=True)
class Summary:
    """Medians over seeds; NaN if one seed is undefined, since a median over the others would be too good.

    accuracy: at each share of the full cost. stops_at, accuracy_there: over the seeds in which the stopping rule
    stopped, `stopped` of `seeds`.
    """

    strategy: str
    target: str
    accuracy: tuple[float, ...]
    stops_at: float
    accuracy_there: float
    stopped: int
    seeds: int


@dataclass(frozen=True, eq=False)
class Simulation:
    """answer: the form of `simulate --json`; `runs` has an entry for each strategy, seed and target."""

    answer: Mapping[str, Any]

    @property
    def runs(self) -> list[dict[str, Any]]:
        """One entry for each strategy, seed and target."""
        return list(self.answer["runs"])

    @property
    def shares(self) -> list[float]:
        """The shares of the full cost at which accuracy was scored."""
        return [entry["cost_fraction"] for entry in self.runs[0]["at"]]

    @property
    def summaries(self) -> list[Summary]:
        """One for each strategy and target, in the order in which they were played."""
        return [self._summary(name, target)
                for name, target in dict.fromkeys((run["strategy"], run["target"]) for run in self.runs)]

    def to_json(self) -> dict[str, Any]:
        """The form of `simulate --json`."""
        return dict(self.answer)

    def _summary(self, name: str, target: str) -> Summary:
        mine = [run for run in self.runs if (run["strategy"], run["target"]) == (name, target)]
        stops = [run["stop"] for run in mine if run["stop"]]
        return Summary(
            name, target, tuple(_median([run["at"][i]["accuracy"] for run in mine]) for i in range(len(self.shares))),
            _median([stop["cost_fraction"] for stop in stops]), _median([stop["accuracy"] for stop in stops]),
            len(stops), len(mine))


def _median(values: list[float | None]) -> float:
    numbers = [math.nan if value is None else value for value in values]
    return statistics.median(numbers) if numbers and all(map(math.isfinite, numbers)) else math.nan
