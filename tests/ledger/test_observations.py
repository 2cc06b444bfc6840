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
    observations, expected = Observations(GRID, ("y",)), {}
    for number, (tp, batch, repeats) in enumerate(drawn):
        at = {"tp": tp, "batch": batch}
        observations.add(Run(number, at, ok(at, y=tuple(repeats))))
        expected.setdefault(row(tp, batch), []).extend(repeats)
    for i, value in enumerate(observations.column("y")):
        assert value == statistics.median(expected[i]) if i in expected else math.isnan(value)
    assert {i: list(r) for i, r in observations.repeats("y").items()} == expected
    assert sorted(expected) == list(np.flatnonzero(observations.measured)) == list(np.flatnonzero(observations.known))
    again = observations.prefix(len(drawn))
    np.testing.assert_array_equal(again.column("y"), observations.column("y"))


@given(runs, st.integers(0, 8))
def test_a_prefix_is_what_was_seen_then_and_columns_read_earlier_stay(
    drawn: list[tuple[int, int, list[float]]], stop: int
) -> None:
    observations, then = Observations(GRID, ("y",)), None
    for number, (tp, batch, repeats) in enumerate(drawn):
        if number == stop:
            then = observations.column("y"), observations.spent
        at = {"tp": tp, "batch": batch}
        observations.add(Run(number, at, ok(at, y=tuple(repeats))))
    if then is not None:
        np.testing.assert_array_equal(observations.prefix(stop).column("y"), then[0])
        assert observations.prefix(stop).spent == then[1]


def test_every_second_is_counted_on_every_device() -> None:
    observations = Observations(GRID, ("y",))
    observations.add(run(0, 1, 1, ok({"tp": 1, "batch": 1}, Cost(10, 2, 3, 4), y=(1.0,)), planner_s=0.5))
    observations.add(run(1, 1, 2, Measurement(Status.FAILED, Cost(0, 1, 2, 8), reason="no memory")))
    observations.add(run(2, 1, 4, Measurement(Status.INTERRUPTED, Cost(0, 0, 7, 1), reason="killed")))
    assert observations.spent == 4 * 15.5 + 8 * 3 + 7
    assert (observations.finished, observations.failures) == (2, 1)
    assert observations.seconds[row(1, 1)] == 1.0  # as its reading says
    assert observations.seconds[row(1, 2)] == 3.0  # a failure takes its time too, engine start apart
    assert math.isnan(observations.seconds[row(1, 4)]) and not observations.known[row(1, 4)]


def test_a_failure_is_known_and_has_no_value_until_the_point_works() -> None:
    observations = Observations(GRID, ("y",))
    failed = Measurement(Status.FAILED, Cost(measure_s=1.0), reason="flaky")
    observations.add(run(0, 1, 4, failed))
    assert observations.failed[row(1, 4)] and observations.known[row(1, 4)] and not observations.measured[row(1, 4)]
    assert np.isnan(observations.column("y")).all() and observations.repeats("y") == {}
    observations.add(run(1, 1, 4))
    assert observations.measured[row(1, 4)] and not observations.failed[row(1, 4)] and observations.failures == 1
    observations.add(run(2, 1, 4, failed))  # and a later failure does not unmeasure it
    assert observations.measured[row(1, 4)] and not observations.failed[row(1, 4)] and observations.column("y")[row(1,
        4)] == 4.0
    assert observations.run_of[row(1, 4)] == 1 and observations.seconds[row(1, 4)] == 1.0


def test_a_trajectory_measures_all_that_it_read() -> None:
    readings = tuple(Reading({"tp": 2, "batch": b}, {"y": (float(b),)}, b / 10) for b in (8, 1, 4))
    observations = Observations(GRID, ("y",), [run(0, 2, 8, Measurement(Status.OK, Cost(measure_s=1.0), readings))])
    assert set(np.flatnonzero(observations.measured)) == {row(2, 8), row(2, 1), row(2, 4)}
    assert set(observations.run_of[observations.measured]) == {0} and observations.finished == 1
    assert [observations.seconds[row(2, b)] for b in (1, 4, 8)] == [0.1, 0.4, 0.8]


def test_what_lies_outside_the_grid_costs_and_shows_nowhere_else() -> None:
    outside = {"tp": 16, "batch": 1}
    observations = Observations(GRID, ("y",), [Run(0, outside, ok(outside, y=(1.0,))),
                                       Run(1, outside, Measurement(Status.FAILED, Cost(measure_s=2.0), reason="x"))])
    assert not observations.known.any() and observations.spent == 3.0
    assert observations.finished == 2 and observations.current_engine is None


def test_which_engine_runs() -> None:
    observations = Observations(GRID, ("y",))
    assert observations.current_engine is None
    observations.add(run(0, 2, 1, ok({"tp": 2, "batch": 1}, Cost(start_s=30.0), y=(1.0,))))
    assert observations.current_engine == GRID.engine[row(2, 1)]
    observations.add(run(1, 1, 1, Measurement(Status.FAILED, Cost(start_s=40.0), reason="crashed")))
    assert observations.current_engine is None  # a failure may have taken the engine with it
    observations.add(run(2, 1, 2))
    assert observations.current_engine == GRID.engine[row(1, 1)]
    assert observations.engine_starts() == {GRID.engine[row(2, 1)]: [30.0], GRID.engine[row(1, 1)]: [40.0]}


def test_what_another_process_ran_leaves_no_engine_here() -> None:
    """It counts in everything, but for the engine: neither its success nor its failure changes what runs here."""
    observations = Observations(GRID, ("y",))
    failed = Measurement(Status.FAILED, Cost(start_s=40.0), reason="crashed")
    observations.add(run(0, 2, 1), elsewhere=True)
    assert observations.current_engine is None and observations.measured[row(2, 1)]
    observations.add(run(1, 1, 1))
    here = GRID.engine[row(1, 1)]
    assert observations.current_engine == here
    observations.add(run(2, 2, 2), elsewhere=True)
    observations.add(run(3, 2, 4, failed), elsewhere=True)
    assert observations.current_engine == here
    assert observations.broken[row(2, 4)] and observations.measured[row(2, 2)] and observations.finished == 4
    assert observations.engine_starts() == {GRID.engine[row(2, 4)]: [40.0]}
    observations.add(run(4, 1, 4, Measurement(Status.INTERRUPTED, Cost(), reason="Ctrl-C")))
    assert observations.current_engine is None  # nobody knows what was broken off


def test_noise_is_pooled_within_points() -> None:
    observations = Observations(GRID, ("y",))
    assert math.isnan(observations.repeat_noise("y"))
    rng = np.random.default_rng(0)
    for number, (tp, batch) in enumerate([(t, b) for t in (1, 2) for b in (1, 2, 4, 8)]):
        repeats = batch * np.exp(0.1 * rng.standard_normal(50))
        observations.add(run(number, tp, batch, ok({"tp": tp, "batch": batch}, y=tuple(map(float, repeats)))))
    assert observations.repeat_noise("y") == pytest.approx(0.1, rel=0.15)


def test_a_version_tells_what_was_learned_from() -> None:
    observations = Observations(GRID, ("y",), [run(0, 1, 1)])
    before = observations.version
    observations.pending = {3}
    assert observations.version == before == observations.version, "what is pending has told nothing"
    observations.add(run(1, 1, 2))
    assert observations.version != before
    assert observations.prefix(1).version != before, "another object, which may grow another way"


def test_a_version_outlives_its_observations() -> None:
    """Where one object takes the place of another in memory, its id comes again; its version does not."""
    seen: list[tuple[object, int]] = []
    for _ in range(50):
        observations = Observations(GRID, ("y",), [run(0, 1, 1)])
        assert observations.version not in seen
        seen.append(observations.version)
        del observations


def test_rows_under_way_are_unmeasured_but_not_open() -> None:
    failed = Measurement(Status.FAILED, Cost(), reason="out of memory")
    observations = Observations(GRID, ("y",), [run(0, 1, 1), run(1, 1, 4, failed)])
    observations.pending = {row(1, 2), row(2, 8)}
    known = {row(1, 1), row(1, 4)}
    assert set(observations.unmeasured_rows.tolist()) == set(range(len(GRID))) - known
    assert observations.open_rows.tolist() == sorted(set(range(len(GRID))) - known - observations.pending)
