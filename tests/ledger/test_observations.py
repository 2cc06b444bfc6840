"""What the planner sees of the record: medians of all repeats, each point once, costs of everything."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.ledger.observations import Observations, Run
from planner.space.grid import full_grid
from planner.space.types import Axis, Cost, Measurement, Reading, Scale, Scope, Status

GRID = full_grid([Axis("tp", (1, 2), Scope.ENGINE), Axis("batch", (1, 2, 4, 8), scale=Scale.LOG)])
values = st.floats(1e-6, 1e6)


def ok(at: Mapping[str, Any], cost: Cost | None = None, **metrics: tuple[float, ...]) -> Measurement:
    return Measurement(Status.OK, cost or Cost(measure_s=1.0), (Reading(at, metrics, 1.0),))


def run(number: int, tp: int, batch: int, measurement: Measurement | None = None, planner_s: float = 0.0) -> Run:
    at = {"tp": tp, "batch": batch}
    return Run(number, at, measurement or ok(at, y=(float(batch),)), planner_s)


def row(tp: int, batch: int) -> int:
    found = GRID.find({"tp": tp, "batch": batch})
    assert found is not None
    return found


runs = st.lists(st.tuples(st.sampled_from([1, 2]), st.sampled_from([1, 2, 4, 8]),
                          st.lists(values, min_size=1, max_size=4)), max_size=8)


@given(runs)
def test_a_column_is_the_median_of_every_repeat_of_a_point(drawn: list[tuple[int, int, list[float]]]) -> None:
    seen, expected = Observations(GRID, ("y",)), {}
    for number, (tp, batch, repeats) in enumerate(drawn):
        at = {"tp": tp, "batch": batch}
        seen.add(Run(number, at, ok(at, y=tuple(repeats))))
        expected.setdefault(row(tp, batch), []).extend(repeats)
    for i, value in enumerate(seen.column("y")):
        assert value == statistics.median(expected[i]) if i in expected else math.isnan(value)
    assert {i: list(r) for i, r in seen.repeats("y").items()} == expected
    assert sorted(expected) == list(np.flatnonzero(seen.measured)) == list(np.flatnonzero(seen.known))
    again = seen.prefix(len(drawn))
    np.testing.assert_array_equal(again.column("y"), seen.column("y"))


@given(runs, st.integers(0, 8))
def test_a_prefix_is_what_was_seen_then_and_columns_read_earlier_stay(
    drawn: list[tuple[int, int, list[float]]], stop: int
) -> None:
    seen, then = Observations(GRID, ("y",)), None
    for number, (tp, batch, repeats) in enumerate(drawn):
        if number == stop:
            then = seen.column("y"), seen.spent
        at = {"tp": tp, "batch": batch}
        seen.add(Run(number, at, ok(at, y=tuple(repeats))))
    if then is not None:
        np.testing.assert_array_equal(seen.prefix(stop).column("y"), then[0])
        assert seen.prefix(stop).spent == then[1]


def test_every_second_is_counted_on_every_device() -> None:
    seen = Observations(GRID, ("y",))
    seen.add(run(0, 1, 1, ok({"tp": 1, "batch": 1}, Cost(10, 2, 3, 4), y=(1.0,)), planner_s=0.5))
    seen.add(run(1, 1, 2, Measurement(Status.FAILED, Cost(0, 1, 2, 8), reason="no memory")))
    seen.add(run(2, 1, 4, Measurement(Status.INTERRUPTED, Cost(0, 0, 7, 1), reason="killed")))
    assert seen.spent == 4 * 15.5 + 8 * 3 + 7
    assert (seen.finished, seen.failures) == (2, 1)
    assert seen.seconds[row(1, 1)] == 1.0  # as its reading says
    assert seen.seconds[row(1, 2)] == 3.0  # a failure takes its time too, engine start apart
    assert math.isnan(seen.seconds[row(1, 4)]) and not seen.known[row(1, 4)]


def test_a_failure_is_known_and_has_no_value_until_the_point_works() -> None:
    seen = Observations(GRID, ("y",))
    failed = Measurement(Status.FAILED, Cost(measure_s=1.0), reason="flaky")
    seen.add(run(0, 1, 4, failed))
    assert seen.failed[row(1, 4)] and seen.known[row(1, 4)] and not seen.measured[row(1, 4)]
    assert np.isnan(seen.column("y")).all() and seen.repeats("y") == {}
    seen.add(run(1, 1, 4))
    assert seen.measured[row(1, 4)] and not seen.failed[row(1, 4)] and seen.failures == 1
    seen.add(run(2, 1, 4, failed))  # and a later failure does not unmeasure it
    assert seen.measured[row(1, 4)] and not seen.failed[row(1, 4)] and seen.column("y")[row(1, 4)] == 4.0
    assert seen.run_of[row(1, 4)] == 1 and seen.seconds[row(1, 4)] == 1.0


def test_a_trajectory_measures_all_that_it_read() -> None:
    readings = tuple(Reading({"tp": 2, "batch": b}, {"y": (float(b),)}, b / 10) for b in (8, 1, 4))
    seen = Observations(GRID, ("y",), [run(0, 2, 8, Measurement(Status.OK, Cost(measure_s=1.0), readings))])
    assert set(np.flatnonzero(seen.measured)) == {row(2, 8), row(2, 1), row(2, 4)}
    assert set(seen.run_of[seen.measured]) == {0} and seen.finished == 1
    assert [seen.seconds[row(2, b)] for b in (1, 4, 8)] == [0.1, 0.4, 0.8]


def test_what_lies_outside_the_grid_costs_and_shows_nowhere_else() -> None:
    outside = {"tp": 16, "batch": 1}
    seen = Observations(GRID, ("y",), [Run(0, outside, ok(outside, y=(1.0,))),
                                       Run(1, outside, Measurement(Status.FAILED, Cost(measure_s=2.0), reason="x"))])
    assert not seen.known.any() and seen.spent == 3.0 and seen.finished == 2 and seen.current_engine is None


def test_which_engine_runs() -> None:
    seen = Observations(GRID, ("y",))
    assert seen.current_engine is None
    seen.add(run(0, 2, 1, ok({"tp": 2, "batch": 1}, Cost(start_s=30.0), y=(1.0,))))
    assert seen.current_engine == GRID.engine[row(2, 1)]
    seen.add(run(1, 1, 1, Measurement(Status.FAILED, Cost(start_s=40.0), reason="crashed")))
    assert seen.current_engine is None  # a failure may have taken the engine with it
    seen.add(run(2, 1, 2))
    assert seen.current_engine == GRID.engine[row(1, 1)]
    assert seen.engine_starts() == {GRID.engine[row(2, 1)]: [30.0], GRID.engine[row(1, 1)]: [40.0]}


def test_what_another_process_ran_leaves_no_engine_here() -> None:
    """It counts in everything, but for the engine: neither its success nor its failure changes what runs here."""
    seen = Observations(GRID, ("y",))
    failed = Measurement(Status.FAILED, Cost(start_s=40.0), reason="crashed")
    seen.add(run(0, 2, 1), elsewhere=True)
    assert seen.current_engine is None and seen.measured[row(2, 1)]
    seen.add(run(1, 1, 1))
    here = GRID.engine[row(1, 1)]
    assert seen.current_engine == here
    seen.add(run(2, 2, 2), elsewhere=True)
    seen.add(run(3, 2, 4, failed), elsewhere=True)
    assert seen.current_engine == here
    assert seen.failed[row(2, 4)] and seen.measured[row(2, 2)] and seen.finished == 4
    assert seen.engine_starts() == {GRID.engine[row(2, 4)]: [40.0]}
    seen.add(run(4, 1, 4, Measurement(Status.INTERRUPTED, Cost(), reason="Ctrl-C")))
    assert seen.current_engine is None  # nobody knows what was broken off


def test_noise_is_pooled_within_points() -> None:
    seen = Observations(GRID, ("y",))
    assert math.isnan(seen.repeat_noise("y"))
    rng = np.random.default_rng(0)
    for number, (tp, batch) in enumerate([(t, b) for t in (1, 2) for b in (1, 2, 4, 8)]):
        repeats = batch * np.exp(0.1 * rng.standard_normal(50))
        seen.add(run(number, tp, batch, ok({"tp": tp, "batch": batch}, y=tuple(map(float, repeats)))))
    assert seen.repeat_noise("y") == pytest.approx(0.1, rel=0.15)
