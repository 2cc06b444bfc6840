"""Feature sets to try surrogates on: made-up ones of any shape, and a roofline-like surface."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest

from planner.space.types import Features, FloatArray


def made_up(n: int, d: int = 2, levels: tuple[int, ...] = (3,), seed: int = 0) -> Features:
    """n random rows: standard normal sizes, uniform categories."""
    rng = np.random.default_rng(seed)
    category = np.stack([rng.integers(0, k, n) for k in levels], axis=1) if levels else np.zeros((n, 0), np.int64)
    return Features(rng.standard_normal((n, d)), category.astype(np.int64), levels)


def roofline_surface(seed: int) -> tuple[Features, FloatArray]:
    """1,120 points of model × accelerators × input × output × batch; the log of a noise-free latency.

    Prefill is compute-bound; a decode step is the larger of weights read and arithmetic, plus cache reads
    and a fixed launch time. Models differ in size and in how well they run.
    """
    rng = np.random.default_rng(seed)
    rows, codes, log_latency = [], [], []
    for model, billions in enumerate((1.0, 7.0, 13.0, 34.0, 70.0)):
        efficiency = np.exp(0.15 * rng.standard_normal(3))
        for n, i, o, b in product((1, 2, 4, 8), (128, 1024), (16, 128, 512, 1024), (1, 2, 4, 8, 16, 32, 64)):
            flops, bandwidth = 4e14 * n**0.85, 2.2e12 * n**0.8
            prefill = efficiency[0] * i * b * billions * 2e9 / flops
            step = max(efficiency[1] * billions * 2e9 / bandwidth, b * billions * 2e9 / flops)
            cache = efficiency[2] * b * (i + o / 2) * billions**0.6 * 2e-8 / n
            rows.append((n, i, o, b, billions))
            codes.append(model)
            log_latency.append(np.log(prefill + o * (step + cache + 2e-3 + 5e-4 * (n > 1)) + 0.02))
    sizes = np.log2(np.array(rows, dtype=np.float64))
    sizes = (sizes - sizes.mean(axis=0)) / sizes.std(axis=0)
    return Features(sizes, np.array(codes, dtype=np.int64)[:, None], (5,)), np.array(log_latency)


@pytest.fixture
def features() -> Callable[..., Features]:
    return made_up


@pytest.fixture
def roofline() -> Callable[[int], tuple[Features, FloatArray]]:
    return roofline_surface
