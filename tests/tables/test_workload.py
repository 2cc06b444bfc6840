"""Where a workload lies in a grid, and how much each point counts for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from planner.space.grid import Grid, full_grid
from planner.space.meaning import named_values
from planner.space.types import Axis, Role, Scale, Scope, StudyError
from planner.space.workload import Part, Workload, is_given, workload_of_options
from planner.tables.workload import REST, given_axes, placed, point_weights


def grid(*, rates: tuple[float, ...] = (1.0,)) -> Grid:
    return full_grid([
        Axis("tp", (1, 2), Scope.ENGINE, Scale.LOG),
        Axis("input_len", (128, 1024), scale=Scale.LOG, roles=(Role.INPUT_TOKENS,)),
        Axis("output_len", (16, 256), scale=Scale.LOG, roles=(Role.OUTPUT_TOKENS,)),
        Axis("request_rate", rates, scale=Scale.LOG, roles=(Role.RATE,))])


def test_lengths_rates_and_datasets_are_given_and_engine_settings_chosen() -> None:
    given = {axis.name for axis in given_axes(grid(rates=(1.0, 2.0)))}
    assert given == {"input_len", "output_len", "request_rate"}
    assert is_given(Axis("dataset", ("a", "b"), scale=Scale.CATEGORY)) and not is_given(Axis("max_num_seqs", (1, 2)))
    assert is_given(Axis("max_num_seqs", (1, 2), given=True))
    assert not is_given(Axis("input_len", (1, 2), roles=(Role.INPUT_TOKENS,), given=False))


def test_a_rate_that_nobody_names_is_chosen() -> None:
    named = workload_of_options(["input_len=128,output_len=16"])
    assert named is not None and placed(named, grid(rates=(1.0, 2.0)), Path()).axes == ("input_len", "output_len")
    with_rate = workload_of_options(["input_len=128,output_len=16,request_rate=2"])
    assert with_rate is not None and "request_rate" in placed(with_rate, grid(rates=(1.0, 2.0)), Path()).axes


def test_points_of_a_part_share_its_weight_and_the_rest_has_a_little() -> None:
    parts = (Part({"input_len": 128, "output_len": 16}, 3), Part({"input_len": 1024, "output_len": 256}, 1))
    found = placed(Workload(parts), grid(), Path())
    weights, part = point_weights(found, grid()).each, found.parts_of(grid())
    assert weights.mean() == pytest.approx(1)
    total = [weights[part == p].sum() / weights.sum() for p in (-1, 0, 1)]
    assert total == pytest.approx([REST, 0.75 * (1 - REST), 0.25 * (1 - REST)])
    assert len({round(w, 9) for w in weights[part == 0]}) == 1


def test_equal_parts_are_added_up() -> None:
    found = placed(Workload(tuple(Part({"input_len": 128, "output_len": 16}) for _ in range(3))), grid(), Path())
    assert found.weights.tolist() == [1] and len(found.codes) == 1


def test_weights_may_be_as_large_as_numbers_are() -> None:
    """Their sum is not a number, which ended in a traceback."""
    parts = (Part({"input_len": 128, "output_len": 16}, 1e308), Part({"input_len": 1024, "output_len": 256}, 1e308))
    assert placed(Workload(parts), grid(), Path()).weights.tolist() == [0.5, 0.5]


def test_a_part_says_an_axis_once() -> None:
    """The last value counted, and nobody was told."""
    with pytest.raises(StudyError, match="cannot read 'input_len=128,input_len=1024'"):
        workload_of_options(["input_len=128,input_len=1024"])


def test_a_category_may_have_a_comma() -> None:
    assert named_values("model=x, y,dtype=a=b,note=p,q") == {"model": "x, y", "dtype": "a=b", "note": "p,q"}
    assert named_values("batch_size") is None and named_values("=3") is None and named_values("") is None


def test_requests_of_a_trace_count_at_the_nearest_length(tmp_path: Path) -> None:
    """Between 128 and 1024 the middle of the logarithms is 362."""
    lines = ["TIMESTAMP,ContextTokens,GeneratedTokens", *(f"{i},{n},16" for i, n in enumerate([100, 361, 363, 5000]))]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    found = placed(Workload(trace="t.csv"), grid(), tmp_path)
    assert [dict(point) for point in found.points(grid())] == [
        {"input_len": n, "output_len": 16} for n in (128, 1024)]
    assert found.weights.tolist() == [0.5, 0.5]
    assert found.notes == ("25.0 % of the requests are far above the grid's input_len 1024 and count as it",)


def test_a_trace_says_nothing_of_a_dataset(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("timestamp,input_length,output_length\n1,128,16\n")
    other = full_grid([*grid().axes, Axis("dataset", ("a", "b"), scale=Scale.CATEGORY)])
    with pytest.raises(StudyError, match="a trace does not say dataset"):
        placed(Workload(trace="t.csv"), other, tmp_path)


def test_weights_are_not_needed_where_the_workload_is_the_whole_grid() -> None:
    one = full_grid([Axis("tp", (1, 2)), Axis("input_len", (128,), roles=(Role.INPUT_TOKENS,))])
    found = placed(Workload((Part({"input_len": 128}),)), one, Path())
    assert point_weights(found, one).each == pytest.approx(np.ones(2))


def test_the_rest_keeps_its_share_of_what_counts() -> None:
    found = point_weights(placed(Workload((Part({"input_len": 128, "output_len": 16}),)), grid(), Path()), grid())
    known = np.zeros(8, dtype=bool)
    for row in np.flatnonzero(found.asked):
        left = found.left(known)[~known]
        assert left[~found.asked[~known]].sum() / left.sum() == pytest.approx(REST)
        known[row] = True
    assert not found.left(known)[~known].any()
