"""How the machine has changed while a study ran, from the drift that each quantity shows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from planner.evaluation import settings
from planner.models.grid_model import GridModel
from planner.space.types import Z90, Kind

__all__ = ["MachineDrift", "machine_drift"]


@dataclass(frozen=True, slots=True)
class MachineDrift:
    """How long a run takes now, at the last run, over how long it would have taken at the first; 90 % interval."""

    ratio: float
    low: float
    high: float

    @property
    def is_seen(self) -> bool:
        """Whether the machine has changed for certain, and by more than nothing to speak of."""
        least = 1 + settings.LEAST_DRIFT
        return not self.low <= 1 <= self.high and not 1 / least < self.ratio < least

    def to_json(self) -> dict[str, Any]:
        """Its numbers by name."""
        return {"ratio": self.ratio, "low": self.low, "high": self.high}


def machine_drift(model: GridModel) -> MachineDrift | None:
    """The drift as the quantity shows it that has learned the largest; None where none can be seen.

    One that has taken a drift for noise says that there is none, and is sure of it.
    """
    if not model.drifts:
        return None
    quantity, drift = max(model.drifts, key=lambda found: found[1].scale)
    change = -drift.change if quantity.kind is Kind.THROUGHPUT else drift.change
    return MachineDrift(*(math.exp(change + ends * Z90 * drift.std) for ends in (0, -1, 1)))
