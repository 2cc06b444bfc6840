"""The grid: which points are in it, how they are found, grouped and encoded."""

from __future__ import annotations

import itertools
import math
import time
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from planner.space.expressions import Expression, parse
from planner.space.grid import Grid, check_size, full_grid, grid_of_rows
from planner.space.spec import AxisSpec
from planner.space.types import Axis, Role, Scale, Scope, StudyError

NUMBERS = (1, 2, 3, 4, 7, 8, 16, 100)
WORDS = ("x", "y", "z")


def constraint(text: str, axes: tuple[Axis, ...] | list[Axis]) -> Expression:
    return parse(text, [axis.name for axis in axes], "space.constraints[0]")


@st.composite
def axis(draw: st.DrawFn, name: str) -> Axis:
    scope = draw(st.sampled_from(Scope))
    if draw(st.booleans()):
        values = tuple(sorted(draw(st.sets(st.sampled_from((*NUMBERS, 0, 0.5)), min_size=1, max_size=5))))
        return Axis(name, values, scope, draw(st.sampled_from([Scale.LINEAR, Scale.LOG])))
    words = tuple(draw(st.permutations(WORDS))[: draw(st.integers(1, 3))])
    numbers = {"size": tuple(float(i * i) for i in range(len(words)))} if draw(st.booleans()) else {}
    return Axis(name, words, scope, Scale.CATEGORY, (), numbers)


axes_strategy = st.integers(1, 4).flatmap(lambda n: st.tuples(*[axis("abcd"[i]) for i in range(n)]))


@st.composite
def grids(draw: st.DrawFn) -> tuple[tuple[Axis, ...], list[str], Grid]:
    """Axes, constraints over the numeric ones, and the grid."""
    axes = draw(axes_strategy)
    names = [a.name for a in axes if a.scale is not Scale.CATEGORY]
    texts: list[str] = []
    if names:
        one = st.builds("{} {} {} {} {}".format, st.sampled_from(names), st.sampled_from(["+", "*", "-"]),
                        st.sampled_from(names), st.sampled_from(["<=", ">", "!="]), st.integers(0, 30))
        texts = draw(st.lists(one, max_size=2))
    try:
        return axes, texts, full_grid(axes, [constraint(text, axes) for text in texts])
    except StudyError:
        assume(False)
        raise


def everything(axes: tuple[Axis, ...]) -> list[dict[str, Any]]:
    names = [a.name for a in axes]
    return [dict(zip(names, values, strict=True)) for values in itertools.product(*[a.values for a in axes])]


@settings(max_examples=200, deadline=None)
@given(grids())
def test_the_grid_is_what_meets_the_constraints(drawn: tuple[tuple[Axis, ...], list[str], Grid]) -> None:
    axes, texts, grid = drawn
    meets = [point for point in everything(axes) if all(eval(text, {"__builtins__": {}}, point) for text in texts)]
    assert [grid.point(row) for row in range(len(grid))] == meets
    for row, point in enumerate(meets):
        assert grid.find(point) == row
    excluded = [point for point in everything(axes) if point not in meets]
    assert all(grid.find(point) is None for point in excluded)
    event("something excluded" if excluded else "all in")


@settings(max_examples=200, deadline=None)
@given(grids())
def test_points_share_an_engine_if_and_only_if_its_values_are_equal(drawn: Any) -> None:
    axes, _, grid = drawn
    scoped = [a.name for a in axes if a.scope is Scope.ENGINE]
    engine = [tuple(grid.point(row)[name] for name in scoped) for row in range(len(grid))]
    assert grid.engine.shape == (len(grid),)
    numbers = grid.engine.tolist()
    assert len(set(zip(engine, numbers, strict=True))) == len(set(engine)) == len(set(numbers))
    event("several engines" if len(set(engine)) > 1 else "one engine")


@settings(max_examples=200, deadline=None)
@given(grids(), st.data())
def test_lines_and_shorter_points(drawn: Any, data: st.DataObject) -> None:
    axes, _, grid = drawn
    moving = data.draw(st.sampled_from(axes))
    points = [grid.point(row) for row in range(len(grid))]
    rest = [tuple(value for name, value in point.items() if name != moving.name) for point in points]
    lines = grid.lines(moving.name).tolist()
    assert len(set(zip(rest, lines, strict=True))) == len(set(rest)) == len(set(lines))
    place = {value: i for i, value in enumerate(moving.values)}
    for row, point in enumerate(points):
        expected = sorted((place[points[other][moving.name]], other) for other in range(len(grid))
                          if rest[other] == rest[row] and place[points[other][moving.name]] < place[point[moving.name]])
        shorter = grid.shorter(moving.name, row)
        assert shorter.dtype == np.int64 and shorter.tolist() == [other for _, other in expected]


@settings(max_examples=200, deadline=None)
@given(grids(), st.data())
def test_features_are_standardised(drawn: Any, data: st.DataObject) -> None:
    axes, _, grid = drawn
    features = grid.features
    assert len(features) == len(grid) and np.isfinite(features.numeric).all()
    assert np.allclose(features.numeric.mean(axis=0), 0, atol=1e-9)
    assert np.allclose(features.numeric.std(axis=0), 1)
    categories = [i for i, a in enumerate(axes) if a.scale is Scale.CATEGORY and len(a.values) > 1]
    assert features.levels == tuple(len(axes[i].values) for i in categories)
    assert np.array_equal(features.category, grid.codes[:, categories])
    # As many columns as there are numeric axes and descriptors that vary within the grid.
    varying = sum(len(set(grid.codes[:, i].tolist())) > 1 for i, a in enumerate(axes) for _ in
                  (range(1) if a.scale is not Scale.CATEGORY else a.descriptors))
    assert features.numeric.shape == (len(grid), varying)
    omitted = data.draw(st.sampled_from(axes))
    if not omitted.descriptors:
        without = grid.features_without(omitted.name)
        varied = omitted.scale is not Scale.CATEGORY and len(set(grid.column(omitted.name).tolist())) > 1
        assert without.numeric.shape[1] == varying - varied
        assert len(without.levels) == len(features.levels) - (omitted in [axes[i] for i in categories])


def standardised(column: list[float]) -> list[float]:
    mean = math.fsum(column) / len(column)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in column) / len(column))
    return [(value - mean) / deviation for value in column]


@pytest.mark.parametrize(("values", "scale", "expected"), [
    ((1, 2, 8, 64), Scale.LOG, [0, 1, 3, 6]),
    ((0, 1, 7), Scale.LOG, [0, 1, 3]),  # log2(1 + x), as the axis contains zero
    ((0.25, 1.0), Scale.LOG, [-2, 0]),
    ((1, 2, 8, 64), Scale.LINEAR, [1, 2, 8, 64]),
    ((-5, 0, 5), Scale.LINEAR, [-5, 0, 5]),
    ((0, 1e-200), Scale.LINEAR, [0, 1]),  # whose squares are no numbers any more
    ((1e15, 1e15 + 2), Scale.LINEAR, [0, 1]),
])
def test_scales(values: tuple[float, ...], scale: Scale, expected: list[float]) -> None:
    numeric = full_grid([Axis("a", values, scale=scale)]).features.numeric
    assert numeric[:, 0] == pytest.approx(standardised([float(value) for value in expected]))


def test_descriptors_are_features_of_their_category() -> None:
    axes = [Axis("model", ("s", "l", "m"), Scope.ENGINE, Scale.CATEGORY, (Role.MODEL,),
                 {"params_b": (1.0, 64.0, 8.0), "skew": (-1.0, 1.0, 0.0), "same": (3.0, 3.0, 3.0)})]
    features = full_grid(axes).features
    assert features.numeric.shape == (3, 2)
    assert features.numeric[:, 0] == pytest.approx(standardised([0, 6, 3]))  # log2 where none is negative
    assert features.numeric[:, 1] == pytest.approx(standardised([-1, 1, 0]))
    assert features.category[:, 0].tolist() == [0, 1, 2] and features.levels == (3,)


def test_rows_of_features() -> None:
    features = full_grid([Axis("a", (1, 2, 3)), Axis("m", ("x", "y"), scale=Scale.CATEGORY)]).features
    part = features[[0, 5]]
    assert len(part) == 2 and part.levels == (2,) and part.category.tolist() == [[0], [1]]
    assert part.numeric.tolist() == features.numeric[[0, 5]].tolist()


def test_one_point_has_no_features() -> None:
    features = full_grid([Axis("a", (1,)), Axis("m", ("x",), scale=Scale.CATEGORY)]).features
    assert features.numeric.shape == (1, 0) and features.category.shape == (1, 0) and features.levels == ()


def test_find_knows_only_its_points() -> None:
    axes = [Axis("a", (1, 2)), Axis("m", ("x", "y"), scale=Scale.CATEGORY)]
    grid = full_grid(axes, [constraint("a == 1 or m == 'x'", axes)])
    assert len(grid) == 3 and grid.find({"a": 2, "m": "x"}) == 2
    for point in ({"a": 2, "m": "y"}, {"a": 3, "m": "x"}, {"a": 1}, {"a": 1, "m": "x", "b": 1}, {}, {"a": 1, "n": "x"},
                  {"a": "1", "m": "x"}):
        assert grid.find(point) is None
    assert grid.find({"m": "x", "a": 2.0}) == 2  # order and spelling of a number do not matter


def test_axes_columns_and_roles() -> None:
    axes = [Axis("model", ("s", "l"), Scope.ENGINE, Scale.CATEGORY, (Role.MODEL,)),
            Axis("rows", (1, 4), scale=Scale.LOG, roles=(Role.BATCH, Role.CONCURRENCY)),
            Axis("flag", (True, False), scale=Scale.CATEGORY)]
    grid = full_grid(axes)
    assert grid.axis("rows") is axes[1] and grid.position("flag") == 2
    with pytest.raises(KeyError):
        grid.axis("columns")
    assert grid.by_role(Role.CONCURRENCY) is axes[1] and grid.by_role(Role.RATE) is None
    assert grid.column("model").tolist() == ["s"] * 4 + ["l"] * 4
    assert grid.column("rows").tolist() == [1, 1, 4, 4] * 2 and grid.column("flag").tolist() == [1, 0] * 4
    assert grid.size_column(Role.BATCH).tolist() == [1, 1, 4, 4] * 2
    assert grid.size_column(Role.MODEL).tolist() == [1] * 8  # names are no sizes
    assert grid.size_column(Role.RATE).tolist() == [1] * 8
    assert grid.point(0) == {"model": "s", "rows": 1, "flag": True}
    assert [type(value) for value in grid.point(0).values()] == [str, int, bool]


def test_empty_grids_are_refused() -> None:
    axes = [Axis("a", (1, 2)), Axis("b", (3,))]
    with pytest.raises(StudyError, match=r"^space.constraints\[0\]: 'a > b' leaves no point in the grid; loosen it"):
        full_grid(axes, [constraint("a > b", axes)])
    with pytest.raises(StudyError, match=r"^space.axes: the grid is empty"):
        full_grid([Axis("a", ())])
    with pytest.raises(StudyError, match=r"^space.constraints\[0\]: 'a < m' does not fit"):
        full_grid([Axis("a", (1,)), Axis("m", ("x",))], [constraint("a < m", [*axes, Axis("m", ())])])


def test_far_too_many_points_are_refused_at_once() -> None:
    axes = [Axis(name, tuple(range(1, 1001))) for name in "abcdefgh"]

    def seconds() -> float:
        begin = time.process_time()
        with pytest.raises(StudyError, match=r"^space.axes: .*combinations are more than 2,000,000; thin out an axis"):
            full_grid(axes)
        return time.process_time() - begin

    assert min(seconds() for _ in range(3)) < 0.02  # 0.0001 s; a million combinations would take 0.1 s


def test_recorded_rows_are_the_grid() -> None:
    axes = [Axis("a", (1, 2, 3)), Axis("m", ("x", "y"), Scope.ENGINE, Scale.CATEGORY)]
    rows = {"a": [3, 1, 2], "m": ["x", "y", "x"]}
    grid = grid_of_rows(axes, rows, [])
    assert [grid.point(row) for row in range(3)] == [{"a": 3, "m": "x"}, {"a": 1, "m": "y"}, {"a": 2, "m": "x"}]
    assert [grid.find(point) for point in everything(tuple(axes))] == [None, 1, 2, None, 0, None]
    assert grid.shorter("a", 0).tolist() == [2]  # 1 with x was never recorded
    assert grid.engine[0] == grid.engine[2] != grid.engine[1]
    few = grid_of_rows(axes, rows, [constraint("a < 3 and m == 'x'", axes)])
    assert [few.point(row) for row in range(len(few))] == [{"a": 2, "m": "x"}]


def test_recorded_rows_on_axes_too_large_to_number_are_refused() -> None:
    """Five axes of 65,536 values have 2^80 combinations: keys in 64 bits would call different points the same."""
    values = tuple(range(65_536))
    axes = [Axis(name, values) for name in "abcde"]
    rows = {name: [0, 1] if name == "a" else [0, 0] for name in "abcde"}
    with pytest.raises(StudyError, match=r"^space.axes: .*thin out an axis"):
        grid_of_rows(axes, rows, [])
    grid = grid_of_rows(axes[:3], {name: rows[name] for name in "abc"}, [])
    assert [grid.find(grid.point(row)) for row in range(2)] == [0, 1]


def test_a_hundred_thousand_points_take_less_than_a_second() -> None:
    names = ("model", "input_len", "output_len", "batch_size")
    specs = (AxisSpec(values=["m1", "m2", "m3", "m4"], scope=Scope.ENGINE), AxisSpec(range=(1, 25), scale=Scale.LOG),
             AxisSpec(range=(1, 25), scale=Scale.LOG), AxisSpec(range=(1, 50), scale=Scale.LOG))
    begin = time.process_time()
    axes = [spec.resolve(name) for name, spec in zip(names, specs, strict=True)]
    grid = full_grid(axes, [constraint("input_len + output_len <= 50", axes)])
    assert len(grid) == 4 * 25 * 25 * 50 == 125_000
    assert grid.features.numeric.shape == (125_000, 3)
    assert len(np.unique(grid.engine)) == 4 and len(np.unique(grid.lines("output_len"))) == 5_000
    assert all(grid.find(grid.point(row)) == row for row in range(0, len(grid), 7))
    assert all(len(grid.shorter("output_len", row)) == grid.codes[row, 2] for row in range(0, len(grid), 101))
    assert time.process_time() - begin < 0.8  # 0.16 s; one Python step for each point and axis would take as long


# ---------------------------------------------------------------------------------------------------- many axes, sizes


def many(*sizes: int) -> list[Axis]:
    return [Axis(f"a{i}", tuple(range(size)), Scope.WORKLOAD, Scale.LINEAR, ()) for i, size in enumerate(sizes)]


def test_a_grid_may_have_more_axes_than_an_array_dimensions() -> None:
    sizes = [1 + (i % 25 == 3) + (i == 50) for i in range(90)]
    grid = full_grid(many(*sizes))
    expected = list(itertools.product(*(range(size) for size in sizes)))
    assert len(grid) == len(expected) == 32 and grid.codes.tolist() == [list(point) for point in expected]
    for row in (0, 17, 31):
        assert grid.find(grid.point(row)) == row
    assert sorted(np.bincount(grid.lines("a50")).tolist()) == [2] * 16


@pytest.mark.parametrize(("sizes", "says"), [
    ([100_000] * 70, r"some 10\^350 combinations are more than 2,000,000"),
    ([2] * 21, "2,097,152 combinations are more than"),
    ([2] * 20 + [1] * 200, "1,048,576 combinations of 220 axes are too many to hold"),
])
def test_a_grid_that_is_too_large_is_refused_before_it_is_made(sizes: list[int], says: str) -> None:
    tracemalloc.start()
    with pytest.raises(StudyError, match=f"^space.axes: {says}"):
        check_size(sizes)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000
