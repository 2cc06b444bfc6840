"""Predictions of some points: those of all points, at these."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from planner.analysis.predict import prediction_table
from planner.ledger.observations import Observations, Run
from planner.models import settings
from planner.space.grid import full_grid
from planner.space.types import Axis, Cost, Measurement, Reading, Role, Scale, Status
from planner.strategies.adaptive import AdaptiveStrategy
from planner.strategies.strategy import StrategyContext


@pytest.mark.parametrize("exact_points", [50_000, 100])
def test_some_points_have_the_answers_of_the_whole_table(exact_points: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measured with and without repeats, failed and predicted ones; on a grid that is large and on one that is not."""
    monkeypatch.setattr(settings, "EXACT_POINTS", exact_points)
    grid = full_grid([Axis("input_len", (16, 64, 256), scale=Scale.LOG, roles=(Role.INPUT_TOKENS,)),
                      Axis("batch_size", tuple(range(1, 60)), scale=Scale.LOG, roles=(Role.BATCH,))])
    observations = Observations(grid, ("e2el_ms",))
    for number, row in enumerate((3, 40, 70, 110, 150, 170)):
        point, value = grid.point(row), 10.0 + row
        readings = (Reading(point, {"e2el_ms": (value, value * 1.1)[:1 + number % 2]}, 0.1),)
        failed = Measurement(Status.FAILED, Cost(measure_s=0.1), reason="out of memory")
        observations.add(Run(number, point, failed if row == 110 else Measurement(
            Status.OK, Cost(measure_s=0.1), readings)))
    posterior = AdaptiveStrategy(StrategyContext(grid, ("e2el_ms",), None, np.ones(len(grid)))).posterior(observations)
    rows = [170, 3, 110, 55, 40]
    some, every = prediction_table(posterior, observations, rows), prediction_table(posterior, observations)
    pd.testing.assert_frame_equal(some, every.iloc[rows], rtol=1e-9)
    assert list(some["source"]) == ["measured", "measured", "failed", "predicted", "measured"]
