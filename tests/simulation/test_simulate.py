"""Simulations: the costs add up, the form is the design's, and no strategy sees the truth."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest

from planner.campaign.loop import Loop
from planner.campaign.setup import StudySetup, open_setup
from planner.campaign.stopping import Limits
from planner.ledger.observations import Observations, Run
from planner.simulation.simulate import Replay, simulate_each, simulate_one
from planner.strategies.registry import STRATEGIES, make_strategy
from planner.strategies.strategy import StrategyContext

AXES = ("model", "input_len", "output_len", "batch_size")
AT = {"cost_fraction", "measured", "accuracy", "median_ape", "p95_ape", "accuracy_all", "coverage90",
      "estimated_accuracy", "estimated_low", "estimated_high"}
STOP = {"cost_fraction", "measured", "accuracy", "estimated_accuracy", "reason"}


class Memory:
    """The order in which points were run."""

    def __init__(self) -> None:
        self.points: list[dict[str, Any]] = []

    def begin(self, point: Any, seed: int) -> tuple[Any, Any]:
        self.points.append(dict(point))
        return point, point

    def finish(self, trial: Any, measurement: Any, planner_s: float = 0.0) -> Run:
        return Run(len(self.points) - 1, trial, measurement, planner_s)

    def refresh(self, observations: Observations, before: Any = None) -> None:
        pass

    def abandon(self, trial: Any, reason: str) -> None:
        raise AssertionError("nobody else is there")


def play(study: StudySetup, name: str, limits: Limits, seed: int = 0) -> tuple[list[dict[str, Any]], Observations, Any]:
    """A strategy over a recorded grid: its runs, its observations, its posterior."""
    make = StrategyContext(study.grid, study.targets, study.runner.trajectory_axis, study.accelerators, seed)
    memory, observations, strategy = Memory(), Observations(study.grid, study.targets), make_strategy(name, make)
    Loop(study.runner, strategy, memory, observations, limits, seed, clock=None).run()
    return memory.points, observations, strategy.posterior(observations)


def replay_of(study: StudySetup) -> Replay:
    return Replay(study.recorded(), study.metrics)


def hand_cost(rows: list[dict[str, Any]], repeats: int = 1, overhead: float = 0.05, start: float = 2.0) -> float:
    """The plain sweep, from the table as it was written."""
    total, engines = 0.0, {}
    points: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        points.setdefault(tuple(row[a] for a in AXES), []).append(row)
        engines[row["model"]] = row["n_gpus"]
    for mine in points.values():
        taken = min(repeats, len(mine))
        total += (median(row["cost_s"] for row in mine) * taken + overhead) * mine[0]["n_gpus"]
    return total + sum(start * devices for devices in engines.values())


@pytest.mark.parametrize("repeats", [1, 2, 5])
def test_the_full_cost_by_hand(recorded: Callable[..., Any], repeats: int) -> None:
    """Failures, devices, overheads, starts and repeats; five repeats of a table that has two are two."""
    grid = recorded(runner={"repeats": repeats})
    assert any(row["status"] != "ok" for row in grid.rows)
    assert replay_of(open_setup(grid.study)).full_cost == pytest.approx(hand_cost(grid.rows, repeats), rel=1e-12)


@pytest.mark.parametrize("trajectory", [None, "output_len"])
def test_the_plain_sweep_costs_its_full_cost(recorded: Callable[..., Any], trajectory: str | None) -> None:
    """Played run by run, two repeats of two: what the loop is charged is what was computed beforehand."""
    runner = {"repeats": 2, **({"trajectory": trajectory, "repeat": "repeat"} if trajectory else {})}
    grid = recorded(models=("small",), inputs=(128, 2048), batches=(1, 4, 64), runner=runner)
    study = open_setup(grid.study)
    _, observations, _ = play(study, "full", Limits())
    assert observations.known.all()
    assert replay_of(study).full_cost == pytest.approx(hand_cost(grid.rows, 2), rel=1e-12)
    charged: dict[tuple[Any, ...], float] = {}
    for row in grid.rows:
        charged[tuple(row[a] for a in AXES)] = charged.get(tuple(row[a] for a in AXES), 0.0) + row["cost_s"]
    ran = [tuple(run.point[a] for a in AXES) for run in observations.runs]
    assert len(ran) == len(set(ran))
    assert observations.spent == pytest.approx(2.0 + sum(charged[point] + 0.05 for point in ran), rel=1e-12)
    if trajectory is None:
        assert sorted(ran) == sorted(charged) and observations.spent == pytest.approx(replay_of(study).full_cost,
            rel=1e-12)
    else:
        assert len(ran) < len(charged) and observations.spent < replay_of(study).full_cost


def check_form(result: dict[str, Any], shares: list[float], targets: tuple[str, ...]) -> None:
    assert {"grid_points", "full_cost", "runs"} <= set(result)
    for run in result["runs"]:
        assert {"strategy", "seed", "target", "at", "stop", "planner_s"} <= set(run)
        assert run["target"] in targets and run["planner_s"] >= 0
        assert [entry["cost_fraction"] for entry in run["at"]] == shares
        costs = [entry["cost_actual"] for entry in run["at"]]
        assert costs == sorted(costs)
        for entry in run["at"]:
            assert set(entry) >= AT
            assert 0 <= entry["cost_actual"] <= entry["cost_fraction"] * (1 + 1e-9)
            if entry["measured"] == 0:
                assert all(entry[key] is None for key in AT - {"cost_fraction", "measured"})
            elif run["strategy"] != "powers_of_two":  # whose lines may lack a measurement yet
                assert entry["accuracy"] is not None and entry["accuracy"] <= 1
        if run["stop"] is not None:
            assert set(run["stop"]) >= STOP and run["stop"]["reason"] == "accuracy"


def length_independent(value: Any, path: str = "") -> dict[str, Any]:
    """Every leaf by its path, text as a part of it; null as NaN."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {name: leaf for key, part in items for name, leaf in length_independent(part, f"{path}/{key}").items()}
    return {f"{path}={value}" if isinstance(value, str) else path: math.nan if value is None or isinstance(value, str)
            else value}


def test_the_json_of_the_command(recorded: Callable[..., Any], answer: Callable[..., Any], tmp_path: Path) -> None:
    grid = recorded(inputs=(128, 2048), outputs=(16, 256), batches=(1, 2, 4, 8, 16, 64),
                    targets=("latency_s", "ttft_ms"))
    arguments = ("simulate", grid.study, "--strategies", "sweepwise,powers_of_two", "--seeds", 2, "--seed", 3,
                 "--at-cost", "0.25,0.001,0.1", "--stop-accuracy", 0.4, "--quiet",
                 "--storage", f"sqlite:///{tmp_path / 'unused.db'}")
    result = answer(*arguments)
    check_form(result, [0.001, 0.1, 0.25], ("latency_s", "ttft_ms"))
    assert result["grid_points"] == len(grid.points(*AXES)) == 48
    assert result["full_cost"] == pytest.approx(hand_cost(grid.rows), rel=1e-12)
    assert [(r["strategy"], r["seed"], r["target"]) for r in result["runs"]] == [
        (name, seed, target) for name in ("sweepwise", "powers_of_two") for seed in (3, 4)
        for target in ("latency_s", "ttft_ms")]
    assert all(run["at"][0]["measured"] == 0 for run in result["runs"])  # less than one engine start
    assert all(entry[key] is None for run in result["runs"] if run["strategy"] == "powers_of_two"
               for entry in run["at"] for key in ("estimated_accuracy", "coverage90"))
    assert any(run["stop"] for run in result["runs"] if run["strategy"] == "sweepwise")
    (tmp_path / "answer.json").unlink()
    again = answer(*arguments)
    (tmp_path / "answer.json").unlink()
    parallel = answer(*arguments, "--jobs", 2)
    for run in (*result["runs"], *again["runs"], *parallel["runs"]):
        del run["planner_s"]
    assert again == result
    # A process of several has one thread for its linear algebra, which sums in another order.
    assert length_independent(parallel) == pytest.approx(length_independent(result), rel=1e-9, nan_ok=True)
    assert "NaN" not in (tmp_path / "answer.json").read_text() and not list(tmp_path.glob("*.db"))


def test_what_cannot_be_simulated_is_said(
    recorded: Callable[..., Any], bench: Callable[..., Any], sweepwise: Callable[..., Any]
) -> None:
    grid = recorded()
    for arguments, said in (
        ((bench().study,), "recorded grid"),
        ((grid.study, "--strategies", "sweepwize"), "--strategies: unknown strategy 'sweepwize'; did you mean"),
        ((grid.study, "--strategies", "greedy"), ", ".join(sorted(STRATEGIES))),
        ((grid.study, "--strategies", ","), "--strategies"), ((grid.study, "--at-cost", "0.1,x"), "--at-cost"),
        ((grid.study, "--at-cost", "1.5"), "--at-cost"),
    ):
        ran = sweepwise("simulate", *arguments)
        assert ran.code == 2 and said in ran.err and ran.err.count("\n") == 1, ran.err


@pytest.mark.parametrize("name", ["sweepwise", "random", "powers_of_two"])
def test_entries_by_hand(recorded: Callable[..., Any], name: str) -> None:
    """Each entry is scored again from the runs themselves, with none of the simulation's own bookkeeping."""
    grid = recorded(inputs=(128, 2048), outputs=(16, 256), batches=(1, 2, 3, 8, 64))
    study, shares = open_setup(grid.study), [0.05, 0.2, 0.4]
    (result,) = simulate_one(replay_of(study), name, 1, shares, 0.95)
    points, observations, _ = play(open_setup(grid.study, seed=1), name, Limits(cost=0.4 * replay_of(study).full_cost),
                                   seed=1)
    costs = np.cumsum([run.measurement.cost.accelerator_seconds for run in observations.runs])
    truth = {key: median(row["latency_s"] for row in rows) for key, rows in grid.points(*AXES).items()
             if rows[0]["status"] == "ok"}
    for share, entry in zip(shares, result["at"], strict=True):
        runs = int(np.sum(costs <= share * replay_of(study).full_cost))
        assert entry["cost_actual"] == pytest.approx(costs[runs - 1] / replay_of(study).full_cost, rel=1e-12)
        prefix = observations.prefix(runs)
        assert entry["measured"] == prefix.measured.sum() and entry["runs"] == runs
        make = StrategyContext(study.grid, study.targets, None, study.accelerators, 1)
        value = make_strategy(name, make).posterior(prefix).prediction.value["latency_s"]
        errors = [abs(value[row] / truth[key] - 1) for row, key in enumerate(
            tuple(study.grid.point(row)[a] for a in AXES) for row in range(len(study.grid)))
            if key in truth and not prefix.known[row]]
        if any(math.isnan(error) for error in errors):
            assert math.isnan(entry["accuracy"])  # a line with no measurement: nothing may be left out
        else:
            assert entry["accuracy"] == pytest.approx(1 - np.mean(errors), rel=1e-9)
            assert entry["median_ape"] == pytest.approx(np.median(errors), rel=1e-9)
    assert len(points) == len(observations.runs)


def test_powers_of_two_by_hand(recorded: Callable[..., Any]) -> None:
    """Single runs at the powers of two, straight lines between them, everywhere."""
    grid = recorded(inputs=(128, 512), outputs=(16, 64), batches=(1, 2, 3, 4, 6, 8), repeats=1,
                    runner={"trajectory": "output_len"})
    study = open_setup(grid.study)
    (result,) = simulate_one(replay_of(study), "powers_of_two", 0, [1.0], 0.95)
    (entry,) = result["at"]
    truth = {key: rows[0] for key, rows in grid.points(*AXES).items()}
    measured = [key for key in truth if key[3] in (1, 2, 4, 8)]
    assert entry["measured"] == entry["runs"] == len(measured) == 2 * 2 * 2 * 4
    cost = sum((truth[key]["cost_s"] + 0.05) * truth[key]["n_gpus"] for key in measured) + 2.0 * (1 + 2)
    assert entry["cost_actual"] * replay_of(study).full_cost == pytest.approx(cost, rel=1e-12)
    errors = []
    for (model, n_in, n_out, batch), row in truth.items():
        if batch in (3, 6):
            low, high = (truth[model, n_in, n_out, b]["latency_s"] for b in ((2, 4) if batch == 3 else (4, 8)))
            errors.append(abs((low + high) / 2 / row["latency_s"] - 1))
    assert len(errors) == 16
    assert entry["accuracy"] == pytest.approx(1 - np.mean(errors), rel=1e-12)
    (with_trajectories,) = simulate_one(replay_of(study), "powers_of_two_trajectories", 0, [1.0], 0.95)
    (other,) = with_trajectories["at"]
    assert (other["runs"], other["measured"]) == (2 * 2 * 4, 2 * 2 * 2 * 4)
    long = [key for key in measured if key[2] == 64]
    cost = sum((truth[key]["cost_s"] + 0.05) * truth[key]["n_gpus"] for key in long) + 2.0 * (1 + 2)
    assert other["cost_actual"] * replay_of(study).full_cost == pytest.approx(cost, rel=1e-12)
    assert other["accuracy"] == pytest.approx(entry["accuracy"], rel=1e-12)


@pytest.mark.parametrize("name", [name for name, kind in STRATEGIES.items()
                                  if not (kind.for_boundary or kind.for_prior)])
def test_no_strategy_sees_the_truth(recorded: Callable[..., Any], name: str) -> None:
    """Poison every point that was never measured: nothing that was proposed or predicted may change."""
    grid = recorded(inputs=(128, 2048), batches=(1, 2, 4, 8, 16, 64), repeats=1)
    points, observations, posterior = play(open_setup(grid.study), name, Limits(trials=16))
    known = {tuple(point[a] for a in AXES) for point in points}
    rng, poisoned = np.random.default_rng(7), []
    for row in grid.rows:
        nonsense = {key: float(rng.uniform(1e-3, 1e4)) for key in ("latency_s", "ttft_ms", "throughput", "cost_s")}
        clean = tuple(row[a] for a in AXES) in known
        poisoned.append(row if clean else {**row, **nonsense, "status": rng.choice(["ok", "out of memory"])})
    assert sum(a != b for a, b in zip(poisoned, grid.rows, strict=True)) == len(grid.rows) - len(points) > 40
    grid.write(poisoned)
    points_again, seen_again, posterior_again = play(open_setup(grid.study), name, Limits(trials=16))
    assert points_again == points
    np.testing.assert_array_equal(seen_again.column("latency_s"), observations.column("latency_s"))
    for one, other in ((posterior.prediction.value, posterior_again.prediction.value),
                       (posterior.prediction.low, posterior_again.prediction.low)):
        np.testing.assert_array_equal(one["latency_s"], other["latency_s"])
    np.testing.assert_array_equal(posterior.feasibility, posterior_again.feasibility)
    assert posterior.accuracy == posterior_again.accuracy and posterior.plain == posterior_again.plain


def test_sweepwise_beats_random_at_equal_cost(recorded: Callable[..., Any]) -> None:
    study = open_setup(recorded().study)
    tasks = [(name, seed) for name in ("sweepwise", "random") for seed in range(4)]
    errors: dict[str, list[list[float]]] = {"sweepwise": [], "random": []}
    for (run,) in sorted(simulate_each(replay_of(study), tasks, [0.05, 0.12], 0.95, 2),
                         key=lambda runs: runs[0]["seed"]):
        # Nothing measured for this money yet is as good as predicting nothing at all.
        errors[run["strategy"]].append([1 - (entry["accuracy"] or 0.0) for entry in run["at"]])
    ours, theirs = np.array(errors["sweepwise"]), np.array(errors["random"])
    assert ours.shape == theirs.shape == (4, 2)
    assert (np.median(ours, axis=0) < 0.75 * np.median(theirs, axis=0)).all(), (ours, theirs)
    assert np.mean(ours < theirs) >= 0.75, (ours, theirs)


def test_a_table_of_failures_alone_costs_and_says_nothing(recorded: Callable[..., Any]) -> None:
    """Batches that all fail but one: the simulation goes on through failures."""
    grid = recorded(models=("small",), inputs=(128,), outputs=(16,), batches=(1, 2, 4, 8, 16, 24), repeats=1)
    rows = [row if row["batch_size"] == 24 else {**row, "status": "broken", "latency_s": ""} for row in grid.rows]
    grid.write(rows)
    (result,) = simulate_one(replay_of(open_setup(grid.study)), "random", 0, [0.5, 1.0], 0.9)
    assert result["at"][-1]["runs"] == 6 and result["at"][-1]["measured"] == 1
    assert math.isnan(result["at"][-1]["accuracy"])  # nothing is left to be right or wrong about
    half, whole = result["at"]
    assert half["cost_actual"] <= 0.5 and half["measured"] == 0 and half["accuracy"] is None, half
    assert whole["cost_actual"] == pytest.approx(1.0), whole
    assert len(list(csv.DictReader(grid.table.open()))) == 6
