"""Data sheets in the latency model: what a step reads and computes, and today's terms where nothing is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from planner.models.latency_model import LatencyModel
from planner.models.roofline import Roofline
from planner.models.server_model import ServerModel
from planner.space.grid import Grid, full_grid
from planner.space.types import Axis, FloatArray, Role, Scale

MODELS = {"params_b": (8.0, 47.0, 70.0), "active_b": (8.0, 13.0, 70.0), "kv_bytes": (131e3, 131e3, 328e3)}
DEVICES = {"tflops": (312.0, 125.0, 989.0), "bandwidth_gb_s": (2039.0, 900.0, 3350.0)}


def _grid(
    models: dict[str, tuple[float, ...]], devices: dict[str, tuple[float, ...]], load: str = "batch_size"
) -> Grid:
    role = Role.BATCH if load == "batch_size" else Role.CONCURRENCY
    return full_grid([
        Axis("model", ("a", "b", "c"), scale=Scale.CATEGORY, roles=(Role.MODEL,), descriptors=models),
        Axis("gpu", ("p", "q", "r"), scale=Scale.CATEGORY, roles=(Role.DEVICE,), descriptors=devices),
        Axis("n", (1, 2, 4), scale=Scale.LOG, roles=(Role.ACCELERATORS,)),
        Axis("input_len", (128, 1024), scale=Scale.LOG, roles=(Role.INPUT_TOKENS,)),
        Axis("output_len", (1, 32, 512), scale=Scale.LOG, roles=(Role.OUTPUT_TOKENS,)),
        Axis(load, (1, 8, 64), scale=Scale.LOG, roles=(role,)),
    ])


def _physical(grid: Grid) -> FloatArray:
    """Seconds of a batch on a machine that follows the roofline."""
    i, o, b, n = (grid.size_column(role) for role in (
        Role.INPUT_TOKENS, Role.OUTPUT_TOKENS, Role.BATCH, Role.ACCELERATORS))
    P, A, kv = (np.array(MODELS[name])[grid.codes[:, 0]] for name in ("params_b", "active_b", "kv_bytes"))
    F, B = (np.array(DEVICES[name])[grid.codes[:, 1]] for name in ("tflops", "bandwidth_gb_s"))
    read = P * (1 - (1 - A / P) ** b)
    step = 2 * read / B / n + 2e-3 * b * A / F / n + b * (i + o / 2) * kv / 1e9 / B / n + 1e-3
    latency: FloatArray = 2e-3 * b * i * A / F / n + o * step
    return latency


@pytest.mark.parametrize("load", ["batch_size", "max_concurrency"])
def test_a_device_and_a_model_that_were_never_run_follow_from_their_data_sheets(load: str) -> None:
    grid = _grid(MODELS, DEVICES, load)
    truth = _physical(_grid(MODELS, DEVICES))
    known = np.flatnonzero((grid.codes[:, 0] != 1) & (grid.codes[:, 1] != 2))
    unknown = np.flatnonzero((grid.codes[:, 0] == 1) & (grid.codes[:, 1] == 2))

    def error(grid: Grid) -> float:
        model = LatencyModel(grid, "output", False) if load == "batch_size" else ServerModel(grid, "output")
        return float(np.abs(np.expm1(model.fit(known, truth[known]) - np.log(truth)))[unknown].mean())

    assert error(grid) < 0.1
    assert error(_grid({"params_b": MODELS["params_b"]}, {}, load)) > 0.4


def test_a_mixture_of_experts_reads_more_of_itself_in_a_larger_batch() -> None:
    grid = _grid(MODELS, DEVICES)
    roofline, b = Roofline.of(grid), grid.size_column(Role.BATCH)
    reads = {(model, batch): float(roofline.reads(b)[(grid.codes[:, 0] == model) & (b == batch)][0])
             for model in range(3) for batch in (1, 8, 64)}
    assert [reads[0, batch] for batch in (1, 8, 64)] == [8.0] * 3
    assert reads[1, 1] == pytest.approx(13.0) and 30 < reads[1, 8] < reads[1, 64] < 47.0001


@pytest.mark.parametrize("covers", ["output", "first", "step"])
def test_where_nothing_is_known_the_terms_are_those_of_the_size_alone(covers: str) -> None:
    """To the last digit: no study without descriptors changes. The terms are written out here once more."""
    grid = _grid({"params_b": MODELS["params_b"]}, {})
    i, o, b, n = (grid.size_column(role) for role in (
        Role.INPUT_TOKENS, Role.OUTPUT_TOKENS, Role.BATCH, Role.ACCELERATORS))
    P = np.array(MODELS["params_b"])[grid.codes[:, 0]]
    step = [np.ones(len(grid)), P / n, b, b * P / n, b * (i + o / 2) / n]
    terms = [*step, b * i, b * i * P / n, b * i**2 * np.sqrt(P) / n]
    if covers == "output":
        terms += [o * term for term in step]
    elif covers == "step":
        terms += [term / np.maximum(o - 1, 1) for term in (*step[:3], terms[6])]
    own = LatencyModel(grid, covers, False)._terms  # type: ignore[arg-type]
    shares = [term / term.mean() for term in terms]
    kept = [k for k, share in enumerate(shares)
            if not any(np.allclose(share, other, rtol=1e-6) for other in shares[:k])]
    assert np.array_equal(own, np.column_stack([terms[k] for k in kept]))


def test_a_number_that_is_not_positive_is_as_good_as_none() -> None:
    """A descriptor may be typed as anything, and a latency is never divided by it."""
    grid = _grid(MODELS, DEVICES)
    broken = Grid((grid.axes[0], replace(grid.axes[1], descriptors={"tflops": (0.0, 1.0, 2.0)}), *grid.axes[2:]),
                  grid.codes)
    assert set(Roofline.of(broken).F) == {1.0} and set(Roofline.of(grid).F) == set(DEVICES["tflops"])
