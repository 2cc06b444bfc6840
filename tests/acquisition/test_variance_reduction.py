"""Where the next runs go: towards information, away from cost, restarts and failures."""

from __future__ import annotations

import numpy as np
import pytest

from planner.acquisition.initial_design import by_engine, cost_proxy, initial_design, initial_size
from planner.acquisition.settings import RETURN_SHARE
from planner.acquisition.variance_reduction import choose_batch
from planner.ledger.observations import Observations, Run
from planner.models.cost import CostModel
from planner.models.grid_model import GridModel
from planner.space.grid import Grid, full_grid
from planner.space.types import Axis, Cost, FloatArray, IntArray, Measurement, Reading, Role, Scale, Scope, Status
from planner.tables.workload import PointWeights


def _grid() -> Grid:
    return full_grid([
        Axis("tensor_parallel_size", (1, 2), Scope.ENGINE, Scale.LOG, (Role.ACCELERATORS,)),
        Axis("input_len", (64, 256, 1024, 4096), scale=Scale.LOG, roles=(Role.INPUT_TOKENS,)),
        Axis("batch_size", tuple(range(1, 25)), scale=Scale.LOG, roles=(Role.BATCH,)),
    ])


def _devices(point: object) -> float:
    return float(point["tensor_parallel_size"])  # type: ignore[index]


def _observations(grid: Grid, rows: list[int], start_s: float = 0.0, exponent: float = 0.0) -> Observations:
    """Latency 1 + input·batch/1000; a run costs its latency, or e^(exponent·log2 batch) if given."""
    observations = Observations(grid, ("latency_ms",))
    engines: set[int] = set()
    for number, row in enumerate(rows):
        point = grid.point(row)
        latency = 1 + float(point["input_len"]) * float(point["batch_size"]) / 1000
        seconds = float(np.exp(exponent * np.log2(float(point["batch_size"]))))
        start = start_s if int(grid.engine[row]) not in engines else 0.0
        engines = {int(grid.engine[row])}
        cost = Cost(start, 0.0, seconds, _devices(point))
        reading = Reading(point, {"latency_ms": (latency,)}, seconds)
        observations.add(Run(number, point, Measurement(Status.OK, cost, (reading,))))
    return observations


def _batch(observations: Observations, size: int, feasibility: np.ndarray | None = None, seed: int = 0) -> list[int]:
    grid = observations.grid
    model, cost = GridModel(grid, None).fit(observations), CostModel(
        grid, np.array([_devices(grid.point(row)) for row in range(len(grid))])).fit(observations)
    feasibility = np.ones(len(grid)) if feasibility is None else feasibility
    return choose_batch(model, cost, observations, feasibility, size, np.random.default_rng(seed))


def test_a_batch_is_new_points_each_once() -> None:
    grid = _grid()
    observations = _observations(grid, [0, 30, 60, 90, 120, 150, 180])
    observations.pending = {5, 6, 7}
    chosen = _batch(observations, 12)
    assert len(set(chosen)) == 12
    assert not any(observations.known[row] or row in observations.pending for row in chosen)


def test_information_lies_where_nothing_was_measured() -> None:
    """Everything measured at small batches: at equal prices the first choice is a large one."""
    grid = _grid()
    batch = np.asarray(grid.column("batch_size"), dtype=float)
    observations = _observations(grid, [int(r) for r in np.flatnonzero(batch <= 4)])
    assert batch[_batch(observations, 1)[0]] >= 12


def test_expensive_points_wait() -> None:
    grid = _grid()
    rows = list(range(0, len(grid), 9))
    batch = np.asarray(grid.column("batch_size"), dtype=float)
    cheap = np.mean([batch[row] for seed in range(3) for row in _batch(_observations(grid, rows, exponent=0.0), 6,
                                                                       seed=seed)])
    expensive = np.mean([batch[row] for seed in range(3) for row in _batch(_observations(grid, rows, exponent=1.2), 6,
                                                                            seed=seed)])
    assert expensive < cheap


def test_an_expensive_start_keeps_to_the_running_engine_and_starts_each_once() -> None:
    grid = _grid()
    rows = [r for r in range(0, len(grid), 9) if grid.engine[r] == 1] + [
        r for r in range(0, len(grid), 9) if grid.engine[r] == 0]
    free = _batch(_observations(grid, rows, start_s=0.0), 10)
    expensive = _batch(_observations(grid, rows, start_s=500.0), 10)
    changes = lambda chosen: int(np.sum(np.diff(grid.engine[chosen]) != 0))  # noqa: E731
    assert changes(free) <= 1 and changes(expensive) <= 1
    assert np.mean(grid.engine[expensive] == 0) >= np.mean(grid.engine[free] == 0)
    assert grid.engine[expensive[0]] == 0  # the engine that the last run left running


# -------------------------------------------------------------------------------------- batch selection by brute force


class GivenCosts:
    """Costs that a test gives, in place of a CostModel."""

    def __init__(self, price: FloatArray, start: FloatArray) -> None:
        self._price, self._start, self.devices = price, start, np.ones(len(price))

    def price(self, rows: IntArray) -> FloatArray:
        return self._price[rows]

    def start_seconds(self) -> FloatArray:
        return self._start


class BruteForce:
    """Three engines of 10 points, 7 points of two of them measured, the last on engine 1; two nearly independent
    targets, random prices and probabilities of feasibility."""

    def __init__(self, seed: int, start_s: float) -> None:
        rng = np.random.default_rng(seed)
        self.grid = full_grid([Axis("model", ("a", "b", "c"), Scope.ENGINE, Scale.CATEGORY),
                               Axis("x", tuple(range(10)))])
        self.observations = Observations(self.grid, ("latency_ms", "power_w"))
        known = [*rng.choice(10, 4, replace=False), *(10 + rng.choice(10, 3, replace=False))]
        for number, row in enumerate(int(row) for row in known):
            metrics = {"latency_ms": (3.0 + row % 10,), "power_w": (float(np.exp(rng.standard_normal())),)}
            reading = Reading(self.grid.point(row), metrics, 1.0)
            self.observations.add(Run(number, reading.point, Measurement(Status.OK, Cost(measure_s=1.0), (reading,))))
        self.model = GridModel(self.grid, None).fit(self.observations)
        self.feasibility = rng.uniform(0.3, 1.0, 30)
        self.price, self.start = np.exp(rng.standard_normal(30)), np.full(30, start_s)
        self.open = np.flatnonzero(~self.observations.known)
        weights = self.model.weights(self.open)
        self._parts = [(regressor.covariance(self.open, self.open), regressor.noise_, weights[name])
                       for name, regressor in self.model.regressors_.items()]
        assert len(self._parts) == 2

    def ours(self, size: int) -> list[int]:
        return choose_batch(self.model, GivenCosts(self.price, self.start), self.observations, self.feasibility, size,
                            np.random.default_rng(0))

    def utility(self, chosen: list[int]) -> float:
        """The reduction of the summed variance of open rows when these rows are measured, weighted by feasibility:
        conditioned on all of them at once, by solving."""
        total, at = 0.0, np.searchsorted(self.open, chosen)
        for K, noise, weights in self._parts:
            solved = np.linalg.solve(K[np.ix_(at, at)] + noise**2 * np.eye(len(at)), K[at])
            total += float((weights * self.feasibility[self.open]) @ np.einsum("ij,ij->j", K[at], solved))
        return total

    def gain(self, row: int, chosen: list[int]) -> float:
        return (self.utility([*chosen, row]) - self.utility(chosen)) * self.feasibility[row]

    def greedy(self, rows: list[int], chosen: list[int]) -> tuple[list[int], list[float]]:
        """All the rows, each of the largest gain per price given those before it, and the gain of each."""
        order: list[int] = []
        gains: list[float] = []
        while len(order) < len(rows):
            rest = [row for row in rows if row not in order]
            best = max(rest, key=lambda row: self.gain(row, chosen + order) / self.price[row])
            gains.append(self.gain(best, chosen + order))
            order.append(best)
        return order, gains

    def engine_batch(self, engine: int, chosen: list[int]) -> tuple[float, list[int]]:
        """Utility and rows of the best prefix of the greedy order on an engine that must be started, per total
        price."""
        rows = [int(row) for row in self.open if self.grid.engine[row] == engine and row not in chosen]
        order, gains = self.greedy(rows, chosen)
        return max((sum(gains[:n]) / (self.start[order[0]] + sum(self.price[order[:n]])), order[:n])
                   for n in range(1, len(order) + 1))

    def coming_back(self, engine: int | None, chosen: list[int]) -> float:
        """Utility of the best engine batch left on an engine if its start were paid again; 0 if starts are free."""
        left = [row for row in self.open if self.grid.engine[row] == engine and row not in chosen]
        return self.engine_batch(engine, chosen)[0] if left and engine is not None and self.start[0] > 0 else 0.0

    def theirs(self, size: int) -> list[int]:
        """The rule of variance_reduction.py, written plainly, at cost exponent 1."""
        chosen: list[int] = []
        running, current = {self.observations.current_engine}, self.observations.current_engine
        while len(chosen) < size:
            here = [int(row) for row in self.open if self.grid.engine[row] in running and row not in chosen]
            score, best = max(((self.gain(row, chosen) / self.price[row], row) for row in here), default=(-1.0, -1))
            offers = [self.engine_batch(engine, chosen) for engine in range(3) if engine not in running]
            utility, engine_batch = max(offers, default=(-1.0, []))
            if utility > score and self.coming_back(current, chosen) <= RETURN_SHARE * utility:
                current = int(self.grid.engine[engine_batch[0]])
                running.add(current)
                chosen += engine_batch[: size - len(chosen)]
            else:
                chosen.append(best)
        return by_engine(np.array(chosen), self.grid.engine[chosen], self.observations.current_engine)


STARTS = (0.0, 0.3, 1.0, 3.0, 1e5)


@pytest.mark.parametrize("start_s", STARTS)
@pytest.mark.parametrize("seed", range(3))
def test_an_engine_is_started_only_if_its_best_batch_has_more_utility(seed: int, start_s: float) -> None:
    selection = BruteForce(seed, start_s)
    for size in (1, 7):
        assert selection.ours(size) == selection.theirs(size)


@pytest.mark.parametrize("start_s", [0.0, 2.0])
def test_without_a_running_engine_the_best_engine_batch_is_first(start_s: float) -> None:
    selection = BruteForce(0, start_s)
    selection.observations.current_engine = None  # the last run failed
    assert selection.ours(5) == selection.theirs(5)
    if start_s:
        utility = {engine: selection.engine_batch(engine, [])[0] for engine in range(3)}
        assert selection.grid.engine[selection.ours(1)[0]] == max(utility, key=lambda engine: utility[engine])


def test_more_expensive_starts_are_paid_less_often() -> None:
    starts = [np.mean([len(set(selection.grid.engine[selection.ours(7)]) - {1})
                       for selection in (BruteForce(seed, start_s) for seed in range(4))]) for start_s in STARTS]
    assert starts[0] > 1 and starts[-1] == 0 and starts == sorted(starts, reverse=True)


@pytest.mark.parametrize("seed", range(3))
def test_without_engine_starts_a_batch_is_greedy_in_gain_for_price(seed: int) -> None:
    """For any running engine, free starts change only the order of the runs."""
    selection = BruteForce(seed, 0.0)
    order, _ = selection.greedy([int(row) for row in selection.open], [])
    for running in (None, 0, 1, 2):
        selection.observations.current_engine = running
        assert sorted(selection.ours(8)) == sorted(order[:8])


def test_a_batch_may_cut_an_engine_batch_and_go_beyond_the_running_engine() -> None:
    """An engine with little left: what it has comes first, then those that must be started, each in one piece."""
    selection = BruteForce(1, 3.0)
    measurable = {row for row in range(10, 20) if not selection.observations.known[row]}
    selection.observations.pending = measurable - {int(selection.open[-11])}
    assert selection.grid.engine[selection.open[-11]] == 1
    batch = selection.ours(5)
    engines = selection.grid.engine[batch]
    assert len(set(batch)) == 5 and not set(batch) & selection.observations.pending
    assert np.sum(np.diff(engines) != 0) == len(set(engines)) - 1
    everything = selection.ours(99)
    assert len(everything) == len(set(everything)) == len(selection.open) - len(selection.observations.pending)


def test_runs_without_information_are_worth_no_start() -> None:
    """Every run is sure to fail: what is left goes to the engine that runs."""
    selection = BruteForce(0, 5.0)
    selection.feasibility = np.zeros(30)
    assert set(selection.grid.engine[selection.ours(4)]) == {1}


def test_what_will_fail_is_avoided() -> None:
    grid = _grid()
    batch = np.asarray(grid.column("batch_size"), dtype=float)
    observations = _observations(grid, [int(r) for r in np.flatnonzero(batch <= 4)])
    feasibility = np.where(batch > 12, 0.001, 1.0)
    assert all(batch[row] <= 12 for row in _batch(observations, 8, feasibility))


def test_the_initial_design_spreads_and_starts_cheap() -> None:
    grid = _grid()
    design = initial_design(grid, None, seed=1)
    assert len(set(design.tolist())) == len(design) == initial_size(grid, None)
    assert set(grid.engine[design]) == {0, 1}
    assert int(np.sum(np.diff(grid.engine[design]) != 0)) == 1
    proxy = cost_proxy(grid)
    rng = np.random.default_rng(0)
    typical = np.median([proxy[rng.choice(len(grid), len(design))].sum() for _ in range(50)])
    assert proxy[design].sum() < typical
    assert initial_design(grid, None, seed=1).tolist() == design.tolist()
    assert initial_design(grid, None, seed=2).tolist() != design.tolist()


@pytest.mark.parametrize("finer", [1, 8])
def test_the_initial_design_counts_what_there_is_to_learn_and_not_the_points(finer: int) -> None:
    """Three runs for each size, one for each category; a trajectory learns its own axis, and one value nothing."""
    grid = full_grid([
        Axis("model", ("a", "b", "c", "d"), Scope.ENGINE, Scale.CATEGORY),
        Axis("dtype", ("bfloat16",), Scope.ENGINE, Scale.CATEGORY),
        Axis("input_len", tuple(range(16, 16 * 8 * finer, 16)), scale=Scale.LOG, roles=(Role.INPUT_TOKENS,)),
        Axis("output_len", (1, 2, 4, 8), scale=Scale.LOG, roles=(Role.OUTPUT_TOKENS,)),
    ])
    assert initial_size(grid, None) == 4 + 3 + 3
    assert initial_size(grid, "output_len") == 4 + 3
    assert initial_size(full_grid([Axis("batch_size", (1, 2))]), None) == 2  # no more than there are
    assert initial_size(full_grid([Axis("batch_size", (4,))]), None) == 1


@pytest.mark.parametrize(("outputs", "length"), [((1, 2), 2), ((1, 2, 4), 2), ((1, 2, 4, 8, 16, 32, 64, 128), 4)])
def test_the_first_trajectories_are_short_and_tell_the_time_between_tokens(
    outputs: tuple[int, ...], length: int,
) -> None:
    grid = full_grid([
        Axis("batch_size", (1, 2, 4, 8), scale=Scale.LOG, roles=(Role.BATCH,)),
        Axis("output_len", outputs, scale=Scale.LOG, roles=(Role.OUTPUT_TOKENS,)),
    ])
    design = initial_design(grid, "output_len", seed=0)
    assert set(grid.size_column(Role.OUTPUT_TOKENS)[design]) == {length}


def test_every_category_has_a_first_run_where_no_role_tells_prices() -> None:
    """By distance alone the far corners of two sizes come before another category."""
    grid = full_grid([
        Axis("kind", tuple(f"k{i}" for i in range(60)), scale=Scale.CATEGORY),
        Axis("x", tuple(range(1, 13))), Axis("y", tuple(range(1, 13))),
    ])
    design = initial_design(grid, None, seed=0)
    assert len(set(design.tolist())) == initial_size(grid, None) == 60 + 3 + 3
    assert set(grid.codes[design, 0]) == set(range(60))
    assert len(set(zip(grid.codes[design, 1], grid.codes[design, 2], strict=True))) > 8  # and still spread


def test_trajectories_start_anywhere_where_few_points_have_a_quarter_of_their_axis() -> None:
    axes = [Axis("batch_size", tuple(range(1, 9)), scale=Scale.LOG, roles=(Role.BATCH,)),
            Axis("output_len", (1, 2, 4, 8), scale=Scale.LOG, roles=(Role.OUTPUT_TOKENS,))]
    full = full_grid(axes)
    gaps = (full.codes[:, 1] == 1) & (full.codes[:, 0] > 0)
    assert len(initial_design(Grid(full.axes, full.codes[~gaps]), "output_len", seed=0)) == 3


def test_a_model_without_the_short_output_length_has_a_first_run_too() -> None:
    full = full_grid([
        Axis("model", ("a", "b", "c"), Scope.ENGINE, Scale.CATEGORY, (Role.MODEL,)),
        Axis("batch_size", tuple(range(1, 9)), scale=Scale.LOG, roles=(Role.BATCH,)),
        Axis("output_len", (1, 2, 4, 8), scale=Scale.LOG, roles=(Role.OUTPUT_TOKENS,))])
    grid = Grid(full.axes, full.codes[(full.codes[:, 0] != 2) | (full.codes[:, 2] == 3)])
    for seed in range(3):
        assert set(grid.codes[initial_design(grid, "output_len", seed), 0]) == {0, 1, 2}


def _tokens(outputs: tuple[int, ...], seconds: float = 1.0) -> Observations:
    """Time per output token over batch and output sizes, seen at every fourth point; every run costs the same."""
    grid = full_grid([
        Axis("batch_size", tuple(range(1, 17)), scale=Scale.LOG, roles=(Role.BATCH,)),
        Axis("output_len", outputs, scale=Scale.LOG, roles=(Role.OUTPUT_TOKENS,)),
    ])
    observations = Observations(grid, ("tpot_ms",))
    length = grid.size_column(Role.OUTPUT_TOKENS)
    for number, row in enumerate(np.flatnonzero(length == length.max())[::4]):
        point = grid.point(int(row))
        reading = Reading(point, {"tpot_ms": (5 + 0.3 * float(point["batch_size"]),)}, seconds)
        observations.add(Run(number, point, Measurement(Status.OK, Cost(measure_s=seconds), (reading,))))
    return observations


def _length(observations: Observations, rows: list[int]) -> FloatArray:
    return observations.grid.size_column(Role.OUTPUT_TOKENS)[rows]


@pytest.mark.parametrize("seed", range(3))
def test_one_token_tells_nothing_about_the_time_between_tokens(seed: int) -> None:
    """Such runs come last, however many are asked for; where no other is left they are made all the same."""
    observations = _tokens((1, 8))
    others = int((_length(observations, list(observations.open_rows)) > 1).sum())
    chosen = _batch_of(observations, others + 3, seed)
    assert sorted(_length(observations, chosen)) == [1.0] * 3 + [8.0] * others


def test_a_length_that_is_no_axis_forbids_nothing() -> None:
    """All outputs of one known length of one: any metric called a time per token is measured by every run."""
    observations = _tokens((1,))
    model = GridModel(observations.grid, None).fit(observations)
    assert all(model.observes(quantity).all() for quantity in model.quantities)


def _batch_of(observations: Observations, size: int, seed: int) -> list[int]:
    model, cost = GridModel(observations.grid, None).fit(observations), CostModel(observations.grid,
        np.ones(len(observations.grid))).fit(observations)
    return choose_batch(model, cost, observations, np.ones(len(observations.grid)), size, np.random.default_rng(seed))


def test_weights_draw_runs_to_what_counts() -> None:
    """Weights on the longest inputs alone: the batch leaves less variance there than one for the whole grid does."""
    grid = _grid()
    observations = _observations(grid, [0, 30, 60, 90, 120, 150, 180])
    counts = grid.column("input_len") == 4096
    model, cost = GridModel(grid, None).fit(observations), CostModel(grid, np.ones(len(grid))).fit(observations)

    def left(weights: PointWeights | None) -> float:
        rng = np.random.default_rng(0)
        rows = np.array(choose_batch(model, cost, observations, np.ones(len(grid)), 6, rng, weights))
        there, total = np.flatnonzero(counts), 0.0
        for quantity in model.quantities:
            regressor = model.regressors_[quantity.name]
            both, own = regressor.covariance(rows, np.append(rows, there)), regressor.covariance(there, there)
            assert both is not None and own is not None
            noisy = both[:, :6] + regressor.noise_**2 * np.eye(6)
            total += float(np.trace(own - both[:, 6:].T @ np.linalg.solve(noisy, both[:, 6:])))
        return total

    assert left(PointWeights(np.where(counts, 1.0, 1e-6), counts)) < 0.9 * left(None)
