"""How many accelerators a configuration occupies."""

from __future__ import annotations

from typing import Any

import pytest

from planner.space.devices import accelerators_expression, devices_of
from planner.space.types import Axis, Role


@pytest.mark.parametrize(("settings", "devices"), [
    ({}, None), ({"model": "m", "max_num_seqs": 8}, None), ({"tensor_parallel_size": 4}, 4),
    ({"tensor_parallel_size": "4", "data_parallel_size": 2, "pipeline_parallel_size": 2.0}, 16),
    ({"tp": 8, "tensor_parallel_size": 8}, 8),  # one size under two names
    ({"num_gpus": 16, "tensor_parallel_size": 8}, 16), ({"gpu_count": "2"}, 2),
    ({"tensor_parallel_size": "auto"}, None), ({"tensor_parallel_size": 0, "dp": 4}, 4), ({"num_gpus": True}, None),
    ({"tensor_parallel_size": 2, "expert_parallel_size": 8}, 2),
])
def test_total_or_product(settings: dict[str, Any], devices: float | None) -> None:
    assert devices_of(settings) == devices


@pytest.mark.parametrize(("axes", "expression"), [
    ([], 1.0), ([Axis("batch_size", (1,))], 1.0), ([Axis("tensor_parallel_size", (1, 2))], "tensor_parallel_size"),
    ([Axis("tp", (1,)), Axis("data_parallel_size", (1,))], "tp * data_parallel_size"),
    ([Axis("cards", (1, 8), roles=(Role.ACCELERATORS,))], "cards"),
    ([Axis("n_gpus", (1, 8), roles=(Role.ACCELERATORS,)), Axis("tp", (1, 2))], "n_gpus"),
])
def test_axes_that_are_about_devices(axes: list[Axis], expression: str | float) -> None:
    assert accelerators_expression(axes) == expression
