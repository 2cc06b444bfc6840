"""The searches along each line that boundaries are compared with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from planner.ledger.observations import Observations, Run
from planner.space.grid import Grid, full_grid
from planner.space.slo import Boundary, parse_tier
from planner.space.types import Axis, Cost, Measurement, Reading, Role, Scale, Scope, Status, StudyError
from planner.strategies.line_search import LineSearch, bracket
from planner.strategies.registry import make_strategy
from planner.strategies.strategy import StrategyContext
from planner.testing import check_strategy
from planner.testing.strategy import example_contexts

LOADS = tuple(2**k for k in range(9))


def a_grid(loads: tuple[int, ...] = LOADS) -> Grid:
    return full_grid([
        Axis("max_num_seqs", (8, 16), Scope.ENGINE, Scale.LOG),
        Axis("input_len", (1, 2, 4), scale=Scale.LOG, roles=(Role.INPUT_TOKENS,)),
        Axis("max_concurrency", loads, scale=Scale.LOG, roles=(Role.CONCURRENCY,)),
    ])


def search(name: str, grid: Grid, *tiers: str) -> LineSearch:
    boundary = Boundary(tuple(parse_tier(text, "") for text in tiers), 0.95)
    made = make_strategy(name, StrategyContext(grid, ("ttft_ms",), None, np.ones(len(grid)), boundary=boundary))
    assert isinstance(made, LineSearch)
    return made


def play(made: LineSearch, grid: Grid, failing: int = 10_000) -> Observations:
    """ttft is 10 ms × concurrency × input_len; loads above `failing` fail."""
    observations = Observations(grid, ("ttft_ms",))
    while (row := made.propose(observations)) is not None:
        point = grid.point(row)
        assert not observations.known[row]
        load = float(point["max_concurrency"])
        reading = Reading(point, {"ttft_ms": (10.0 * load * float(point["input_len"]),)}, 1.0)
        ok = load <= failing
        observations.add(Run(len(observations.runs), point, Measurement(
            Status.OK if ok else Status.FAILED, Cost(measure_s=1.0), (reading,) if ok else ())))
    return observations


@pytest.mark.parametrize("name", ["bisection", "aiperf_boundary"])
def test_every_line_ends_between_neighbours(name: str) -> None:
    grid = a_grid()
    made = search(name, grid, "ttft_ms <= 500")
    observations = play(made, grid)
    for place, rows in zip(made.located(observations)[0], made.lines, strict=True):
        true = np.log2(50 / float(grid.point(int(rows[0]))["input_len"]))
        assert abs(place - true) <= 0.5
        low = int(np.floor(true))
        assert observations.measured[rows[low]] and observations.measured[rows[low + 1]]


def test_bisection_takes_as_many_runs_as_halving_does() -> None:
    grid = a_grid()
    assert len(play(search("bisection", grid, "ttft_ms <= 500"), grid).runs) <= 6 * np.ceil(np.log2(len(LOADS) + 1))


def test_aiperf_doubles_from_the_smallest_load() -> None:
    grid = a_grid((1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64))
    observations = play(search("aiperf_boundary", grid, "ttft_ms <= 100"), grid)
    first = [int(run.point["max_concurrency"]) for run in observations.runs if run.point["input_len"] == 1]
    assert first[:5] == [1, 2, 4, 8, 16]
    assert set(first[5:7]) <= {12, 24} or first[5] == 12  # then inside the bracket of 8 and 16


@pytest.mark.parametrize("name", ["bisection", "aiperf_boundary"])
def test_outside_the_grid_is_said(name: str) -> None:
    grid = a_grid()
    below, above = search(name, grid, "ttft_ms <= 5"), search(name, grid, "ttft_ms <= 1e9")
    assert (below.located(play(below, grid)) == -1).all()
    assert (above.located(play(above, grid)) == len(LOADS)).all()


@pytest.mark.parametrize("name", ["bisection", "aiperf_boundary"])
def test_a_load_that_fails_is_missed(name: str) -> None:
    grid = a_grid()
    made = search(name, grid, "ttft_ms <= 1e9")
    assert (np.abs(made.located(play(made, grid, failing=32)) - 5.5) <= 0.5).all()


def test_tiers_share_their_runs() -> None:
    grid = a_grid()
    both = len(play(search("bisection", grid, "ttft_ms <= 500", "ttft_ms <= 2000"), grid).runs)
    one = len(play(search("bisection", grid, "ttft_ms <= 500"), grid).runs)
    assert one < both < 2 * one


def test_engines_are_visited_one_after_the_other() -> None:
    grid = a_grid()
    observations = play(search("bisection", grid, "ttft_ms <= 500"), grid)
    engines = [int(run.point["max_num_seqs"]) for run in observations.runs]
    assert engines == sorted(engines)


def test_without_a_boundary_they_are_refused() -> None:
    grid = a_grid()
    with pytest.raises(StudyError, match="bisection: needs `stop"):
        make_strategy("bisection", StrategyContext(grid, ("ttft_ms",), None, np.ones(len(grid))))


def test_a_bracket_is_where_met_ends() -> None:
    nan = np.nan
    assert bracket(np.array([1, nan, 1, nan, 0, nan])) == (2, 4)
    assert bracket(np.array([nan, nan])) == (-1, 2)
    assert bracket(np.array([0, nan, 1])) == (-1, 0)
    assert bracket(np.array([1, 1])) == (1, 2)


@pytest.mark.parametrize("name", ["bisection", "aiperf_boundary"])
def test_the_contract_of_strategies_is_kept(name: str) -> None:
    """Values of the suite rise along each axis, from 1 to some 30."""
    boundary = Boundary((parse_tier("latency_s <= 4", ""), parse_tier("latency_s <= 9", "")), 0.95)
    contexts = [replace(context, boundary=boundary) for context in example_contexts()]
    check_strategy(lambda context: make_strategy(name, context), contexts[:1])
