"""Pareto fronts of any number of figures, against a comparison of every pair; quality as the third of them."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.analysis.pareto import Figure, nondominated
from planner.analysis.quality_front import quality_front, quality_metric
from planner.space.types import Direction, Kind, Metric

VALUE = st.one_of(st.integers(0, 4).map(float), st.just(float("nan")))


@given(st.integers(1, 4).flatmap(lambda k: st.tuples(
    st.lists(st.tuples(st.tuples(*[VALUE] * k), st.booleans()), max_size=30), st.tuples(*[st.booleans()] * k))))
def test_a_front_is_what_no_other_row_equals_or_beats(
    drawn: tuple[list[tuple[tuple[float, ...], bool]], tuple[bool, ...]]
) -> None:
    rows, ups = drawn
    values = np.array([row for row, _ in rows], dtype=float).reshape(len(rows), len(ups))
    among = np.array([there for _, there in rows], dtype=bool)
    figures = [Figure(str(i), values[:, i], up) for i, up in enumerate(ups)]
    front = nondominated(figures, among).tolist()
    less = np.where(ups, -1.0, 1.0) * values
    there = [i for i in np.flatnonzero(among).tolist() if np.isfinite(less[i]).all()]
    best = {tuple(less[i]) for i in there
            if not any((less[j] <= less[i]).all() and (less[j] < less[i]).any() for j in there)}
    # Each place of the front once, by its first row, and best of the first figure first.
    assert [tuple(less[i]) for i in front] == sorted(best)
    assert all(i == min(j for j in there if tuple(less[j]) == tuple(less[i])) for i in front)


def test_a_large_front_takes_no_time() -> None:
    rng = np.random.default_rng(0)
    figures = [Figure(str(i), rng.normal(size=200_000), True) for i in range(3)]
    began = time.process_time()
    assert 50 < len(nondominated(figures, np.ones(200_000, dtype=bool))) < 5_000
    assert time.process_time() - began < 20


SCORE = Metric("mmlu", direction=Direction.MAXIMIZE, kind=Kind.SHARE)
PERPLEXITY = Metric("perplexity", direction=Direction.MINIMIZE)
TIMES = (Metric("ttft_ms", "ms", Direction.MINIMIZE, Kind.FIRST),
         Metric("output_throughput", "tokens/s", Direction.MAXIMIZE, Kind.THROUGHPUT))


@pytest.mark.parametrize(("metrics", "found"), [
    ((*TIMES, PERPLEXITY, SCORE), SCORE), ((*TIMES, PERPLEXITY), PERPLEXITY), (TIMES, None),
    ((Metric("preemptions"), Metric("hits", kind=Kind.SHARE)), None)])  # nobody knows which way is better
def test_quality_is_a_share_or_else_what_is_neither_time_nor_rate(
    metrics: tuple[Metric, ...], found: Metric | None
) -> None:
    assert quality_metric(metrics) == found


def test_a_worse_answer_is_kept_off_the_front_only_if_nothing_else_is_better() -> None:
    speed, cost = Figure("speed", np.array([1.0, 2.0, 2.0, 3.0]), True), Figure("cost", np.array([1.0, 2, 2, 4]), False)
    among = np.array([True, True, True, False])
    assert quality_front(SCORE, np.array([0.5, 0.7, 0.6, 0.9]), (speed, cost), among).front.tolist() == [1, 0]
    assert quality_front(PERPLEXITY, np.array([9.0, 7, 6, 5]), (speed, cost), among).front.tolist() == [2, 0]
