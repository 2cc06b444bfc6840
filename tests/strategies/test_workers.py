"""Several workers on one study against one batch, on recorded grids: the issue's figure."""

from __future__ import annotations

from pathlib import Path

import pytest

from planner.strategies.adaptive import AdaptiveStrategy
from studies.compare.workers import AvoidingWorker, played

STUDIES = Path(__file__).parents[2] / "studies"
GRIDS = ("replay", "replay_h100", "replay_chunks_1536")


@pytest.mark.parametrize("grid", GRIDS)
def test_workers_asked_one_after_the_other_reduce_what_a_batch_reduces(grid: str) -> None:
    """At least 95 % of the variance reduction of one batch of as many runs, in the mean of four states of a study and
    three numbers of workers: both are greedy by reduction over cost, so that in one state either may reduce more for
    more cost. Those who only avoid what the others measure fall short of that for some number of workers."""
    ours: list[float] = []
    theirs: dict[int, list[float]] = {2: [], 4: [], 8: []}
    for runs in (18, 24, 30, 36):
        state = played(STUDIES / f"{grid}.yaml", runs=runs, seed=0)
        together, avoiding = state.at_once(AdaptiveStrategy, 8), state.at_once(AvoidingWorker, 8)
        assert len(set(together)) == 8
        for workers, shares in theirs.items():
            batch = state.reduction(state.batch(workers))
            ours.append(state.reduction(together[:workers]) / batch)
            shares.append(state.reduction(avoiding[:workers]) / batch)
    assert sum(ours) / len(ours) >= 0.95 and sorted(ours)[len(ours) // 2] >= 0.95
    assert any(sum(shares) / len(shares) < 0.95 for shares in theirs.values())
