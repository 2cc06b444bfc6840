"""The use of a study's time, and its failed runs, from the record."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from planner.ledger.observations import Observations, Run
from planner.space.failure import FailureKind
from planner.space.types import FloatArray, Point, Status

__all__ = ["FailureReason", "Spending", "StartPart", "cost_after", "failure_reasons", "failures", "failures_by_kind",
           "kind_of", "spending_of", "start_parts"]


@dataclass(frozen=True, slots=True)
class Spending:
    """Accelerator-seconds by use. Failed and interrupted runs are counted separately, without the engine starts and the
    planning before them."""

    starts: float
    warmup: float
    measuring: float
    lost: float
    planning: float
    evaluating: float = 0.0

    @property
    def parts(self) -> list[tuple[str, float]]:
        """Use → accelerator-seconds, without uses of 0 s."""
        kinds = [("measuring", self.measuring), ("engine starts", self.starts), ("warm-up and overhead", self.warmup),
                 ("evaluating quality", self.evaluating), ("failed runs", self.lost), ("planning", self.planning)]
        return [(name, seconds) for name, seconds in kinds if seconds > 0]

    @property
    def total(self) -> float:
        """The total: `Observations.spent`."""
        return self.starts + self.warmup + self.measuring + self.lost + self.planning + self.evaluating


@dataclass(frozen=True, slots=True)
class FailureReason:
    """A reason and its kind, with the number of runs that failed for it, the point of the first, and their
    accelerator-seconds."""

    kind: FailureKind
    reason: str
    runs: int
    example: Point
    cost_s: float


@dataclass(frozen=True, slots=True)
class StartPart:
    """A part of engine starts: its wall seconds in all starts together, how many starts had it, and its share of all
    starts' seconds."""

    name: str
    seconds: float
    starts: int
    share: float


def start_parts(observations: Observations) -> list[StartPart]:
    """The parts of the study's engine starts, the longest first; none where the runner does not know them."""
    seconds: dict[str, list[float]] = {}
    for run in observations.runs:
        for name, part_s in run.measurement.start_parts:
            seconds.setdefault(name, []).append(part_s)
    total = sum(map(sum, seconds.values()))
    found = [StartPart(name, sum(each), len(each), sum(each) / total) for name, each in seconds.items()]
    return sorted(found, key=lambda part: part.seconds, reverse=True)


def spending_of(observations: Observations) -> Spending:
    """The spending of all runs."""
    starts = warmup = measuring = lost = planning = evaluating = 0.0
    for run in observations.runs:
        cost = run.measurement.cost
        starts += (cost.import_s + cost.start_s) * cost.accelerators
        planning += run.planner_s * cost.accelerators
        evaluating += cost.evaluation_s * cost.accelerators
        if run.measurement.status in (Status.OK, Status.SATURATED):
            warmup += cost.warmup_s * cost.accelerators
            measuring += cost.measure_s * cost.accelerators
        else:
            lost += (cost.warmup_s + cost.measure_s) * cost.accelerators
    return Spending(starts, warmup, measuring, lost, planning, evaluating)


def cost_after(observations: Observations) -> FloatArray:
    """Accelerator-seconds spent after each run, planning included, in order."""
    each = [(run.measurement.cost.seconds + run.planner_s) * run.measurement.cost.accelerators
            for run in observations.runs]
    total: FloatArray = np.cumsum(np.array(each, dtype=float))
    return total


def failures(observations: Observations) -> list[Run]:
    """The runs that failed, in order."""
    return [run for run in observations.runs if run.measurement.status is Status.FAILED]


def kind_of(run: Run) -> FailureKind:
    """The kind of a failed run."""
    return run.measurement.failure_kind or FailureKind.OTHER


def failures_by_kind(observations: Observations) -> dict[str, int]:
    """Kind → runs that failed for it, the most frequent first."""
    return {kind.value: count for kind, count in Counter(map(kind_of, failures(observations))).most_common()}


def failure_reasons(observations: Observations) -> list[FailureReason]:
    """The reasons of failed runs, the most frequent first."""
    failed = failures(observations)
    named = [(kind_of(run), run.measurement.reason or "no reason given") for run in failed]
    found = []
    for (kind, reason), count in Counter(named).most_common():
        own = [run for run, name in zip(failed, named, strict=True) if name == (kind, reason)]
        cost = float(np.sum([run.measurement.cost.accelerator_seconds for run in own]))
        found.append(FailureReason(kind, reason, count, own[0].point, cost))
    return found
