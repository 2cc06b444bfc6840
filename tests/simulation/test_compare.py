"""studies/compare/compare.py on simulations small enough to compute by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from studies.compare import compare
from studies.compare.curves import EVERY, cost_to_reach, equal_cost, estimates, interval, read, stops

SHARES = (0.01, 0.1, 0.5)
# strategy → target → seed → accuracy at each share
ACCURACY: dict[str, dict[str, list[tuple[float | None, ...]]]] = {
    "ours": {"a": [(0.80, 0.92, 0.98), (0.90, 0.96, 0.98), (0.96, 0.91, 0.96)],
             "b": [(0.70, 0.91, 0.99), (0.95, 0.93, 0.97), (0.50, 0.99, 0.99)]},
    "plain": {"a": [(None, 0.50, 0.91), (0.20, 0.60, 0.80), (0.10, 0.70, 0.96)],
              "b": [(None, 0.55, 0.92), (0.30, 0.60, 0.85), (0.20, 0.65, 0.97)]},
}


def simulation() -> dict[str, Any]:
    """The estimate is off by +0.02, −0.01 and 0 at the three shares, its interval 0.015 to either side; seeds 0 and 1
    of ours stop, at 0.08 and 0.2 of the cost."""
    off = (0.02, -0.01, 0.0)
    runs = []
    for strategy, targets in ACCURACY.items():
        for target, seeds in targets.items():
            for seed, values in enumerate(seeds):
                at = []
                for share, value, error in zip(SHARES, values, off, strict=True):
                    known = value is not None and strategy == "ours"
                    estimated = (value or 0) + error if known else None
                    at.append({
                        "cost_fraction": share, "cost_actual": share, "measured": 5, "accuracy": value,
                        "coverage90": 0.9 if known else None, "estimated_accuracy": estimated,
                        "estimated_low": estimated - 0.015 if estimated else None,
                        "estimated_high": estimated + 0.015 if estimated else None})
                stop = None
                if strategy == "ours" and seed < 2:
                    true = {"a": (0.93, 0.97), "b": (0.89, 0.95)}[target][seed]
                    stop = {"cost_fraction": (0.08, 0.2)[seed], "measured": 9, "accuracy": true, "coverage90": 0.8,
                            "estimated_accuracy": true + 0.01, "estimated_low": true - 0.02,
                            "estimated_high": true + 0.04, "reason": "accuracy"}
                runs.append({"strategy": strategy, "seed": seed, "target": target, "at": at, "stop": stop,
                             "planner_s": 1.0})
    return {"study": "grid", "options": {"at_cost": list(SHARES), "stop_accuracy": 0.9}, "grid_points": 10,
            "full_cost": 100.0, "runs": runs}


@pytest.fixture
def frames(tmp_path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    (tmp_path / "sim.json").write_text(json.dumps(simulation()))
    return read([tmp_path / "sim.json"])


def only(table: pd.DataFrame, **keys: Any) -> pd.Series:
    for key, value in keys.items():
        table = table[np.isclose(table[key], value) if isinstance(value, float) else table[key] == value]
    assert len(table) == 1
    return table.iloc[0]


def test_the_bootstrap_interval_of_a_median() -> None:
    """Of three seeds the median is the largest in 7 of 27 resamples, the least in 7: both are beyond 5 %."""
    assert interval(np.array([0.3, 0.1, 0.2])) == {"median": 0.2, "low": 0.1, "high": 0.3}
    assert interval(np.array([0.5])) == {"median": 0.5, "low": 0.5, "high": 0.5}
    assert interval(np.array([0.1, 0.2, np.inf])) == {"median": 0.2, "low": 0.1, "high": np.inf}
    assert all(map(math.isnan, interval(np.array([0.1, np.nan, 0.2])).values()))
    # Of 101 seeds, the order statistics 50 ± 1.645·√101/2 of the normal approximation.
    found = interval(np.arange(101.0))
    assert found == pytest.approx({"median": 50, "low": 42, "high": 58}, abs=2)


def test_accuracy_at_equal_cost(frames: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    table = equal_cost(frames[0])
    assert len(table) == 3 * 2 * 3
    line = only(table, target="a", strategy="ours", share=0.1)
    assert (line["median"], line["low"], line["high"], line["seeds"]) == (0.92, 0.91, 0.96, 3)
    # The least accurate target of each seed: 0.70, 0.90, 0.50.
    assert only(table, target=EVERY, strategy="ours", share=0.01)["median"] == 0.70
    assert math.isnan(only(table, target="a", strategy="plain", share=0.01)["median"])
    assert list(dict.fromkeys(table["target"])) == ["a", "b", EVERY]


def test_cost_to_reach(frames: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    """A goal that is lost again is reached where it comes back for good."""
    table = cost_to_reach(frames[0])
    line = only(table, target="a", strategy="ours", goal=0.9)  # from 0.1, from 0.01, from 0.01
    assert (line["median"], line["low"], line["high"], line["reached"]) == (0.01, 0.01, 0.1, 3)
    line = only(table, target="a", strategy="ours", goal=0.95)  # from 0.5, from 0.1, from 0.5: 0.96 was lost again
    assert (line["median"], line["low"], line["high"]) == (0.5, 0.1, 0.5)
    line = only(table, target="a", strategy="ours", goal=0.97)  # 0.5, 0.5, never
    assert (line["median"], line["high"], line["reached"], line["seeds"]) == (0.5, np.inf, 2, 3)
    line = only(table, target="a", strategy="plain", goal=0.95)  # never, never, 0.5
    assert (line["median"], line["low"], line["reached"]) == (np.inf, 0.5, 1)
    line = only(table, target=EVERY, strategy="ours", goal=0.9)  # 0.1, 0.01, 0.1
    assert (line["median"], line["low"], line["high"]) == (0.1, 0.01, 0.1)


def test_estimates_against_the_truth(frames: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    table = estimates(*frames)
    assert set(table["strategy"]) == {"ours"}
    for at, error, inside in (("1 %", 0.02, 0.0), ("10 %", -0.01, 1.0), ("50 %", 0.0, 1.0)):
        line = only(table, target="a", at=at)
        assert line["error"] == pytest.approx(error) and line["absolute_error"] == pytest.approx(abs(error))
        assert (line["inside"], line["seeds"]) == (inside, 3) and line["coverage90"] == pytest.approx(0.9)
    line = only(table, target="b", at="stop")
    assert line["error"] == pytest.approx(0.01) and (line["inside"], line["seeds"]) == (1.0, 2)
    assert line["coverage90"] == pytest.approx(0.8)


def test_stops_against_the_oracle(frames: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    """Target a: 0.90 is first there at 0.1, 0.01, 0.01; the stops are at 0.08 and 0.2, the third seed does not stop."""
    table = stops(*frames)
    line = only(table, target="a", strategy="ours")
    assert (line["goal"], line["stopped"], line["met"], line["seeds"]) == (0.9, 2, 2, 3)
    assert line["accuracy"] == pytest.approx(0.95) and line["share"] == pytest.approx(0.14)
    assert line["over_oracle"] == pytest.approx((0.8 + 20) / 2)
    line = only(table, target=EVERY, strategy="ours")  # truths 0.89 and 0.95, oracles 0.1 and 0.01
    assert (line["stopped"], line["met"]) == (2, 1) and line["accuracy"] == pytest.approx(0.92)
    assert line["over_oracle"] == pytest.approx((0.8 + 20) / 2)
    line = only(table, target="a", strategy="plain")
    assert (line["stopped"], line["seeds"]) == (0, 3) and math.isnan(line["accuracy"])


def test_the_script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two files of one study are one; the tables say in words what is not there."""
    whole = simulation()
    for name in ACCURACY:
        part = {**whole, "runs": [run for run in whole["runs"] if run["strategy"] == name]}
        (tmp_path / f"{name}.json").write_text(json.dumps(part))
    files = [str(tmp_path / f"{name}.json") for name in ACCURACY]
    compare.main([*files, "-o", str(tmp_path / "new" / "out")])
    out = tmp_path / "new" / "out"
    text = (out / "tables.md").read_text()
    assert capsys.readouterr().out == text
    assert "| grid | a | ours | 90.0 [80.0, 96.0] | 92.0 [91.0, 96.0] | 98.0 [96.0, 98.0] |" in text
    assert "| grid | a | plain | – | 60.0 [50.0, 70.0] | 91.0 [80.0, 96.0] |" in text
    assert "| grid | a | ours | 1.00 [1.00, 10.00] | 50.00 [10.00, 50.00] | 50.00 [50.00, never] |" in text
    assert "not reached (1 of 3)" in text
    assert "| grid | a | ours | 1 % | +2.0 | 2.0 | 0.0 | 90.0 | 3 |" in text
    assert "| grid | a | ours | 90.0 | 2 of 3 | 2 | 95.0 | 14.00 | 10.40× |" in text
    assert "| grid | a | plain | 90.0 | 0 of 3 | 0 | – | – | – |" in text
    assert pd.read_csv(out / "equal_cost.csv")["median"].notna().sum() == 18 - 3
    assert {"cost_to_reach.csv", "estimates.csv", "stops.csv"} < {path.name for path in out.iterdir()}
    page = (out / "accuracy.html").read_text()
    assert "<script src=" not in page and "Plotly.newPlot" in page  # one file, no network
    assert all(name in page for name in ("ours", "plain", "grid: a", f"grid: {EVERY}"))


@pytest.mark.parametrize(("text", "says"), [
    ("{", "cannot be read as JSON"), ("[1]", "holds no runs"), ('{"runs": []}', "holds no runs"),
    (None, "cannot be read")])
def test_what_is_no_simulation_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, says: str
) -> None:
    if text is not None:
        (tmp_path / "x.json").write_text(text)
    with pytest.raises(SystemExit) as ended:
        compare.main([str(tmp_path / "x.json"), "-o", str(tmp_path / "out")])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and says in said and "Traceback" not in said and not (tmp_path / "out").exists()


def test_a_run_given_twice_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.json").write_text(json.dumps(simulation()))
    with pytest.raises(SystemExit):
        compare.main([str(tmp_path / "x.json")] * 2 + ["-o", str(tmp_path / "out")])
    assert "ours, seed 0 is in two files" in capsys.readouterr().err
