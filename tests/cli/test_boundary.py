"""A study that asks for a boundary, from its file to its report, over a recorded server."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.conftest import Ran

LOADS = (1, 2, 4, 8, 16, 32, 64, 128)
TIER = "p99_ttft_ms <= 500 and tpot_ms <= 40"


@dataclass(frozen=True)
class Server:
    """A study file over a recorded server. truth: (tp, input_len, load) → medians of ttft and tpot."""

    study: Path
    truth: dict[tuple[int, int, int], tuple[float, float]]

    def stop(self, **keys: Any) -> None:
        """Write another `stop`."""
        data = yaml.safe_load(self.study.read_text())
        data["stop"] = keys
        self.study.write_text(yaml.safe_dump(data))

    def meets(self, point: dict[str, Any], ttft: float = 500, tpot: float = 40) -> bool:
        values = self.truth[point["tensor_parallel_size"], point["input_len"], point["max_concurrency"]]
        return values[0] <= ttft and values[1] <= tpot


@pytest.fixture
def server(tmp_path: Path) -> Server:
    """2 engines × 4 lengths × 8 loads, three readings each: ttft is prefill and, above what fits, a queue."""
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    truth = {}
    for tp, length, load in itertools.product((1, 2), (256, 512, 1024, 2048), LOADS):
        ttft = (20 + length * load / (40 * tp)) * (1 + (load / (64 * tp)) ** 2)
        tpot = 8 / tp + 0.4 * load
        noise = np.exp(0.03 * rng.standard_normal((3, 2)))
        middle = np.median(np.array([ttft, tpot]) * noise, axis=0)
        truth[tp, length, load] = float(middle[0]), float(middle[1])
        rows += [{"tensor_parallel_size": tp, "input_len": length, "max_concurrency": load,
                  "p99_ttft_ms": ttft * a, "tpot_ms": tpot * b, "output_throughput": 1000 * load / tpot}
                 for a, b in noise]
    with (tmp_path / "server.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    study = tmp_path / "server.yaml"
    study.write_text(yaml.safe_dump({
        "study": {"name": "server", "storage": f"sqlite:///{tmp_path / 'server.db'}"},
        "space": {"axes": {"tensor_parallel_size": {"scope": "engine", "scale": "log"}, "input_len": {"scale": "log"},
                           "max_concurrency": {"scale": "log"}}},
        "runner": {"kind": "replay", "table": "server.csv", "cost_s": 30, "accelerators": "tensor_parallel_size",
                   "engine_start_s": 60, "repeats": 1},
        "targets": ["p99_ttft_ms", "tpot_ms", "output_throughput"], "stop": {"boundary": TIER},
    }))
    return Server(study, truth)


def test_a_study_stops_when_its_boundary_is_found(
    server: Server, answer: Callable[..., Any], sweepwise: Callable[..., Ran]
) -> None:
    ran = sweepwise("run", server.study)
    assert ran.code == 0, ran.err
    assert "stopped: the boundary asked for is found" in ran.out
    open_counts = [int(line.split(":")[1].split("of")[0]) for line in ran.out.splitlines()
                   if line.startswith("undecided: ")]
    assert len(open_counts) > 3 and min(open_counts[:-2]) > 0 and open_counts[-1] == 0
    status = answer("status", server.study)
    assert status["stopped"] == "boundary"
    assert status["boundary"] == {"tiers": [TIER], "undecided": 0, "of": 64, "confidence": 0.95}
    assert status["runs"] <= 40  # of 64 points

    found = answer("recommend", server.study)["highest_load"]
    assert found["axis"] == "max_concurrency" and found["undecided"] == 0 and len(found["lines"]) == 8
    wrong = 0
    for line in found["lines"]:
        (highest,) = line["highest"]
        for load, probability in zip(line["loads"], highest["probability"], strict=True):
            point = {**line["engine"], **line["workload"], "max_concurrency": load}
            wrong += (probability >= 0.5) != server.meets(point)
    assert wrong <= 2


def test_the_boundary_is_shown_and_told(server: Server, sweepwise: Callable[..., Ran], tmp_path: Path) -> None:
    server.stop(boundary=[TIER, "p99_ttft_ms <= 200"], trials=24)
    ran = sweepwise("run", server.study)
    assert ran.code == 0 and "undecided: " in ran.out and "of 128 loads" in ran.out
    shown = sweepwise("recommend", server.study, "--slo", "tpot_ms <= 30", "--all")
    assert f"Highest max_concurrency that meets {TIER}" not in shown.out
    assert "Highest max_concurrency that meets tpot_ms <= 30" in shown.out
    both = sweepwise("recommend", server.study)
    assert f"Highest max_concurrency that meets {TIER}" in both.out
    assert "Highest max_concurrency that meets p99_ttft_ms <= 200" in both.out
    page = tmp_path / "report.html"
    assert sweepwise("report", server.study, "--no-baselines", "-o", page).code == 0
    text = page.read_text(encoding="utf-8")
    assert "How much load each configuration bears" in text and 'id="attainment"' in text
    assert "p99_ttft_ms &lt;= 200" in text
    data = json.loads(text.split('<script type="application/json" id="data">')[1].split("</script>")[0])
    assert len(data["figures"]["attainment"]["data"]) == 2 * 4 * 2  # engines × lengths × tiers
    assert sum(trace["visible"] for trace in data["figures"]["attainment"]["data"]) == 2
    note = tmp_path / "summary.md"
    assert sweepwise("report", server.study, "--no-baselines", "-o", note).code == 0
    assert "### Highest load that meets p99" in note.read_text(encoding="utf-8").replace("\\", "")


def test_a_new_tier_needs_no_new_run(server: Server, answer: Callable[..., Any]) -> None:
    assert answer("run", server.study, "--quiet")["stopped"] == "boundary"
    runs = answer("status", server.study)["runs"]
    tiers = ("--tier", "p99_ttft_ms <= 2000", "--tier", "tpot_ms <= 25")
    found = answer("recommend", server.study, *tiers)["highest_load"]
    assert found["tiers"] == ["p99_ttft_ms <= 2000", "tpot_ms <= 25"]
    assert answer("status", server.study)["runs"] == runs
    for line in found["lines"]:  # 32 takes 17 or 21 ms, 64 takes 30 or 34
        low, high = line["highest"][1]["low"], line["highest"][1]["high"]
        assert low <= 32 and high >= 64 and high <= 4 * low


def test_what_stops_first_stops(server: Server, answer: Callable[..., Any]) -> None:
    server.stop(boundary=TIER, trials=10)
    first = answer("run", server.study, "--quiet")
    assert first["stopped"] == "trials" and first["runs"] == 10 and first["boundary"]["undecided"] > 0
    server.stop(boundary=TIER)
    second = answer("run", server.study, "--quiet")
    assert second["stopped"] == "boundary" and second["runs"] > 10
    again = answer("run", server.study, "--quiet")
    assert again["stopped"] == "boundary" and again["runs"] == second["runs"]
    server.stop(boundary=[TIER, "p99_ttft_ms <= 60"], confidence=0.99)
    more = answer("run", server.study, "--quiet")
    assert more["stopped"] == "boundary" and more["runs"] > second["runs"]


def test_repeats_that_leave_a_point_undecided_are_run_again(
    server: Server, answer: Callable[..., Any], sweepwise: Callable[..., Ran], tmp_path: Path
) -> None:
    """With two readings a run the noise is known; the bound is a little above the median of one point's readings."""
    data = yaml.safe_load(server.study.read_text())
    data["runner"]["repeats"] = 2
    data["stop"] = {"boundary": f"p99_ttft_ms <= {1.02 * server.truth[2, 1024, 16][0]:.6g}"}
    server.study.write_text(yaml.safe_dump(data))
    assert answer("run", server.study, "--quiet")["stopped"] == "boundary"
    exported = tmp_path / "runs.csv"
    assert sweepwise("export", server.study, "-o", exported).code == 0
    with exported.open(newline="") as file:
        rows = [(row["tensor_parallel_size"], row["input_len"], row["max_concurrency"])
                for row in csv.DictReader(file)]
    readings = {point: rows.count(point) for point in rows}
    assert 2 < max(readings.values()) <= 8
    assert np.median(list(readings.values())) == 2


@pytest.mark.parametrize(("arguments", "begins"), [
    (("--tier", "fast"), "--tier: cannot read"), (("--tier", "p50_ttft_ms <= 5"), "study 'server': no run gave"),
    (("--slo", "tpot_ms <= 40 and"), "--slo: cannot read"),
])
def test_a_wrong_tier_is_refused(
    server: Server, sweepwise: Callable[..., Ran], arguments: tuple[str, ...], begins: str
) -> None:
    server.stop(trials=4)
    assert sweepwise("run", server.study, "--quiet").code == 0
    refused = sweepwise("recommend", server.study, *arguments)
    assert refused.code == 2 and begins in refused.err and len(refused.err.strip().splitlines()) == 1


def test_searches_are_played_by_simulate(server: Server, sweepwise: Callable[..., Ran]) -> None:
    played = sweepwise("simulate", server.study, "--strategies", "bisection,aiperf_boundary", "--seeds", 1, "--at-cost",
                       "0.2")
    assert played.code == 0, played.err
    assert "bisection" in played.out and "aiperf_boundary" in played.out
    server.stop(trials=4)
    refused = sweepwise("simulate", server.study, "--strategies", "bisection", "--seeds", 1)
    assert refused.code == 2 and "needs `stop: {boundary: …}`" in refused.err
