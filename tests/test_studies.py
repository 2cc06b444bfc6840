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


def test_the_grid_in_plain_pytorch_is_whole_and_consistent() -> None:
    opened = open_setup(_STUDIES / "replay_h200.yaml")
    rows = pd.read_csv(_STUDIES / "data" / "h200_torch.csv")
    readings = rows.groupby([axis.name for axis in opened.grid.axes]).size()
    assert len(opened.grid) == len(readings) == 1296 and readings.isin([2, 4]).all()
    assert (rows.input_len * rows.batch_size <= 65536).all()
    tokens = rows.batch_size * rows.output_len
    np.testing.assert_allclose(rows.output_throughput, tokens / (rows.e2el_ms / 1e3), rtol=1e-3)
    several = rows[rows.output_len > 1]
    whole = several.ttft_ms + (several.output_len - 1) * several.tpot_ms
    np.testing.assert_allclose(several.e2el_ms, whole, rtol=1e-4)
    longest = rows.output_len == rows.output_len.max()
    watts = rows.energy_j[longest] / (rows.e2el_ms[longest] / 1e3)
    assert rows.energy_j[~longest].isna().all() and watts.median() < 700, "a device of 700 W"


def test_the_llama_in_plain_pytorch_decodes_what_a_whole_pass_predicts() -> None:
    torch = pytest.importorskip("torch")
    from studies.compare.torch_grid import Llama, Shape, decode

    with torch.inference_mode():
        model = Llama(Shape(layers=3, width=64, heads=8, kv_heads=2, hidden=128, vocabulary=97), "bf16", "cpu",
                      torch.float32)
        prompts = torch.randint(97, (3, 11), generator=torch.Generator().manual_seed(1))
        known = prompts
        for _ in range(9):
            length = known.shape[1]
            known = torch.cat([known, model.forward(known, torch.arange(length), model.cache(3, length))], dim=1)
        tokens = decode(model, prompts, 9)(lambda: None)
    assert (tokens == known[:, 11:]).all() and len(tokens.unique()) > 5


@pytest.mark.parametrize(("kind", "load", "steady", "saturated"), [
    ("closed", "max_concurrency", 120, 0), ("open", "request_rate", 87, 31)])
def test_a_recorded_server_is_whole_and_consistent(kind: str, load: str, steady: int, saturated: int) -> None:
    opened = open_setup(_STUDIES / f"replay_{kind}.yaml")
    assert len(opened.grid) == 120 == math.prod(len(axis.values) for axis in opened.grid.axes)
    rows = pd.read_csv(_STUDIES / "data" / f"served_{kind}.csv")
    axes = [axis.name for axis in opened.grid.axes]
    good, beyond = rows[rows.status == "ok"], rows[rows.status == "saturated"]
    assert (good.groupby(axes).size() == 3).all()
    assert good.groupby(axes).ngroups == steady and beyond.groupby(axes).ngroups == saturated
    assert beyond.ttft_ms.isna().all() and (beyond.request_throughput > 0).all(), "rates, and no latency"
    np.testing.assert_allclose(good.output_throughput, good.request_throughput * good.output_len, rtol=0.12)
    np.testing.assert_allclose(good.littles_law, 1, atol=0.2)
    whole = good.ttft_ms + (good.output_len - 1) * good.tpot_ms  # of medians: alike, not equal
    np.testing.assert_allclose((good.e2el_ms / whole).quantile([0.1, 0.5, 0.9]), 1, atol=0.1)
    if kind == "closed":
        assert (good.in_flight / good.max_concurrency).between(0.95, 1.001).all()
    else:
        assert (beyond.request_throughput < beyond[load]).all()
