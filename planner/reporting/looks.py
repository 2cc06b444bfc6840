"""How a study went: what it would have said of its own accuracy after some of its runs, recomputed from the record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from planner.acquisition.strategy import Belief
from planner.evaluation.estimate import Estimate
from planner.ledger.observations import Observations

if TYPE_CHECKING:
    from planner.study import Study

__all__ = ["LOOKS", "Look", "looks", "worst"]

LOOKS: Final = 10
_FIRST_RUNS: Final = 4


@dataclass(frozen=True, eq=False)
class Look:
    """The study as it stood after `runs` runs, `cost` accelerator-seconds."""

    runs: int
    cost: float
    seen: Observations
    belief: Belief

    @property
    def accuracy(self) -> Mapping[str, Estimate | None]:
        """Estimated, by target."""
        return self.belief.accuracy


def looks(study: Study, seen: Observations, belief: Belief | None = None, count: int = LOOKS) -> list[Look]:
    """About `count` looks, close together at first, the last one at all runs (`belief`, where it is known)."""
    total = len(seen.runs)
    if not total:
        return []
    stops = np.unique(np.geomspace(min(_FIRST_RUNS, total), total, count).round().astype(int))
    found = []
    for runs in stops.tolist():
        early = seen if runs == total else seen.prefix(runs)
        if not early.measured.any():
            continue
        known = belief if belief is not None and runs == total else study.believe(early)
        found.append(Look(runs, early.spent, early, known))
    return found


def worst(accuracy: Mapping[str, Estimate | None], targets: tuple[str, ...]) -> str | None:
    """The target with the lowest estimate; None where one of them has none: the worst may be that one."""
    known = {target: estimate.estimated for target in targets if (estimate := accuracy.get(target)) is not None}
    return min(known, key=known.__getitem__) if len(known) == len(targets) else None
