"""Where each run was made and which others went on beside it, for those who read the record."""

from __future__ import annotations

from dataclasses import dataclass

from planner.evaluation.neighbours import beside
from planner.ledger.observations import Observations

__all__ = ["Placed", "placements"]


@dataclass(frozen=True, slots=True)
class Placed:
    """host: name of the machine. devices: those of the run. beside: numbers of the runs that went on there too."""

    host: str
    devices: str
    beside: str


def placements(observations: Observations) -> dict[int, Placed]:
    """By run number; empty where no study of this kind was run side by side."""
    together = beside(observations.runs)
    return {run.number: Placed(str(run.measurement.placement["host"]),
                               " ".join(map(str, run.measurement.placement["devices"])),
                               " ".join(map(str, together[run.number])))
            for run in observations.runs if run.measurement.placement}
