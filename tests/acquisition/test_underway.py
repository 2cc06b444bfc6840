"""Runs that have no values yet are counted on, as those of a batch are: readings at their executed points."""

from __future__ import annotations

import numpy as np
import pytest

from planner.acquisition.underway import executed, given_readings, of_known_price, prices, rows_underway
from planner.acquisition.variance_reduction import choose_batch, open_sample
from planner.ledger.observations import Observations, Run, Underway
from planner.models.cost import CostModel
from planner.models.grid_model import GridModel
from planner.space.grid import Grid, full_grid
from planner.space.types import Axis, Cost, Measurement, Reading, Role, Scale, Status
from planner.strategies.max_variance import choose_uncertain

GRID = full_grid([Axis("batch_size", (1, 2, 4, 8), scale=Scale.LOG, roles=(Role.BATCH,)),
                  Axis("output_len", (1, 2, 4, 8, 16), scale=Scale.LOG, roles=(Role.OUTPUT_TOKENS,))])
LINE = full_grid([Axis("x", tuple(range(30))), Axis("y", tuple(range(12)))])


def run(observations: Observations, row: int, status: Status = Status.OK) -> None:
    point, cost = observations.grid.point(row), Cost(measure_s=1.0)
    x, y = (float(value) for value in point.values())
    readings = (Reading(point, {"latency_ms": (5 + x / 4 + np.sin(x / 3) * np.cos(y / 2),)}, 1.0),)
    measurement = Measurement(status, cost, readings if status is Status.OK else (), reason="")
    observations.add(Run(len(observations.runs), point, measurement))


def measured(grid: Grid, rows: list[int]) -> Observations:
    observations = Observations(grid, ("latency_ms",))
    for row in rows:
        run(observations, row)
    return observations


@pytest.mark.parametrize("rows", [[7], [7, 7], [7, 90, 91], list(range(0, 360, 60))])
def test_readings_are_conditioned_on_as_by_solving(rows: list[int]) -> None:
    rng = np.random.default_rng(0)
    factor = rng.standard_normal((360, 20))
    covariance, noise = (factor @ factor.T)[:200], 0.3
    readings = [row % 200 for row in rows]
    K = covariance[np.ix_(readings, readings)] + (noise**2 + 1e-12) * np.eye(len(readings))
    if len(set(readings)) < len(readings):  # twice at one point: two readings with noise of their own
        K = np.full((2, 2), covariance[7, 7]) + noise**2 * np.eye(2)
    expected = covariance - covariance[:, readings] @ np.linalg.solve(K, covariance[readings])
    np.testing.assert_allclose(given_readings(covariance, readings, noise), expected, atol=1e-9)
    assert given_readings(covariance, [], noise) is covariance


def test_a_pending_trajectory_is_one_reading() -> None:
    """Output lengths of batch 2 up to 8 are pending, and of batch 8 the shortest."""
    pending = {5, 6, 7, 8, 15}
    assert executed(GRID, "output_len", pending) == [8, 15]
    assert executed(GRID, None, pending) == [5, 6, 7, 8, 15]
    assert executed(GRID, "output_len", {6, 8}) == [8], "5 and 7 are known already"


def test_what_a_model_was_not_fitted_to() -> None:
    observations = measured(LINE, [0, 200, 350])
    model = GridModel(LINE, None).fit(observations)
    assert rows_underway(model, observations).tolist() == []
    run(observations, 300)
    run(observations, 30, Status.FAILED)
    run(observations, 40, Status.INTERRUPTED)
    observations.pending = {77, 5}
    assert rows_underway(model, observations).tolist() == [300, 5, 77]
    assert rows_underway(model.fit(observations), observations).tolist() == [5, 77]


@pytest.mark.parametrize("choose", [choose_batch, choose_uncertain])
@pytest.mark.parametrize("between", ["pending", "ended"])
def test_one_after_the_other_is_as_a_batch(choose: object, between: str) -> None:
    """Whether the runs chosen before are still pending or have ended, with the same fit, the next one is the same."""
    observations = measured(LINE, list(range(3, 360, 19)))
    model, cost = GridModel(LINE, None).fit(observations), CostModel(LINE, np.ones(360)).fit(observations)

    def chosen(size: int) -> list[int]:
        return choose(model, cost, observations, np.ones(360), size, np.random.default_rng(0))  # type: ignore[operator]

    batch, one_by_one = chosen(6), []
    while len(one_by_one) < 6:
        one_by_one += chosen(1)
        if between == "pending":
            observations.pending = set(one_by_one)
        else:
            run(observations, one_by_one[-1])
    if between == "pending" or choose is choose_uncertain:
        assert one_by_one == batch
    else:  # points that are measured leave the references, those of a batch stay: nearly the same
        assert len(set(one_by_one) & set(batch)) >= 5


def test_workers_draw_the_same_candidates() -> None:
    observations = measured(LINE, [0])
    everything = open_sample(observations, 100, np.random.default_rng(5))
    observations.pending = set(everything[:40].tolist())
    assert open_sample(observations, 100, np.random.default_rng(5)).tolist() == everything[40:].tolist()
    observations.pending = set(range(1, 359))
    assert open_sample(observations, 5, np.random.default_rng(5)).tolist() == [359]


def test_prices_are_high_while_others_measure() -> None:
    """Of runs that began together the short ones end first: what the others will cost is then taken for too little."""
    observations = measured(LINE, list(range(0, 360, 19)))
    cost, rows = CostModel(LINE, np.ones(360)).fit(observations), np.array([0, 5, 200])
    alone = prices(cost, rows, observations)
    np.testing.assert_array_equal(alone, cost.price(rows))
    observations.underway = (Underway(7),)
    high = prices(cost, rows, observations)
    assert high[0] == alone[0], "a price that is known"
    assert (high[1:] > alone[1:]).all()


def test_a_category_of_which_no_run_has_ended_waits() -> None:
    grid = full_grid([Axis("model", ("a", "b", "c"), scale=Scale.CATEGORY), Axis("x", (1, 2, 3))])
    observations, rows = Observations(grid, ("latency_ms",)), np.arange(9)
    point = grid.point(0)
    observations.underway = (Underway(3),)
    assert of_known_price(rows, observations).tolist() == rows.tolist(), "no price is known"
    observations.add(Run(0, point, Measurement(Status.OK, Cost(measure_s=1.0),
                                               (Reading(point, {"latency_ms": (5.0,)}, 1.0),))))
    assert of_known_price(rows, observations).tolist() == [0, 1, 2]
    assert of_known_price(rows[4:], observations).tolist() == [4, 5, 6, 7, 8]
    observations.underway = ()
    assert of_known_price(rows, observations).tolist() == rows.tolist()
