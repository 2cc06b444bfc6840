"""Baselines and ablations: what each sees, what it changes, and its message if it cannot run. (The contract of all
strategies is tested in tests/strategies/test_strategies.py, their blindness to the truth in test_simulate.py.)"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from planner.acquisition.initial_design import initial_design, initial_size
from planner.ledger.observations import Observations, Run
from planner.space.grid import Grid, full_grid
from planner.space.metrics import metric_named
from planner.space.types import Axis, Cost, FloatArray, Measurement, Metric, Reading, Role, Scale, Scope, Status
from planner.strategies import registry as strategies
from planner.strategies.ablations import ABLATIONS
from planner.strategies.fixed_designs import latin_hypercube, random_design
from planner.strategies.greedy_batch import Candidates, choose_greedily
from planner.strategies.registry import make_strategy
from planner.strategies.strategy import StrategyContext
from planner.strategies.unit_cube import unit_cube, without_descriptors

SIZES = {"model": (Role.MODEL,), "output_len": (Role.OUTPUT_TOKENS,), "batch_size": (Role.BATCH,)}


LATENCY = metric_named("latency_s")


def the_grid(described: bool = True) -> Grid:
    return full_grid([
        Axis("model", ("a", "b", "c"), Scope.ENGINE, Scale.CATEGORY, (Role.MODEL,),
             {"params_b": (1.0, 7.0, 70.0)} if described else {}),
        Axis("output_len", (4, 16, 64), scale=Scale.LOG, roles=(Role.OUTPUT_TOKENS,)),
        Axis("batch_size", (1, 2, 3, 4, 6, 8, 12, 16), scale=Scale.LOG, roles=(Role.BATCH,)),
    ])


def latencies(grid: Grid) -> FloatArray:
    """Latency by model size, tokens and batch, with a bend; also the seconds of a run."""
    size = np.array((1.0, 7.0, 70.0))[grid.codes[:, 0]]
    tokens, batch = np.asarray(grid.column("output_len"), float), np.asarray(grid.column("batch_size"), float)
    values: FloatArray = (0.5 + 0.02 * size * tokens) * (1 + 0.1 * batch) + 0.3 * np.sin(batch)
    return values


def context(grid: Grid, targets: Sequence[str] = ("latency_s",), seed: int = 0) -> StrategyContext:
    return StrategyContext(grid, tuple(targets), None, np.ones(len(grid)), seed)


def measure(observations: Observations, row: int, seconds: FloatArray | None = None, start_s: float = 0.0) -> None:
    """A run without noise; start_s where it needs another engine than the one that is up."""
    grid, values = observations.grid, latencies(observations.grid)
    took, point = float(values[row] if seconds is None else seconds[row]), grid.point(row)
    start = start_s if grid.engine[row] != observations.current_engine else 0.0
    reading = Reading(point, {"latency_s": (float(values[row]),)}, took)
    observations.add(Run(len(observations.runs), point, Measurement(Status.OK, Cost(start, 0.0, took), (reading,))))


def played(
    strategy: Any, grid: Grid, runs: int, seconds: FloatArray | None = None, target: Metric = LATENCY
) -> tuple[list[int], Observations]:
    """Its first runs, without noise."""
    observations, order = Observations(grid, (target,)), []
    for _ in range(runs):
        row = strategy.propose(observations)
        if row is None:
            break
        order.append(row)
        measure(observations, row, seconds)
    return order, observations


def test_the_stock_view_knows_sizes_and_names_only() -> None:
    grid = the_grid()
    cube = unit_cube(grid)
    assert cube.numeric.shape == (len(grid), 2) and cube.levels == (3,)
    assert grid.features.numeric.shape == (len(grid), 3)  # ours knows params_b besides
    np.testing.assert_allclose(np.unique(cube.numeric[:, 0]), [0, 0.5, 1])
    np.testing.assert_allclose(np.unique(cube.numeric[:, 1])[[0, 1, -1]], [0, 0.25, 1])
    np.testing.assert_array_equal(cube.category[:, 0], grid.codes[:, 0])
    bare = without_descriptors(grid)
    assert all(bare.point(row) == grid.point(row) for row in range(len(grid)))
    assert not any(axis.descriptors for axis in bare.axes)


def test_a_small_latin_hypercube_has_each_slice_once() -> None:
    grid = full_grid([Axis("x", tuple(range(10))), Axis("y", tuple(range(10)))])
    rows = latin_hypercube(grid, 10, np.random.default_rng(0))
    assert sorted(grid.codes[rows, 0]) == sorted(grid.codes[rows, 1]) == list(range(10))


def test_maxmin_points_are_each_as_far_as_can_be_from_those_before() -> None:
    grid = full_grid([Axis("x", tuple(range(11))), Axis("y", tuple(range(11)))])
    order, observations = [], Observations(grid, ("latency_s",))
    strategy = make_strategy("maxmin_matern", context(grid, seed=3))
    for _ in range(40):
        row = strategy.propose(observations)
        assert row is not None
        order.append(row)
        value = 2.0 + np.sin(grid.codes[row, 0] / 3) + grid.codes[row, 1] / 10
        point, cost = grid.point(row), Cost(0.0, 0.0, 1.0)
        observations.add(Run(len(observations.runs), point, Measurement(
            Status.OK, cost, (Reading(point, {"latency_s": (value,)}, 1.0),))))
    distance = np.linalg.norm(grid.codes[:, None] - grid.codes[None, order], axis=2)
    for k in range(1, 40):
        assert distance[:, :k].min(axis=1)[order[k]] == distance[:, :k].min(axis=1).max()
    truth = 2.0 + np.sin(grid.codes[:, 0] / 3) + grid.codes[:, 1] / 10
    posterior = strategy.posterior(observations)
    assert np.abs(posterior.prediction.value["latency_s"] / truth - 1).max() < 0.02


# ---------------------------------------------------------------------------------------------------------- by name


@pytest.mark.parametrize(("verb", "option"), [("run", "--strategy"), ("simulate", "--strategies")])
@pytest.mark.parametrize(("baseline", "needs"), [("botorch_qnipv", "torch and botorch"), ("optuna_gp", "torch")])
def test_a_missing_package_is_named_with_its_mend(
    recorded: Callable[..., Any], sweepwise: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, verb: str,
    option: str, baseline: str, needs: str,
) -> None:
    monkeypatch.setattr(strategies, "find_spec", lambda _: None)
    ran = sweepwise(verb, recorded().study, option, baseline)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == f"sweepwise: {option}: {baseline} needs {needs}; pip install 'sweepwise[compare]'\n"


@pytest.mark.parametrize(("verb", "option"), [("run", "--strategy"), ("simulate", "--strategies")])
def test_an_unknown_name_is_reported_with_its_option(
    recorded: Callable[..., Any], sweepwise: Callable[..., Any], verb: str, option: str
) -> None:
    ran = sweepwise(verb, recorded().study, option, "sweepwise-no_latency_modl")
    assert ran.code == 2 and ran.err.startswith(f"sweepwise: {option}: unknown strategy 'sweepwise-no_latency_modl'")
    assert "did you mean 'sweepwise-no_latency_model'?" in ran.err


@pytest.mark.skipif(find_spec("torch") is None, reason="optuna_gp needs torch: pip install 'sweepwise[compare]'")
def test_optuna_goes_where_the_targets_are_best() -> None:
    """One target: to the shortest latency. Two that pull apart: to both ends. Nothing is asked for twice."""
    grid = the_grid()
    order, observations = played(make_strategy("optuna_gp", context(grid)), grid, 22)
    assert len(set(order)) == 22
    values = latencies(grid)
    assert np.median(values[order[10:]]) < 0.5 * np.median(values)
    strategy = make_strategy("optuna_gp", context(grid, ("latency_s", "output_throughput")))
    both = Observations(grid, ("latency_s", "output_throughput"))
    for run in observations.runs:
        (reading,) = run.measurement.readings
        value = reading.metrics["latency_s"][0]
        # A throughput that grows with latency; undefined at some points, whose trials then count for nothing.
        metrics = {"latency_s": (value,)} | ({"output_throughput": (value,)} if value > 1 else {})
        both.add(Run(run.number, run.point, replace(run.measurement, readings=(replace(reading, metrics=metrics),))))
    row = strategy.propose(both)
    assert row is not None and not both.known[row] and strategy.propose(both) == row
    both.pending.add(row)
    other = strategy.propose(both)
    assert other is not None and other != row


# -------------------------------------------------------------------------------------------------------- ablations


def test_no_descriptors_is_ours_on_a_study_that_has_none() -> None:
    described, bare = the_grid(), the_grid(described=False)
    without = played(make_strategy("sweepwise-no_descriptors", context(described)), described, 24)[0]
    assert without == played(make_strategy("sweepwise", context(bare)), bare, 24)[0]
    assert without != played(make_strategy("sweepwise", context(described)), described, 24)[0]


def test_forest_measures_our_points_and_predicts_otherwise() -> None:
    grid = the_grid()
    ours, theirs = make_strategy("sweepwise", context(grid)), make_strategy("sweepwise-forest", context(grid))
    order, observations = played(ours, grid, 24)
    assert played(theirs, grid, 24)[0] == order
    a, b = (strategy.posterior(observations).prediction.value["latency_s"] for strategy in (ours, theirs))
    assert not np.allclose(a, b, rtol=1e-3)
    np.testing.assert_allclose(b, make_strategy("random_forest", context(grid)).posterior(observations)
                               .prediction.value["latency_s"])


def test_random_start_differs_in_the_first_runs_only() -> None:
    grid = the_grid()
    ours, theirs = make_strategy("sweepwise", context(grid)), make_strategy("sweepwise-random_start", context(grid))
    count = initial_size(grid, None)
    order, observations = played(theirs, grid, count)
    assert sorted(order) == sorted(np.random.default_rng(0).permutation(len(grid))[:count])
    assert order != played(ours, grid, count)[0]
    assert make_strategy("sweepwise",
                         context(grid)).posterior(observations).prediction.value["latency_s"] == pytest.approx(
        theirs.posterior(observations).prediction.value["latency_s"])


def test_no_cost_ignores_prices() -> None:
    """For any times of runs, the same points are chosen; ours prefers cheap points."""
    grid = the_grid()
    prices = np.where(np.asarray(grid.column("batch_size")) > 3, 1000.0, 0.01)
    timeless = Metric("latency_s")  # of no kind that a machine's drift changes, which is seen in the times of runs
    for name, same in (("sweepwise-no_cost", True), ("sweepwise", False)):
        usual, _ = played(make_strategy(name, context(grid)), grid, 24, target=timeless)
        other, _ = played(make_strategy(name, context(grid)), grid, 24, prices, timeless)
        assert (usual == other) == same, name


def first_batch(name: str, start_s: float) -> tuple[set[int], float]:
    """The first four runs after the first design, where starts take so long; and how many engines they start."""
    grid = the_grid()
    observations, strategy = Observations(grid, ("latency_s",)), make_strategy(name, context(grid))
    for row in initial_design(grid, None, 0):
        measure(observations, int(row), start_s=start_s)
    batch, running = [], observations.current_engine
    for _ in range(4):
        row = strategy.propose(observations)
        assert row is not None
        price = strategy.price(row, observations)
        assert price >= (start_s if grid.engine[row] != observations.current_engine
                         else 0)  # charged, though the choice ignores it
        batch.append(row)
        measure(observations, row, start_s=start_s)
    return set(batch), len({int(grid.engine[row]) for row in batch} - {running})


@pytest.mark.parametrize("name", ["sweepwise-no_starts", "sweepwise-no_cost"])
def test_an_ablation_that_ignores_starts_chooses_as_if_there_were_none(name: str) -> None:
    free, expensive = first_batch(name, 0.0), first_batch(name, 1e5)
    assert free == expensive and expensive[1] > 0
    assert first_batch("sweepwise", 1e5)[1] == 0


def test_no_starts_uses_prices_as_ours_does() -> None:
    assert first_batch("sweepwise-no_starts", 1e5)[0] == first_batch("sweepwise", 0.0)[0]
    assert first_batch("sweepwise-no_starts", 0.0)[0] != first_batch("sweepwise-no_cost", 0.0)[0]


def test_the_latency_model_alone_and_none_at_all() -> None:
    """If the latency model holds, it helps; alone, it gives yet another posterior."""
    grid = the_grid()
    size = np.array((1.0, 7.0, 70.0))[grid.codes[:, 0]]
    tokens, batch = np.asarray(grid.column("output_len"), float), np.asarray(grid.column("batch_size"), float)
    values = 0.2 + 0.01 * size + tokens * (0.02 * size + 0.003 * size * batch)
    observations = Observations(grid, ("latency_s",))
    for number, row in enumerate(np.flatnonzero((batch < 9) & (tokens < 20) & (grid.codes.sum(axis=1) % 2 == 0))):
        point = grid.point(int(row))
        reading = Reading(point, {"latency_s": (float(values[row]),)}, float(values[row]))
        observations.add(Run(number, point, Measurement(Status.OK, Cost(measure_s=float(values[row])), (reading,))))
    error = {}
    for name in ("sweepwise", "sweepwise-no_latency_model", "sweepwise-latency_model_only"):
        said = make_strategy(name, context(grid)).posterior(observations).prediction.value["latency_s"]
        error[name] = float(np.mean(np.abs(said / values - 1)[~observations.known]))
    assert error["sweepwise-latency_model_only"] < error["sweepwise-no_latency_model"]
    assert len(set(error.values())) == 3, error


def test_max_variance_takes_the_least_certain_first() -> None:
    """At equal prices: of the four points of a batch, one is the least certain of all to the base member, whose
    covariance is used; ours takes points that reduce the variance of the others more."""
    grid = the_grid()
    equal, first = np.ones(len(grid)), initial_size(grid, None)
    ours, theirs = (set(played(make_strategy(name, context(grid)), grid, first + 4, equal)[0][first:])
                    for name in ("sweepwise", "sweepwise-max_variance"))
    observations = played(make_strategy("sweepwise", context(grid)), grid, first, equal)[1]
    std = make_strategy("sweepwise-no_latency_model", context(grid)).posterior(observations).prediction.std["latency_s"]
    assert int(np.argmax(np.where(observations.known, 0, std))) in theirs
    assert theirs != ours


def test_every_ablation_has_a_name_of_ours() -> None:
    assert {f"sweepwise-{name}" for name in ABLATIONS} <= set(strategies.STRATEGIES)


# ------------------------------------------------------------------------------------------------------- the batch


class Fixed:
    """A worth that what was chosen halves everywhere."""

    def __init__(self, values: FloatArray) -> None:
        self.values = values

    def of_each(self) -> FloatArray:
        return self.values

    def choose(self, c: int) -> None:
        self.values = self.values / 2


def test_a_batch_by_hand() -> None:
    """Worth over price, a share of a start where the engine is not up; each engine once, the running one first."""
    candidates = Candidates(
        rows=np.array([10, 11, 12, 13]), engines=np.array([0, 0, 1, 1]), price=np.array([1.0, 2.0, 1.0, 1.0]),
        start=np.full(4, 6.0), feasibility=np.array([1.0, 1.0, 1.0, 0.1]))
    utility = np.array([3.0, 4.0, 9.0, 20.0])
    # Engine 1 is up: 3/(1 + 6/3), 4/(2 + 6/3), 9/1, 2/1: first 12, then 13, and then 10 and 11 are equal: 1 each.
    assert choose_greedily(candidates, [Fixed(utility)], 3, running=1) == [12, 13, 10]
    # Nothing is up: 3/3, 4/4, 9/3, 2/3: 12 starts its engine, and 13 may follow for nothing: 2 > 1.
    assert choose_greedily(candidates, [Fixed(utility)], 3, running=None) == [12, 13, 10]
    assert choose_greedily(candidates, [Fixed(utility)], 9, running=0) == [10, 11, 12, 13]


def test_a_fixed_design_is_due_by_the_runs_since_its_last_posterior() -> None:
    """However often it is asked: a checkpoint at the first run, at each of the next seven, then each eighth more."""
    grid = full_grid([Axis("x", tuple(range(40)))])
    strategy = random_design(StrategyContext(grid, ("y",), None, np.ones(40)))
    observations, checkpoints = Observations(grid, ("y",)), []
    assert not strategy.is_due(observations)
    for number in range(30):
        reading = Reading(grid.point(number), {"y": (1.0 + number,)}, 1.0)
        observations.add(Run(number, reading.point, Measurement(Status.OK, Cost(measure_s=1.0), (reading,))))
        due = {strategy.is_due(observations) for _ in range(3)}
        assert len(due) == 1
        if due == {True}:
            checkpoints.append(number + 1)
            strategy.posterior(observations)
            assert not strategy.is_due(observations)
    assert checkpoints == [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 15, 17, 20, 23, 26, 30]
