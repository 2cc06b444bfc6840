"""A simulation goes on where it ended: only what is missing is played, and what is there is never mixed up or lost."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from planner.analysis.simulated import Simulation
from planner.simulation import simulate as simulation
from planner.simulation.simulation_file import SimulationFile
from planner.space.types import StudyError
from planner.views.simulation import SimulationProgress, simulation_table

SMALL = {"models": ("small",), "inputs": (128,), "outputs": (16, 64), "batches": (1, 2, 4, 8), "repeats": 1}
HEADER = {"version": "1", "study": "s", "study_sha256": "a", "table_sha256": "b",
          "options": {"at_cost": [0.5], "stop_accuracy": 0.9}, "grid_points": 8, "full_cost": 100.0}


def runs(strategy: str, seed: int, accuracy: float = 0.5) -> list[dict[str, Any]]:
    return [{"strategy": strategy, "seed": seed, "target": "y", "stop": None, "planner_s": 0.1,
             "at": [{"cost_fraction": 0.5, "accuracy": accuracy}]}]


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Which simulations were really played, in this process."""
    found: list[tuple[str, int]] = []
    inner = simulation.simulate_one

    def note(study: Any, name: str, seed: int, *rest: Any) -> Any:
        found.append((name, seed))
        return inner(study, name, seed, *rest)

    monkeypatch.setattr(simulation, "simulate_one", note)
    return found


def test_only_what_is_missing_is_played(
    recorded: Callable[..., Any], sweepwise: Callable[..., Any], played: list[Any], tmp_path: Path
) -> None:
    study, out = recorded(**SMALL).study, tmp_path / "out.json"

    def simulate(strategies: str, seeds: int, *more: object) -> Any:
        played.clear()
        ran = sweepwise("simulate", study, "--strategies", strategies, "--seeds", seeds, "--at-cost", "0.4,0.8",
                        "--json", out, *more)
        assert ran.code == 0, ran.err
        return ran.out, json.loads(out.read_text())

    said, first = simulate("random", 2)
    assert played == [("random", 0), ("random", 1)]
    assert said.startswith("1 of 2: random, seed 0: latency_s ") and " left\n2 of 2: random, seed 1" in said
    assert simulate("random", 2)[1] == first and not played  # to the planner's seconds: nothing was played again
    said, more = simulate("lhs,random", 3)
    assert played == [("lhs", 0), ("lhs", 1), ("lhs", 2), ("random", 2)]
    assert said.startswith("2 of 6 simulations were done before\n3 of 6: lhs, seed 0")
    assert [(run["strategy"], run["seed"]) for run in more["runs"]] == [
        (name, seed) for name in ("lhs", "random") for seed in range(3)]
    assert more["runs"][3:5] == first["runs"]
    said, same = simulate("random", 1, "--seed", 1)
    assert not played and "lhs" not in said and sorted(map(str, same["runs"])) == sorted(map(str, more["runs"]))
    assert not list(tmp_path.glob("*.partial"))


def test_another_simulation_is_refused_and_kept(
    recorded: Callable[..., Any], sweepwise: Callable[..., Any], tmp_path: Path
) -> None:
    grid, out = recorded(**SMALL), tmp_path / "out.json"
    usual = ("simulate", grid.study, "--strategies", "random", "--seeds", 1, "--json", out, "--quiet")
    assert sweepwise(*usual, "--at-cost", 0.5).code == 0
    before = out.read_bytes()

    def refused(what: str, *options: object) -> None:
        ran = sweepwise(*usual, *options)
        assert (ran.code, ran.out) == (2, "") and out.read_bytes() == before
        assert ran.err == (f"sweepwise: --json: {out} holds a simulation with another {what}; give another file, or "
                           "delete that one to start again\n")

    refused("--at-cost or --stop-accuracy", "--at-cost", 0.6)
    refused("--at-cost or --stop-accuracy", "--at-cost", 0.5, "--stop-accuracy", 0.8)
    grid.write([{**row, "latency_s": 2 * row["latency_s"]} for row in grid.rows])
    refused("table", "--at-cost", 0.5)
    grid.write(grid.rows)
    grid.edit(runner={"engine_start_s": 3.0})
    refused("study file", "--at-cost", 0.5)
    out.write_text(json.dumps({"grid_points": 8, "full_cost": 1.0, "runs": []}))
    before = out.read_bytes()
    refused("version of sweepwise", "--at-cost", 0.5)


@pytest.mark.parametrize("held", ['{"grid_points": 8, "runs": 4}', "[1]", "no JSON", "\xff"])
def test_what_is_no_simulation_is_written_over(
    recorded: Callable[..., Any], answer: Callable[..., Any], tmp_path: Path, held: str
) -> None:
    """As by every other command's --json."""
    (tmp_path / "answer.json").write_text(held, encoding="latin-1")
    result = answer("simulate", recorded(**SMALL).study, "--strategies", "random", "--seeds", 1, "--at-cost", 0.5)
    assert len(result["runs"]) == 1


def test_a_file_is_whole_after_every_simulation(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    tasks = [("a", 0), ("a", 1), ("b", 0)]
    record = SimulationFile(path, HEADER, tasks)
    assert record.missing == tasks and not path.exists()
    for done in (("b", 0), ("a", 0)):
        record.add(runs(*done, accuracy=float("nan")))
        (path.with_name("out.json.partial")).write_text("cut off in the middle")  # by a kill -9: of no consequence
        assert json.loads(path.read_text()) == {**HEADER, **record.answer()}
    again = SimulationFile(path, HEADER, [("a", 1), ("b", 0)])
    assert again.missing == [("a", 1)]
    assert [run["strategy"] for run in again.answer()["runs"]] == ["b"]
    assert again.answer()["runs"][0]["at"][0]["accuracy"] is None
    again.add(runs("a", 1))
    order = [(run["strategy"], run["seed"]) for run in json.loads(path.read_text())["runs"]]
    assert order == [("a", 1), ("b", 0), ("a", 0)]  # what was asked for now comes first


def test_where_a_file_cannot_be_written(tmp_path: Path) -> None:
    record = SimulationFile(tmp_path / "gone" / "out.json", HEADER, [("a", 0)])
    with pytest.raises(StudyError, match=r"--json: cannot write .*give another path"):
        record.add(runs("a", 0))
    in_memory = SimulationFile(None, HEADER, [("a", 0)])
    in_memory.add(runs("a", 0))
    assert not in_memory.missing and len(in_memory.answer()["runs"]) == 1


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kill -9")
def test_killed_in_the_middle_it_goes_on(
    recorded: Callable[..., Any], process: Callable[..., Any], answer: Callable[..., Any], tmp_path: Path
) -> None:
    grid, out = recorded(**SMALL), tmp_path / "answer.json"
    usual = ("simulate", grid.study, "--strategies", "random", "--at-cost", "0.4,0.8")
    running = process(*usual, "--seeds", 10_000, "--json", out)
    deadline = time.monotonic() + 60
    while not out.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    kept = json.loads(out.read_text())["runs"]
    assert 0 < len(kept) < 10_000
    seeds = len(kept) + 2
    result = answer(*usual, "--seeds", seeds)
    assert result["runs"][: len(kept)] == kept
    out.unlink()
    undisturbed = answer(*usual, "--seeds", seeds)
    for run in (*result["runs"], *undisturbed["runs"]):
        del run["planner_s"]
    assert result == undisturbed


# -------------------------------------------------------------------------------------------------- what one sees


def shown(terminal: bool, quiet: bool = False) -> str:
    file = StringIO()
    console = Console(file=file, force_terminal=terminal, width=120, quiet=quiet)
    with SimulationProgress(console) as progress:
        progress.begun(3, 1)
        progress.finished(runs("random", 1, accuracy=0.951))
        progress.finished(runs("random", 2, accuracy=float("nan")))
    return file.getvalue()


def test_progress_in_a_terminal_and_elsewhere() -> None:
    lines = shown(terminal=False).splitlines()
    assert lines[0] == "1 of 3 simulations were done before"
    assert lines[1].startswith("2 of 3: random, seed 1: y 95.1 % at 50 % of the cost · about ")
    assert lines[2] == "3 of 3: random, seed 2: y – at 50 % of the cost · about 0.0 s left" and len(lines) == 3
    bar = shown(terminal=True)
    assert "3/3" in bar and "random, seed 2" in bar and "━" in bar
    assert shown(terminal=True, quiet=True) == shown(terminal=False, quiet=True) == ""


def test_the_table_says_how_many_seeds_stopped() -> None:
    stopped = runs("ours", 0, 0.9)
    stopped[0]["stop"] = {"cost_fraction": 0.2, "accuracy": 0.93}
    result = {**HEADER, "runs": [*stopped, *runs("ours", 1, 0.8), *runs("never", 0), *runs("never", 1, float("nan"))]}
    console = Console(file=StringIO(), width=150)
    console.print(simulation_table(Simulation(result)))
    ours, never = console.file.getvalue().splitlines()[-3:-1]  # type: ignore[attr-defined]
    assert ours.split("  ")[0].strip() == "ours" and "85.0 %" in ours and "20.0 % (1 of 2)" in ours and "93.0 %" in ours
    assert never.count("–") == 3
