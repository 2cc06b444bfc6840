"""The history of a study: its estimated accuracy after some of its runs, recomputed from the record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from planner.analysis import settings
from planner.evaluation.estimate import Estimate
from planner.ledger.observations import Observations
from planner.models.grid_model import Prediction
from planner.strategies.strategy import Posterior

__all__ = ["Checkpoint", "checkpoint_of", "checkpoints", "worst", "worst_estimates"]



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
    learn: Callable[[Observations], Posterior], observations: Observations, posterior: Posterior | None = None,
    count: int = settings.CHECKPOINTS,
) -> list[Checkpoint]:
    """About `count` checkpoints, close together at first, the last one at all runs.

    learn: the posterior of some observations. posterior: that of all of them, if already computed.
    """
    total = len(observations.runs)
    if not total:
        return []
    stops = np.unique(np.geomspace(min(settings.FIRST_CHECKPOINT_RUNS, total), total, count).round().astype(int))
    found = []
    for runs in stops.tolist():
        early = observations if runs == total else observations.prefix(runs)
        if not early.measured.any():
            continue
        known = posterior if posterior is not None and runs == total else learn(early)
        found.append(Checkpoint(runs, early.spent, early, known))
    return found


def checkpoint_of(observations: Observations, posterior: Posterior) -> Checkpoint:
    """The checkpoint at this moment, with the accuracy alone: keeping all predictions would fill the memory."""
    slim = replace(posterior, prediction=Prediction({}, {}, {}, {}), feasibility=posterior.feasibility[:0])
    return Checkpoint(len(observations.runs), observations.spent, observations, slim)


def worst(accuracy: Mapping[str, Estimate | None], targets: tuple[str, ...]) -> str | None:
    """The target with the lowest estimate; None if one of them has no estimate, since it may be the worst."""
    known = {target: estimate.estimated for target in targets if (estimate := accuracy.get(target)) is not None}
    return min(known, key=known.__getitem__) if len(known) == len(targets) else None


def worst_estimates(taken: Sequence[Checkpoint], targets: tuple[str, ...]) -> list[tuple[float, Estimate]]:
    """Cost and the lowest estimate at each checkpoint; checkpoints without one are left out."""
    found = []
    for checkpoint in taken:
        name = worst(checkpoint.accuracy, targets)
        estimate = checkpoint.accuracy[name] if name else None
        if estimate is not None:
            found.append((checkpoint.cost, estimate))
    return found
