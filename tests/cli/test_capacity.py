"""The verb `capacity`: what it prints and writes, for a server in open loop and for static batches."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import Ran

RATES = (1, 2, 4, 8, 16, 32)


def study(folder: Path, load: str, rows: list[dict[str, Any]], targets: list[str]) -> Path:
    """A recorded grid of one or two accelerators and a load, with what a run draws."""
    with (folder / "grid.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    axes = {"tensor_parallel_size": {"scope": "engine", "scale": "log"}, load: {"scale": "log"},
            "output_len": {"scale": "log"}}
    (folder / "study.yaml").write_text(yaml.safe_dump({
        "study": {"name": "small", "storage": f"sqlite:///{folder}/small.db"}, "space": {"axes": axes},
        "runner": {"kind": "replay", "table": "grid.csv", "cost_s": 1, "accelerators": "tensor_parallel_size",
                   "status": "status", "repeats": 3},
        "targets": targets, "price": {"per_accelerator_hour": 3.0}, "slo": ["ttft_ms <= 100"], "stop": {"trials": 99}}))
    return folder / "study.yaml"


def open_loop(folder: Path) -> Path:
    """One accelerator bears 10 requests/s at most, two 25; repeats differ by 1 %."""
    rows = [{"tensor_parallel_size": size, "request_rate": rate, "output_len": 20, "status": "ok" if rate < most else
             "saturated", "ttft_ms": 20 * factor / (1 - rate / most) if rate < most else "",
             "mean_power_w": 300.0 * size}
            for size, most in ((1, 10.0), (2, 25.0)) for rate in RATES for factor in (0.99, 1.0, 1.01)]
    return study(folder, "request_rate", rows, ["ttft_ms"])


def test_the_cheapest_is_first_with_price_power_and_spare(
    tmp_path: Path, answer: Callable[..., Any], sweepwise: Callable[..., Ran]
) -> None:
    file = open_loop(tmp_path)
    assert sweepwise("run", file, "--strategy", "full", "--quiet").code == 0
    written = answer("capacity", file, "--rate", "30,60", "--top", 2)
    first, second = written["fleets"]
    assert (first["point"]["tensor_parallel_size"], second["point"]["tensor_parallel_size"]) == (2, 1)
    # In truth two accelerators bear 20 requests/s, one 8: 100 ms are five times the time of an idle server.
    assert 16 <= first["bears"] <= 20 and second["bears"] == pytest.approx(8, rel=0.1)
    assert (first["replicas"], first["accelerators"], first["price_an_hour"], first["power_w"]) == (2, 4, 12.0, 1200.0)
    assert first["cost_per_million_output_tokens"] == pytest.approx(12 / (30 * 20 * 3600) * 1e6)
    assert first["spare"] == pytest.approx(2 * first["bears"] / 30 - 1) and first["waiting"] is None
    assert [entry["rate"] for entry in written["sensitivity"]] == [30, 60]
    assert written["step"]["rate"] == pytest.approx(2 * first["bears"])
    assert written["step"]["then"]["price_an_hour"] == 15.0  # a fifth accelerator: five of the small ones bear 40

    shown = sweepwise("capacity", file, "--rate", 30)
    assert shown.code == 0 and len(shown.out.splitlines()) <= 17
    for part in ("2 replicas, 4 accelerators of tensor_parallel_size=2", "12 an hour", "1,200 W", "to spare",
                 "all waiting is in the latencies", "enough up to", "At other loads"):
        assert part in shown.out
    nothing = sweepwise("capacity", file, "--rate", 30, "--slo", "ttft_ms <= 1")
    assert nothing.code == 0 and "no configuration is known to serve any load of the grid so" in nothing.out
    assert sweepwise("capacity", file, "--rate", 30, "--quiet").out == ""
    given = sweepwise("capacity", file, "--rate", 30, "--workload", "request_rate=4,output_len=20")
    assert given.code == 2 and "workload: request_rate is what --rate asks for" in given.err


def test_static_batches_say_that_nobody_waited(tmp_path: Path, sweepwise: Callable[..., Ran]) -> None:
    rows = [{"tensor_parallel_size": 1, "batch_size": batch, "output_len": 20, "status": "ok",
             "ttft_ms": factor * 10 * batch, "output_throughput": 100 * batch / factor}
            for batch in (1, 2, 4, 8, 16) for factor in (0.99, 1.0, 1.01)]
    file = study(tmp_path, "batch_size", rows, ["ttft_ms", "output_throughput"])
    assert sweepwise("run", file, "--strategy", "full", "--quiet").code == 0
    shown = sweepwise("capacity", file, "--rate", 100)
    assert shown.code == 0 and "waiting is NOT included" in shown.out and "3 replicas of batches of 8" in shown.out
