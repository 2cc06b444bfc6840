"""The result of a simulation by strategy and target: medians over seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

__all__ = ["DecisionSummary", "Simulation", "Summary", "WorkersSummary", "cost_of_accuracy"]


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


@dataclass(frozen=True, slots=True)
class WorkersSummary:
    """Medians over seeds of the simulations with so many workers, as in `Summary`.

    cost: share of the full cost at which the stated accuracy is reached; relative: to that with the fewest workers that
    were played; starts: share of the full cost that engine starts take until then. wall_s: time to the stop; speed_up:
    how many times sooner that is than with the fewest workers.
    """

    strategy: str
    target: str
    workers: int
    cost: float
    relative: float
    starts: float
    stops_at: float
    accuracy_there: float
    wall_s: float
    speed_up: float
    stopped: int
    seeds: int


@dataclass(frozen=True, slots=True)
class DecisionSummary:
    """The cases of a strategy that ended in one state, over seeds.

    state: decided, narrowed, tied or open. cases: their number; right: of which the chosen configuration is as good as
    the recorded best, within the tolerance; named: of which one that a shortlist or a tie names is. probability: mean
    of those stated. worst: the largest regret. stops_at: median share of the full cost over the simulations that
    stopped, `stopped` of `seeds`.
    """

    strategy: str
    state: str
    cases: int
    right: int
    named: int
    probability: float
    worst: float
    stops_at: float
    stopped: int
    seeds: int

    @classmethod
    def of_runs(cls, runs: Sequence[Mapping[str, Any]]) -> list[DecisionSummary]:
        """Those of one strategy's entries, one for each simulation."""
        stops = [run["stop"]["cost_fraction"] for run in runs if run["stop"]]
        cases = [case for run in runs if run["decision"] for case in run["decision"]["cases"]]
        found = []
        for state in ("decided", "narrowed", "tied", "open"):
            if mine := [case for case in cases if case["state"] == state]:
                found.append(cls(
                    runs[0]["strategy"], state, len(mine), sum(case["right"] for case in mine),
                    sum(case["among_right"] for case in mine),
                    statistics.fmean(case["probability"] for case in mine), max(case["regret"] for case in mine),
                    _median(stops), len(stops), len(runs)))
        return found


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

    @property
    def decisions(self) -> list[DecisionSummary]:
        """Those of each strategy; empty where the study asks for no decision."""
        asked = [run for run in self.runs if "decision" in run and run["target"] == self.runs[0]["target"]]
        return [summary for name in dict.fromkeys(run["strategy"] for run in asked)
                for summary in DecisionSummary.of_runs([run for run in asked if run["strategy"] == name])]

    @property
    def by_workers(self) -> list[WorkersSummary]:
        """One for each strategy, target and number of workers; empty where no numbers were asked for."""
        asked = [run for run in self.runs if "workers" in run]
        found = []
        for name, target in dict.fromkeys((run["strategy"], run["target"]) for run in asked):
            mine = [run for run in asked if (run["strategy"], run["target"]) == (name, target)]
            numbers = sorted({run["workers"] for run in mine})
            fewest = [run for run in mine if run["workers"] == numbers[0]]
            found += [self._with_workers([run for run in mine if run["workers"] == number], fewest)
                      for number in numbers]
        return found

    @property
    def stated_accuracy(self) -> float:
        """The accuracy at which the stopping rule would stop."""
        return float(self.answer["options"]["stop_accuracy"])

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


    def _with_workers(self, mine: list[dict[str, Any]], fewest: list[dict[str, Any]]) -> WorkersSummary:
        cost, starts = self._cost(mine, "cost_actual"), self._cost(mine, "starts_fraction")
        stops, wall_s = [run["stop"] for run in mine if run["stop"]], _wall_s(mine)
        one = mine[0]
        return WorkersSummary(
            one["strategy"], one["target"], one["workers"], cost, cost / self._cost(fewest, "cost_actual"), starts,
            _median([stop["cost_fraction"] for stop in stops]), _median([stop["accuracy"] for stop in stops]),
            wall_s, _wall_s(fewest) / wall_s, len(stops), len(mine))

    def _cost(self, runs: list[dict[str, Any]], of: str) -> float:
        return _median([cost_of_accuracy(run["at"], self.stated_accuracy, of) for run in runs])


def cost_of_accuracy(entries: Sequence[Mapping[str, Any]], accuracy: float, of: str = "cost_actual") -> float:
    """What is spent when an accuracy is first reached, between the two entries around it; NaN if it never is, or is at
    the first entry already. of: the entries' key."""
    known = [entry for entry in entries if entry["accuracy"] is not None]
    for below, there in pairwise(known):
        if below["accuracy"] < accuracy <= there["accuracy"]:
            share = (accuracy - below["accuracy"]) / (there["accuracy"] - below["accuracy"])
            return float(below[of] + share * (there[of] - below[of]))
    return math.nan


def _wall_s(runs: Iterable[Mapping[str, Any]]) -> float:
    return _median([run["stop"]["wall_s"] for run in runs if run["stop"]])


def _median(values: list[float | None]) -> float:
    numbers = [math.nan if value is None else value for value in values]
    return statistics.median(numbers) if numbers and all(map(math.isfinite, numbers)) else math.nan
