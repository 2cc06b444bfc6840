"""The lines of a grid along its load."""

from __future__ import annotations

import math

import numpy as np
import pytest

from planner.space.expressions import parse
from planner.space.grid import Grid, full_grid
from planner.space.load import load_axis, load_lines
from planner.space.types import Axis, Role, Scale, Scope

ENGINE = Axis("max_num_seqs", (4, 32), Scope.ENGINE)
CONCURRENCY = Axis("max_concurrency", (1, 8, 64), scale=Scale.LOG, roles=(Role.CONCURRENCY,))
RATE = Axis("request_rate", (2.0, 4.0, math.inf), scale=Scale.LOG, roles=(Role.RATE,))
LOOPS = "request_rate > 99 and max_concurrency < 64 or request_rate < 99 and max_concurrency == 64"


def grid_of(*axes: Axis, where: str = "") -> Grid:
    return full_grid(axes, [parse(where, [axis.name for axis in axes], "where")] if where else ())


def test_closed_and_open_loops_each_have_lines_of_their_own() -> None:
    grid = grid_of(ENGINE, CONCURRENCY, RATE, where=LOOPS)
    lines = load_lines(grid)
    assert sorted(np.concatenate([rows for _, rows in lines]).tolist()) == list(range(len(grid)))
    seen = {(axis.name, tuple(grid.point(int(row))[axis.name] for row in rows)) for axis, rows in lines}
    assert seen == {("max_concurrency", (1, 8)), ("request_rate", (2.0, 4.0))}
    assert len(lines) == 4  # two engines


def test_a_grid_of_both_loads_at_once_is_read_along_the_concurrency() -> None:
    lines = load_lines(grid_of(CONCURRENCY, RATE))
    assert [axis.name for axis, _ in lines] == ["max_concurrency"] * 3


@pytest.mark.parametrize("axis", [CONCURRENCY, RATE, Axis("batch_size", (1, 2, 3), roles=(Role.BATCH,))])
def test_one_load_gives_its_lines(axis: Axis) -> None:
    grid = grid_of(ENGINE, axis)
    assert [(found.name, len(rows)) for found, rows in load_lines(grid)] == [(axis.name, 3)] * 2


def test_what_is_alone_is_a_line_too() -> None:
    grid = grid_of(ENGINE, CONCURRENCY, where="max_num_seqs == 4 or max_concurrency == 8")
    assert sorted(len(rows) for _, rows in load_lines(grid)) == [1, 3]


def test_without_a_load_there_are_none() -> None:
    grid = grid_of(ENGINE)
    assert load_axis(grid) is None and load_lines(grid) == []
