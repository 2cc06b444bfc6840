"""All that a report says of a study, as data: the page, the Markdown and the JSON are only forms of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from planner.acquisition.strategy import Belief
from planner.evaluation.gains import Gains, gains
from planner.ledger.observations import Observations
from planner.reporting.looks import Look, looks
from planner.reporting.page.provenance import Provenance
from planner.reporting.rates import Rates, rates_of, sources
from planner.reporting.rivals import Curve, curve_of, play
from planner.reporting.spending import Spending, spending_of
from planner.reporting.verdict import Verdict, against_truth, truth_values
from planner.space.types import FloatArray

if TYPE_CHECKING:
    from planner.study import Study

__all__ = ["Accuracy", "Report", "Wanted", "report_of"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the caller asks for. truth: a measured grid; a replayed study has its own."""

    truth: Path | None = None
    any_fingerprint: bool = False
    rivals: bool = True
    curves: bool = True


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How accurate one target is on the points not measured. kind: "true", "estimated", or None where neither can be
    told. low, high: the estimate's 90 % interval."""

    target: str
    kind: str | None
    value: float | None
    estimated: float | None
    low: float | None
    high: float | None
    ceiling: float | None


@dataclass(frozen=True, eq=False)
class Report:
    """Everything. rates: or in a line why there are none. notes: what was left out, and why."""

    study: Study
    seen: Observations
    belief: Belief
    verdict: Verdict | None
    bargain: Gains
    looks: Sequence[Look]
    rates: Rates | str
    curves: Sequence[Curve]
    provenance: Provenance
    stopped: str | None
    notes: Sequence[str] = field(default_factory=list)

    @property
    def accuracies(self) -> list[Accuracy]:
        """By target, in the study's order."""
        return [self._accuracy(target) for target in self.study.targets]

    @property
    def worst(self) -> Accuracy | None:
        """The least accurate target: the headline. None where one target's accuracy cannot be told."""
        told = self.accuracies
        if any(one.value is None for one in told):
            return None
        return min(told, key=lambda one: one.value if one.value is not None else math.inf)

    @property
    def plain(self) -> tuple[float, float, float]:
        """Accelerator-seconds of the plain sweep, and its 90 % interval (equal to it where it was measured)."""
        gain, spent = self.bargain.resource, self.seen.spent
        return gain.value * spent, gain.low * spent, gain.high * spent

    @property
    def spending(self) -> Spending:
        """Where the time went."""
        return spending_of(self.seen)

    def money(self, seconds: float) -> float | None:
        """What accelerator-seconds cost, where the study names a price."""
        price = self.study.spec.price
        return None if price is None else seconds / 3600 * price.per_accelerator_hour

    def _accuracy(self, target: str) -> Accuracy:
        estimate = self.belief.accuracy.get(target)
        if estimate is not None and self.seen.known.all():
            estimate = None  # nothing is left to be accurate about
        ends = (estimate.estimated, estimate.low, estimate.high, estimate.ceiling) if estimate else (None,) * 4
        found = self.verdict.scores.get(target) if self.verdict else None
        if found is not None and math.isfinite(found.accuracy):
            return Accuracy(target, "true", found.accuracy, *ends)
        return Accuracy(target, "estimated" if estimate else None, ends[0], *ends)

    def to_json(self) -> dict[str, Any]:
        """The headline numbers, as `report --json` writes them."""
        value, low, high = self.plain
        worst = self.worst
        return {
            "study": self.study.name, "grid_points": len(self.seen.grid),
            "points_measured": int(self.seen.measured.sum()), "runs": self.seen.finished, "failed": self.seen.failures,
            "cost_s": self.seen.spent, "cost_money": self.money(self.seen.spent),
            "plain_sweep_s": {"value": value, "low": low, "high": high, "estimated": self.bargain.estimated},
            "experiments_gain": self.bargain.experiments, "time_gain": _gain(self.bargain.time),
            "resource_gain": _gain(self.bargain.resource),
            "accuracy": {one.target: {key: getattr(one, key) for key in
                                      ("kind", "value", "estimated", "low", "high", "ceiling")}
                         for one in self.accuracies},
            "worst_target": worst.target if worst else None, "stopped": self.stopped, "notes": list(self.notes),
        }


def report_of(study: Study, seen: Observations, belief: Belief, provenance: Provenance, stopped: str | None,
              wanted: Wanted) -> Report:
    """Put a report together. Raises StudyError where the truth cannot be used."""
    replayed = hasattr(study.runner, "table")
    path = wanted.truth or (Path(study.directory, study.settings.table) if replayed else None)
    verdict = None
    if path is not None and not seen.known.all():
        verdict = against_truth(study, seen, belief, path, wanted.any_fingerprint)
    bargain = verdict.gains if verdict else gains(seen, belief.plain, belief.longest)
    taken = looks(study, seen, belief) if wanted.curves else []
    curves, notes = _curves(study, seen, taken, path if verdict else None, wanted)
    return Report(study, seen, belief, verdict, bargain, taken, _rates(study, seen, belief), curves, provenance,
                  stopped, notes)


def _curves(
    study: Study, seen: Observations, taken: Sequence[Look], path: Path | None, wanted: Wanted
) -> tuple[list[Curve], list[str]]:
    """Ours against truth, and its rivals where the grid is a recorded one."""
    if path is None or not taken:
        return [], []
    truth: Mapping[str, FloatArray] = truth_values(study, path)
    curves = [curve_of(taken, truth)]
    if not wanted.rivals:
        return curves, ["other strategies: left out, as --no-rivals asks"]
    if not hasattr(study.runner, "table"):
        return curves, ["other strategies: left out; only on a study that replays a recorded grid can they be played"]
    rivals, notes = play(study, seen.spent, truth)
    return curves + rivals, notes


def _rates(study: Study, seen: Observations, belief: Belief) -> Rates | str:
    """From the targets, and from what else was measured: that is believed apart, to leave the targets as they are."""
    names = tuple(dict.fromkeys((*study.targets, *sources(seen.metrics))))
    if names != seen.targets and sources(study.targets) != sources(names):
        seen = Observations(study.grid, names, seen.runs)
        belief = study.believe(seen)
    try:
        return rates_of(study.runner.accelerators, seen, belief)
    except KeyError:  # a recorded grid knows its own points' devices only
        return "the accelerators of some points are not known"


def _gain(gain: Any) -> dict[str, float]:
    return {"value": gain.value, "low": gain.low, "high": gain.high}
