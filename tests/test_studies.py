"""The studies that come with the project can be read, and what they replay is whole."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from planner.campaign.setup import open_setup

_STUDIES = Path(__file__).resolve().parents[1] / "studies"


@pytest.mark.parametrize(
    ("study", "table", "points", "repeats"),
    [("replay", "quickstart", 3072, 3), ("replay_h100", "h100", 1344, 2), ("replay_chunks_2048", "chunks_2048", 840, 3),
     ("replay_chunks_1536", "chunks_1536", 432, 3)])
def test_a_recorded_grid_has_every_repeat_of_every_point(study: str, table: str, points: int, repeats: int) -> None:
    opened = open_setup(_STUDIES / f"{study}.yaml")
    assert len(opened.grid) == points == math.prod(len(axis.values) for axis in opened.grid.axes)
    rows = pd.read_csv(_STUDIES / "data" / f"{table}_truth.csv")
    assert (rows.groupby([axis.name for axis in opened.grid.axes]).size() == repeats).all()
    # What is stored is what was measured: throughput and time per token follow from the times of the batch.
    several = rows[rows.output_len > 1]
    tokens = rows.batch_size * rows.output_len
    np.testing.assert_allclose(rows.output_throughput, tokens / (rows.e2el_ms / 1e3), rtol=1e-3)
    assert (several.tpot_ms > 0).all() and rows.tpot_ms[rows.output_len == 1].isna().all()
    assert (rows.ttft_ms <= rows.batch_ttft_ms + 1e-6).all() and (rows.batch_ttft_ms <= rows.e2el_ms + 1e-6).all()
