"""The loop: one owner of the budget, nothing measured twice, and an end for every reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from planner.campaign.loop import Loop, Observer
from planner.campaign.stopping import Limits
from planner.evaluation.estimate import Estimate
from planner.ledger.observations import Observations, Run
from planner.space.grid import full_grid
from planner.space.types import Axis, Cost, Measurement, Point, Proposal, Reading, Role, Scale, Scope, Status
from planner.strategies.adaptive import AdaptiveStrategy
from planner.strategies.registry import make_strategy
from planner.strategies.strategy import Posterior, Strategy, StrategyContext
from planner.tables.recorded_grid import Sweep

AXES = (Axis("model", ("a", "b"), Scope.ENGINE, Scale.CATEGORY, (Role.MODEL,)),
        Axis("output_len", (1, 4, 16, 64), scale=Scale.LOG, roles=(Role.OUTPUT_TOKENS,)),
        Axis("batch_size", (1, 2, 3, 5, 8, 12), scale=Scale.LOG, roles=(Role.BATCH,)))
N = 2 * 4 * 6


class Memory:
    """A record in memory; `others` is what other processes do before the n-th refresh of the record."""

    def __init__(self, others: Callable[[int, Observations], None] | None = None) -> None:
        self.runs: list[Run] = []
        self.begun: list[dict[str, Any]] = []
        self.seeds: list[int] = []
        self.abandoned: list[dict[str, Any]] = []
        self.enqueued: list[dict[str, Any]] = []
        self.checkpoints = 0
        self._others = others

    def begin(self, point: Point, seed: int) -> tuple[dict[str, Any], Point]:
        point = dict(self.enqueued.pop(0) if self.enqueued else point)
        self.begun.append(point)
        self.seeds.append(seed)
        return point, point

    def finish(self, trial: Any, measurement: Measurement, planner_s: float = 0.0) -> Run:
        self.runs.append(Run(len(self.runs), trial, measurement, planner_s))
        return self.runs[-1]

    def abandon(self, trial: Any, reason: str) -> None:
        self.abandoned.append(trial)

    def refresh(self, observations: Observations, before: Any = None) -> None:
        self.checkpoints += 1
        if self._others is not None:
            self._others(self.checkpoints, observations)


class Fake:
    """A runner whose seconds are latency, and whose batches beyond `largest` fail."""

    def __init__(self, trajectory: str | None = None, largest: int = 99) -> None:
        self.trajectory_axis = trajectory
        self.largest = largest
        self.proposals: list[Proposal] = []

    def measure(self, proposal: Proposal) -> Measurement:
        self.proposals.append(proposal)
        seconds = latency(proposal.point)
        cost = Cost(measure_s=seconds)
        if int(proposal.point["batch_size"]) > self.largest:
            return Measurement(Status.FAILED, cost, reason="out of memory")
        return Measurement(Status.OK, cost, tuple(
            Reading(p, {"latency_s": (latency(p),)}, latency(p)) for p in proposal.covers))


def latency(point: Point) -> float:
    return (0.5 + 0.1 * float(point["output_len"])) * (1 + 0.2 * float(point["batch_size"])) * (
        2 if point["model"] == "b" else 1)


def play(
    name: str = "full", limits: Limits | None = None, runner: Fake | None = None, memory: Memory | None = None,
    **given: Any,
) -> tuple[str, Observations, Memory, Fake]:
    grid, runner, memory = full_grid(AXES), runner or Fake(), memory or Memory()
    observations = given.pop("observations", None) or Observations(grid, ("latency_s",))
    context = StrategyContext(grid, ("latency_s",), runner.trajectory_axis, np.ones(len(grid)))
    strategy: Any = given.pop("strategy", None) or make_strategy(name, context)
    loop = Loop(runner, strategy, memory, observations, limits or Limits(), clock=None, **given)  # type: ignore[arg-type]
    return loop.run(), observations, memory, runner


def key(point: Point) -> tuple[Any, ...]:
    return tuple(point[axis.name] for axis in AXES)


@pytest.mark.parametrize("name", ["full", "random", "sweepwise"])
def test_without_a_limit_the_whole_grid_is_measured_once(name: str) -> None:
    reason, observations, memory, _ = play(name)
    assert reason == "grid" and observations.measured.all()
    assert len({key(p) for p in memory.begun}) == len(memory.begun) == N
    assert memory.seeds == list(range(N))  # each run its own seed, whatever was resumed in between


@pytest.mark.parametrize("name", ["full", "random", "sweepwise"])
def test_a_trajectory_covers_the_unknown_shorter_points_and_no_other(name: str) -> None:
    reason, observations, _, runner = play(name, runner=Fake("output_len"))
    assert reason == "grid" and observations.measured.all()
    measured: list[tuple[Any, ...]] = []
    for proposal in runner.proposals:
        model, length, batch = key(proposal.point)
        shorter = {(model, n, batch) for n in AXES[1].values if n < length} - set(measured)
        assert {key(p) for p in proposal.covers} == shorter | {key(proposal.point)}
        measured += [key(p) for p in proposal.covers]
    assert len(measured) == len(set(measured)) == N
    if name == "full":  # the longest runs first: they measure all others
        assert len(runner.proposals) == N // 4


def test_every_failure_is_a_trial_and_none_is_run_again() -> None:
    reason, observations, memory, _ = play(limits=Limits(trials=30), runner=Fake(largest=5))
    assert reason == "trials" and observations.finished == 30 == len(memory.begun)
    assert observations.failures == sum(int(p["batch_size"]) > 5 for p in memory.begun) > 0
    assert len({key(p) for p in memory.begun}) == 30
    reason, observations, memory, _ = play(limits=Limits(trials=30), runner=Fake(largest=5), observations=observations)
    assert reason == "trials" and not memory.begun  # what was done before counts


def test_an_interrupted_run_is_no_trial() -> None:
    observations = Observations(full_grid(AXES), ("latency_s",))
    observations.add(Run(0, observations.grid.point(0), Measurement(Status.INTERRUPTED, Cost(measure_s=1.0),
                                                                    reason="killed")))
    _, observations, memory, _ = play(limits=Limits(trials=3), observations=observations)
    assert len(memory.begun) == 3 and observations.finished == 3 and len(observations.runs) == 4


@pytest.mark.parametrize("ceiling", [20.0, 60.0])
def test_no_run_is_begun_that_is_predicted_to_exceed_the_cost(ceiling: float) -> None:
    grid = full_grid(AXES)

    class Watched(AdaptiveStrategy):
        told: list[tuple[float, float]]

        def price(self, row: int, observations: Observations) -> float:
            price = super().price(row, observations)
            self.told = [*getattr(self, "told", []), (observations.spent, price)]
            return price

    strategy = Watched(StrategyContext(grid, ("latency_s",), None, np.ones(len(grid))))
    reason, observations, memory, _ = play(limits=Limits(cost=ceiling), strategy=strategy)
    assert reason == "cost"
    *begun, last = strategy.told
    assert len(begun) == len(memory.begun) > 1
    assert all(spent + price <= ceiling for spent, price in begun) and sum(last) > ceiling
    assert sum(price > 0 for _, price in begun) >= len(begun) - 1, "the price was hardly ever known"
    # And prices are accurate: the cost exceeds the limit by at most one misjudged run.
    assert observations.spent <= ceiling + max(run.measurement.cost.seconds for run in observations.runs)


def test_a_share_is_a_share_of_the_whole_sweep() -> None:
    whole = sum(latency(full_grid(AXES).point(row)) for row in range(N))
    reason, observations, _, _ = play("sweepwise", Limits(share=0.4))
    assert reason == "cost" and observations.spent == pytest.approx(0.4 * whole, rel=0.15)


class Sure:
    """A strategy with given estimates, in the order of the grid."""

    def __init__(self, lows: list[float], ceiling: float = 1.0) -> None:
        self.lows = lows
        self.ceiling = ceiling
        self.asked = 0
        self.looked = 0

    def is_due(self, observations: Observations) -> bool:
        return bool(observations.measured.any())

    def propose(self, observations: Observations) -> int | None:
        free = [r for r in range(len(observations.grid)) if not observations.known[r] and r not in observations.pending]
        return free[0] if free else None

    def price(self, row: int, observations: Observations) -> float:
        return 0.0

    def posterior(self, observations: Observations) -> Posterior:
        low = self.lows[min(self.looked, len(self.lows) - 1)]
        self.looked += 1
        nothing: Any = None
        estimate = Estimate(low, low, 1.0, self.ceiling)
        return Posterior(nothing, {"latency_s": estimate}, nothing, Sweep((100.0,) * 3, (100.0,) * 3))


def test_accuracy_must_be_met_twice_in_a_row() -> None:
    for lows, runs in (([0.95] * 2, 2), ([0.95, 0.8, 0.95, 0.95], 4), ([0.94, 0.95, 0.94, *[0.96] * 2], 5)):
        reason, observations, _, _ = play(limits=Limits(accuracy=0.95), strategy=Sure(lows))
        assert (reason, observations.finished) == ("accuracy", runs)


def test_a_resumed_study_that_was_accurate_needs_one_look_that_agrees() -> None:
    observations = play(limits=Limits(trials=5))[1]
    for lows, runs in (([0.96], 5), ([0.94, 0.96, 0.96], 7)):
        reason, after, _, _ = play(limits=Limits(accuracy=0.95), strategy=Sure(lows), reached=True,
                                   observations=observations.prefix(5))
        assert (reason, after.finished) == ("accuracy", runs)


def test_an_accuracy_that_noise_forbids_ends_the_study_once_the_rest_is_learned() -> None:
    reason, observations, _, _ = play(limits=Limits(accuracy=0.95), strategy=Sure([0.7, 0.8, 0.89, 0.89], ceiling=0.9))
    assert (reason, observations.finished) == ("noise", 4)


@pytest.mark.parametrize("name", ["full", "random", "sweepwise"])
def test_twenty_failures_end_the_study_and_running_again_retries(name: str) -> None:
    twenty = Limits(failures=20)
    reason, observations, _, _ = play(name, twenty, Fake(largest=0))
    assert (reason, observations.finished, observations.failures) == ("failures", 20, 20)
    assert (play(name, twenty, Fake(largest=0), observations=observations)[0], observations.finished) == ("failures",
        40)
    assert play(name, twenty, Fake(), observations=observations)[0] == "grid"  # fixed meanwhile
    assert int(observations.measured.sum()) == N - 40


def test_failures_after_a_success_are_results_like_others() -> None:
    reason, observations, _, _ = play("full", Limits(failures=20), Fake(largest=1))
    assert (reason, observations.finished, observations.failures) == ("grid", N, N * 5 // 6)


@pytest.mark.parametrize(("limits", "reason"), [(Limits(trials=30), "trials"), (Limits(cost=40.0), "cost")])
def test_without_an_accuracy_limit_none_ends_the_study(limits: Limits, reason: str) -> None:
    strategy = Sure([1.0])
    ended, _, _, _ = play(limits=limits, strategy=strategy)
    assert ended == reason and strategy.looked == 0
    assert play(strategy=Sure([1.0]))[0] == "grid"


def test_whichever_limit_comes_first_ends_it() -> None:
    assert play(limits=Limits(accuracy=0.95, cost=1e9, trials=1), strategy=Sure([0.99]))[0] == "trials"
    assert play(limits=Limits(accuracy=0.95, cost=0.5, trials=50), strategy=Sure([0.1]))[0] == "cost"
    assert play(limits=Limits(accuracy=0.95, cost=1e9, trials=50), strategy=Sure([0.99]))[0] == "accuracy"


def test_a_stop_that_is_asked_for_comes_after_the_run_in_hand() -> None:
    asked: list[bool] = []

    class Asking(Fake):
        def measure(self, proposal: Proposal) -> Measurement:
            asked.append(True)
            return super().measure(proposal)

    reason, observations, memory, _ = play(runner=Asking(), stop_requested=lambda: bool(asked))
    assert (reason, observations.finished, len(memory.runs)) == ("interrupted", 1, 1)
    assert observations.measured.sum() == 1


def test_a_run_that_is_broken_off_is_recorded_as_interrupted() -> None:
    class Broken(Fake):
        def measure(self, proposal: Proposal) -> Measurement:
            if len(self.proposals) == 2:
                raise KeyboardInterrupt
            return super().measure(proposal)

    runner, memory = Broken(), Memory()
    ends = iter([False, False, False, True])
    reason, observations, _, _ = play(runner=runner, memory=memory, stop_requested=lambda: next(ends))
    assert reason == "interrupted" and (observations.finished, observations.failures) == (2, 0)
    assert memory.runs[-1].measurement.status is Status.INTERRUPTED and not memory.runs[-1].measurement.readings


def test_the_time_that_accelerators_wait_for_the_planner_is_charged() -> None:
    now = [0.0]

    class Slow(Sure):
        def propose(self, observations: Observations) -> int | None:
            now[0] += 3.0
            return super().propose(observations)

    class Ticking(Fake):
        def measure(self, proposal: Proposal) -> Measurement:
            now[0] += 100.0
            return super().measure(proposal)

    grid = full_grid(AXES)
    observations, runner = Observations(grid, ("latency_s",)), Ticking()
    loop = Loop(runner, Slow([0.0]), Memory(), observations, Limits(trials=4), clock=lambda: now[0])  # type: ignore[arg-type]
    assert loop.run() == "trials"
    assert [run.planner_s for run in observations.runs] == [3.0] * 4
    assert observations.spent == pytest.approx(12.0 + sum(latency(p.point) for p in runner.proposals))


def test_a_limit_of_cost_counts_the_imports_that_another_session_pays_again() -> None:
    """An import of 8 s on two accelerators was paid before: with 15 s left, no session may begin."""
    class Importing(Fake):
        def measure(self, proposal: Proposal) -> Measurement:
            found = super().measure(proposal)
            first = len(self.proposals) == 1
            return replace(found, cost=replace(found.cost, import_s=8.0 if first else 0.0, accelerators=2.0))

    _, observations, *_ = play("random", Limits(trials=3), Importing())
    assert observations.import_cost == 16.0 and observations.import_s == 8.0
    spent = observations.spent
    reason, _, memory, _ = play("random", Limits(cost=spent + 15), Importing(), observations=observations)
    assert reason == "cost" and not memory.begun
    cheap = play("random", Limits(cost=spent + 15), observations=Observations(
        observations.grid, ("latency_s",), [replace(run, measurement=replace(run.measurement, cost=Cost(
            measure_s=run.measurement.cost.run_s))) for run in observations.runs]))
    assert cheap[2].begun, "without an import, 15 s are enough to begin"


def test_an_enqueued_point_is_run_in_place_of_the_chosen_one() -> None:
    memory = Memory()
    wanted, outside = full_grid(AXES).point(30), {"model": "z", "output_len": 1, "batch_size": 1}
    memory.enqueued = [outside, wanted, wanted]
    reason, observations, _, runner = play(limits=Limits(trials=5), memory=memory)
    assert reason == "trials" and [dict(p.point) for p in runner.proposals][:2] == [wanted, wanted]
    assert observations.failures == 1 and "not in the grid" in observations.runs[0].measurement.reason
    assert len(observations.repeats("latency_s")[30]) == 2  # asked for twice by a person: measured twice


def others_take(rows: list[int], at_refresh: int) -> Callable[[int, Observations], None]:
    """Another process begins `rows` at the n-th refresh, and never ends."""
    def act(checkpoint: int, observations: Observations) -> None:
        observations.pending = set(rows) if checkpoint >= at_refresh else set()

    return act


def test_points_that_others_are_measuring_are_left_to_them() -> None:
    taken = [0, 5, N - 1]
    _, observations, memory, _ = play(memory=Memory(others_take(taken, 1)))
    assert len(memory.begun) == N - 3 and not memory.abandoned and not observations.known[taken].any()
    long = observations.grid.find({"model": "a", "output_len": 64, "batch_size": 3})
    assert long is not None
    _, observations, memory, runner = play(memory=Memory(others_take([long], 1)), runner=Fake("output_len"))
    assert all(key(p.point)[::2] != ("a", 3) for p in runner.proposals)  # their long run measures the short ones


def test_a_point_that_another_process_was_first_at_is_given_up() -> None:
    probe = play(limits=Limits(trials=1))[2].begun[0]
    row = full_grid(AXES).find(probe)
    assert row is not None
    reason, observations, memory, runner = play(memory=Memory(others_take([row], 2)))
    assert reason == "grid" and memory.abandoned == [probe]
    assert len(runner.proposals) == N - 1 and not observations.known[row]


def test_points_of_another_process_are_not_measured_again() -> None:
    def act(checkpoint: int, observations: Observations) -> None:
        if checkpoint == 2:  # after our begin: they have finished everything but one point
            for row in range(N - 1):
                if not observations.known[row]:
                    at = observations.grid.point(row)
                    reading = Reading(at, {"latency_s": (1.0,)}, 1.0)
                    observations.add(Run(1000 + row, at, Measurement(Status.OK, Cost(measure_s=1.0), (reading,))))

    reason, observations, memory, runner = play(strategy=Sure([0.0]), memory=Memory(act))
    assert reason == "grid" and observations.measured.all()
    assert [observations.grid.find(p.point) for p in runner.proposals] == [N - 1] and len(memory.abandoned) == 1


def test_an_observer_hears_of_everything() -> None:
    only: list[str] = []

    class Ear(Observer):
        def started(self, point: Point, observations: Observations) -> None:
            only.append(f"start {len(observations.runs)}")

        def finished(self, run: Run, observations: Observations) -> None:
            only.append(f"end {run.number} {len(observations.runs)}")

        def checkpoint(self, posterior: Posterior, observations: Observations) -> None:
            only.append(f"checkpoint {len(observations.runs)}")

    strategy: Strategy = Sure([0.1])
    play(limits=Limits(accuracy=0.9, trials=2), strategy=strategy, observer=Ear())
    assert only == ["start 0", "end 0 1", "checkpoint 1", "start 1", "end 1 2", "checkpoint 2"]


class Steady(Fake):
    """A runner whose repeats agree within two percent, and whose warm-ups are like them."""

    def measure(self, proposal: Proposal) -> Measurement:
        self.proposals.append(proposal)
        full = [0.98, 1.0, 1.02]
        made = [latency(proposal.point) * by for by in full[:proposal.repeats]]
        return Measurement(Status.OK, Cost(warmup_s=made[0] if proposal.warmup else 0.0, measure_s=sum(made)), (
            Reading(proposal.point, {"latency_s": tuple(made)}, 4 * made[0]),),
            warmup_ratio=1.0 if proposal.warmup and len(made) == len(full) else None)


def test_runs_are_repeated_where_that_tells_more_than_the_next_point() -> None:
    _, _, _, runner = play("random", Limits(trials=25), Steady(), repeats=3)
    asked = [(proposal.repeats, proposal.warmup) for proposal in runner.proposals]
    assert asked == [(None, True)] * 3 + [(1, False)] * 17 + [(None, True)] + [(1, False)] * 4
    _, _, _, always = play("random", Limits(trials=25), Steady())
    assert {(proposal.repeats, proposal.warmup) for proposal in always.proposals} == {(None, True)}
