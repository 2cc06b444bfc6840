"""The latency model of a prefill in chunks, against an engine simulated step by step."""

from __future__ import annotations

import itertools
from collections import deque

import numpy as np
import pytest

from planner.models.chunked_prefill import chunk_sizes, tokens_until_median, tokens_while_median_decodes
from planner.models.latency_model import Covers, LatencyModel
from planner.space.axis_spec import AxisSpec
from planner.space.grid import Grid, full_grid
from planner.space.types import FloatArray, Scale

STEP_MS, TOKEN_MS, DECODE_MS = 2.0, 0.01, 0.02
BATCHES, INPUTS, OUTPUTS = (1, 2, 3, 4, 6, 8, 16, 24, 32), (32, 64, 256, 512, 1024), (2, 4, 16, 64)


def played(batch: int, input_len: int, output_len: int, chunk: int) -> tuple[list[int], list[list[float]]]:
    """Tokens prefilled when each request had its first token, and when each of its tokens came, in milliseconds.

    Every step: running requests decode a token each, and prompts, first come first served, fill what is left of a chunk
    (decode tokens not counted against it)."""
    waiting = deque((request, input_len) for request in range(batch))
    out: list[list[float]] = [[] for _ in range(batch)]
    prefilled_at = [0] * batch
    clock, prefilled = 0.0, 0
    while any(len(times) < output_len for times in out):
        decoding = [r for r, times in enumerate(out) if times and len(times) < output_len]
        room, done = chunk, []
        while waiting and room:
            request, left = waiting.popleft()
            taken = min(left, room)
            room, prefilled = room - taken, prefilled + taken
            if taken < left:
                waiting.appendleft((request, left - taken))
            else:
                done.append(request)
        clock += STEP_MS + TOKEN_MS * (chunk - room) + DECODE_MS * len(decoding)
        for request in decoding + done:
            out[request].append(clock)
        for request in done:
            prefilled_at[request] = prefilled
    return prefilled_at, out


def ttft(times: list[list[float]]) -> float:
    return float(np.median([t[0] for t in times]))


def tpot(times: list[list[float]]) -> float:
    return float(np.median([(t[-1] - t[0]) / (len(t) - 1) for t in times]))


def grid(chunks: tuple[int, ...] = ()) -> Grid:
    axes = {"input_len": INPUTS, "output_len": OUTPUTS, "batch_size": BATCHES}
    axes |= {"max_num_batched_tokens": chunks} if chunks else {}
    return full_grid([AxisSpec(values=list(v), scale=Scale.LOG).resolve(name) for name, v in axes.items()])


def recorded(where: Grid, chunk: int | None) -> dict[str, FloatArray]:
    """The median request's times at each point, (N,)."""
    runs = []
    for row in range(len(where)):
        point = where.point(row)
        size = chunk or int(point["max_num_batched_tokens"])
        runs.append(played(int(point["batch_size"]), int(point["input_len"]), int(point["output_len"]), size)[1])
    return {"first": np.array([ttft(t) for t in runs]), "step": np.array([tpot(t) for t in runs])}


@pytest.mark.parametrize("chunk", [512, 2048, 3000])
def test_tokens_are_counted_as_an_engine_prefills_them(chunk: int) -> None:
    for batch, input_len, steps in itertools.product(BATCHES, INPUTS, (1, 3, 15)):
        at, times = played(batch, input_len, steps + 1, chunk)
        b, i, s, C = (np.array([float(x)]) for x in (batch, input_len, steps, chunk))
        assert tokens_until_median(b, i, C)[0] == np.median(at)
        # What else passes while a request decodes is a step's own time, and other requests' tokens.
        meanwhile = tokens_while_median_decodes(b, i, s, C)[0] * TOKEN_MS
        least, most = meanwhile + steps * STEP_MS, meanwhile + steps * (STEP_MS + DECODE_MS * batch)
        assert least - 1e-9 <= tpot(times) * steps <= most + 1e-9


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("chunk", [1024, 4096, 3000])
def test_the_latency_model_predicts_where_a_batch_outgrows_a_step(chunk: int, seed: int) -> None:
    """From 40 of 180 points; the model does not know the size of a chunk, and 3,000 is not a power of two. A model
    without chunks is off by 0.09 to 0.24."""
    where = grid()
    rows = np.random.default_rng(seed).choice(len(where), 40, replace=False)
    others = np.setdiff1d(np.arange(len(where)), rows)
    for covers, truth in recorded(where, chunk).items():
        model = np.exp(LatencyModel(where, covers, covers == "first").fit(rows, truth[rows]))
        error = float(np.mean(np.abs(model[others] / truth[others] - 1)))
        assert error < (0.03 if chunk != 3000 else 0.18), covers


def test_a_swept_size_is_taken_as_it_is() -> None:
    where = grid((1024, 4096))
    [size] = chunk_sizes(where)
    np.testing.assert_array_equal(size, where.column("max_num_batched_tokens"))
    rows = np.random.default_rng(1).choice(len(where), 60, replace=False)
    truth = recorded(where, None)["step"]
    model = np.exp(LatencyModel(where, "step", False).fit(rows, truth[rows]))
    assert float(np.mean(np.abs(model / truth - 1))) < 0.05


def test_a_size_of_nought_leaves_prompts_whole() -> None:
    where = grid((0, 1024))
    [size] = chunk_sizes(where)
    off = where.column("max_num_batched_tokens") == 0
    b, i = where.column("batch_size"), where.column("input_len")
    np.testing.assert_array_equal(tokens_until_median(b, i, size)[off], (b * i)[off])
    assert not tokens_while_median_decodes(b, i, np.ones(len(where)), size)[off].any()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("covers", ["first", "step"])
def test_noise_is_not_taken_for_chunks(covers: Covers, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where prompts prefill whole, readings 10 % off leave the model as it is without any sizes to choose from."""
    where = grid()
    rng = np.random.default_rng(seed)
    rows = rng.choice(len(where), 40, replace=False)
    truth = recorded(where, 10**6)[covers] * np.exp(0.1 * rng.standard_normal(len(where)))
    model = LatencyModel(where, covers, covers == "first").fit(rows, truth[rows])
    monkeypatch.setattr("planner.models.latency_model.chunk_sizes", lambda _: [])
    np.testing.assert_array_equal(model, LatencyModel(where, covers, covers == "first").fit(rows, truth[rows]))
