"""Random rows that leave out no engine and no region."""

from __future__ import annotations

import numpy as np

from planner.space.sampling import spread_rows


def test_few_rows_are_all_taken() -> None:
    rows = np.array([3, 5, 9])
    assert spread_rows(rows, np.zeros(10, dtype=np.int64), 3, np.random.default_rng(0)) is rows


def test_every_engine_and_every_region_has_its_share() -> None:
    """990 rows of ten engines in turn, and three engines of one, two and three rows that a tenth of the rows misses."""
    engine = np.concatenate([np.arange(990) % 10, [10, 11, 11, 12, 12, 12]])
    for seed in range(20):
        found = spread_rows(np.arange(996), engine, 100, np.random.default_rng(seed))
        assert (np.diff(found) > 0).all() and 100 <= len(found) <= 103
        counts = np.bincount(engine[found], minlength=13)
        assert (counts >= 1).all() and (counts[:10] >= 9).all() and (counts[:10] <= 11).all()
        assert np.bincount(found // 100, minlength=10).min() >= 3


def test_only_the_given_rows_are_drawn_each_with_the_same_chance() -> None:
    rows = np.arange(0, 400, 2)
    drawn = np.concatenate([spread_rows(rows, np.arange(400) % 4, 50, np.random.default_rng(seed))
                            for seed in range(400)])
    counts = np.bincount(drawn, minlength=400)
    assert (counts[1::2] == 0).all()
    assert counts[::2].min() > 60 and counts[::2].max() < 145  # 100 each, give or take five standard deviations
