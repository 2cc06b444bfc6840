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
    """At least 95 % of the variance reduction of one batch of as many runs; those who only avoid what the others
    measure fall short of that for some number of workers."""
    state = played(STUDIES / f"{grid}.yaml", runs=24, seed=0)
    batches = {workers: state.reduction(state.batch(workers)) for workers in (2, 4, 8)}
    together, avoiding = state.at_once(AdaptiveStrategy, 8), state.at_once(AvoidingWorker, 8)
    assert len(set(together)) == 8
    for workers, batch in batches.items():
        assert state.reduction(together[:workers]) >= 0.95 * batch
    assert any(state.reduction(avoiding[:workers]) < 0.95 * batch for workers, batch in batches.items())
