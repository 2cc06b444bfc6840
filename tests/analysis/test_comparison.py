"""What a comparison may say: about grids that overlap in part, about chance, about means of errors that go together."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.analysis.comparison.compare import common_rows, with_scatter
from planner.analysis.comparison.gate import Answer, Gate, Judgement, _anywhere, _on_mean, parse_gate
from planner.analysis.comparison.ratios import At, Ratios, tail
from planner.space.grid import Grid, full_grid
from planner.space.metrics import metric_named
from planner.space.types import Axis, FloatArray, Scale, Scope, StudyError

DRAWS = 300


def grid_of(inputs: list[int], batches: list[int], models: tuple[str, ...] = ("a", "b"), turned: bool = False) -> Grid:
    axes = [Axis("model", models, scope=Scope.ENGINE, scale=Scale.CATEGORY), Axis("input_len", tuple(inputs)),
            Axis("batch_size", tuple(batches))]
    return full_grid(axes[::-1] if turned else axes)


def ratios_of(
    grid: Grid, log: FloatArray, sigma: float | FloatArray, runs: FloatArray | None = None,
    target: str = "latency_ms", own: bool = True,
) -> Ratios:
    """A is exactly 1 everywhere; B is exp(log), known to sigma, each point by the run given."""
    n = len(grid)
    rows = np.arange(n)
    runs = rows if runs is None else runs
    nothing = np.zeros(n)
    a = At(nothing, np.full(n, 1e-9), rows, np.ones(n, dtype=bool), nothing)
    b = At(log, np.broadcast_to(sigma, n).astype(float), runs, np.full(n, own), nothing)
    return Ratios(metric_named(target), grid, rows, (a, b), 0.9)


values = st.lists(st.integers(1, 9), min_size=1, max_size=6, unique=True).map(sorted)


@given(values, values, values, values, st.booleans())
def test_common_points_are_those_of_equal_values(
    inputs_a: list[int], batches_a: list[int], inputs_b: list[int], batches_b: list[int], turned: bool
) -> None:
    """For any order of axes, and any position of a value on its axis."""
    a = grid_of(inputs_a, batches_a)
    b = grid_of(inputs_b, batches_b, models=("b", "c", "a"), turned=turned)
    expected = {(model, i, k) for model, i, k in itertools.product("ab", inputs_a, batches_a)
                if i in inputs_b and k in batches_b}
    if not expected:
        with pytest.raises(StudyError, match="share no value of"):
            common_rows(a, b)
        return
    rows_a, rows_b = common_rows(a, b)
    points = [a.point(int(row)) for row in rows_a]
    assert points == [b.point(int(row)) for row in rows_b]
    assert {(p["model"], p["input_len"], p["batch_size"]) for p in points} == expected
    assert len(points) == len(expected)


def test_grids_of_other_axes_are_refused() -> None:
    other = full_grid([Axis("input_len", (1, 2)), Axis("concurrency", (1, 2))])
    with pytest.raises(StudyError, match=r"only one of the two studies has the axis batch_size, concurrency, model"):
        common_rows(grid_of([1, 2], [1, 2]), other)


def test_grids_whose_points_miss_each_other_are_refused() -> None:
    """Values in common on every axis, and yet no point."""
    a, b = grid_of([1, 2], [1, 2]), grid_of([1, 2], [1, 2])
    diagonal = a.codes[:, 1] == a.codes[:, 2]
    with pytest.raises(StudyError, match="no point in common"):
        common_rows(Grid(a.axes, a.codes[diagonal]), Grid(b.axes, b.codes[~diagonal]))


# ------------------------------------------------------------------------------------------------ what chance may do


def test_a_tail_is_that_of_the_interval_at_its_ends_and_heavier_beyond() -> None:
    assert tail(np.array([0.0, 1.6448536])) == pytest.approx([0.5, 0.05], abs=1e-6)
    assert tail(np.array([4.0]))[0] > 30 * 3.17e-5  # a normal's


def test_equal_studies_hardly_ever_differ_anywhere() -> None:
    """2,000 points that are equal: some 200 lie outside their own interval, and in at most one case of ten any is said
    to differ; whether errors are independent, or shared by all the points of a run."""
    grid, rng = grid_of(list(range(1, 41)), list(range(1, 26))), np.random.default_rng(0)
    for shared in (False, True):
        alarms, outside, gates = 0, [], 0
        for _ in range(DRAWS):
            errors = rng.standard_t(4, len(grid)) / (2.1318 / 1.6449)
            runs = np.arange(len(grid)) // 25 if shared else np.arange(len(grid))
            ratios = ratios_of(grid, 0.1 * errors[runs], 0.1, runs)
            alarms += bool(ratios.differs.any())
            outside.append(int(ratios.outside.sum()))
            gates += _anywhere(parse_gate("latency_ms rises 0% anywhere"), ratios).answer is Answer.HOLDS
        assert np.mean(outside) == pytest.approx(200, rel=0.1)
        assert alarms <= 0.1 * DRAWS + 3 * np.sqrt(0.09 * DRAWS)
        assert gates <= 0.1 * DRAWS + 3 * np.sqrt(0.09 * DRAWS)


@pytest.mark.parametrize(("target", "better"), [("latency_ms", False), ("output_throughput", True)])
def test_a_change_in_one_corner_is_found_there(target: str, better: bool) -> None:
    grid, rng = grid_of(list(range(1, 31)), list(range(1, 31))), np.random.default_rng(1)
    corner = (grid.codes[:, 1] >= 20) & (grid.codes[:, 2] >= 20)
    ratios = ratios_of(grid, np.log(1.1) * corner + 0.015 * rng.standard_normal(len(grid)), 0.015, target=target)
    found, missed = (ratios.better, ratios.worse) if better else (ratios.worse, ratios.better)
    assert (found & corner).sum() > 0.9 * corner.sum()
    assert (found & ~corner).sum() <= 0.2 * found.sum()
    assert not (missed & corner).any()
    surest = ratios.extremes(found, 5)
    assert corner[surest].all()
    low, _ = ratios.interval
    assert np.all(np.diff(low[surest]) <= 0)


# -------------------------------------------------------------------------------------------------- means over points


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 40), st.integers(0, 2**32 - 1), st.floats(0.0, 1.0))
def test_the_interval_of_a_mean_covers_when_runs_share_their_errors(runs: int, seed: int, uneven: float) -> None:
    """Points share the error of a run, runs by far not all of the same number of points; of the whole grid's mean, and
    of one slice's."""
    grid, rng = grid_of(list(range(1, 11)), list(range(1, 11))), np.random.default_rng(seed)
    weights = np.exp(3 * uneven * rng.standard_normal(runs))
    of_point = rng.choice(runs, len(grid), p=weights / weights.sum())
    mask = grid.codes[:, 1] == 3
    inside = np.zeros(2)
    for _ in range(DRAWS):
        ratios = ratios_of(grid, 0.2 * rng.standard_normal(runs)[of_point], 0.2, of_point)
        for i, mean in enumerate((ratios.mean(), ratios.mean(mask))):
            _, low, high = mean.ratio
            inside[i] += low <= 1 <= high
    assert (inside / DRAWS > 0.9 - 4 * np.sqrt(0.09 / DRAWS)).all()


def test_errors_that_all_points_share_are_not_averaged_away() -> None:
    grid = grid_of(list(range(1, 41)), list(range(1, 26)))
    one = ratios_of(grid, np.zeros(len(grid)), 0.2, np.zeros(len(grid), dtype=int))
    assert one.mean().std == pytest.approx(0.2)
    each = ratios_of(grid, np.zeros(len(grid)), 0.2)
    assert each.mean().std == pytest.approx(0.2 / np.sqrt(len(grid)))


def test_a_slice_where_nothing_ran_is_no_surer_than_one_point() -> None:
    """However many runs of other configurations its points are nearest to."""
    grid = grid_of(list(range(1, 11)), list(range(1, 11)))
    mask = grid.codes[:, 0] == 1
    n = len(grid)
    a = At(np.zeros(n), np.full(n, 1e-9), np.arange(n), np.ones(n, dtype=bool), np.zeros(n))
    b = At(np.zeros(n), np.full(n, 0.3), np.arange(n) % 50, ~mask, np.zeros(n))
    ratios = Ratios(metric_named("latency_ms"), grid, np.arange(n), (a, b), 0.9)
    assert ratios.mean(mask).std == pytest.approx(0.3)
    assert ratios.mean(~mask).std < 0.06


def test_slices_are_engine_configurations_and_axis_values() -> None:
    grid = grid_of([1, 2, 3], [1, 2])
    log = np.where(grid.codes[:, 1] == 2, np.log(2.0), 0.0)
    slices = ratios_of(grid, log, 0.01).slices()
    assert [dict(part.point) for part in slices] == [
        {"model": "a"}, {"model": "b"}, {"input_len": 1}, {"input_len": 2}, {"input_len": 3}, {"batch_size": 1},
        {"batch_size": 2}]
    assert [round(part.mean.ratio[0], 6) for part in slices[2:5]] == [1.0, 1.0, 2.0]
    assert [part.worse for part in slices] == [2, 2, 0, 0, 4, 2, 2]
    assert sum(part.better for part in slices) == 0


def paired(log: FloatArray, own: int, repeated: float = 0.0) -> tuple[At, At]:
    """Two sides whose differences are `log`, the first `own` of them measured on both, σ 0.1 each by the model."""
    n, rows = len(log), np.arange(len(log))
    a, b = (At(value, np.full(n, 0.1), rows, rows < own, np.full(n, repeated)) for value in (np.zeros(n), log))
    return with_scatter(a, b)


def test_what_both_measured_is_as_sure_as_its_scatter() -> None:
    rng = np.random.default_rng(0)
    log = 0.01 * rng.standard_normal(400)
    log[:100] += 0.1  # a change of a quarter of the points is no noise
    for side in paired(log, 300):
        assert np.all(side.sigma[300:] == 0.1)
        assert np.all((side.sigma[:300] > 0.01 / np.sqrt(2)) & (side.sigma[:300] < 0.02))


def test_the_scatter_never_widens_and_never_beats_the_repeats() -> None:
    rng = np.random.default_rng(0)
    wild, quiet, few = rng.standard_normal(100), 1e-6 * rng.standard_normal(100), 1e-6 * rng.standard_normal(100)
    assert all(np.all(side.sigma == 0.1) for side in paired(wild, 100))
    assert all(np.all(side.sigma == 0.03) for side in paired(quiet, 100, repeated=0.03))
    assert all(np.all(side.sigma == 0.1) for side in paired(few, 9))


def test_readings_that_are_the_very_same_are_not_taken_for_certain() -> None:
    """Two replays of one recorded grid, changed in a corner: its noise is in both, and no scatter shows it."""
    log = np.where(np.arange(100) < 30, 0.5, 0.0)
    assert all(np.all(side.sigma == 0.1) for side in paired(log, 100))


# ---------------------------------------------------------------------------------------------------------- conditions


def judged(text: str, ratios: Ratios) -> Judgement:
    gate = parse_gate(text)
    return (_anywhere if gate.anywhere else _on_mean)(gate, ratios)


@pytest.mark.parametrize(("text", "gate"), [
    ("output_throughput drops 5%", Gate("output_throughput drops 5%", "output_throughput", True, 0.05, False)),
    ("  ttft_ms  rises 10 %   anywhere ", Gate("ttft_ms rises 10 % anywhere", "ttft_ms", False, 0.1, True)),
    ("p99_ttft_ms rises .5%", Gate("p99_ttft_ms rises .5%", "p99_ttft_ms", False, 0.005, False)),
])
def test_conditions_are_read(text: str, gate: Gate) -> None:
    assert parse_gate(text) == gate


@pytest.mark.parametrize("text", ["", "ttft_ms", "ttft_ms rises", "ttft_ms rises 10", "ttft_ms falls 10%",
                                  "ttft_ms rises -5%", "ttft_ms rises 5% somewhere", "ttft_ms drops 100%",
                                  "a b rises 5%", "ttft_ms rises nan%"])
def test_other_conditions_are_refused(text: str) -> None:
    with pytest.raises(StudyError, match="--fail-if: "):
        parse_gate(text)


@pytest.mark.parametrize(("factor", "sigma", "drops", "rises"), [
    (0.8, 0.01, Answer.HOLDS, Answer.FAILS), (1.0, 0.01, Answer.FAILS, Answer.FAILS),
    (1.25, 0.01, Answer.FAILS, Answer.HOLDS), (1.0, 0.5, Answer.UNKNOWN, Answer.UNKNOWN),
    (0.8, 1.0, Answer.UNKNOWN, Answer.UNKNOWN), (0.9, 0.01, Answer.UNKNOWN, Answer.FAILS),
])
def test_three_answers(factor: float, sigma: float, drops: Answer, rises: Answer) -> None:
    """All points share one error: the mean is known no better than a point."""
    grid = grid_of([1, 2, 3, 4], [1, 2, 3, 4])
    ratios = ratios_of(grid, np.full(len(grid), np.log(factor)), sigma, np.zeros(len(grid), dtype=int))
    for where in ("", " anywhere"):
        assert judged(f"latency_ms drops 10%{where}", ratios).answer is drops
        assert judged(f"latency_ms rises 10%{where}", ratios).answer is rises


def test_one_bad_point_holds_anywhere_and_not_on_the_mean() -> None:
    grid = grid_of(list(range(1, 11)), list(range(1, 11)))
    log = np.zeros(len(grid))
    log[137] = np.log(1.5)
    ratios = ratios_of(grid, log, 0.01)
    assert judged("latency_ms rises 10%", ratios).answer is Answer.FAILS
    told = judged("latency_ms rises 10% anywhere", ratios)
    assert told.answer is Answer.HOLDS
    assert "1 of 200 points" in told.why
    assert "  ".join(f"{name}={value}" for name, value in grid.point(137).items()) in told.why


def test_a_mean_at_the_bound_alarms_as_often_as_the_confidence_allows() -> None:
    """The worst case that is no violation: the true mean is the bound itself."""
    grid, rng = grid_of(list(range(1, 11)), list(range(1, 11))), np.random.default_rng(3)
    runs = np.arange(len(grid)) // 10
    held = 0
    for _ in range(1000):
        log = np.log(0.95) + 0.05 * rng.standard_normal(20)[runs]
        held += judged("latency_ms drops 5%", ratios_of(grid, log, 0.05, runs)).answer is Answer.HOLDS
    assert 0.05 < held / 1000 < 0.1 + 4 * np.sqrt(0.09 / 1000)
