"""What an old study or a table says of every point of a grid, before its first run.

Notation: N grid points. Means and standard deviations of a quantity are on the scale on which it is learned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from planner.ledger.observations import Observations
from planner.models.prior_regressor import PriorColumn
from planner.models.transforms import forward
from planner.space.types import FloatArray

__all__ = ["OldTarget", "Prior", "columns_for", "prior_prices", "priors_suffice"]


@dataclass(frozen=True, eq=False)
class OldTarget:
    """The logarithm of a target in an old study, (N,) each.

    measured: as it was measured, NaN where it was not. learned, std: the learned surface and its standard deviation,
    noise taken out; NaN where it says nothing.
    """

    measured: FloatArray
    learned: FloatArray
    std: FloatArray


@dataclass(frozen=True, eq=False)
class Prior:
    """What one old study or table says. It is never counted as measured, and costs nothing.

    name: for messages. points: how many it measured. quantities: what it says of each, by name. values: each target, in
    its unit, as it was measured there or else is predicted, (N,), NaN where nothing is known. old: what it says of each
    target to compare with. seconds: the logarithm of a run's seconds; None where it does not know. notes: for the user,
    one line each.
    """

    name: str
    points: int
    quantities: Mapping[str, PriorColumn]
    values: Mapping[str, FloatArray]
    seconds: PriorColumn | None = None
    old: Mapping[str, OldTarget] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def columns_for(priors: Sequence[Prior], quantity: str) -> list[PriorColumn]:
    """What the priors say of a quantity; those that say nothing of it are left out."""
    return [prior.quantities[quantity] for prior in priors if quantity in prior.quantities]


def priors_suffice(priors: Sequence[Prior], observations: Observations, spread: float) -> bool:
    """Whether the readings differ from what some prior says of each target by nearly the same factor everywhere, with a
    standard deviation of no more than `spread`: then a few runs carry it over, and no first design is needed."""
    return all(min((_spread(prior, observations, target) for prior in priors), default=np.inf)
               <= spread for target in observations.targets)


def _spread(prior: Prior, observations: Observations, target: str) -> float:
    """Standard deviation of the readings about the prior, on the scale of the target; infinite where fewer than three
    readings tell."""
    if target not in prior.values:
        return np.inf
    transform = observations.metric(target).transform
    away = forward(transform, observations.column(target)) - forward(transform, prior.values[target])
    away = away[np.isfinite(away)]
    return float(np.std(away, ddof=1)) if len(away) > 2 else np.inf


def prior_prices(priors: Sequence[Prior], devices: FloatArray) -> FloatArray | None:
    """Accelerator-seconds of a run of each point as the first prior has it that knows, (N,), its mean where it says
    nothing; None where no prior knows.

    devices: accelerators that a run of each point occupies, (N,).
    """
    found = next((prior.seconds for prior in priors if prior.seconds is not None), None)
    if found is None:
        return None
    seconds: FloatArray = np.exp(np.where(found.known, found.mean, float(np.mean(found.mean[found.known]))))
    return seconds * devices
