"""Controls: points that are measured again, to see whether the machine is still as it was.

Notation
--------
s           standard deviation of the logarithm of the drift over the study so far, as learned
g           mean error of one-step-ahead forecasts
t           time since the last control, as a share of the time of the study so far

Each run near another tells of a drift, and the model learns s from all. Once a drift is seen, a control is due when the
drift since the last one may have become half of the error, s √t ≥ g / 2: the drift sets the interval. A machine
that stays the same is never asked again. All controls together take a stated share of a study's cost at most.
"""

from __future__ import annotations

import math

import numpy as np

from planner.acquisition import settings
from planner.ledger.observations import Observations
from planner.models.cost import CostModel
from planner.space.types import Status

__all__ = ["control_row"]


def control_row(observations: Observations, cost: CostModel, drift: float, error: float) -> int | None:
    """The row to measure again now; None where no control is due, or none may be afforded.

    drift: s. error: g, as a share. The row is one of the engine that is running: of its cheaper half the one that was
    run the fewest times, and of these the one that was run first.
    """
    controls = _controls(observations)
    if not _is_due(observations, controls, drift, error):
        return None
    rows = _rows_here(observations)
    prices = dict(zip(rows, cost.price(np.array(rows, dtype=np.int64)).tolist(), strict=True))
    cheap = sorted(rows, key=prices.__getitem__)[: math.ceil(len(rows) / 2)]
    if not cheap:
        return None
    row = min(cheap, key=lambda row: (int(observations.run_counts[row]), rows.index(row)))
    paid = sum(observations.runs[position].measurement.cost.accelerator_seconds for position in controls)
    return row if paid + prices[row] <= settings.CONTROL_SHARE * observations.spent else None


def _is_due(observations: Observations, controls: list[int], drift: float, error: float) -> bool:
    last = controls[-1] if controls else 0
    if len(observations.runs) - last <= settings.LEAST_RUNS_BETWEEN_CONTROLS or observations.begun[-1] <= 0:
        return False
    share = 1 - observations.begun[last] / observations.begun[-1]
    return drift * math.sqrt(share) > max(settings.CONTROL_ERROR_SHARE * error, settings.CONTROL_LEAST_DRIFT)


def _controls(observations: Observations) -> list[int]:
    """Positions of the runs that executed a point that had been measured."""
    found, seen = [], set()
    for position, run in enumerate(observations.runs):
        row = observations.grid.find(run.point)
        if row is not None and run.measurement.status is Status.OK:
            if row in seen:
                found.append(position)
            seen.add(row)
    return found


def _rows_here(observations: Observations) -> list[int]:
    """Rows that runs have executed on the engine that is running, in order, that nobody is measuring."""
    grid, engine = observations.grid, observations.current_engine
    rows = dict.fromkeys(row for run in observations.runs if run.measurement.status is Status.OK
                         and (row := grid.find(run.point)) is not None and grid.engine[row] == engine)
    return [row for row in rows if row not in observations.pending]
