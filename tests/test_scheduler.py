"""The simulated server against what is known of servers without simulating one."""

from __future__ import annotations

import numpy as np
import pytest

from tests.scheduler import Engine, served_rows, simulate

ENGINE = Engine(step_s=0.01, token_s=1e-4, context_s=0.0, attention_s=0.0)


def test_a_request_alone_takes_its_steps() -> None:
    served = simulate(1, 100, 11, ENGINE, requests=3, seed=0, open_loop=False)
    assert served.ttft_s == pytest.approx(0.01 + 100e-4)
    assert served.tpot_s == pytest.approx(0.01 + 1e-4)
    assert served.arrival == pytest.approx([0.0, served.end[0], served.end[1]])


def test_context_and_attention_are_charged() -> None:
    engine = Engine(step_s=0.0, token_s=0.0, context_s=1e-6, attention_s=1e-8)
    served = simulate(1, 100, 3, engine, requests=1, seed=0, open_loop=False)
    assert served.first == pytest.approx(1e-8 * 100**2 / 2)
    assert served.end - served.first == pytest.approx(1e-6 * (101 + 102))


@pytest.mark.parametrize("open_loop", [False, True])
@pytest.mark.parametrize("limits", [{}, {"max_num_seqs": 4}, {"max_num_batched_tokens": 64}, {"cache_tokens": 900}])
def test_every_request_is_served_in_order_and_littles_law_holds(open_loop: bool, limits: dict[str, int]) -> None:
    engine = Engine(step_s=0.01, token_s=1e-4, **limits)
    served = simulate(8.0, 200, 20, engine, requests=400, seed=1, open_loop=open_loop, spread=0.3)
    assert np.isfinite(served.end).all() and (np.diff(served.first) >= 0).all()
    assert (served.ttft_s > 0).all() and (served.end > served.first).all()
    # Requests in flight, averaged over time, are the rate times the time in the system.
    edges = np.sort(np.concatenate([served.arrival, served.end]))
    middles = (edges[1:] + edges[:-1]) / 2
    in_flight = (np.searchsorted(served.arrival, middles) - np.searchsorted(np.sort(served.end), middles))
    mean = (in_flight * np.diff(edges)).sum() / (edges[-1] - edges[0])
    rate = len(served.arrival) / (edges[-1] - edges[0])
    assert mean == pytest.approx(rate * (served.end - served.arrival).mean())
    if not open_loop:
        assert in_flight.max() == 8


def test_many_steps_at_once_are_the_steps_one_by_one() -> None:
    """With a second request that arrives in the midst of the first one's decoding."""
    served = simulate(1.0, 50, 400, Engine(), requests=6, seed=5, open_loop=True)
    lone = simulate(1, 50, 400, Engine(), requests=1, seed=5, open_loop=False)
    assert served.tpot_s.min() >= lone.tpot_s[0] - 1e-12
    waits = served.ttft_s - Engine().step_s - 50 * Engine().token_s
    assert waits.max() < 0.03 and served.ttft_s.max() > lone.ttft_s[0]


def test_a_chunked_prompt_takes_a_step_a_chunk() -> None:
    engine = Engine(step_s=0.01, token_s=1e-4, context_s=0.0, attention_s=0.0, max_num_batched_tokens=64)
    served = simulate(1, 200, 2, engine, requests=1, seed=0, open_loop=False)
    assert served.first == pytest.approx(4 * 0.01 + 200e-4)


def test_above_capacity_the_backlog_grows() -> None:
    slow, fast = (simulate(rate, 500, 50, ENGINE, requests=600, seed=2, open_loop=True) for rate in (4.0, 60.0))
    half = len(slow.arrival) // 2
    assert fast.ttft_s[half:].mean() > 2 * fast.ttft_s[:half].mean()
    assert slow.ttft_s[half:].mean() < 2 * slow.ttft_s[:half].mean()
    at_once = simulate(np.inf, 500, 50, ENGINE, requests=600, seed=2, open_loop=True)
    assert (at_once.arrival == 0).all() and at_once.metrics()["output_throughput"] == pytest.approx(
        fast.metrics()["output_throughput"], rel=0.1)


def test_a_seed_gives_the_same_and_noise_moves_all_steps() -> None:
    one, other = (simulate(8, 200, 20, Engine(noise=0.1), 50, seed, open_loop=False) for seed in (3, 3))
    assert (one.end == other.end).all()
    quiet = simulate(8, 200, 20, Engine(), 50, 3, open_loop=False)
    assert np.ptp(one.end / quiet.end) < 1e-9 and abs(np.log(one.end[0] / quiet.end[0])) > 1e-3


def test_rows_of_a_grid_have_its_axes_and_metrics() -> None:
    rows = served_rows({"load": [1, 4], "input_len": [64], "output_len": [8, 16]},
                       {1: Engine(), 2: Engine(token_s=1e-5)},
                       open_loop=False, rounds=4)
    assert len(rows) == 8 and {row["max_concurrency"] for row in rows} == {1, 4}
    assert all(row["ttft_ms"] > 0 and row["tpot_ms"] > 0 and row["output_throughput"] > 0 for row in rows)
