"""`sweepwise compare --prior`: measures until it knows what a new version changed, says it, and exits as a gate."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Ran, Recorded

GRID: dict[str, Any] = {"models": ("small",), "outputs": (64,), "inputs": (64, 128, 256, 512, 1024),
                        "batches": (1, 2, 4, 8, 16, 32), "repeats": 1, "noise": 0.01, "stop": {"cost": "80%"}}


@pytest.fixture
def versions(recorded: Callable[..., Recorded]) -> Callable[..., tuple[Recorded, Recorded]]:
    """An old and a new recording, each with its own noise; the new one is slower where batches are large."""

    def make(factor: float) -> tuple[Recorded, Recorded]:
        old, new = recorded("old", seed=1, **GRID), recorded("new", seed=2, **GRID)
        new.write([{**row, "latency_s": row["latency_s"] * (factor if row["batch_size"] >= 8 else 1.0)}
                   for row in new.rows])
        return old, new

    return make


def test_a_slower_version_is_named_and_exits_1(
    versions: Callable[..., tuple[Recorded, Recorded]], sweepwise: Callable[..., Ran], tmp_path: Path
) -> None:
    old, new = versions(1.2)
    ran = sweepwise("compare", "--prior", old.table, new.study, "--json", tmp_path / "out.json")
    found = json.loads((tmp_path / "out.json").read_text())
    assert ran.code == 1 and "got worse" in ran.err
    assert found["known"] and found["stopped"] == "difference"
    region = found["regions"][0]
    assert region["worse"] and region["target"] == "latency_s" and abs(region["ratio"] - 1.2) < 0.06
    large = [one["point"]["batch_size"] >= 8 for one in region["points"]]
    assert sum(large) >= 8 and sum(large) >= 0.8 * len(large)
    assert found["runs"] < found["points"] and found["spent_s"] < found["whole_cost_s"]
    for word in ("worse by 5 % or more", "everywhere else", "new/old", f"{found['worse']} of 30 points"):
        assert word in ran.out, ran.out
    again = sweepwise("compare", "--prior", old.table, new.study, "--json", tmp_path / "again.json")
    assert again.code == 1 and json.loads((tmp_path / "again.json").read_text())["runs"] == found["runs"]


def test_the_same_version_exits_0(
    versions: Callable[..., tuple[Recorded, Recorded]], sweepwise: Callable[..., Ran], tmp_path: Path
) -> None:
    """The old study is one of ours here, as in the study file."""
    old, new = versions(1.0)
    assert sweepwise("run", old.study, "--strategy", "full", "--quiet").code == 0
    new.edit(prior=[{"study": "old.yaml"}], stop={"difference": 0.05})
    ran = sweepwise("run", new.study)
    assert ran.code == 0 and "it is known where this study differs from its prior" in ran.out, ran.out + ran.err
    ran = sweepwise("compare", new.study, "--json", tmp_path / "out.json")
    found = json.loads((tmp_path / "out.json").read_text())
    assert ran.code == 0 and "no point of 30 is worse or better by 5 % or more" in ran.out, ran.out + ran.err
    assert not found["regions"] and found["worse"] == 0 and found["prior"] == "old.yaml"


@pytest.mark.parametrize(("arguments", "says"), [
    (["new.yaml"], "compare: with what? name a second study, or the old one by --prior"),
    (["new.yaml", "--prior", "nothing.yaml"], "--prior: there is no nothing.yaml"),
    (["new.yaml", "new.yaml", "--prior", "old.csv"], "--prior: takes one study"),
    (["new.yaml", "--prior", "old.csv", "--fail-if", "latency_s rises 5%"], "--fail-if: belongs to a comparison"),
])
def test_wrong_questions_are_refused_in_one_line(
    versions: Callable[..., tuple[Recorded, Recorded]], sweepwise: Callable[..., Ran], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str,
) -> None:
    versions(1.0)
    monkeypatch.chdir(tmp_path)
    ran = sweepwise("compare", *arguments)
    assert ran.code == 2 and says in ran.err and ran.err.count("\n") == 1, ran.err


def test_a_difference_needs_a_prior(recorded: Callable[..., Recorded], sweepwise: Callable[..., Ran]) -> None:
    new = recorded("new", **{**GRID, "stop": {"difference": 0.05}})
    ran = sweepwise("run", new.study)
    assert ran.code == 2 and "stop.difference: compares with an old study; name it by `prior`" in ran.err
