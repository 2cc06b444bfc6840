"""The content of a dashboard: status, history, rates, surfaces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from planner.analysis.checkpoints import Checkpoint, checkpoints
from planner.analysis.rates import Rates, rates_of
from planner.analysis.spending import cost_after
from planner.analysis.status import Status, status_of
from planner.analysis.surface import Surface, surface_of
from planner.campaign.setup import StudySetup
from planner.ledger.observations import Observations
from planner.models.sampled import is_large
from planner.space.types import FloatArray
from planner.strategies.strategy import Posterior

__all__ = ["Overview", "overview_of"]


@dataclass(frozen=True, eq=False)
class Overview:
    """A study as it stands. Without measurements there are no checkpoints, rates or surfaces.

    goal: the requested accuracy. costs: accelerator-seconds after each run. rates: or a line that says why there are
    none. surfaces: none of a large grid, which is predicted only where somebody asks.
    """

    status: Status
    slo: tuple[str, ...]
    goal: float | None
    observations: Observations
    costs: FloatArray
    checkpoints: Sequence[Checkpoint]
    rates: Rates | str
    surfaces: Mapping[str, Surface]


def overview_of(
    study: StudySetup, observations: Observations, posterior: Posterior | None, stopped: str | None,
    taken: Sequence[Checkpoint] | None = None,
) -> Overview:
    """The overview. posterior: of `observations`, None if nothing was measured. taken: checkpoints already computed;
    without them some are computed, each with its own posterior."""
    status = status_of(study.name, observations, posterior, stopped)
    about = (status, tuple(study.spec.slo), study.spec.stop.accuracy, observations, cost_after(observations))
    if posterior is None:
        return Overview(*about, (), "nothing was measured", {})
    course = checkpoints(study.posterior, observations, posterior) if taken is None else taken
    if is_large(observations.grid):  # nobody has asked for every point, which takes minutes
        return Overview(*about, course, "the grid is too large to be predicted after each run", {})
    return Overview(*about, course, rates_of(study.accelerators, observations, posterior),
                    {target: surface_of(target, observations, posterior) for target in study.targets})
