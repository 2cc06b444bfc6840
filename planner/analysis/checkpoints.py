"""How a study went: what it would have said of its own accuracy after some of its runs, recomputed from the record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from planner.analysis import settings
from planner.evaluation.estimate import Estimate
from planner.ledger.observations import Observations
from planner.strategies.strategy import Posterior

if TYPE_CHECKING:
    from planner.campaign.setup import StudySetup

__all__ = ["Checkpoint", "checkpoints", "worst"]


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The study as it stood after `runs` runs, `cost` accelerator-seconds."""

    runs: int
    cost: float
    observations: Observations
    posterior: Posterior

    @property
    def accuracy(self) -> Mapping[str, Estimate | None]:
        """Estimated, by target."""
        return self.posterior.accuracy


def checkpoints(
    study: StudySetup, observations: Observations, posterior: Posterior | None = None, count: int = settings.CHECKPOINTS
) -> list[Checkpoint]:
    """About `count` looks, close together at first, the last one at all runs (`posterior`, where it is known)."""
    total = len(observations.runs)
    if not total:
        return []
    stops = np.unique(np.geomspace(min(settings.FIRST_CHECKPOINT_RUNS, total), total, count).round().astype(int))
    found = []
    for runs in stops.tolist():
        early = observations if runs == total else observations.prefix(runs)
        if not early.measured.any():
            continue
        known = posterior if posterior is not None and runs == total else study.posterior(early)
        found.append(Checkpoint(runs, early.spent, early, known))
    return found


def worst(accuracy: Mapping[str, Estimate | None], targets: tuple[str, ...]) -> str | None:
    """The target with the lowest estimate; None where one of them has none: the worst may be that one."""
    known = {target: estimate.estimated for target in targets if (estimate := accuracy.get(target)) is not None}
    return min(known, key=known.__getitem__) if len(known) == len(targets) else None
