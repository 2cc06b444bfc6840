"""The model of a whole grid: derived targets, runs left out, calibrated intervals."""

from __future__ import annotations

import numpy as np
import pytest

from planner.ledger.observations import Observations, Run
from planner.space.grid import Grid, full_grid
from planner.space.types import Axis, Cost, Measurement, Reading, Role, Scale, Status
from planner.surrogates.model import GridModel
from planner.surrogates.quantities import targets_of

OUTPUTS = (1, 2, 4, 8, 16, 32, 64, 128)
TARGETS = ("ttft_ms", "tpot_ms", "e2el_ms", "output_throughput", "total_token_throughput", "request_throughput")


def _grid(batches: tuple[int, ...] = (1, 2, 4, 8, 16, 32)) -> Grid:
    return full_grid([
        Axis("input_len", (16, 64, 256), scale=Scale.LOG, roles=(Role.INPUT_TOKENS,)),
        Axis("output_len", OUTPUTS, scale=Scale.LOG, roles=(Role.OUTPUT_TOKENS,)),
        Axis("batch_size", batches, scale=Scale.LOG, roles=(Role.BATCH,)),
    ])


def _metrics(inputs: float, outputs: float, batch: float, luck: float = 1.0) -> dict[str, tuple[float, ...]]:
    """A static batch in lockstep: every request has its tokens at the same time."""
    first = (2 + 0.01 * inputs * batch) * luck
    step = (1.5 + 0.05 * batch) * luck
    e2el = first + (outputs - 1) * step
    metrics = {
        "ttft_ms": first, "batch_ttft_ms": first, "e2el_ms": e2el,
        "output_throughput": 1000 * batch * outputs / e2el,
        "total_token_throughput": 1000 * batch * (inputs + outputs) / e2el,
        "request_throughput": 1000 * batch / e2el,
    }
    if outputs > 1:
        metrics["tpot_ms"] = step
    return {name: (value,) for name, value in metrics.items()}


def _seen(grid: Grid, longest: int, seed: int = 0, noise: float = 0.0, runs: int = 14) -> Observations:
    """Runs to `longest` tokens at random lines, each with all its shorter readings."""
    rng = np.random.default_rng(seed)
    seen = Observations(grid, TARGETS)
    lines = [(i, b) for i in grid.axes[0].values for b in grid.axes[2].values]
    for number, chosen in enumerate(rng.permutation(len(lines))[:runs]):
        inputs, batch = lines[chosen]
        luck = float(np.exp(noise * rng.standard_normal()))
        readings = tuple(
            Reading({"input_len": inputs, "output_len": o, "batch_size": batch},
                    _metrics(float(inputs), o, float(batch), luck), 1.0)
            for o in OUTPUTS if o <= longest
        )
        point = readings[-1].point
        seen.add(Run(number, point, Measurement(Status.OK, Cost(measure_s=1.0), readings)))
    return seen


def _truth(grid: Grid, target: str) -> np.ndarray:
    return np.array([
        _metrics(*[float(v) for v in grid.point(row).values()]).get(target, (np.nan,))[0] for row in range(len(grid))
    ])


@pytest.mark.parametrize("target", TARGETS)
def test_short_runs_tell_about_long_ones(target: str) -> None:
    """Sixteen tokens are enough for 128, since latency is built of its parts."""
    grid = _grid()
    seen = _seen(grid, longest=16)
    value = GridModel(grid, "output_len").fit(seen).predict().value[target]
    truth = _truth(grid, target)
    wanted = np.isfinite(truth) & ~seen.known
    assert np.abs(value[wanted] / truth[wanted] - 1).mean() < 0.05


def test_throughputs_agree_with_latency_exactly() -> None:
    grid = _grid()
    value = GridModel(grid, "output_len").fit(_seen(grid, 32, noise=0.1)).predict().value
    outputs, batch = (np.asarray(grid.column(n), dtype=float) for n in ("output_len", "batch_size"))
    np.testing.assert_allclose(value["output_throughput"] * value["e2el_ms"], 1000 * batch * outputs, rtol=1e-9)
    np.testing.assert_allclose(value["request_throughput"] * value["e2el_ms"], 1000 * batch, rtol=1e-9)


def test_a_throughput_that_breaks_its_definition_is_learned_as_it_is() -> None:
    grid = _grid()
    seen = _seen(grid, 32)
    honest = {t.name: len(t.quantities) for t in targets_of(seen, "output_len")}
    assert honest["output_throughput"] == 2
    twice = Observations(grid, TARGETS)
    for run in seen.runs:
        readings = tuple(
            Reading(r.point, {**r.metrics, "output_throughput": (2 * r.metrics["output_throughput"][0],)}, 1.0)
            for r in run.measurement.readings)
        twice.add(Run(run.number, run.point, Measurement(Status.OK, Cost(measure_s=1.0), readings)))
    assert {t.name: len(t.quantities) for t in targets_of(twice, "output_len")}["output_throughput"] == 1


def test_left_out_runs_take_their_whole_trajectory_with_them() -> None:
    """One run is twice as slow as all others: what is predicted there without it must not know that."""
    grid = _grid()
    seen = _seen(grid, 16)
    odd = seen.runs[3]
    slow = Observations(grid, TARGETS)
    for run in seen.runs:
        factor = 2.0 if run is odd else 1.0
        inputs, _, batch = (float(v) for v in run.point.values())
        readings = tuple(
            Reading(r.point, _metrics(inputs, float(r.point["output_len"]), batch, factor), 1.0)
            for r in run.measurement.readings)
        slow.add(Run(run.number, run.point, Measurement(Status.OK, Cost(measure_s=1.0), readings)))
    left_out = GridModel(grid, "output_len").fit(slow).left_out_["tpot_ms"]
    mine = left_out.ape[left_out.runs == 3]
    assert len(mine) == 4  # 2, 4, 8, 16 tokens
    assert np.all(np.abs(mine - 0.5) < 0.25)


def test_intervals_of_unmeasured_points_are_honest() -> None:
    covered = []
    for seed in range(8):
        grid = _grid((1, 2, 3, 4, 6, 8, 12, 16, 20, 24, 28, 32))
        seen = _seen(grid, 128, seed=seed, noise=0.08, runs=18)  # half of the lines: the other half is predicted
        prediction = GridModel(grid, "output_len").fit(seen).predict()
        rng = np.random.default_rng(100 + seed)
        truth = _truth(grid, "e2el_ms") * np.exp(0.08 * rng.standard_normal(len(grid)))
        u = ~seen.known
        low, high = prediction.low["e2el_ms"], prediction.high["e2el_ms"]
        covered.append(np.mean((low[u] <= truth[u]) & (truth[u] <= high[u])))
    assert 0.82 <= np.mean(covered) <= 0.99


def test_zero_and_negative_targets_are_learned_without_logarithm() -> None:
    grid = full_grid([Axis("x", tuple(float(v) for v in range(-10, 11)), scale=Scale.LINEAR)])
    seen = Observations(grid, ("delta",))
    for number, row in enumerate(range(0, 21, 3)):
        point = grid.point(row)
        reading = Reading(point, {"delta": (3.0 * float(point["x"]),)}, 1.0)
        seen.add(Run(number, point, Measurement(Status.OK, Cost(measure_s=1.0), (reading,))))
    value = GridModel(grid, None).fit(seen).predict().value["delta"]
    np.testing.assert_allclose(value, 3.0 * np.asarray(grid.column("x")), atol=1.5)
