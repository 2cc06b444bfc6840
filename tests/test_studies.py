"""The studies that come with the project can be read, and what they replay is whole."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from planner.study import open_study

_STUDIES = Path(__file__).resolve().parents[1] / "studies"


@pytest.mark.parametrize(("study", "points", "repeats"), [("replay", 3072, 3), ("replay_h100", 1344, 2)])
def test_a_recorded_grid_has_every_repeat_of_every_point(study: str, points: int, repeats: int) -> None:
    opened = open_study(_STUDIES / f"{study}.yaml")
    assert len(opened.grid) == points == math.prod(len(axis.values) for axis in opened.grid.axes)
    table = pd.read_csv(_STUDIES / "data" / f"{'h100' if study == 'replay_h100' else 'quickstart'}_truth.csv")
    assert (table.groupby([axis.name for axis in opened.grid.axes]).size() == repeats).all()
    # What is stored is what was measured: throughput and time per token follow from the times of the batch.
    several = table[table.output_len > 1]
    tokens = table.batch_size * table.output_len
    np.testing.assert_allclose(table.output_throughput, tokens / (table.e2el_ms / 1e3), rtol=1e-3)
    assert (several.tpot_ms > 0).all() and table.tpot_ms[table.output_len == 1].isna().all()
    assert (table.ttft_ms <= table.batch_ttft_ms + 1e-6).all() and (table.batch_ttft_ms <= table.e2el_ms + 1e-6).all()
