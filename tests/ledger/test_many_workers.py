"""Many workers of one study: a limit counts what is under way, and no two of them take the last place."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from planner.campaign.loop import Loop
from planner.campaign.stopping import Limits
from planner.ledger.ledger import Ledger
from planner.ledger.observations import Observations
from planner.space.grid import Grid, full_grid
from planner.space.types import Axis, Cost, Measurement, Proposal, Reading, Status
from tests.ledger.test_growing import TARGETS, Say, Work, at_the_tick, axes, open_ledger, reading, together

GRID = full_grid(axes("x", "y"))
WORKERS = 8
PLACES = 12


class Bench:
    """A runner that takes a moment, and says what it ran."""

    trajectory_axis = None

    def __init__(self, say: Say = lambda _: None, sleep_s: float = 0.01, meanwhile: Callable[[], None] | None = None
                 ) -> None:
        self._say, self._sleep_s, self._meanwhile = say, sleep_s, meanwhile
        self.ran: list[Mapping[str, Any]] = []

    def measure(self, proposal: Proposal) -> Measurement:
        self.ran.append(proposal.point)
        if self._meanwhile is not None:
            self._meanwhile()
        time.sleep(self._sleep_s)
        self._say("{model}:{batch_size}".format(**proposal.point))
        return Measurement(Status.OK, Cost(measure_s=1.0), (Reading(proposal.point, {TARGETS[0]: (1.0,)}, 1.0),))


class Drawn:
    """A strategy that draws a row that is open. Every run costs a second, and each start of an engine `start_s`."""

    def __init__(self, seed: int, start_s: float = 0.0) -> None:
        self._rng, self._start_s = np.random.default_rng(seed), start_s

    def propose(self, observations: Observations) -> int | None:
        rows = observations.open_rows
        return int(self._rng.choice(rows)) if len(rows) else None

    def is_due(self, observations: Observations) -> bool:
        return False

    def price(self, row: int, observations: Observations) -> float:
        return 1.0 + self._start_s * (observations.current_engine != observations.grid.engine[row])


def loop(ledger: Ledger, limits: Limits, runner: Bench | None = None, seed: int = 0, grid: Grid = GRID,
         start_s: float = 0.0) -> Loop:
    return Loop(runner or Bench(), Drawn(seed, start_s), ledger, ledger.observations(grid), limits,  # type: ignore[arg-type]
                seed, clock=None)


def working(url: str, limits: Limits, seed: int) -> Work:
    def work(say: Say) -> None:
        ledger = open_ledger(url, "x", "y")
        campaign = loop(ledger, limits, Bench(say), seed)
        at_the_tick()
        reason = campaign.run()
        say(f"{reason}, provisional" if campaign.is_provisional else reason)

    return work


def finished(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    return [trial for trial in trials if trial.state is TrialState.COMPLETE]


@pytest.mark.parametrize(("limits", "enqueued"), [
    (Limits(trials=PLACES), 0), (Limits(trials=PLACES), 5), (Limits(cost=float(PLACES)), 0)],
    ids=["trials", "trials, some enqueued", "cost"])
def test_eight_workers_make_exactly_as_many_runs_as_the_limit_says(
    database: Callable[[], str], limits: Limits, enqueued: int
) -> None:
    url = database()
    ledger = open_ledger(url, "x", "y")
    wishes = [{"model": "y", "batch_size": 64 - number} for number in range(enqueued)]
    for wish in wishes:
        ledger.study.enqueue_trial(wish)
    ledger.study._storage.remove_session()
    ledger.study._storage._backend.engine.dispose()  # type: ignore[attr-defined] -- a fork must not share it
    children = together(*(working(url, limits, seed) for seed in range(WORKERS)))
    words = [word for child in children for word in child.done]
    ran = Counter(word for word in words if ":" in word)
    reasons = [word for word in words if ":" not in word]
    assert ran.total() == PLACES and max(ran.values()) == 1
    with reading(url) as study:
        trials = study.get_trials()
        assert len(finished(trials)) == PLACES
        assert all(t.user_attrs["measurement"]["status"] == "interrupted" for t in trials if t not in finished(trials))
        assert all(sum(t.params == wish for t in finished(trials)) == 1 for wish in wishes)
    ends = "cost" if limits.cost else "trials"
    assert len(reasons) == WORKERS and {reason.partition(",")[0] for reason in reasons} == {ends}
    assert ends in reasons, "nobody has found that the study is at its end"


@pytest.mark.parametrize(("limits", "reason"), [(Limits(trials=3), "trials"), (Limits(cost=3.0), "cost")])
def test_a_place_that_another_has_is_not_taken_and_is_free_once_that_one_is_dead(
    database: Callable[[], str], limits: Limits, reason: str
) -> None:
    url = database()
    here, there = open_ledger(url, "x", "y"), open_ledger(url, "x", "y")
    theirs, _ = there.begin({"model": "x", "batch_size": 9}, 0)
    first = loop(here, limits)
    assert (first.run(), first.is_provisional, first.observations.finished) == (reason, True, 2)
    there.abandon(theirs, "it died")
    again = loop(here, limits)
    assert (again.run(), again.is_provisional, again.observations.finished) == (reason, False, 3)


def test_a_limit_that_is_reached_is_reached_though_another_still_measures(database: Callable[[], str]) -> None:
    url = database()
    here, there = open_ledger(url, "x", "y"), open_ledger(url, "x", "y")
    assert loop(here, Limits(trials=2)).run() == "trials"
    there.begin({"model": "x", "batch_size": 9}, 0)
    for limits, reason in ((Limits(trials=2), "trials"), (Limits(cost=2.0), "cost")):
        after = loop(here, limits)
        assert (after.run(), after.is_provisional) == (reason, False)


def test_the_end_of_the_grid_is_provisional_while_another_measures_the_last_point(database: Callable[[], str]) -> None:
    url, few = database(), full_grid((axes("x")[0], Axis("batch_size", (1, 2, 3))))
    here, there = open_ledger(url, "x", "y"), open_ledger(url, "x", "y")
    theirs, _ = there.begin({"model": "x", "batch_size": 2}, 0)
    campaign = loop(here, Limits(), grid=few)
    assert (campaign.run(), campaign.is_provisional, campaign.observations.finished) == ("grid", True, 2)
    there.abandon(theirs, "it died")
    campaign = loop(here, Limits(), grid=few)
    assert (campaign.run(), campaign.is_provisional, campaign.observations.finished) == ("grid", False, 3)


def test_a_worker_waits_while_it_is_doubtful_whether_another_lives(database: Callable[[], str]) -> None:
    """And then takes the point that the dead one had."""
    url = database()
    here, there = open_ledger(url, "x", "y"), open_ledger(url, "x", "y")
    theirs, _ = there.begin({"model": "x", "batch_size": 9}, 0)
    campaign = loop(here, Limits(trials=3))
    looks: list[int] = []

    def look() -> bool:
        looks.append(1)
        if len(looks) == 3:
            there.abandon(theirs, "it is dead")
        return True

    campaign.await_others = look
    assert (campaign.run(), campaign.is_provisional, campaign.observations.finished) == ("trials", False, 3)
    assert len(looks) == 3


def test_of_two_that_begin_the_last_run_at_one_moment_the_first_makes_it(database: Callable[[], str]) -> None:
    """The second has seen a free place, and begins a moment later."""
    url = database()
    here, there = open_ledger(url, "x", "y"), open_ledger(url, "x", "y")
    assert loop(here, Limits(trials=2)).run() == "trials"
    begin, runner = here.begin, Bench()

    def second(point: Any, seed: int) -> Any:
        there.begin({"model": "x", "batch_size": 60}, 0)
        return begin(point, seed)

    here.begin = second  # type: ignore[method-assign]
    campaign = loop(here, Limits(trials=3), runner)
    assert (campaign.run(), campaign.is_provisional, runner.ran) == ("trials", True, [])
    *_, theirs, mine = here.study.get_trials()
    assert theirs.state is TrialState.RUNNING and mine.user_attrs["measurement"]["status"] == "interrupted"


def test_an_enqueued_point_that_came_too_late_for_the_limit_waits_for_a_larger_one(database: Callable[[], str]) -> None:
    url, wish = database(), {"model": "y", "batch_size": 33}
    here, there = open_ledger(url, "x", "y"), open_ledger(url, "x", "y")
    here.study.enqueue_trial(wish)  # its number is lower than that of the run that another begins
    begin, runner = here.begin, Bench()

    def second(point: Any, seed: int) -> Any:
        there._opening.create(state=TrialState.RUNNING, params={"model": "x", "batch_size": 5},
                              user_attrs={"worker": "elsewhere|1|1"})
        return begin(point, seed)

    here.begin = second  # type: ignore[method-assign]
    campaign = loop(here, Limits(trials=1), runner)
    assert (campaign.run(), campaign.is_provisional, runner.ran) == ("trials", True, [])
    here.begin = begin  # type: ignore[method-assign]
    assert loop(here, Limits(trials=2), runner).run() == "trials" and [dict(point) for point in runner.ran] == [wish]


def test_a_run_under_way_is_priced_with_the_engine_that_its_worker_has_running(database: Callable[[], str]) -> None:
    """A worker that has just measured on this configuration pays no start for its next run there."""
    url = database()
    here, there = open_ledger(url, "x", "y"), open_ledger(url, "x", "y")
    begun = [there.begin({"model": "x", "batch_size": size}, 0) for size in (1, 2)]
    there.finish(begun[0][0], Bench().measure(Proposal(begun[0][1], (begun[0][1],), 0)))
    for ceiling, goes_on in ((12.9, False), (13.0, True)):  # spent 1, promised 1; ours costs 1, and a start of 10
        campaign = loop(here, Limits(cost=ceiling), start_s=10.0)
        assert campaign.run() == "cost" and (campaign.observations.finished > 1) is goes_on


def test_a_run_that_is_discarded_elsewhere_gives_its_place_back(database: Callable[[], str]) -> None:
    url = database()
    here, there = open_ledger(url, "x", "y"), open_ledger(url, "x", "y")
    asked: list[int] = []

    def person() -> None:
        if len(runner.ran) == 3 and not asked:
            asked.append(0)
            there.discard(0, "the fan stood still")

    runner = Bench(meanwhile=person)
    campaign = loop(here, Limits(trials=4), runner)
    assert campaign.run() == "trials" and len(runner.ran) == 5
    assert [run.number for run in campaign.observations.runs] == [1, 2, 3, 4]
    assert optuna.load_study(study_name="study", storage=url).user_attrs["discarded"] == {"0": "the fan stood still"}
