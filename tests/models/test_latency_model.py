"""The latency model alone: exact where latency is one of its sums, never negative, trivial without roles."""

from __future__ import annotations

import numpy as np
import pytest

from planner.models.latency_model import Covers, LatencyModel, batch_of
from planner.space.grid import Grid, full_grid
from planner.space.types import Axis, FloatArray, Role, Scale, Scope


def _grid(**values: tuple[int, ...]) -> Grid:
    roles = {"input_len": Role.INPUT_TOKENS, "output_len": Role.OUTPUT_TOKENS, "batch_size": Role.BATCH,
             "tensor_parallel_size": Role.ACCELERATORS}
    return full_grid([Axis(name, steps, scale=Scale.LOG, roles=(roles[name],)) for name, steps in values.items()])


GRID = _grid(input_len=(64, 256, 1024, 4096), output_len=(2, 16, 128, 1024), batch_size=(1, 3, 8, 32, 100),
             tensor_parallel_size=(1, 2, 4, 8))
I, O, B, N = (np.asarray(GRID.column(axis.name), dtype=float) for axis in GRID.axes)  # noqa: E741
# A sum of terms with weights as large as in a real engine, in milliseconds.
LATENCIES: dict[Covers, FloatArray] = {
    "output": 12 + 0.011 * B * I / N + O * (6 / N + 0.4 + 0.02 * B + 3e-4 * B * (I + O / 2) / N),
    "first": 9 + 2.5 / N + 0.013 * B * I / N + 2e-6 * B * I**2 / N,
    "step": 5 / N + 0.3 + 0.04 * B + 2e-4 * B * (I + O / 2) / N,
}


@pytest.mark.parametrize("covers", LATENCIES)
def test_a_sum_of_its_terms_is_recovered_everywhere_from_a_tenth_of_the_grid(covers: Covers) -> None:
    """To 5 % at every point, also far more expensive than those measured; the ridge prevents an exact fit."""
    truth = LATENCIES[covers]
    cheap = np.argsort(truth)[: len(truth) // 2]
    rows = np.random.default_rng(0).choice(cheap, len(truth) // 10, replace=False)
    predicted = np.exp(LatencyModel(GRID, covers, False).fit(rows, truth[rows]))
    assert np.abs(predicted / truth - 1).max() < 0.05
    assert truth.max() > 4 * truth[rows].max()


def test_a_proportional_latency_is_exact_to_the_ridge() -> None:
    """One reading settles the one term that there is: a constant latency."""
    grid = _grid(batch_size=(1, 2, 4, 8))
    found = LatencyModel(grid, "step", True).fit(np.arange(4), np.full(4, 7.0))
    np.testing.assert_allclose(found, np.log(7.0), atol=1e-3)
    batch = batch_of(grid)
    found = LatencyModel(grid, "step", True).fit(np.arange(4), 0.5 * batch)
    np.testing.assert_allclose(found, np.log(0.5 * batch), atol=1e-3)


@pytest.mark.parametrize("covers", LATENCIES)
@pytest.mark.parametrize("seed", range(3))
def test_weights_are_never_negative(covers: Covers, seed: int) -> None:
    """For any measurements, even of a latency that falls with size, predictions are finite and never fall with size."""
    rows = np.random.default_rng(seed).choice(len(GRID), 30, replace=False)
    falling = 1e4 / (B * I * O)[rows]
    found = LatencyModel(GRID, covers, True).fit(rows, falling).reshape(4, 4, 5, 4)
    assert np.isfinite(found).all()
    for axis in (0, 2):  # input length and batch
        assert (np.diff(found, axis=axis) >= -1e-9).all()
    assert (np.diff(found, axis=3) <= 1e-9).all()  # accelerators


def test_units_change_nothing_but_the_unit() -> None:
    truth, rows = LATENCIES["output"], np.arange(0, len(GRID), 7)
    model = LatencyModel(GRID, "output", False)
    np.testing.assert_allclose(model.fit(rows, truth[rows]) - np.log(1000), model.fit(rows, truth[rows] / 1000),
                               atol=1e-6)


def test_a_grid_without_roles_is_trivial() -> None:
    grid = full_grid([Axis("model", ("a", "b"), Scope.ENGINE, Scale.CATEGORY), Axis("dropout", (1, 2, 3))])
    assert LatencyModel(grid, "output", False).is_trivial
    assert not LatencyModel(GRID, "output", False).is_trivial
    assert LatencyModel(_grid(output_len=(1, 2, 4)), "step", True).is_trivial  # its only axis does not count
    np.testing.assert_array_equal(batch_of(grid), 1.0)


def test_parameter_counts_tell_models_apart() -> None:
    """A latency proportional to the parameters, learned from two models, holds for a third."""
    grid = full_grid([
        Axis("model", ("a", "b", "c"), Scope.ENGINE, Scale.CATEGORY, (Role.MODEL,), {"params_b": (1.0, 8.0, 70.0)}),
        Axis("batch_size", (1, 4, 16, 64), scale=Scale.LOG, roles=(Role.BATCH,))])
    billions = np.array([1.0, 8.0, 70.0])[grid.codes[:, 0]]
    truth = 2.0 * billions + 0.1 * billions * batch_of(grid)
    known = np.flatnonzero(billions < 70)
    found = np.exp(LatencyModel(grid, "step", True).fit(known, truth[known]))
    np.testing.assert_allclose(found, truth, rtol=0.02)
