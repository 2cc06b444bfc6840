"""Several workers on a recorded grid: times by hand, one worker as ever, and nobody knows what has not ended."""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from planner.acquisition.initial_design import cost_proxy, initial_size
from planner.analysis.simulated import Simulation, cost_of_accuracy
from planner.campaign.loop import Loop, Observer
from planner.campaign.setup import StudySetup, open_setup
from planner.campaign.stopping import Limits
from planner.ledger.observations import Observations, Run, Underway
from planner.simulation.replay import Replay
from planner.simulation.simulate import simulate_one, stage
from planner.simulation.workers import SharedRecord, WorkerRecord, play_together
from planner.strategies.registry import make_strategy
from planner.views.simulation import workers_table

SMALL = {"models": ("small", "large"), "inputs": (128, 2048), "outputs": (16, 64), "batches": (1, 2, 4, 8, 16, 64),
         "repeats": 1}


def replay_of(study: StudySetup) -> Replay:
    return Replay(study.recorded(), study.metrics)


class Watch(Observer):
    """Checks at the end of each run that nothing is known of what ends later."""

    def __init__(self, record: SharedRecord) -> None:
        self.record, self.checked = record, 0

    def finished(self, run: Run, observations: Observations) -> None:
        ends = [charge.ends_s for charge in self.record.charges]
        known = {one.number for one in observations.runs}
        assert all(ends[number] <= ends[run.number] for number in known)
        assert all(ends[number] >= ends[run.number] for number in range(len(ends)) if number not in known)
        assert len(observations.underway) == len(ends) - len(known)
        self.checked += 1


def played(study: StudySetup, name: str, workers: int, limits: Limits | None = None) -> SharedRecord:
    replay = replay_of(study)
    record = SharedRecord(Observations(study.grid, replay.metrics))
    watch, strategy = Watch(record), make_strategy(name, stage(replay, name, 0)[1])
    runners = [stage(replay, name, 0)[0] for _ in range(workers)]
    play_together([Loop(runner, strategy, WorkerRecord(record, runner.trajectory_axis, lambda: 1.0),
                        record.observations, limits or Limits(), 0, watch, clock=None) for runner in runners])
    assert watch.checked == len(record.charges) == len(record.observations.runs)
    return record


@pytest.mark.parametrize("trajectory", [None, "output_len"])
@pytest.mark.parametrize("name", ["sweepwise", "random", "lhs"])
def test_no_point_is_measured_twice(recorded: Callable[..., Any], name: str, trajectory: str | None) -> None:
    study = open_setup(recorded(**SMALL, runner={"trajectory": trajectory} if trajectory else {}).study)
    record = played(study, name, 7, Limits(trials=40))
    rows = [study.grid.find(run.point) for run in record.observations.runs]
    assert len(rows) == len(set(rows)) > 20
    assert {run.number for run in record.observations.runs} == set(range(len(rows)))


@pytest.mark.parametrize("workers", [1, 3])
def test_times_and_starts_by_hand(recorded: Callable[..., Any], workers: int) -> None:
    """Every worker takes the next point of a fixed list as soon as it is free, and starts its own engines."""
    grid = recorded(**SMALL)
    record = played(open_setup(grid.study), "random", workers)
    taken = sorted(record.observations.runs, key=lambda run: run.number)
    axes = ("model", "input_len", "output_len", "batch_size")
    rows = {key: found[0] for key, found in grid.points(*axes).items()}
    free: list[tuple[float, int, str]] = [(0.0, place, "") for place in range(workers)]  # when, who is first, engine
    total = 0.0
    for number, run in enumerate(taken):
        row = rows[tuple(run.point[axis] for axis in axes)]
        now, _, engine = heapq.heappop(free)
        starts = 2.0 if engine != row["model"] else 0.0
        ends = now + starts + 0.05 + row["cost_s"]
        assert record.charges[number].ends_s == pytest.approx(ends)
        assert record.charges[number].start_cost == starts * row["n_gpus"]
        total += (ends - now) * row["n_gpus"]
        heapq.heappush(free, (ends, workers + number, row["model"]))
    assert record.cost(len(taken)) == pytest.approx(total)
    assert record.last(len(taken)).ends_s == pytest.approx(max(when for when, _, _ in free))


def without(run: dict[str, Any], *names: str) -> dict[str, Any]:
    """The run without some keys, in its entries too."""
    def cut(entry: Any) -> Any:
        return {key: value for key, value in entry.items() if key not in names} if isinstance(entry, dict) else entry

    return {**cut(run), "at": [cut(entry) for entry in run["at"]], "stop": cut(run["stop"])}


def test_one_worker_is_the_plain_simulation(recorded: Callable[..., Any]) -> None:
    study, shares = open_setup(recorded(**SMALL).study), [0.05, 0.2, 0.8]
    for name in ("sweepwise", "random"):
        plain, one = (simulate_one(replay_of(study), name, 1, shares, 0.0, *workers) for workers in ((), (1,)))
        assert plain[0]["stop"] and "wall_s" not in json.dumps(plain)
        assert [without(run, "planner_s") for run in plain] == [
            without(run, "planner_s", "workers", "wall_s", "starts_fraction") for run in one]


def test_the_same_seed_gives_the_same_and_more_workers_are_sooner(recorded: Callable[..., Any]) -> None:
    replay, shares = replay_of(open_setup(recorded(**SMALL).study)), [0.3, 0.6]
    one, many, again = (without(simulate_one(replay, "sweepwise", 2, shares, 0.6, workers)[0], "planner_s")
                        for workers in (1, 6, 6))
    assert many == again and many != one
    for late, soon in zip(one["at"], many["at"], strict=True):
        assert soon["wall_s"] < late["wall_s"] and soon["cost_actual"] <= soon["cost_fraction"]


def test_what_is_under_way_at_the_stop_ends_and_is_paid(recorded: Callable[..., Any]) -> None:
    """A rule that is content with anything stops early, when one of five workers is free and four measure."""
    study = open_setup(recorded(**SMALL).study)
    (run,) = simulate_one(replay_of(study), "random", 0, [0.5], 0.0, 5)
    record = played(study, "random", 5, Limits(cost=0.5 * replay_of(study).full_cost))
    stop, ends = run["stop"], [charge.ends_s for charge in record.charges]
    in_order = record.observations.runs
    now = ends[in_order[stop["runs"] - 4 - 1].number]
    began = [ends[run.number] - run.measurement.cost.seconds for run in in_order]
    assert stop["runs"] == sum(moment < now - 1e-9 for moment in began) < len(ends)
    assert stop["wall_s"] == max(ends[:stop["runs"]]) > now
    assert stop["cost_fraction"] == pytest.approx(record.cost(stop["runs"]) / replay_of(study).full_cost)


def test_many_workers_begin_with_different_and_cheap_points(recorded: Callable[..., Any]) -> None:
    """More workers than the initial design has points: those left over spread further, and take no random point."""
    study = open_setup(recorded(**{**SMALL, "inputs": (128, 512, 2048), "outputs": (16, 64, 256)}).study)
    seen, price = Observations(study.grid, study.metrics), cost_proxy(study.grid)
    size = initial_size(study.grid, None)
    for seed in range(3):
        strategy = make_strategy("sweepwise", stage(replay_of(study), "sweepwise", seed)[1])
        chosen: list[int] = []
        for _ in range(size + 20):
            seen.pending, seen.underway = set(chosen), tuple(map(Underway, chosen))
            row = strategy.propose(seen)
            assert row is not None and row not in chosen and not strategy.is_due(seen)
            chosen.append(row)
        assert price[chosen[size:]].mean() < 0.75 * price.mean()


def test_the_command(recorded: Callable[..., Any], answer: Callable[..., Any]) -> None:
    usual = ("simulate", recorded(**SMALL).study, "--strategies", "random", "--seeds", 2, "--at-cost", "0.3,0.6")
    result = answer(*usual, "--workers", "1,4")
    assert [(run["workers"], run["seed"]) for run in result["runs"]] == [(1, 0), (1, 1), (4, 0), (4, 1)]
    assert all({"wall_s", "starts_fraction"} <= set(entry) for run in result["runs"] for entry in run["at"])
    more = answer(*usual, "--workers", "2,4")  # the file is there: only those with two are played
    assert [run["workers"] for run in more["runs"]] == [2, 2, 4, 4, 1, 1]
    assert more["runs"][2:] == [*result["runs"][2:], *result["runs"][:2]]


@pytest.mark.parametrize(("given", "said"), [("1,x", "cannot read '1,x'"), ("0,4", "0 is out of range")])
def test_wrong_numbers(recorded: Callable[..., Any], sweepwise: Callable[..., Any], given: str, said: str) -> None:
    ran = sweepwise("simulate", recorded(**SMALL).study, "--workers", given)
    assert ran.code == 2 and ran.err.startswith(f"sweepwise: --workers: {said}; write numbers"), ran.err
    assert ran.err.count("\n") == 1


def entry(cost: float, accuracy: float | None) -> dict[str, Any]:
    return {"cost_fraction": cost, "cost_actual": cost, "starts_fraction": cost / 4, "accuracy": accuracy}


def test_the_cost_of_an_accuracy() -> None:
    entries = [entry(0.01, None), entry(0.02, 0.8), entry(0.04, 0.9), entry(0.08, 1.0)]
    assert cost_of_accuracy(entries, 0.85) == pytest.approx(0.03)
    assert cost_of_accuracy(entries, 0.9) == pytest.approx(0.04)
    assert str(cost_of_accuracy(entries, 0.7)) == str(cost_of_accuracy(entries[:3], 0.95)) == "nan"


def test_the_table() -> None:
    runs = [{"strategy": "ours", "seed": seed, "workers": workers, "target": "y", "planner_s": 0.1,
             "at": [entry(0.1 * workers, 0.5), entry(0.2 * workers, 0.9 + 0.02 * seed)],
             "stop": {"cost_fraction": 0.3, "accuracy": 0.92, "wall_s": 100.0 / workers} if seed else None}
            for workers in (1, 2) for seed in (0, 1)]
    found = Simulation({"grid_points": 8, "full_cost": 60.0, "options": {"stop_accuracy": 0.8}, "runs": runs})
    console = Console(file=StringIO(), width=150)
    console.print(workers_table(found))
    head, one, two = console.file.getvalue().splitlines()[1:4]  # type: ignore[attr-defined]
    assert "cost of 80 %" in head and "speed-up" in head
    assert " ".join(one.split()[2:]) == "1 17.3 % 1.00 × 4.3 % 30.0 % (1 of 2) 92.0 % 1 min 40 s 1.00 ×"
    assert " ".join(two.split()[2:]) == "2 34.6 % 2.00 × 8.7 % 30.0 % (1 of 2) 92.0 % 50 s 2.00 ×"
