"""A study that asks for a decision is played to it, and its choices are held against the recording."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import yaml

import planner
from planner.campaign.setup import open_setup
from planner.simulation.choice_truth import ChoiceTruth
from planner.space.types import StudyError

GRID = {"models": ("small", "large"), "inputs": (128,), "outputs": (16, 64), "batches": (1, 2, 4, 8, 16, 32),
        "targets": ("throughput", "latency_s"), "noise": 0.005}
LEVEL = 0.5


def decision_study(recorded: Callable[..., Any], level: float = LEVEL, **stop: float) -> Any:
    grid = recorded(**GRID, stop={"decision": 0.95, **stop})
    file = yaml.safe_load(grid.study.read_text())
    grid.study.write_text(yaml.safe_dump({**file, "slo": [f"latency_s <= {level}"]}))
    return grid


def best_of(rows: list[dict[str, Any]], output_len: int, level: float) -> dict[tuple[Any, Any], float]:
    """Median throughput of each model and batch size that meets the level, by hand."""
    found: dict[tuple[Any, Any], list[dict[str, Any]]] = {}
    for row in rows:
        if row["output_len"] == output_len and row["status"] == "ok":
            found.setdefault((row["model"], row["batch_size"]), []).append(row)
    return {place: float(np.median([row["throughput"] for row in mine])) for place, mine in found.items()
            if np.median([row["latency_s"] for row in mine]) <= level}


def test_the_truth_by_hand(recorded: Callable[..., Any]) -> None:
    grid = decision_study(recorded)
    setup = open_setup(grid.study)
    assert setup.choice is not None
    truth = ChoiceTruth(setup.choice, setup.recorded(), setup.metrics)
    for number, mix in enumerate(setup.choice.mixes):
        good = best_of(grid.rows, int(mix.given[0]["output_len"]), LEVEL)
        assert good
        for candidate in range(len(mix.grid)):
            point = mix.grid.point(candidate)
            value = good.get((point["model"], point["batch_size"]))
            expected = 1.0 if value is None else 1 - value / max(good.values())
            assert truth.regret(number, candidate) == pytest.approx(expected)
        assert truth.regret(number, None) == 1.0


def test_to_name_none_is_right_where_none_meets_the_level(recorded: Callable[..., Any]) -> None:
    setup = open_setup(decision_study(recorded, level=1e-9).study)
    assert setup.choice is not None
    truth = ChoiceTruth(setup.choice, setup.recorded(), setup.metrics)
    assert truth.regret(0, None) == 0.0 and truth.regret(0, 0) == 1.0


def test_a_simulation_stops_where_the_choice_is_decided(recorded: Callable[..., Any]) -> None:
    """The entry keeps its form; a decision that was not reached is told as far as it came."""
    grid = decision_study(recorded)
    found = planner.open_study(grid.study).simulate(["sweepwise", "random"], seeds=1, at_cost=[0.02, 1.0])
    ours = [run for run in found.runs if run["strategy"] == "sweepwise"]
    assert len(ours) == 2 and {run["target"] for run in ours} == {"throughput", "latency_s"}
    for run in ours:
        assert run["stop"]["reason"] == "decision" and 0.02 < run["stop"]["cost_fraction"] < 1
        assert {"measured", "accuracy", "estimated_accuracy"} <= set(run["stop"])
        decision = run["decision"]
        assert decision["decided"] == decision["right"] == decision["of"] == 2
        assert decision["narrowed"] == decision["tied"] == 0
        for case in decision["cases"]:
            good = best_of(grid.rows, case["given"]["output_len"], LEVEL)
            named = good[case["chosen"]["model"], case["chosen"]["batch_size"]]
            assert case["regret"] == pytest.approx(1 - named / max(good.values()))
    assert run["at"][-1]["cost_actual"] == pytest.approx(run["stop"]["cost_fraction"])  # nothing is left to run
    ours_told, *random_told = found.decisions
    assert (ours_told.strategy, ours_told.state, ours_told.cases, ours_told.right) == ("sweepwise", "decided", 2, 2)
    assert sum(one.cases for one in random_told) == 2 and {one.strategy for one in random_told} == {"random"}


def test_it_is_the_stop_of_a_real_study(recorded: Callable[..., Any]) -> None:
    grid = decision_study(recorded)
    study = planner.open_study(grid.study)
    played = study.simulate(seeds=1, at_cost=[1.0]).runs[0]
    assert study.run().reason == "decision"
    status = study.status()
    assert status.runs == played["stop"]["runs"]
    assert status.choice is not None
    assert [case.chosen for case in status.choice.cases] == [
        case["chosen"] for case in played["decision"]["cases"]]


def test_the_table_says_how_many_are_right(recorded: Callable[..., Any], sweepwise: Callable[..., Any]) -> None:
    grid = decision_study(recorded)
    told = sweepwise("simulate", grid.study, "--seeds", 1, "--at-cost", 1)
    row = told.out.split("Decisions against the recording")[1].splitlines()[2].split()
    assert row[0] == "sweepwise" and row[3:7] == ["decided", "2", "2", "2"]
    plain = sweepwise("simulate", recorded(**GRID, name="plain").study, "--seeds", 1, "--at-cost", 0.1)
    assert "Decisions" not in plain.out


def test_without_a_decision_the_form_is_as_before(recorded: Callable[..., Any]) -> None:
    run = planner.open_study(recorded(**GRID).study).simulate(seeds=1, at_cost=[0.1]).runs[0]
    assert "decision" not in run


def test_a_decision_and_an_accuracy_exclude_each_other(recorded: Callable[..., Any]) -> None:
    with pytest.raises(StudyError, match="decision"):
        open_setup(decision_study(recorded, accuracy=0.9).study)


def test_a_shortlist_ends_it_sooner_and_holds_the_best(recorded: Callable[..., Any]) -> None:
    """It makes the same runs as without one, and ends before."""
    costs = []
    for shortlist in (1, 3):
        stop = {"shortlist": 3} if shortlist > 1 else {}
        found = planner.open_study(decision_study(recorded, **stop).study).simulate(seeds=2, at_cost=[1.0])
        runs = [run for run in found.runs if run["target"] == "throughput"]
        costs.append([run["stop"]["cost_fraction"] for run in runs])
        assert {run["stop"]["reason"] for run in runs} == {"shortlist" if shortlist > 1 else "decision"}
        for case in (case for run in runs for case in run["decision"]["cases"]):
            assert case["state"] in {"decided", "narrowed"} and len(case["among"]) <= shortlist and case["among_right"]
    assert all(short < alone for alone, short in zip(*costs, strict=True))


def test_a_shortlist_belongs_to_a_decision(recorded: Callable[..., Any]) -> None:
    with pytest.raises(StudyError, match=r"stop\.shortlist: belongs to a decision"):
        open_setup(recorded(**GRID, stop={"trials": 9, "shortlist": 2}).study)
