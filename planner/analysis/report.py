"""The content of a report as data: page, Markdown and JSON are forms of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from planner.analysis.baselines import Curve, curve_of, play
from planner.analysis.boundary import Boundaries, boundary_of
from planner.analysis.checkpoints import Checkpoint, checkpoints, worst_estimates
from planner.analysis.choice_status import ChoiceStatus
from planner.analysis.disturbances import disturbance_lines
from planner.analysis.evaluation_report import EvaluationReport, TruthTable, against_truth, truth_values
from planner.analysis.load_curves import LoadCurves, load_curves
from planner.analysis.provenance import Provenance
from planner.analysis.quality import Quality, quality_of
from planner.analysis.rates import Rates, rates_of, sources
from planner.analysis.spending import (
    FailureReason,
    Spending,
    StartPart,
    cost_after,
    failure_reasons,
    failures_by_kind,
    spending_of,
    start_parts,
)
from planner.analysis.status import BoundaryStatus, NeverRun, never_run
from planner.analysis.surface import Start, Surface, start_of, surface_of
from planner.campaign.setup import StudySetup
from planner.evaluation.estimate import Estimate
from planner.evaluation.gains import Gains, gains
from planner.ledger.observations import Observations
from planner.simulation.simulate import Replay
from planner.space.load import load_axis
from planner.space.slo import Tier
from planner.space.types import FloatArray
from planner.strategies.strategy import Posterior

__all__ = ["Accuracy", "Report", "ReportOptions", "report_of"]


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """Options of the caller. truth: a measured grid; a replayed study has its own. baselines, curves: whether to play
    other strategies, and to compute the study's history at all, which take most of the time."""

    truth: Path | None = None
    any_fingerprint: bool = False
    baselines: bool = True
    curves: bool = True


@dataclass(frozen=True, slots=True)
class Accuracy:
    """The accuracy of one target on the points not measured. kind: "true", "estimated", or None if neither is
    known. low, high: the estimate's 90 % interval."""

    target: str
    kind: str | None
    value: float | None
    estimated: float | None
    low: float | None
    high: float | None
    ceiling: float | None


@dataclass(frozen=True, eq=False)
class Report:
    """Everything that a report shows. evaluation: against truth, if there is one. rates: or a line that says why
    there are none. notes: what was left out, and why."""

    study: StudySetup
    observations: Observations
    posterior: Posterior
    evaluation: EvaluationReport | None
    savings: Gains
    checkpoints: Sequence[Checkpoint]
    rates: Rates | str
    curves: Sequence[Curve]
    provenance: Provenance
    stopped: str | None
    notes: Sequence[str] = field(default_factory=list)

    @cached_property
    def surfaces(self) -> Mapping[str, Surface]:
        """Each target over the grid."""
        return {target: surface_of(target, self.observations, self.posterior) for target in self.study.targets}

    @cached_property
    def load_curves(self) -> LoadCurves | None:
        """Latency over load; None where the study has no load."""
        return load_curves(self.observations, self.posterior, self.study.conditions)

    @cached_property
    def boundaries(self) -> Boundaries | None:
        """The highest loads that meet the study's boundary, else all of its `slo` together; None where it has neither,
        no axis is a load, or a metric is no target."""
        spec = self.study.spec
        slo = self.study.conditions
        tiers = self.study.boundary.tiers if self.study.boundary else (Tier(slo),) if slo else ()
        metrics = {metric for tier in tiers for metric in tier.metrics}
        if not tiers or load_axis(self.observations.grid) is None or not metrics <= set(self.study.targets):
            return None
        return boundary_of(tiers, self.posterior, self.observations, spec.stop.confidence)

    @property
    def shown(self) -> str:
        """The target to show first: the least accurate one, if known."""
        return self.worst.target if self.worst else self.study.targets[0]

    @property
    def start(self) -> Start:
        """The first view of its surface."""
        return start_of(self.surfaces[self.shown])

    @property
    def costs(self) -> FloatArray:
        """Accelerator-seconds after each run."""
        return cost_after(self.observations)

    @property
    def estimates(self) -> list[tuple[float, Estimate]]:
        """Cost and the estimate of the least accurate target at each checkpoint."""
        return worst_estimates(self.checkpoints, self.study.targets)

    @property
    def never_run(self) -> tuple[NeverRun, ...]:
        """Categories at which no run has succeeded."""
        return never_run(self.observations)

    @property
    def failures(self) -> list[FailureReason]:
        """Why runs failed."""
        return failure_reasons(self.observations)

    @property
    def expected_failures(self) -> int:
        """Number of points without a run that are more likely to fail than to run."""
        return int((~self.observations.known & (self.posterior.feasibility < 0.5)).sum())

    @property
    def accuracies(self) -> list[Accuracy]:
        """By target, in the study's order."""
        return [self._accuracy(target) for target in self.study.targets]

    @property
    def worst(self) -> Accuracy | None:
        """The least accurate target: the headline. None if one target's accuracy is unknown."""
        found = self.accuracies
        if any(one.value is None for one in found):
            return None
        return min(found, key=lambda one: one.value if one.value is not None else math.inf)

    @property
    def plain(self) -> tuple[float, float, float]:
        """Accelerator-seconds of the plain sweep, and its 90 % interval (equal to it where it was measured)."""
        gain, spent = self.savings.resource, self.observations.spent
        return gain.value * spent, gain.low * spent, gain.high * spent

    @property
    def spending(self) -> Spending:
        """Accelerator-seconds by use."""
        return spending_of(self.observations)

    @property
    def quality(self) -> Quality | None:
        """What was evaluated; None where nothing was to be."""
        return quality_of(self.observations)

    @property
    def start_parts(self) -> list[StartPart]:
        """What the engine starts consisted of, where the runner knows."""
        return start_parts(self.observations)

    @property
    def disturbances(self) -> list[str]:
        """What disturbed runs, a sentence each."""
        return disturbance_lines(self.observations)

    def money(self, seconds: float) -> float | None:
        """Money for accelerator-seconds; None if the study names no price."""
        price = self.study.spec.hourly_price
        return None if price is None else seconds / 3600 * price

    def _accuracy(self, target: str) -> Accuracy:
        estimate = self.posterior.accuracy.get(target)
        if estimate is not None and self.observations.known.all():
            estimate = None  # no unmeasured point is left
        ends = (estimate.estimated, estimate.low, estimate.high, estimate.ceiling) if estimate else (None,) * 4
        found = self.evaluation.scores.get(target) if self.evaluation else None
        if found is not None and math.isfinite(found.accuracy):
            return Accuracy(target, "true", found.accuracy, *ends)
        return Accuracy(target, "estimated" if estimate else None, ends[0], *ends)

    def to_json(self) -> dict[str, Any]:
        """The headline numbers, as `report --json` writes them."""
        value, low, high = self.plain
        worst = self.worst
        return {
            "study": self.study.name, "grid_points": len(self.observations.grid),
            "points_measured": int(self.observations.measured.sum()), "runs": self.observations.finished,
            "failed": self.observations.failures, "failures": failures_by_kind(self.observations),
            "cost_s": self.observations.spent, "cost_money": self.money(self.observations.spent),
            "plain_sweep_s": {"value": value, "low": low, "high": high, "estimated": self.savings.estimated},
            "experiments_gain": self.savings.experiments, "time_gain": _gain(self.savings.time),
            "resource_gain": _gain(self.savings.resource),
            "accuracy": {one.target: {key: getattr(one, key) for key in
                                      ("kind", "value", "estimated", "low", "high", "ceiling")}
                         for one in self.accuracies},
            **({} if (found := BoundaryStatus.of_posterior(self.posterior)) is None else {"boundary": asdict(found)}),
            **({} if (choice := self.posterior.choice) is None else {
                "decision": ChoiceStatus.of_choice(choice).to_json()}),
            "worst_target": worst.target if worst else None, "stopped": self.stopped, "notes": list(self.notes),
        }


def report_of(
    study: StudySetup, observations: Observations, posterior: Posterior, provenance: Provenance, stopped: str | None,
    options: ReportOptions,
) -> Report:
    """The report. stopped: why the last campaign ended. Raises StudyError if the truth cannot be used."""
    path = options.truth or (Path(study.directory, study.settings.table) if study.recorded_grid else None)
    evaluation = None
    if path is not None and not observations.known.all():
        evaluation = against_truth(study, observations, posterior, TruthTable(path), options.any_fingerprint)
    savings = evaluation.gains if evaluation else gains(observations, posterior.plain, posterior.longest)
    taken = checkpoints(study.posterior, observations, posterior) if options.curves else []
    curves, notes = _curves(study, observations, taken, path if evaluation else None, options)
    return Report(study, observations, posterior, evaluation, savings, taken, _rates(study, observations, posterior),
                  curves, provenance, stopped, notes)


def _curves(
    study: StudySetup, observations: Observations, taken: Sequence[Checkpoint], path: Path | None,
    options: ReportOptions,
) -> tuple[list[Curve], list[str]]:
    """Our curve against truth, and those of the baselines if the grid is a recorded one; and notes."""
    if path is None or not taken:
        return [], []
    truth: Mapping[str, FloatArray] = truth_values(study, path)
    curves = [curve_of(taken, truth)]
    if not options.baselines:
        return curves, ["other strategies: left out, as --no-baselines asks"]
    if study.recorded_grid is None:
        return curves, ["other strategies: left out; only on a study that replays a recorded grid can they be played"]
    baselines, notes = play(Replay(study.recorded_grid, study.metrics), observations.spent, truth)
    return curves + baselines, notes


def _rates(study: StudySetup, observations: Observations, posterior: Posterior) -> Rates | str:
    """The rates, from the targets and other measured metrics. The latter are modelled separately, so that the targets'
    predictions stay the same."""
    names = tuple(dict.fromkeys((*study.targets, *sources(observations.metrics))))
    if names != observations.targets and sources(study.targets) != sources(names):
        observations = observations.with_targets(names)
        posterior = study.posterior(observations)
    try:
        return rates_of(study.accelerators, observations, posterior)
    except KeyError:  # a recorded grid knows its own points' devices only
        return "the accelerators of some points are not known"


def _gain(gain: Any) -> dict[str, float]:
    return {"value": gain.value, "low": gain.low, "high": gain.high}
