"""Readings of quantities, and what their repeats say of their noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from planner.ledger.observations import Observations, Run
from planner.models.quantities import FIRST_TOKEN, LATER_TOKENS, Quantity, data_of
from planner.space.grid import Grid, full_grid
from planner.space.types import Axis, Cost, Kind, Measurement, Metric, Reading, Role, Scale, Status, Transform

Repeats = Mapping[int, Sequence[float]]


def grid_of(n: int) -> Grid:
    return full_grid([Axis("x", tuple(range(n)))])


def seen_of(grid: Grid, repeats: Repeats, transform: Transform = Transform.LOG) -> Observations:
    """A run at each row with these readings of y_s."""
    observations = Observations(grid, (Metric("y_s", transform=transform),))
    for number, (row, values) in enumerate(repeats.items()):
        point = grid.point(row)
        reading = Reading(point, {"y_s": tuple(float(v) for v in values)}, 1.0)
        observations.add(Run(number, point, Measurement(Status.OK, Cost(measure_s=1.0), (reading,))))
    return observations


def quantity(transform: Transform = Transform.LOG) -> Quantity:
    return Quantity("y_s", Kind.OTHER, transform, False)


def noise_of(repeats: Repeats, transform: Transform = Transform.LOG) -> list[float]:
    return data_of(quantity(transform), seen_of(grid_of(9), repeats, transform), None).noise.tolist()


def test_the_noise_of_repeats_by_hand() -> None:
    """Sums of squares 0.02 (of 1 degree of freedom), 0.06 (of 2) and 0.005 (of 1). Over the χ² medians 0.454936 and
    1.386294 they are 0.043962, 0.043281 and 0.010991: the point in the middle has 0.043281. Each is drawn towards it as
    by four repeats more: (0.02 + 0.173123)/5, (0.06 + 0.173123)/6, (0.005 + 0.173123)/5. The median of two has half of
    that variance, the median of three π/2 of a third."""
    found = noise_of({0: np.exp([1.0, 1.2]), 4: np.exp([2.0, 2.3, 2.3]), 7: np.exp([0.0, 0.1])})
    assert found == pytest.approx([0.138969, 0.142632, 0.133463], rel=1e-5)


def test_single_readings_tell_of_no_noise() -> None:
    assert noise_of({0: [3.0], 1: [4.0], 5: [4.0]}) == [0, 0, 0]
    among = noise_of({0: [3.0], 1: [4.0, 5.0], 5: [4.0]})
    assert among[1] == pytest.approx(noise_of({1: [4.0, 5.0]})[0], rel=1e-12) and among[1] > 0


def test_what_fewer_repeats_add_to_the_noise_by_hand() -> None:
    """Nine points with three repeats each; then two of them with the first alone, which has the variance V of the usual
    point. The median of three has π/2 of a third of V: what that is less, of two readings in nine."""
    three = {row: np.exp([row - 0.1, row + 0.0, row + 0.1]) for row in range(9)}
    data = data_of(quantity(), seen_of(grid_of(9), three), None)
    assert data.excess == 0
    fewer = data_of(quantity(), seen_of(grid_of(9), {**three, 3: three[3][:1], 8: three[8][:1]}), None)
    assert fewer.noise[[3, 8]] == pytest.approx(np.sqrt(0.02 / (2 * np.log(2))), rel=1e-6)  # the usual point's
    assert fewer.excess == pytest.approx(2 / 9 * (1 - np.pi / 6) * 0.02 / (2 * np.log(2)), rel=1e-6)


def test_targets_without_a_logarithm_have_theirs_in_their_own_unit() -> None:
    """Two degrees of freedom: 8/χ²'s median, drawn towards itself; π/2 of a third."""
    usual = 8 / (2 * np.log(2))
    assert noise_of({0: [-3.0, -1.0, 1.0]},
                    Transform.LINEAR) == pytest.approx([((8 + 4 * usual) / 6 * np.pi / 6) ** 0.5])


def test_few_stumbling_runs_leave_the_others_their_quiet() -> None:
    quiet = {row: [1.0, 1.01, 0.99] for row in range(7)}
    stumbles = {7: [1.0, 1.01, 3.0], 8: [5.0, 1.0, 1.1]}
    found = noise_of({**quiet, **stumbles})
    assert max(found[:7]) < 0.02 and min(found[7:]) > 0.2
    assert found[:7] == pytest.approx(noise_of(quiet), rel=0.3)


@pytest.mark.parametrize("repeats", [2, 3, 7])
def test_it_is_how_far_medians_lie_from_the_truth(repeats: int) -> None:
    """400 points whose readings have noise between 5 % and 15 %: the errors of their medians are as large as stated."""
    rng, grid = np.random.default_rng(repeats), grid_of(400)
    spread = rng.uniform(0.05, 0.15, 400)
    observations = seen_of(grid, {row: np.exp(spread[row] * rng.standard_normal(repeats)) for row in range(400)})
    data = data_of(quantity(), observations, None)
    assert np.mean(data.values**2) == pytest.approx(np.mean(data.noise**2), rel=0.2)
    loud = spread[data.rows] > 0.1
    assert data.noise[loud].mean() > data.noise[~loud].mean()


def static(repeats: Mapping[str, Sequence[float]], outputs: int = 5) -> Observations:
    grid = full_grid([Axis("output_len", (1, 5), scale=Scale.LOG, roles=(Role.OUTPUT_TOKENS,))])
    observations, point = Observations(grid, ("e2el_ms",)), {"output_len": outputs}
    metrics: dict[str, Any] = {name: tuple(values) for name, values in repeats.items()}
    observations.add(Run(0, point, Measurement(Status.OK, Cost(), (Reading(point, metrics, 1.0),))))
    return observations


def test_a_steps_noise_is_that_of_the_time_after_the_first_token() -> None:
    """Repeat by repeat: 10, 12 and 11 ms for four steps, for any time of the first token."""
    observations = static({"e2el_ms": (15.0, 32.0, 18.0), "batch_ttft_ms": (5.0, 20.0, 7.0)})
    alone = noise_of({0: [10.0, 12.0, 11.0]})
    assert data_of(LATER_TOKENS, observations, None).noise == pytest.approx(alone, rel=1e-12)
    first = noise_of({0: [5.0, 20.0, 7.0]})
    assert data_of(replace(FIRST_TOKEN, length_independent=False), observations, None).noise == pytest.approx(first,
        rel=1e-12)


@pytest.mark.parametrize("total", [(15.0, 32.0), (15.0, 20.0, 18.0)])  # one was lost; one took no time after its first
def test_repeats_that_cannot_be_paired_say_nothing(total: tuple[float, ...]) -> None:
    observations = static({"e2el_ms": total, "batch_ttft_ms": (5.0, 20.0, 7.0)})
    assert data_of(LATER_TOKENS, observations, None).noise.tolist() == [0.0]
