"""The conformance suite: a runner that keeps the contract passes, and each way of breaking it is reported."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
from pydantic import BaseModel, ConfigDict

from planner.space.types import Cost, Measurement, Point, Proposal, Reading, Status, StudyError
from planner.testing import check_runner

GOOD = Proposal({"batch": 2}, ({"batch": 2}, {"batch": 1}))
BAD = Proposal({"batch": 8}, ({"batch": 8},))


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Sound:
    """Keeps the contract; fails at batch 8. Subclasses break one thing each."""

    Config: ClassVar[type[Any]] = Settings
    trajectory_axis: str | None = "batch"

    def __init__(self) -> None:
        self.closed = 0

    def accelerators(self, point: Point) -> float:
        return 1.0

    def fingerprint(self) -> Mapping[str, str]:
        return {"runner": "sound"}

    def measure(self, proposal: Proposal) -> Measurement:
        cost = Cost(1.0, 0.5, 2.0, 1.0)
        if proposal.point["batch"] == 8:
            return Measurement(Status.FAILED, cost, reason="out of memory")
        readings = tuple(Reading(dict(point), {"y": (1.0, 2.0)}, 2.5) for point in proposal.covers)
        return Measurement(Status.OK, cost, readings, trajectory_s=((0.5, 2.0),))

    def close(self) -> None:
        self.closed += 1


def test_a_sound_runner_passes() -> None:
    check_runner(Sound, GOOD, BAD)
    check_runner(Sound, GOOD)


class Loose(BaseModel):
    pass


class Kind(Settings):
    kind: str = "x"


def refusing() -> Any:
    raise StudyError("runner.no_such_key: unknown")


def test_a_runner_may_refuse_unknown_settings_when_it_is_built() -> None:
    broken = type("Broken", (Sound,), {"Config": Loose})
    check_runner(broken, GOOD, BAD, unknown=refusing)
    with pytest.raises(AssertionError, match="an unknown setting"):
        check_runner(broken, GOOD, BAD, unknown=broken)


HINTS: dict[str, tuple[Any, Any, str]] = {
    "accelerators_at": (lambda _, columns: np.ones(len(columns["batch"])), lambda _, columns: columns["batch"] + 1.0,
                        "accelerators_at gives"),
    "metrics": (lambda _: frozenset({"y", "z"}), lambda _: frozenset({"z"}), "does not name what a run gives"),
    "estimate_cost": (lambda _, columns: columns["batch"] * 1.0, lambda *_: np.zeros(2), "above 0"),
}


@pytest.mark.parametrize("name", HINTS)
def test_what_a_runner_says_beforehand_must_hold(name: str) -> None:
    sound, wrong, says = HINTS[name]
    check_runner(type("Telling", (Sound,), {name: sound}), GOOD, BAD)
    with pytest.raises(AssertionError, match=says):
        check_runner(type("Telling", (Sound,), {name: wrong}), GOOD, BAD)
    if name != "accelerators_at":
        check_runner(type("Telling", (Sound,), {name: lambda *_: None}), GOOD, BAD)  # it cannot tell
    if name == "estimate_cost":
        with pytest.raises(AssertionError, match="shape"):
            check_runner(type("Telling", (Sound,), {name: lambda *_: np.ones(3)}), GOOD, BAD)


ticks = itertools.count()
BROKEN_MEMBERS: dict[str, tuple[dict[str, Any], str]] = {
    "no config": ({"Config": None}, "pydantic"),
    "loose config": ({"Config": Loose}, "unknown keys"),
    "kind in config": ({"Config": Kind}, "kind"),
    "axis": ({"trajectory_axis": 3}, "trajectory_axis"),
    "empty fingerprint": ({"fingerprint": lambda _: {}}, "fingerprint"),
    "fingerprint of numbers": ({"fingerprint": lambda _: {"cpus": 2}}, "fingerprint must be text"),
    "fingerprint of the hour": ({"fingerprint": lambda _: {"t": str(next(ticks))}}, "fingerprint differs"),
    "fingerprint of the object": ({"fingerprint": lambda self: {"t": str(id(self))}}, "equal runners"),
    "fingerprint after close": ({"fingerprint": lambda self: {"t": str(bool(self.closed))}}, "closed"),
    "no accelerators": ({"accelerators": lambda _, __: 0}, "above 0"),
    "other accelerators": ({"accelerators": lambda _, __: 4.0}, "announced"),
}


@pytest.mark.parametrize("name", BROKEN_MEMBERS)
def test_broken_members_are_told(name: str) -> None:
    members, says = BROKEN_MEMBERS[name]
    with pytest.raises(AssertionError, match=says):
        check_runner(type("Broken", (Sound,), members), GOOD, BAD)


def readings(**change: Any) -> Any:
    return lambda m: replace(m, readings=tuple(replace(r, **change) for r in m.readings))


GOOD_BROKEN: dict[str, tuple[Any, str]] = {
    "failed": (lambda m: replace(m, status=Status.FAILED, readings=(), reason="broken"), "ended failed: broken"),
    "a cover is missing": (lambda m: replace(m, readings=m.readings[:1]), "no reading for covered"),
    "not asked for": (lambda m: replace(m, readings=(*m.readings, Reading({"batch": 7}, {"y": (1.0,)}, 1))), "cover"),
    "twice": (lambda m: replace(m, readings=m.readings * 2), "two readings"),
    "no metrics": (readings(metrics={}), "no metrics"),
    "list": (readings(metrics={"y": [1.0]}), "tuple of repeats"),
    "empty": (readings(metrics={"y": ()}), "tuple of repeats"),
    "nan": (readings(metrics={"y": (math.nan,)}), "finite float"),
    "int": (readings(metrics={"y": (1,)}), "finite float"),
    "negative seconds": (readings(seconds=-1.0), "seconds of a reading"),
    "more seconds than spent": (readings(seconds=3.0), "more than"),
    "negative cost": (lambda m: replace(m, cost=replace(m.cost, measure_s=-1.0)), "measure_s"),
    "infinite cost": (lambda m: replace(m, cost=replace(m.cost, start_s=math.inf)), "start_s"),
    "trajectory back in time": (lambda m: replace(m, trajectory_s=((2.0, 1.0),)), "back in time"),
    "trajectory of lists": (lambda m: replace(m, trajectory_s=([1.0, 2.0],)), "JSON"),
}


def is_told(breaks: Any, says: str, status: Status) -> None:
    """The suite refuses a runner whose measurements of that status are broken, and says why."""

    class Broken(Sound):
        def measure(self, proposal: Proposal) -> Measurement:
            measurement = super().measure(proposal)
            broken: Measurement = breaks(measurement) if measurement.status is status else measurement
            return broken

    with pytest.raises(AssertionError, match=says):
        check_runner(Broken, GOOD, BAD)


@pytest.mark.parametrize("name", GOOD_BROKEN)
def test_broken_measurements_are_told(name: str) -> None:
    is_told(*GOOD_BROKEN[name], Status.OK)


def test_numpy_numbers_do_not_survive_json() -> None:
    class Broken(Sound):
        def measure(self, proposal: Proposal) -> Measurement:
            measurement = super().measure(proposal)
            seconds: Any = np.float32(2)
            return replace(measurement, cost=replace(measurement.cost, measure_s=seconds))

    with pytest.raises(AssertionError, match="JSON"):
        check_runner(Broken, GOOD)


BAD_BROKEN: dict[str, tuple[Any, str]] = {
    "a number for a failure": (lambda m: replace(m, readings=(Reading({}, {"y": (0.0,)}, 1),)), "no readings"),
    "no reason": (lambda m: replace(m, reason=" "), "reason"),
    "ok": (lambda m: replace(m, status=Status.OK), "ended ok"),
    "a trajectory": (lambda m: replace(m, trajectory_s=((1.0,),)), "trajectory"),
}


@pytest.mark.parametrize("name", BAD_BROKEN)
def test_broken_failures_are_told(name: str) -> None:
    is_told(*BAD_BROKEN[name], Status.FAILED)


def test_a_failure_must_not_break_the_next_run() -> None:
    class Broken(Sound):
        dead = False

        def measure(self, proposal: Proposal) -> Measurement:
            measurement = super().measure(proposal)
            if self.dead:
                return Measurement(Status.FAILED, measurement.cost, reason="engine is dead")
            self.dead = measurement.status is Status.FAILED
            return measurement

    with pytest.raises(AssertionError, match="engine is dead"):
        check_runner(Broken, GOOD, BAD)


def test_closing_twice_is_asked_for_and_so_is_closing_after_an_error() -> None:
    made: list[Sound] = []

    class Counted(Sound):
        def __init__(self) -> None:
            super().__init__()
            made.append(self)

    check_runner(Counted, GOOD, BAD)
    assert made[0].closed == 2 and all(runner.closed for runner in made)
    made.clear()
    with pytest.raises(AssertionError):
        check_runner(Counted, BAD)
    assert made[0].closed
