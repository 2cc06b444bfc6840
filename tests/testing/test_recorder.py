"""The recorders' suite: ledger and simulation keep the contract, and each way of breaking it is reported."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from planner.ledger.ledger import Ledger
from planner.ledger.observations import Observations, Run, Underway
from planner.simulation.simulate import Memory
from planner.space.grid import Grid
from planner.space.types import Cost, Measurement, Point, Status
from planner.testing import check_recorder


def test_a_simulations_memory_keeps_the_contract() -> None:
    check_recorder(lambda *_: Memory())


def test_the_ledger_keeps_the_contract(tmp_path: Path) -> None:
    storage, count = f"sqlite:///{tmp_path / 'record.db'}", itertools.count()
    made: list[str] = []

    def new(grid: Grid, targets: tuple[str, ...]) -> Ledger:
        made.append(f"study {next(count)}")
        return Ledger.create_or_resume(storage, made[-1], grid.axes, targets, "", {"runner": "none"})

    def again(grid: Grid, targets: tuple[str, ...]) -> Ledger:
        return Ledger.existing(storage, made[-1], grid.axes, targets)

    check_recorder(new, again)


@dataclass
class Entry:
    """A run of the shared record. opener: who began it."""

    number: int
    point: Point
    opener: object
    run: Run | None = None


@dataclass
class Sound:
    """Several recorders on one list. Subclasses break one thing each."""

    entries: list[Entry] = field(default_factory=list)

    def begin(self, point: Point, seed: int) -> tuple[Entry, Point]:
        self.entries.append(Entry(len(self.entries), dict(point), self))
        return self.entries[-1], dict(point)

    def finish(self, trial: Entry, measurement: Measurement, planner_s: float = 0.0) -> Run:
        trial.run = Run(trial.number, trial.point, measurement, planner_s)
        return trial.run

    def abandon(self, trial: Entry, reason: str) -> None:
        self.finish(trial, Measurement(Status.INTERRUPTED, Cost(), reason=reason))

    def refresh(self, observations: Observations, before: Entry | None = None) -> None:
        taken = {run.number for run in observations.runs}
        observations.pending.clear()
        observations.underway = ()
        for entry in self.entries:
            if entry.run is not None and entry.number not in taken:
                observations.add(entry.run, elsewhere=True)
            elif entry.run is None and (before is None or entry.number < before.number):
                row = observations.grid.find(entry.point)
                assert row is not None
                observations.pending.add(row)
                observations.underway += (Underway(row),)


def check(kind: Callable[[list[Entry]], Any]) -> None:
    shared: list[list[Entry]] = []

    def new(*_: object) -> Any:
        shared.append([])
        return kind(shared[-1])

    check_recorder(new, lambda *_: kind(shared[-1]))


def test_a_sound_recorder_passes() -> None:
    check(Sound)


def altered(method: str, change: Callable[[Any], Any]) -> dict[str, Any]:
    """What `method` gives, changed."""
    return {method: lambda self, *given: change(getattr(Sound, method)(self, *given))}


def not_cleared(self: Sound, observations: Observations, before: Entry | None = None) -> None:
    pending = set(observations.pending)
    Sound.refresh(self, observations, before)
    observations.pending |= pending


def doubled(self: Sound, observations: Observations, _: Entry | None = None) -> None:
    Sound.refresh(self, observations)
    for entry in self.entries:
        if entry.run:
            observations.add(entry.run)
    observations.pending.clear()


def ended_only(self: Sound, observations: Observations, before: Entry | None = None) -> None:
    Sound.refresh(self, observations, before)
    observations.pending.clear()


def rows_only(self: Sound, observations: Observations, before: Entry | None = None) -> None:
    Sound.refresh(self, observations, before)
    observations.underway = ()


def never_over(self: Sound, observations: Observations, before: Entry | None = None) -> None:
    underway = observations.underway
    Sound.refresh(self, observations, before)
    observations.underway = underway or observations.underway


def pending_only(self: Sound, observations: Observations, before: Entry | None = None) -> None:
    found = Observations(observations.grid, observations.targets)
    Sound.refresh(self, found, before)
    observations.pending, observations.underway = found.pending, found.underway


def as_ours(self: Sound, observations: Observations, before: Entry | None = None) -> None:
    found = Observations(observations.grid, observations.targets, observations.runs)
    Sound.refresh(self, found, before)
    for run in found.runs[len(observations.runs):]:
        observations.add(run)
    observations.pending, observations.underway = found.pending, found.underway


def fails_when_abandoned(self: Sound, trial: Entry, reason: str) -> None:
    self.finish(trial, Measurement(Status.FAILED, Cost(), reason=reason))


def at_the_last_point(self: Sound, trial: Entry, measurement: Measurement, planner_s: float = 0.0) -> Run:
    trial.run = Run(trial.number, self.entries[-1].point, measurement, planner_s)
    return trial.run


def only_successes(self: Sound, trial: Entry, measurement: Measurement, planner_s: float = 0.0) -> Run:
    run = Sound.finish(self, trial, measurement, planner_s)
    if measurement.status is Status.FAILED:
        trial.run = replace(run, measurement=replace(measurement, status=Status.INTERRUPTED))
    return run


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "another point": (altered("begin", lambda made: (made[0], {**made[1], "batch_size": 2})), "asked for"),
    "floats": (altered("begin", lambda made: (made[0], {**made[1], "batch_size": float(made[1]["batch_size"])})),
               "asked for"),
    "one for true": (altered("begin", lambda made: (made[0], {**made[1], "graph": int(made[1]["graph"])})),
                     "asked for"),
    "no run": (altered("finish", lambda _: None), "must give a Run"),
    "negative": (altered("finish", lambda run: replace(run, number=-1)), "from 0"),
    "one number": (altered("finish", lambda run: replace(run, number=0)), "number 0"),
    "no planner": (altered("finish", lambda run: replace(run, planner_s=0.0)), "planner_s"),
    "no readings": (altered("finish", lambda run: replace(run, measurement=replace(run.measurement, readings=()))),
                    "as it was"),
    "elsewhere": ({"finish": at_the_last_point}, "says that it was at"),
    "abandoned": ({"abandon": lambda *_: None}, "still pending"),
    "failed": ({"abandon": fails_when_abandoned}, "known"),
    "always pending": ({"refresh": not_cleared}, "pending"),
    "doubled": ({"refresh": doubled}, "come again"),
    "own are pending": ({"refresh": lambda self, o, _=None: Sound.refresh(self, o)}, "not pending"),
    "nothing is pending": ({"refresh": ended_only}, "another process measures row 0"),
    "only rows": ({"refresh": rows_only}, "under way are"),
    "never over": ({"refresh": never_over}, "still under way"),
    "nothing is taken in": ({"refresh": pending_only}, "another process made"),
    "engines of others": ({"refresh": as_ours}, "counts as ours"),
    "failures are lost": ({"finish": only_successes}, "not seen as one"),
    "alone": ({"refresh": lambda *_: None}, "another process measures row 0"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_recorder_is_reported(name: str) -> None:
    members, says = BROKEN[name]
    broken: Any = type("Broken", (Sound,), members)
    with pytest.raises(AssertionError, match=says):
        check(broken)


def test_a_record_that_is_not_empty_is_reported() -> None:
    kept = [Entry(0, {}, None, Run(0, {}, Measurement(Status.OK, Cost())))]
    with pytest.raises(AssertionError, match="must be empty"):
        check_recorder(lambda *_: Sound(kept))


def test_a_record_that_forgets_when_it_is_opened_again_is_reported() -> None:
    shared: list[list[Entry]] = []
    opened = itertools.count()

    def new(*_: object) -> Sound:
        shared.append([])
        return Sound(shared[-1])

    def again(*_: object) -> Sound:
        return Sound(shared[-1] if next(opened) == 0 else shared[-1][:2])

    with pytest.raises(AssertionError, match="opened again"):
        check_recorder(new, again)
