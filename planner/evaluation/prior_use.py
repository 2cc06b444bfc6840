"""What priors are worth to a model, and which runs judge it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from planner.models.grid_model import GridModel
from planner.models.prior_regressor import KnowsPriors

__all__ = ["PriorUse", "judges_of", "prior_uses"]


@dataclass(frozen=True, slots=True)
class PriorUse:
    """How one prior is used. points: how many it measured. weights: of each target, from 0, left out since it predicts
    the runs worse than they predict one another, to 1; a target of which it says nothing is absent. notes: on how it
    was read."""

    name: str
    points: int
    weights: Mapping[str, float]
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The form of `status --json`."""
        return {"name": self.name, "points": self.points, "weights": dict(self.weights), "notes": list(self.notes)}


def prior_uses(model: GridModel) -> tuple[PriorUse, ...]:
    """The use of each prior of a fitted model, in their order; then of each imported value that serves as one."""
    found = []
    for name, points, notes in [*((one.name, one.points, one.notes) for one in model.priors),
                                *((one.name, one.points, ()) for one in model.imported_)]:
        weights = {}
        for target in model.targets_:
            regressors: list[object] = [model.regressors_.get(quantity.name) for quantity in target.quantities]
            known = [one.weight_of(name) for one in regressors if isinstance(one, KnowsPriors)]
            if known and None not in known:
                weights[target.name] = min(weight for weight in known if weight is not None)
        found.append(PriorUse(name, points, weights, notes))
    return tuple(found)


def judges_of(model: GridModel) -> dict[str, int]:
    """How many runs judge the predictions of each target: those that were forecast, and are like what is left."""
    return {name: len(np.unique(forecasts.runs)) for name, forecasts in model.forecasts_.items()}
