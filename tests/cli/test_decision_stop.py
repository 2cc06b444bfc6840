"""A study that asks for a decision, from its file to its answer, over a recorded server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import Ran

ROOT = Path(__file__).parents[2]


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """studies/replay_decide.yaml with a record of its own."""
    data = yaml.safe_load((ROOT / "studies/replay_decide.yaml").read_text())
    data["study"]["storage"] = f"sqlite:///{tmp_path / 'decide.db'}"
    data["runner"]["table"] = str(ROOT / "studies/data/served_closed.csv")
    file = tmp_path / "decide.yaml"
    file.write_text(yaml.safe_dump(data))
    return file


def edit(study: Path, **keys: Any) -> None:
    study.write_text(yaml.safe_dump({**yaml.safe_load(study.read_text()), **keys}))


def test_run_ends_with_a_decision_that_recommend_repeats(
    sweepwise: Callable[..., Ran], answer: Callable[..., Any], study: Path
) -> None:
    status = answer("run", study, "--quiet")
    assert status["stopped"] == "decision" and status["points_measured"] < 60
    decision = status["decision"]
    assert (decision["probability"], decision["decided"], decision["of"]) == (0.95, 1, 1)
    (case,) = decision["cases"]
    assert case["state"] == "decided" and case["probability"] >= 0.95
    assert case["runner_up"]["low"] <= case["runner_up"]["ahead"] <= case["runner_up"]["high"]
    assert answer("run", study, "--quiet")["runs"] == status["runs"]
    found = answer("recommend", study, "--quiet")
    assert found["best"][0]["point"] == case["chosen"] == found["sure"]["chosen"]
    shown = sweepwise("recommend", str(study)).out
    assert "within 2 % of the best with" in shown and "runner-up: " in shown
    assert "stopped: the decision asked for is reached" in sweepwise("status", str(study)).out


def test_without_a_workload_every_combination_is_decided(
    sweepwise: Callable[..., Ran], answer: Callable[..., Any], study: Path
) -> None:
    edit(study, workload=[], stop={"decision": 0.6, "trials": 20})
    status = answer("run", study, "--quiet")
    assert status["decision"]["of"] == 12
    given = [tuple(case["given"]) for case in status["decision"]["cases"]]
    assert set(given) == {("input_len", "output_len")}
    assert "of 12 cases with 60.0 %" in sweepwise("status", str(study)).out


def test_any_study_says_how_sure_its_recommendation_is(answer: Callable[..., Any], study: Path) -> None:
    edit(study, stop={"trials": 8})
    assert "decision" not in answer("run", study, "--quiet")
    found = answer("recommend", study, "--quiet")
    assert 0 <= found["sure"]["probability"] < 0.95 and found["sure"]["state"] in {"open", "tied"}


@pytest.mark.parametrize(("keys", "begins"), [
    ({"stop": {"decision": 0.95, "accuracy": 0.9}}, "stop.decision: chooses its runs by itself"),
    ({"stop": {"decision": 1.5}}, "stop.decision: "),
    ({"slo": ["e2el_ms <= 100"]}, "stop.decision: 'e2el_ms' of `slo` is no target"),
    ({"targets": ["littles_law"], "slo": []}, "stop.decision: of no target it is said whether more is better"),
])
def test_what_cannot_be_decided_is_refused(
    sweepwise: Callable[..., Ran], study: Path, keys: dict[str, Any], begins: str
) -> None:
    edit(study, **keys)
    ran = sweepwise("run", str(study), "--quiet")
    assert ran.code == 2 and begins in ran.err
