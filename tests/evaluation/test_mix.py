"""Metrics of a mix are those that serving it gives, and its probabilities are those of correlated errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm

from planner.evaluation import settings
from planner.evaluation.metric_posterior import MetricPosterior
from planner.evaluation.mix import candidates_of, every_point, excess_over, mixed, mixes
from planner.evaluation.parts import probability_of_parts
from planner.models.transforms import forward
from planner.space.expressions import parse
from planner.space.grid import Grid, full_grid
from planner.space.metrics import metric_named
from planner.space.slo import Condition
from planner.space.types import Axis, FloatArray, Role, Scale, Transform
from planner.space.workload import Part, Workload
from planner.tables.workload import PlacedWorkload, placed


def grid() -> Grid:
    return full_grid([Axis("input_len", (128, 1024), scale=Scale.LOG, roles=(Role.INPUT_TOKENS,)),
                      Axis("output_len", (1, 16, 256), scale=Scale.LOG, roles=(Role.OUTPUT_TOKENS,)),
                      Axis("batch_size", (1, 8), scale=Scale.LOG, roles=(Role.BATCH,))])


def known(name: str, values: FloatArray, std: float = 0.1, transform: Transform = Transform.LOG) -> MetricPosterior:
    return MetricPosterior(name, values, forward(transform, values), np.full(len(values), std), transform,
                           np.zeros(len(values), dtype=bool))


def mix_of(*parts: tuple[int, int, float]) -> PlacedWorkload:
    return placed(Workload(tuple(Part({"input_len": i, "output_len": o}, w) for i, o, w in parts)), grid(), Path())


def test_the_throughput_of_a_mix_is_what_serving_its_requests_takes() -> None:
    """1,000 requests of 16 tokens at 100 tokens/s and 1,000 of 256 at 400: 160 s and 640 s for 272,000 tokens."""
    (mix,) = mixes(grid(), mix_of((128, 16, 1), (128, 256, 1)))
    outputs = grid().size_column(Role.OUTPUT_TOKENS)
    throughput = known("output_throughput", np.where(outputs == 16, 100.0, 400.0))
    latency = known("ttft_ms", np.where(outputs == 16, 10.0, 30.0))
    metrics = {name: metric_named(name) for name in ("output_throughput", "ttft_ms")}
    found = candidates_of(mix, {"output_throughput": throughput, "ttft_ms": latency}, metrics, np.ones(12), np.ones(12))
    assert len(found.grid) == 2
    assert found.known["output_throughput"].value == pytest.approx(272_000 / 800)
    assert found.known["ttft_ms"].value == pytest.approx(20)
    assert mix.tokens_a_request(Role.OUTPUT_TOKENS) == 136 and mix.tokens_a_request(Role.INPUT_TOKENS) == 128


@pytest.mark.parametrize(("harmonic", "transform"), [
    (True, Transform.LOG), (False, Transform.LOG), (False, Transform.LOGIT), (False, Transform.LINEAR)])
def test_the_spread_of_a_mix_is_that_of_draws(harmonic: bool, transform: Transform) -> None:
    rng = np.random.default_rng(1)
    weights, std, rho = np.array([0.7, 0.3]), np.array([0.1, 0.2]), settings.PART_CORRELATION
    middle = np.array([0.4, 0.8])
    parts = [known("x", np.array([x]), s, transform) for x, s in zip(middle, std, strict=True)]
    common, own = rng.standard_normal((2, 200_000, 1)), rng.standard_normal((200_000, 2))
    z = forward(transform, middle) + std * (np.sqrt(rho) * common[0] + np.sqrt(1 - rho) * own)
    x = np.exp(z) if transform is Transform.LOG else z if transform is Transform.LINEAR else 1 / (1 + np.exp(-z))
    drawn = 1 / ((1 / x) @ weights) if harmonic else x @ weights
    found = mixed(parts, weights, harmonic)
    assert found.std[0] == pytest.approx(float(np.std(forward(transform, drawn))), rel=0.04)
    assert found.value[0] == pytest.approx(float(np.median(drawn)), rel=0.02)


@pytest.mark.parametrize("share", [1.0, 0.8, 0.5])
def test_probabilities_of_parts_are_those_of_correlated_draws(share: float) -> None:
    rng = np.random.default_rng(2)
    each, weights = np.array([[0.95, 0.5], [0.9, 0.6], [0.97, 0.2]]), np.array([0.5, 0.3, 0.2])
    rho = settings.PART_CORRELATION
    z = np.sqrt(rho) * rng.standard_normal((100_000, 1, 1)) + np.sqrt(1 - rho) * rng.standard_normal((100_000, 3, 2))
    held = (weights @ (z < norm.ppf(each))) >= share - 1e-9
    assert probability_of_parts(each, weights, share) == pytest.approx(held.mean(axis=0), abs=0.006)


def test_a_failed_part_rules_a_configuration_out() -> None:
    assert probability_of_parts(np.array([[1.0], [0.0]]), np.array([0.9, 0.1])).tolist() == [0.0]
    assert probability_of_parts(np.array([[1.0], [0.0]]), np.array([0.9, 0.1]), 0.9)[0] == pytest.approx(1)


def test_a_time_between_tokens_is_that_of_the_parts_that_have_one() -> None:
    (mix,) = mixes(grid(), mix_of((128, 1, 3), (128, 16, 1)))
    values = np.where(grid().size_column(Role.OUTPUT_TOKENS) == 1, np.nan, 5.0)
    found = candidates_of(mix, {"tpot_ms": known("tpot_ms", values)}, {"tpot_ms": metric_named("tpot_ms")}, np.ones(12),
                          np.ones(12))
    assert found.known["tpot_ms"].value == pytest.approx(5)
    assert found.probability(Condition("tpot_ms", 50.0, True))[0].tolist() == [1, 1]


def test_without_a_workload_every_combination_of_given_values_has_its_own_mix() -> None:
    found = mixes(grid(), None)
    assert [dict(mix.given[0]) for mix in found] == [
        {"input_len": i, "output_len": o} for i in (128, 1024) for o in (1, 16, 256)]
    assert sorted(row for mix in found for row in mix.rows.ravel().tolist()) == list(range(12))
    chosen = full_grid([Axis("batch_size", (1, 8), scale=Scale.LOG, roles=(Role.BATCH,))])
    assert mixes(chosen, None)[0].rows.tolist() == every_point(chosen).rows.tolist()


def test_a_configuration_that_lacks_a_part_cannot_run() -> None:
    axes = grid().axes
    less = full_grid(axes, [parse("input_len * batch_size <= 2048", {axis.name for axis in axes}, "c")])
    work = placed(Workload((Part({"input_len": 128, "output_len": 16}), Part({"input_len": 1024, "output_len": 16}))),
                  less, Path())
    (mix,) = mixes(less, work)
    n = len(less)
    found = candidates_of(mix, {"ttft_ms": known("ttft_ms", np.ones(n))}, {"ttft_ms": metric_named("ttft_ms")},
                          np.ones(n), np.ones(n))
    assert dict(zip(found.grid.column("batch_size").tolist(), found.feasibility.tolist(), strict=True)) == {1: 1, 8: 0}
    assert np.isnan(found.known["ttft_ms"].value[found.grid.column("batch_size") == 8]).all()


@pytest.mark.parametrize("transform", [Transform.LOG, Transform.LOGIT, Transform.LINEAR])
def test_what_is_more_than_the_baseline_is_that_of_draws(transform: Transform) -> None:
    """P(x >= 0.9 · baseline), of independent errors; a candidate compared with itself is certain."""
    rng = np.random.default_rng(3)
    found = known("x", np.array([0.5, 0.47, 0.6]), 0.05, transform)
    z = found.mean + 0.05 * rng.standard_normal((200_000, 3))
    x = np.exp(z) if transform is Transform.LOG else z if transform is Transform.LINEAR else 1 / (1 + np.exp(-z))
    excess = excess_over(found, 0, 0.9)
    condition = Condition("x", 0.0, False)
    said = excess.probability(condition, widening=1.0)
    held = (x[:, 1:] >= 0.9 * x[:, :1]).mean(axis=0)
    # Up to 0.9 the tails are those of a normal distribution.
    assert norm.cdf(excess.mean[1:] / excess.std[1:]) == pytest.approx(held, abs=0.01)
    assert said[0] == 1
