"""Points whose runs failed for a reason that may pass: open until their tries are used up, and no price of theirs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from planner.ledger.observations import Observations, Run
from planner.models.cost import CostModel
from planner.models.feasibility import probability_of_feasibility
from planner.space.grid import full_grid
from planner.space.types import Axis, Cost, Measurement, Reading, Scale, Status

GRID = full_grid([Axis("batch", tuple(2**k for k in range(8)), scale=Scale.LOG)])


def failed(number: int, row: int, reason: str) -> Run:
    return Run(number, GRID.point(row), Measurement(Status.FAILED, Cost(measure_s=50.0), reason=reason))


def ran(number: int, row: int) -> Run:
    point = GRID.point(row)
    return Run(number, point, Measurement(Status.OK, Cost(measure_s=1.0), (Reading(point, {"y": (1.0,)}, 1.0),)))


@pytest.mark.parametrize("reason", ["crash", "no answer within 60 s", "preempted", "the server could not be started"])
def test_what_may_pass_closes_no_point_until_its_tries_are_used_up(reason: str) -> None:
    seen = Observations(GRID, ("y",), [ran(0, 1), failed(1, 3, reason)])
    assert not seen.failed.any() and 3 in seen.open_rows and 3 in seen.unmeasured_rows
    assert math.isnan(seen.seconds[3]) and seen.spent == 51.0 and (seen.finished, seen.failures) == (2, 1)
    assert seen.run_of[3] == 1, "another process sees that someone was here"
    assert 3 not in seen.fresh_rows
    seen.add(failed(2, 3, reason))
    assert seen.failed[3] and 3 not in seen.open_rows and seen.spent == 101.0
    assert math.isnan(seen.seconds[3]), "how long a machine hung is no price of the point"


@pytest.mark.parametrize("reason", ["CUDA out of memory", "max_model_len", "the sample is too small"])
def test_what_lasts_closes_its_point_at_once(reason: str) -> None:
    seen = Observations(GRID, ("y",), [failed(0, 3, reason)])
    assert seen.failed[3] and 3 not in seen.open_rows and seen.seconds[3] == 50.0


def test_a_second_try_that_succeeds_counts_and_so_does_one_that_is_too_large() -> None:
    seen = Observations(GRID, ("y",), [failed(0, 3, "crash"), ran(1, 3), failed(2, 4, "hang"), failed(3, 4, "oom")])
    assert seen.measured[3] and not seen.failed[3] and seen.seconds[3] == 1.0
    assert seen.failed[4] and seen.seconds[4] == 50.0
    seen.add(failed(4, 3, "crash"))
    assert seen.measured[3] and not seen.failed[3], "a crash takes nothing back"


def test_a_discarded_crash_gives_its_try_back() -> None:
    seen = Observations(GRID, ("y",), [failed(0, 3, "crash"), failed(1, 3, "crash")])
    assert seen.failed[3]
    seen.drop({0})
    assert not seen.failed[3] and seen.broken[3] == 1 and seen.spent == 50.0


def test_where_all_open_points_have_crashed_they_are_next() -> None:
    seen = Observations(GRID, ("y",), [*(ran(row, row) for row in range(6)), failed(6, 6, "crash")])
    np.testing.assert_array_equal(seen.fresh_rows, [7])
    seen.add(ran(7, 7))
    np.testing.assert_array_equal(seen.fresh_rows, [6])


def test_a_crash_says_nothing_of_other_points() -> None:
    """But for a small rate. Out of memory does; and neither is confused with the other."""
    crashed = Observations(GRID, ("y",), [ran(0, 0), ran(1, 1), failed(2, 5, "crash"), failed(3, 6, "hang"),
                                          failed(4, 6, "hang")])
    found = probability_of_feasibility(GRID, crashed)
    np.testing.assert_array_equal(found / found[7], [1 / found[7], 1 / found[7], 1, 1, 1, 0.5, 0, 1])
    crashed.add(failed(5, 7, "oom"))
    found = probability_of_feasibility(GRID, crashed)
    assert (np.diff(found[2:5]) < 0).all() and found[6] == found[7] == 0 and 0 < found[5] < found[4]


def test_only_lasting_failures_have_a_price() -> None:
    """With a crash of 50 s at a point, a run there is still expected to take what its neighbours did."""
    seen = Observations(GRID, ("y",), [*(ran(row, row) for row in range(7)), failed(7, 7, "crash")])
    cost = CostModel(GRID, np.ones(len(GRID))).fit(seen)
    assert cost.seconds()[7] == pytest.approx(1.0, rel=0.2)
    seen.add(failed(8, 7, "crash"))
    cost = CostModel(GRID, np.ones(len(GRID))).fit(seen)
    assert cost.sweep(feasibility=probability_of_feasibility(GRID, seen)).cost[0] < 9.0
