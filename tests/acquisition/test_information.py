"""Where the next runs go: towards information, away from cost, restarts and failures."""

from __future__ import annotations

import numpy as np

from planner.acquisition.information import choose_batch
from planner.acquisition.initial import cost_proxy, initial_design, initial_size
from planner.ledger.observations import Observations, Run
from planner.space.grid import Grid, full_grid
from planner.space.types import Axis, Cost, Measurement, Reading, Role, Scale, Scope, Status
from planner.surrogates.cost import CostModel
from planner.surrogates.model import GridModel


def _grid() -> Grid:
    return full_grid([
        Axis("tensor_parallel_size", (1, 2), Scope.ENGINE, Scale.LOG, (Role.ACCELERATORS,)),
        Axis("input_len", (64, 256, 1024, 4096), scale=Scale.LOG, roles=(Role.INPUT_TOKENS,)),
        Axis("batch_size", tuple(range(1, 25)), scale=Scale.LOG, roles=(Role.BATCH,)),
    ])


def _devices(point: object) -> float:
    return float(point["tensor_parallel_size"])  # type: ignore[index]


def _seen(grid: Grid, rows: list[int], start_s: float = 0.0, dear: float = 0.0) -> Observations:
    """Latency 1 + input·batch/1000; a run costs its latency, or e^(dear·log2 batch) where asked for."""
    seen = Observations(grid, ("latency_ms",))
    engines: set[int] = set()
    for number, row in enumerate(rows):
        point = grid.point(row)
        latency = 1 + float(point["input_len"]) * float(point["batch_size"]) / 1000
        seconds = float(np.exp(dear * np.log2(float(point["batch_size"]))))
        start = start_s if int(grid.engine[row]) not in engines else 0.0
        engines = {int(grid.engine[row])}
        cost = Cost(start, 0.0, seconds, _devices(point))
        reading = Reading(point, {"latency_ms": (latency,)}, seconds)
        seen.add(Run(number, point, Measurement(Status.OK, cost, (reading,))))
    return seen


def _batch(seen: Observations, size: int, success: np.ndarray | None = None, seed: int = 0) -> list[int]:
    grid = seen.grid
    model, cost = GridModel(grid, None).fit(seen), CostModel(grid, _devices).fit(seen)
    success = np.ones(len(grid)) if success is None else success
    return choose_batch(model, cost, seen, success, size, np.random.default_rng(seed))


def test_a_batch_is_new_points_each_once() -> None:
    grid = _grid()
    seen = _seen(grid, [0, 30, 60, 90, 120, 150, 180])
    seen.pending = {5, 6, 7}
    chosen = _batch(seen, 12)
    assert len(set(chosen)) == 12
    assert not any(seen.known[row] or row in seen.pending for row in chosen)


def test_information_lies_where_nothing_was_measured() -> None:
    """Everything measured at small batches: at equal prices the first choice is a large one."""
    grid = _grid()
    batch = np.asarray(grid.column("batch_size"), dtype=float)
    seen = _seen(grid, [int(r) for r in np.flatnonzero(batch <= 4)])
    assert batch[_batch(seen, 1)[0]] >= 12


def test_dear_points_wait() -> None:
    grid = _grid()
    rows = list(range(0, len(grid), 9))
    batch = np.asarray(grid.column("batch_size"), dtype=float)
    cheap = np.mean([batch[row] for seed in range(3) for row in _batch(_seen(grid, rows, dear=0.0), 6, seed=seed)])
    dear = np.mean([batch[row] for seed in range(3) for row in _batch(_seen(grid, rows, dear=1.2), 6, seed=seed)])
    assert dear < cheap


def test_a_dear_start_keeps_to_the_running_engine_and_starts_each_once() -> None:
    grid = _grid()
    rows = [r for r in range(0, len(grid), 9) if grid.engine[r] == 1] + [
        r for r in range(0, len(grid), 9) if grid.engine[r] == 0]
    free = _batch(_seen(grid, rows, start_s=0.0), 10)
    dear = _batch(_seen(grid, rows, start_s=500.0), 10)
    changes = lambda chosen: int(np.sum(np.diff(grid.engine[chosen]) != 0))  # noqa: E731
    assert changes(free) <= 1 and changes(dear) <= 1
    assert np.mean(grid.engine[dear] == 0) >= np.mean(grid.engine[free] == 0)
    assert grid.engine[dear[0]] == 0  # the engine that the last run left running


def test_what_will_fail_is_avoided() -> None:
    grid = _grid()
    batch = np.asarray(grid.column("batch_size"), dtype=float)
    seen = _seen(grid, [int(r) for r in np.flatnonzero(batch <= 4)])
    success = np.where(batch > 12, 0.001, 1.0)
    assert all(batch[row] <= 12 for row in _batch(seen, 8, success))


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
