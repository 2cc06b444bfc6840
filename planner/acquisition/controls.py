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

from planner.acquisition import settings
from planner.ledger.observations import Observations
from planner.ledger.run import beginnings
from planner.space.types import Status

__all__ = ["control_row"]


def control_row(observations: Observations, drift: float, error: float) -> int | None:
    """The row to measure again now; None where no control is due, or none may be afforded.

    drift: s. error: g, as a share. The row is one of the engine that is running: of its cheaper half the one that was
    run the fewest times, and of these the one that was run first.
    """
    if drift <= settings.CONTROL_LEAST_DRIFT or observations.known.all():
        return None
    controls = _controls(observations)
    if not _is_due(observations, controls, drift, error):
        return None
    prices = _prices_here(observations)
    cheap = sorted(prices, key=prices.__getitem__)[: math.ceil(len(prices) / 2)]
    if not cheap:
        return None
    order = list(prices)
    row = min(cheap, key=lambda row: (int(observations.run_counts[row]), order.index(row)))
    paid = sum(observations.runs[position].measurement.cost.accelerator_seconds for position in controls)
    return row if paid + prices[row] <= settings.CONTROL_SHARE * observations.spent else None


def _is_due(observations: Observations, controls: list[int], drift: float, error: float) -> bool:
    last = controls[-1] if controls else 0
    if len(observations.runs) - last <= settings.LEAST_RUNS_BETWEEN_CONTROLS:
        return False
    begun = beginnings(observations.runs)
    share = 1 - begun[last] / begun.max() if begun.max() > 0 else 0.0
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


def _prices_here(observations: Observations) -> dict[int, float]:
    """Accelerator-seconds of the first run of each row that runs have executed on the engine that is running, in order,
    and that nobody is measuring."""
    grid, engine, prices = observations.grid, observations.current_engine, dict[int, float]()
    for run in observations.runs:
        row = grid.find(run.point) if run.measurement.status is Status.OK else None
        if row is not None and grid.engine[row] == engine and row not in observations.pending:
            prices.setdefault(row, run.measurement.cost.run_s * run.measurement.cost.accelerators)
    return prices
