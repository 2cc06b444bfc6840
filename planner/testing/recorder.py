"""The conformance suite of planner.campaign.loop.Recorder.

    def test_my_recorder_keeps_the_contract():
        check_recorder(lambda grid, targets: MyRecorder(new_file(), grid, targets))
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from planner.campaign.loop import Recorder
from planner.ledger.observations import Observations, Run
from planner.space.grid import Grid, full_grid
from planner.space.types import Axis, Cost, Measurement, Reading, Scale, Scope, Status

__all__ = ["check_recorder"]

Make = Callable[[Grid, tuple[str, ...]], Recorder[Any]]

_TARGETS: Final = ("latency_ms",)
_PLANNER_S: Final = 0.25


def check_recorder(make: Make, again: Make | None = None) -> None:
    """Assert the contract of `planner.campaign.loop.Recorder`.

    make: builds a recorder with an empty record of this grid and these targets. again: opens the record that `make`
    made last, as another process does; None if a record exists in one object only. Raises AssertionError
    that says what is broken.
    """
    grid = full_grid([Axis("model", ("a", "b"), Scope.ENGINE, Scale.CATEGORY), Axis("batch_size", (1, 2, 4, 8)),
                      Axis("share", (0.25, 0.5)), Axis("graph", (False, True), scale=Scale.CATEGORY)])
    _check_runs(make(grid, _TARGETS), grid)
    _check_several(make(grid, _TARGETS), grid)
    _check_abandoned(make(grid, _TARGETS), grid)
    if again is not None:
        _check_two(make(grid, _TARGETS), again(grid, _TARGETS), grid)
        _check_reopened(make, again, grid)


def _good(grid: Grid, *rows: int) -> Measurement:
    """A run that measured these rows; the first was executed."""
    readings = tuple(Reading(grid.point(row), {"latency_ms": (1.0 + row, 1.5 + row), "tpot_ms": (0.1,)}, 0.5 + row)
                     for row in rows)
    return Measurement(Status.OK, Cost(1.0, 0.25, 2.0, 2.0), readings, trajectory_s=((0.5, 1.0),), environment="e")


def _outcomes(grid: Grid) -> list[Measurement]:
    """Possible measurements of runs at rows 0, 1, 2 …"""
    undefined = Measurement(Status.OK, Cost(measure_s=1.0), (Reading(grid.point(2), {"other_ms": (1.0,)}, 1.0),))
    return [_good(grid, 0), Measurement(Status.FAILED, Cost(3.0), reason="out of memory: 80 GiB"), undefined,
            Measurement(Status.INTERRUPTED, Cost(), reason="stopped by hand"), _good(grid, 4, 7, 8)]


def _check_runs(recorder: Recorder[Any], grid: Grid) -> None:
    """Runs one after the other: each comes back unchanged, once."""
    observations = Observations(grid, _TARGETS)
    recorder.refresh(observations)
    assert not observations.runs and not observations.pending, "a new record must be empty"
    numbers: list[int] = []
    for row, measurement in enumerate(_outcomes(grid)):
        handle = _begun(recorder, grid, row)
        recorder.refresh(observations, handle)
        assert not observations.pending, "refresh: with `before`, the run itself and later ones are not pending"
        run = recorder.finish(handle, measurement, _PLANNER_S)
        _check_run(run, grid, row, measurement)
        assert run.number not in numbers, f"finish: two runs have the number {run.number}"
        numbers.append(run.number)
        observations.add(run)
        for _ in range(2):
            recorder.refresh(observations)
            assert [known.number for known in observations.runs] == numbers, (
                "refresh: runs that are in the observations already must not come again")
            assert not observations.pending, "refresh: a run that has ended is not pending"


def _begun(recorder: Recorder[Any], grid: Grid, row: int) -> Any:
    point = grid.point(row)
    handle, given = recorder.begin(point, row)
    same = dict(given) == grid.point(row) and all(type(given[name]) is type(value) for name, value in point.items())
    assert same, f"begin: asked for {point} with no point enqueued, but it gives {dict(given)}"
    return handle


def _check_run(run: Run, grid: Grid, row: int, measurement: Measurement) -> None:
    assert isinstance(run, Run), f"finish must give a Run, not {run!r}"
    assert isinstance(run.number, int) and run.number >= 0, f"a run's number must be from 0, not {run.number!r}"
    assert dict(run.point) == grid.point(row), f"the run at {grid.point(row)} says that it was at {dict(run.point)}"
    assert run.measurement == measurement, f"a measurement must come back as it was: {run.measurement}"
    assert run.planner_s == _PLANNER_S, f"planner_s must come back as it was: {run.planner_s} for {_PLANNER_S}"


def _check_several(recorder: Recorder[Any], grid: Grid) -> None:
    """Runs open at the same time, and finished in another order."""
    first, second = _begun(recorder, grid, 0), _begun(recorder, grid, 5)
    observations = Observations(grid, _TARGETS)
    recorder.refresh(observations, first)
    assert not observations.pending, "refresh: with `before`, runs that were begun later are not pending"
    runs = []
    for handle, row in ((second, 5), (first, 0)):
        run = recorder.finish(handle, _good(grid, row), _PLANNER_S)
        _check_run(run, grid, row, _good(grid, row))
        runs.append(run.number)
    assert len(set(runs)) == 2, "two runs that were open at the same time have one number"


def _check_abandoned(recorder: Recorder[Any], grid: Grid) -> None:
    observations = Observations(grid, _TARGETS)
    recorder.abandon(_begun(recorder, grid, 3), "another process was first at this point")
    recorder.refresh(observations)
    assert not observations.pending, "abandon: the point is still pending"
    assert not observations.known.any(), "abandon: the point counts as known, though nothing ran there"
    assert not observations.finished and not observations.failures, "abandon: counts as a run, or as a failure"
    handle = _begun(recorder, grid, 3)
    _check_run(recorder.finish(handle, _good(grid, 3), _PLANNER_S), grid, 3, _good(grid, 3))


def _check_two(one: Recorder[Any], two: Recorder[Any], grid: Grid) -> None:
    """Two processes with one record."""
    ours, theirs = Observations(grid, _TARGETS), Observations(grid, _TARGETS)
    early = _begun(one, grid, 0)
    two.refresh(theirs)
    assert theirs.pending == {0}, f"refresh: another process measures row 0, but pending are {theirs.pending}"
    assert [run.row for run in theirs.underway] == [0], (
        f"refresh: another process makes one run, at row 0, but under way are {theirs.underway}")
    late = _begun(two, grid, 1)
    two.refresh(theirs, late)
    assert theirs.pending == {0}, f"refresh: begun before ours is row 0 alone, but pending are {theirs.pending}"
    one.refresh(ours, early)
    assert not ours.pending, f"refresh: nothing was begun before ours, but pending are {ours.pending}"
    same = _begun(two, grid, 0)
    two.refresh(theirs, same)
    assert 0 in theirs.pending, "refresh: of two runs at one point, the one begun first must be pending for the other"
    two.abandon(same, "another process was first at this point")
    run = one.finish(early, _good(grid, 0), _PLANNER_S)
    for _ in range(2):
        two.refresh(theirs)
        found = [r for r in theirs.runs if r.measurement.status is not Status.INTERRUPTED]
        assert found == [run], f"refresh: another process made {run}, but there is {found}"
    assert 0 not in theirs.pending, "refresh: a run of another process has ended, and is still pending"
    assert not [run for run in theirs.underway if run.row == 0], "refresh: a run has ended, and is still under way"
    assert theirs.measured[0]
    two.finish(late, Measurement(Status.FAILED, Cost(2.0), reason="no"), _PLANNER_S)
    one.refresh(ours)
    assert ours.failed[1] and not ours.measured[1], "refresh: a failure of another process is not seen as one"


def _check_reopened(make: Make, again: Make, grid: Grid) -> None:
    """The runs are there when the record is opened again."""
    recorder, made = make(grid, _TARGETS), []
    for row, measurement in enumerate(_outcomes(grid)):
        made.append(recorder.finish(_begun(recorder, grid, row), measurement, _PLANNER_S))
    observations = Observations(grid, _TARGETS)
    again(grid, _TARGETS).refresh(observations)
    assert observations.runs == made, f"opened again, the record holds {observations.runs}, and not {made}"
    assert observations.current_engine is None, "refresh: an engine of another process counts as ours"
