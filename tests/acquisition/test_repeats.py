"""How often a run is repeated: by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from planner.acquisition import settings
from planner.acquisition.repeats import Repetition, repetition
from planner.ledger.observations import Observations, Run
from planner.space.grid import full_grid
from planner.space.types import Axis, Cost, Measurement, Reading, Role, Status

MOST = 3


def observed(
    repeats: Sequence[Sequence[float]], warmup: Sequence[float] | float | None = 1.0, warmup_s: float = 0.0
) -> Observations:
    """Runs of 1 s a repeat; the longest ones have warmed up, which took `warmup` times that (of each run)."""
    grid = full_grid([Axis("batch_size", tuple(range(1, 100)), roles=(Role.BATCH,))])
    observations = Observations(grid, ("e2el_ms",))
    for number, values in enumerate(repeats):
        point = grid.point(number)
        full = len(values) >= MOST
        ratio = warmup[number] if isinstance(warmup, Sequence) else warmup
        observations.add(Run(number, point, Measurement(
            Status.OK, Cost(0.0, warmup_s if full else 0.0, float(len(values))),
            (Reading(point, {"e2el_ms": tuple(values)}, 4.0),), warmup_ratio=ratio if full else None)))
    return observations


STEADY = [[100.0, 102.0, 98.0]] * 3
"""Repeats with a standard deviation of 2 %."""


def test_the_first_runs_make_all_repeats() -> None:
    for runs in range(settings.LEAST_FULL_RUNS):
        assert repetition(observed(STEADY[:runs]), MOST, None) == Repetition(None, True)
    assert repetition(observed([[100.0]] * 5), MOST, None) == Repetition(None, True), "noise is not known yet"


def test_then_one_will_do_where_repeats_agree_better_than_predictions() -> None:
    assert repetition(observed(STEADY), MOST, None) == Repetition(1, False)
    assert repetition(observed(STEADY), MOST, 0.05) == Repetition(1, False)


def test_one_run_in_twenty_makes_all() -> None:
    runs = STEADY + [[100.0]] * 60
    full = [count for count in range(3, 63) if repetition(observed(runs[:count]), MOST, 0.05).repeats is None]
    assert full == [20, 40, 60]


@pytest.mark.parametrize(("noise", "error", "besides", "expected"), [
    (0.02, 0.10, 1.0, 1), (0.10, 0.02, 1.0, 2), (0.10, 0.02, 40.0, 2), (0.10, 0.05, 0.01, 1), (0.10, 0.05, 2.3, 2)])
def test_repeats_grow_with_noise_and_with_what_else_a_run_costs(
    noise: float, error: float, besides: float, expected: int
) -> None:
    """By hand: the variance of the median of two is half that of one, of three π/6 of it."""
    values = list(100 * np.exp([noise, -noise, 0.0]))
    observations = observed([values] * 3, warmup=2.0, warmup_s=besides)
    assert observations.repeat_noise("e2el_ms") == pytest.approx(noise, rel=1e-6)
    assert repetition(observations, MOST, error).repeats == expected
    price = [(error**2 + noise**2 * share) * (besides + k) for k, share in ((1, 1), (2, 1 / 2), (3, np.pi / 6))]
    assert price[expected - 1] == min(price)


def test_wild_repeats_are_left_to_the_median_of_three() -> None:
    """One point in four has a repeat three times as long; the others agree within 2 %."""
    wild = [*STEADY[:2], [100.0, 102.0, 300.0], [101.0, 102.0, 100.0]]
    assert repetition(observed(STEADY[:2] * 2), MOST, 0.1).repeats == 1
    assert repetition(observed(wild), MOST, 0.1).repeats == 3


@pytest.mark.parametrize(("ratios", "warmup"), [
    ([1.0, 1.0, 1.0], False), ([0.995, 1.0, 1.005], False), ([1.05, 1.05, 1.06], True), ([0.9, 0.9, 0.91], True),
    ([1.01, 1.01, 1.015], False), ([0.9, 1.05, 1.1], True), ([0.97, 1.0, 1.03], True),
    ([0.97, 1.0, 1.03, 0.98, 1.02, 0.99, 1.01, 1.0, 1.005, 0.995], False)])
def test_warm_ups_that_are_like_repeats_are_left_out(ratios: list[float], warmup: bool) -> None:
    """Their median and twice its error must lie within 2 %: three ratios that scatter do not show that."""
    assert repetition(observed(STEADY[:1] * len(ratios), warmup=ratios), MOST, 0.05) == Repetition(1, warmup)


def test_warm_ups_that_nobody_has_timed_are_made() -> None:
    assert repetition(observed(STEADY, warmup=None), MOST, 0.05) == Repetition(1, True)


def test_failed_runs_and_short_ones_teach_no_noise() -> None:
    observations = observed([*STEADY[:2], [100.0], [100.0]])
    observations.add(Run(9, observations.grid.point(9), Measurement(Status.FAILED, Cost(), reason="out of memory")))
    assert repetition(observations, MOST, 0.05) == Repetition(None, True), "two of three were repeated in full"
