"""The status of a study: runs, cost, gains, estimated accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np

from planner.analysis.choice_status import ChoiceStatus
from planner.analysis.quality import Quality, quality_of
from planner.analysis.spending import failures_by_kind
from planner.evaluation.estimate import Estimate
from planner.evaluation.gains import Gains, gains
from planner.evaluation.machine_drift import MachineDrift
from planner.evaluation.prior_use import PriorUse
from planner.ledger.observations import Observations
from planner.space.types import Value
from planner.strategies.strategy import Posterior
from planner.tables.recorded_grid import Sweep

__all__ = ["BoundaryStatus", "NeverRun", "Status", "never_run", "status_of"]

_UNKNOWN: Final = {"estimated": None, "low": None, "high": None, "ceiling": None}


@dataclass(frozen=True, slots=True)
class NeverRun:
    """The values of a category axis without a successful run; total: values of the axis in the grid."""

    axis: str
    values: tuple[Value, ...]
    total: int


@dataclass(frozen=True, slots=True)
class BoundaryStatus:
    """undecided: pairs of a load and a tier, of all `of`, that are not known with `confidence` to be met or missed."""

    tiers: tuple[str, ...]
    undecided: int
    of: int
    confidence: float

    @classmethod
    def of_posterior(cls, posterior: Posterior | None) -> BoundaryStatus | None:
        """That of a posterior; None where it has no attainment."""
        found = posterior.attainment if posterior else None
        if found is None:
            return None
        return cls(tuple(map(str, found.boundary.tiers)), found.open_count, found.total, found.boundary.confidence)


@dataclass(frozen=True, eq=False)
class Status:
    """The status of a study.

    runs: those that came to an end, failed ones included. saturated: points at which a server was offered more than it
    serves. cost_s: accelerator-seconds, all overheads included. failures: kind → failed runs.
    complete: every grid point was measured or failed, so nothing is predicted. plain: the plain sweep, and gains over
    it; None if nothing was measured. accuracy: estimated, by target; None if unknown.
    stopped: why the last campaign ended; None if none did, or one is under way. underway: runs of other workers that go
    on after this one has stopped, so that the study has not. boundary: what is known of it; None if the study asks for
    none, or nothing was measured. choice: likewise. drift: how the machine has changed; None if that is unknown.
    priors: how each is used. judges: by target, how many runs judge its estimated accuracy. unweighted: the accuracy
    with equal weights, where points count by a workload. quality: what was evaluated; None where nothing was to be.
    """

    name: str
    grid_points: int
    runs: int
    failed: int
    saturated: int
    cost_s: float
    points_measured: int
    complete: bool
    plain: Sweep | None
    gains: Gains | None
    accuracy: Mapping[str, Estimate | None]
    never_run: tuple[NeverRun, ...]
    stopped: str | None
    boundary: BoundaryStatus | None = None
    failures: Mapping[str, int] = field(default_factory=dict)
    drift: MachineDrift | None = None
    underway: int = 0
    priors: tuple[PriorUse, ...] = ()
    judges: Mapping[str, int] = field(default_factory=dict)
    unweighted: Mapping[str, Estimate | None] = field(default_factory=dict)
    quality: Quality | None = None
    choice: ChoiceStatus | None = None

    def to_json(self) -> dict[str, Any]:
        """The form of `status --json`."""
        found = self.gains
        return {
            "grid_points": self.grid_points, "runs": self.runs, "failed": self.failed,
            "failures": dict(self.failures), "saturated": self.saturated, "cost_s": self.cost_s,
            "points_measured": self.points_measured,
            "experiments_gain": found.experiments if found else None,
            "time_gain": found.time.value if found else None,
            "resource_gain": found.resource.value if found else None,
            "gains_estimated": found.estimated if found else None,
            "accuracy": {
                target: {"estimated": e.estimated, "low": e.low, "high": e.high, "ceiling": e.ceiling} if e
                else dict(_UNKNOWN)
                for target, e in self.accuracy.items()
            },
            "never_run": {missing.axis: list(missing.values) for missing in self.never_run},
            "stopped": None if self.underway else self.stopped,
            **({} if self.boundary is None else {"boundary": asdict(self.boundary)}),
            **({} if self.choice is None else {"decision": self.choice.to_json()}),
            **({} if self.drift is None else {"drift": self.drift.to_json()}),
            "judges": dict(self.judges),
            **({"unweighted_accuracy": {target: e.estimated if e else None for target, e in self.unweighted.items()}}
               if self.unweighted else {}),
            **({} if self.quality is None else {"quality": self.quality.to_json()}),
            **({"priors": [prior.to_json() for prior in self.priors]} if self.priors else {}),
        }


def status_of(name: str, observations: Observations, posterior: Posterior | None, stopped: str | None,
              underway: int = 0) -> Status:
    """The status of the study called `name`. posterior: of `observations`, None if nothing is measured. underway: as
    in Status."""
    return Status(
        name, len(observations.grid), observations.finished, observations.failures,
        int(observations.saturated.sum()), observations.spent,
        int(observations.measured.sum()), bool(observations.known.all()), posterior.plain if posterior else None,
        gains(observations, posterior.plain, posterior.longest) if posterior else None,
        posterior.accuracy if posterior else dict.fromkeys(observations.targets), never_run(observations), stopped,
        BoundaryStatus.of_posterior(posterior), failures_by_kind(observations), posterior.drift if posterior else None,
        underway, posterior.priors if posterior else (), posterior.judges if posterior else {},
        posterior.unweighted if posterior else {}, quality_of(observations),
        ChoiceStatus.of_choice(posterior.choice) if posterior and posterior.choice else None)


def never_run(observations: Observations) -> tuple[NeverRun, ...]:
    """The values without a successful run for each category axis that has some."""
    grid = observations.grid
    return tuple(
        NeverRun(name, tuple(values), len(np.unique(grid.codes[:, grid.position(name)])))
        for name, values in observations.never_run().items())
