"""The boundary as people read it."""

from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console

from planner.analysis.boundary import Boundaries, HighestLoad, Line, boundary_of
from planner.ledger.observations import Observations
from planner.models.grid_model import Prediction
from planner.space.grid import Grid, full_grid
from planner.space.slo import parse_tier
from planner.space.types import Axis, Role, Scale, Scope
from planner.strategies.strategy import Posterior
from planner.tables.recorded_grid import Sweep
from planner.views.boundary import boundary_json, boundary_tables, load_text, undecided_text
from planner.views.figures.attainment import attainment

LINE = Line(np.arange(3), np.array([1.0, 8.0, 64.0]), (1, 8, 64), np.ones((1, 3)), ())
Z90 = 1.6448536269514722


def found(lengths: tuple[int, ...], *tiers: str) -> tuple[Boundaries, Grid]:
    grid = full_grid([
        Axis("engine", ("a", "b"), Scope.ENGINE, Scale.CATEGORY),
        Axis("input_len", lengths, scale=Scale.LOG, roles=(Role.INPUT_TOKENS,)),
        Axis("max_concurrency", (1, 2, 4, 8, 16, 32), scale=Scale.LOG, roles=(Role.CONCURRENCY,)),
    ])
    value = grid.numbers("max_concurrency") * grid.numbers("input_len")
    prediction = Prediction({"ttft_ms": value}, {"ttft_ms": value * np.exp(-0.1 * Z90)},
                            {"ttft_ms": value * np.exp(0.1 * Z90)}, {"ttft_ms": np.full(len(grid), 0.02)})
    nothing = Sweep((np.nan,) * 3, (np.nan,) * 3)
    posterior = Posterior(prediction, {}, np.ones(len(grid)), nothing)
    parsed = [parse_tier(tier, "") for tier in tiers]
    return boundary_of(parsed, posterior, Observations(grid, ("ttft_ms",))), grid


@pytest.mark.parametrize(("highest", "text"), [
    (HighestLoad(11.6, "within", 8.0, 64.0), "11.6 (8 … 64)"),
    (HighestLoad(None, "below the grid", None, 1.0), "below 1 (below 1 … 1)"),
    (HighestLoad(None, "above the grid", 64.0, None), "64 or more (64 … above 64)"),
    (HighestLoad(3.0, "within", None, None), "3 (below 1 … above 64)"),
])
def test_a_load_says_where_it_is(highest: HighestLoad, text: str) -> None:
    assert load_text(highest, LINE) == text


def test_few_workloads_are_columns_of_one_table_for_each_tier() -> None:
    boundaries, grid = found((10, 20), "ttft_ms <= 100", "ttft_ms <= 1000")
    first, second = boundary_tables(boundaries, grid)
    assert first.title == "Highest max_concurrency that meets ttft_ms <= 100"
    assert first.columns == ["engine", "input_len=10", "input_len=20"]
    assert first.rows == [["engine=a", "10 (8 … 16)", "5 (4 … 8)"], ["engine=b", "10 (8 … 16)", "5 (4 … 8)"]]
    assert second.rows[0][1] == "32 or more (32 … above 32)"


def test_many_workloads_are_rows() -> None:
    boundaries, grid = found(tuple(range(1, 13)), "ttft_ms <= 100", "ttft_ms <= 200")
    (table,) = boundary_tables(boundaries, grid)
    assert table.columns == ["engine", "workload", "ttft_ms <= 100", "ttft_ms <= 200"] and len(table.rows) == 24
    console = Console(width=90, record=True, file=io.StringIO())
    console.print(table)
    assert "input_len=12" in console.export_text()


def test_json_has_every_load() -> None:
    boundaries, grid = found((10, 20), "ttft_ms <= 100")
    written = boundary_json(boundaries, grid)
    assert written["of"] == 24 and written["undecided"] == boundaries.attainment.open_count
    line = written["lines"][1]
    assert (line["engine"], line["workload"]) == ({"engine": "a"}, {"input_len": 20})
    assert line["loads"] == [1, 2, 4, 8, 16, 32]
    (highest,) = line["highest"]
    assert highest["load"] == pytest.approx(5.0) and (highest["low"], highest["high"]) == (4.0, 8.0)
    assert len(highest["probability"]) == 6 and highest["probability"][0] > 0.999 and highest["probability"][-1] == 0.0


def test_the_figure_shows_one_workload_and_tier_at_a_time() -> None:
    boundaries, grid = found((10, 20, 5000), "ttft_ms <= 100", "ttft_ms <= 1000")
    figure = attainment(boundaries, grid)
    assert len(figure.data) == 2 * 3 * 2
    shown = [trace for trace in figure.data if trace.visible]
    assert [trace.name for trace in shown] == ["engine=a", "engine=b"]
    buttons = figure.layout.updatemenus[0].buttons
    assert len(buttons) == 6
    for button in buttons:
        assert sum(button.args[0]["visible"]) == 2
    assert buttons[figure.layout.updatemenus[0].active].args[0]["visible"] == [bool(t.visible) for t in figure.data]


def test_what_is_open_is_said() -> None:
    assert undecided_text(12, 240, 0.95) == "undecided: 12 of 240 loads (met with 5.0 % to 95.0 %)"


def test_an_infinite_rate_is_called_so() -> None:
    """It counts as twice the largest finite one, which nobody asked for."""
    line = Line(np.arange(3), np.array([1.0, 8.0, 16.0]), (1, 8, float("inf")), np.ones((1, 3)), ())
    assert load_text(HighestLoad(9.0, "within", 8.0, 16.0), line) == "9 (8 … inf)"
    assert load_text(HighestLoad(None, "above the grid", 16.0, None), line) == "inf or more (inf … above inf)"
