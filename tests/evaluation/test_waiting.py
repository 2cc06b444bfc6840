"""The wait for a slot against formulas of textbooks, and against a queue that is played."""

from __future__ import annotations

import heapq

import numpy as np
import pytest

from planner.evaluation.waiting import probability_to_wait, waiting


def at(rate: float, slots: float, capacity: float, quantile: float | None) -> float:
    return float(waiting(np.array([rate]), slots, np.array([capacity]), quantile)[0])


def test_one_slot_is_the_textbook_queue() -> None:
    rates = np.array([0.1, 0.5, 0.9])
    full = np.ones(3)
    assert probability_to_wait(rates, 1, full) == pytest.approx(rates)
    assert waiting(rates, 1, full, None) == pytest.approx(rates / (1 - rates))


def test_two_slots_as_in_tables_of_erlang_c() -> None:
    """Offered load 1, two servers: C = 1/3."""
    assert probability_to_wait(np.array([1.0]), 2, np.array([2.0]))[0] == pytest.approx(1 / 3)


def test_a_load_at_or_above_capacity_waits_without_end() -> None:
    assert at(2.0, 4, 2.0, None) == at(3.0, 4, 2.0, 0.5) == np.inf
    assert probability_to_wait(np.array([3.0]), 4, np.array([2.0]))[0] == pytest.approx(1.0)


def test_many_slots_are_no_numerical_problem() -> None:
    waits = probability_to_wait(np.linspace(1, 99.99, 50), 4096, np.full(50, 100.0))
    assert np.isfinite(waits).all() and (np.diff(waits) >= 0).all() and waits[0] < 1e-12 and waits[-1] > 0.9


@pytest.mark.parametrize(("slots", "rate"), [(1, 0.7), (4, 3.4), (16, 14.5)])
def test_the_formula_is_the_played_queue(slots: int, rate: float) -> None:
    """Exponential services of one second a slot: share that waits, mean and 90th percentile."""
    rng = np.random.default_rng(slots)
    arrival = np.cumsum(rng.exponential(1 / rate, 200_000))
    service = rng.exponential(1.0, len(arrival))
    free = [0.0] * slots
    waits = np.empty(len(arrival))
    for i, time in enumerate(arrival):
        begin = max(time, heapq.heappop(free))
        waits[i] = begin - time
        heapq.heappush(free, begin + service[i])
    assert (waits > 0).mean() == pytest.approx(
        float(probability_to_wait(np.array([rate]), slots, np.array([float(slots)]))[0]), rel=0.05)
    assert waits.mean() == pytest.approx(at(rate, slots, slots, None), rel=0.1)
    assert np.quantile(waits, 0.9) == pytest.approx(at(rate, slots, slots, 0.9), rel=0.1)
    assert at(rate, slots, slots, 0.1) == 0
