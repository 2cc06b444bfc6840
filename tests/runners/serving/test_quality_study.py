"""A whole study with `quality:` on servers that are stand-ins: what is recorded, shown, resumed and refused."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import planner
from planner.space.types import StudyError
from planner.views.page.markdown import markdown
from runners.serving import runner as module
from runners.serving import server as server_module
from runners.vllm_imports import SWITCH
from tests.runners.serving import fake_server
from tests.runners.serving.queues import Clock, QueueClient


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two quantisations × two sizes of a batch × two loads; its servers are fake_server.py, its client is a queue."""
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "config.json").write_text(json.dumps({"vocab_size": 100}))
    (tmp_path / "text.txt").write_text("a bb ccc\na bb\n" * 10)
    (tmp_path / "asked.jsonl").write_text("".join(
        json.dumps({"prompt": "a b", "answer": " cx" if i % 4 == 0 else " c"}) + "\n" for i in range(40)))

    def command(arguments: Mapping[str, Any]) -> list[str]:
        return [sys.executable, "-S", str(Path(fake_server.__file__)), "--model", arguments["served_model_name"],
                "--ttft-ms", "0.1"]

    monkeypatch.setattr(module, "make_client", lambda *_: QueueClient(Clock(), slots=8))
    monkeypatch.setattr(module, "require_engine", lambda: None)
    monkeypatch.setattr(module, "command_line", command)
    monkeypatch.setattr(server_module, "_POLL_S", 0.02)
    monkeypatch.setenv(SWITCH, "0")
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump({
        "study": {"name": "quality", "storage": f"sqlite:///{tmp_path / 'quality.db'}"},
        "space": {"axes": {
            "quantization": {"values": ["awq", "gptq"], "scope": "engine"},
            "max_num_seqs": {"values": [4, 8], "scope": "engine", "scale": "log"},
            "max_concurrency": {"values": [1, 4], "scale": "log"}}},
        "runner": {"kind": "vllm-serve", "model": "tiny", "load_format": "dummy", "duration_s": 5},
        "targets": ["ttft_ms"],
        "quality": {"perplexity": "text.txt", "exact_match": "asked.jsonl"}}))
    return path


def edited(path: Path, **sections: Any) -> Path:
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **sections}))
    return path


def test_a_study_evaluates_each_quantisation_once(study: Path, answer: Callable[..., Any]) -> None:
    answer("run", study, "--strategy", "full")
    status = answer("status", study)
    assert (status["runs"], status["points_measured"]) == (8, 8)
    found = status["quality"]
    assert (found["evaluated"], found["of"]) == (2, 2)
    assert sorted(one["configuration"]["quantization"] for one in found["results"]) == ["awq", "gptq"]
    for one in found["results"]:
        assert one["metrics"]["exact_match"]["value"] == 0.75 and one["metrics"]["perplexity"]["stderr"] > 0
        assert one["how"]["exact_match"]["questions"] == 40 and one["evaluation_s"] > 0
    seen = planner.open_study(study).observations()
    evaluated = [run.measurement for run in seen.runs if run.measurement.cost.evaluation_s]
    assert len(evaluated) == 2
    trials = planner.open_study(study)._setup.ledger().study.get_trials()  # what Optuna alone can read
    assert all(len(trial.values) == 3 for trial in trials), "every run has the quality of its configuration as a value"
    answer("run", study, "--strategy", "full")
    assert len(planner.open_study(study).observations().runs) == 8


def test_predictions_recommendations_and_reports_have_it(study: Path, answer: Callable[..., Any]) -> None:
    edited(study, stop={"trials": 3})
    answer("run", study)
    opened = planner.open_study(study)
    rows = opened.predict()
    columns = set(rows.columns)
    assert {"perplexity", "perplexity_low", "perplexity_high", "exact_match"} <= columns
    known = {run.point["quantization"] for run in opened.observations().runs}
    for value in ("awq", "gptq"):
        here = rows[rows.quantization == value]
        assert here.exact_match.nunique() == 1, "a load and a batch limit do not change it"
        width = float((here.exact_match_high - here.exact_match_low).max())
        assert (width < 0.3) == (value in known), "without a result it is an interval"
    for bound, likely in ((0.5, True), (0.99, False)):  # 0.75 with a sampling error of 0.07
        case = opened.recommend(minimize="ttft_ms", slo=[f"exact_match >= {bound}"]).only
        assert case is not None
        here = rows.quantization[case.candidates.mix.rows[:, 0]].isin(known).to_numpy()
        assert here.any() and np.all((case.probability[here] > 0.5) == likely)
        assert np.all(np.abs(case.probability[here] - 0.5) > 0.45)
    page = markdown(opened.report())
    assert "### Quality of each configuration" in page and r"exact\_match 0.75" in page
    assert "evaluating quality" in page, "what it cost"


def test_other_questions_are_another_study(study: Path, answer: Callable[..., Any], tmp_path: Path) -> None:
    edited(study, stop={"trials": 1})
    answer("run", study)
    with (tmp_path / "asked.jsonl").open("a") as file:
        file.write(json.dumps({"prompt": "a", "answer": " b"}) + "\n")
    with pytest.raises(StudyError, match=r"quality was .* is "):
        planner.open_study(study).run()


@pytest.mark.parametrize("runner", [
    {"kind": "vllm", "model": "tiny"}, {"kind": "command", "command": ["true"]}])
def test_a_runner_without_a_server_is_refused(runner: dict[str, Any], study: Path) -> None:
    edited(study, runner=runner, space={"axes": {"batch_size": {"values": [1, 2]}}})
    with pytest.raises(StudyError, match=f"quality: the runner '{runner['kind']}' has no server to evaluate"):
        planner.open_study(study)


def test_a_runner_that_gives_the_metric_itself_needs_no_evaluation(study: Path) -> None:
    """The same promise for a benchmark of one's own: one reading holds for all that share its axes."""
    text = yaml.safe_load(study.read_text())
    del text["quality"]
    text["runner"] = {"kind": "command", "command": [sys.executable, "-c", "import sys, json; print(json.dumps(dict("
                      "ttft_ms=float(sys.argv[2]), accuracy=0.9 if sys.argv[1] == 'awq' else 0.7, accuracy_stderr=0.01"
                      ")))", "{quantization}", "{max_concurrency}"]}
    text["targets"] = ["ttft_ms", {"metric": "accuracy", "kind": "share", "direction": "maximize",
                                   "depends_on": ["quantization"]}]
    text["stop"] = {"trials": 6}
    study.write_text(yaml.safe_dump(text))
    opened = planner.open_study(study)
    opened.run()
    rows = opened.predict()
    for value, accuracy in (("awq", 0.9), ("gptq", 0.7)):
        here = rows[rows.quantization == value]
        assert here.accuracy.tolist() == pytest.approx([accuracy] * 4)
        assert float((here.accuracy_high - here.accuracy_low).max()) == pytest.approx(2 * 1.645 * 0.01, rel=0.1)


def test_an_audit_and_an_export_go_on_as_before(
    study: Path, answer: Callable[..., Any], sweepwise: Callable[..., Any], tmp_path: Path
) -> None:
    edited(study, stop={"trials": 6})
    answer("run", study)
    audited = answer("evaluate", study, "--audit", 1)
    assert audited is not None
    table = tmp_path / "grid.csv"
    assert sweepwise("export", study, "-o", table).code == 0
    header, *rows = table.read_text().splitlines()
    assert {"perplexity", "exact_match", "exact_match_stderr"} <= set(header.split(",")) and len(rows) == 6
    text = yaml.safe_load(study.read_text())
    replay = {"kind": "replay", "table": "grid.csv", "cost_s": "seconds"}
    axes = {name: {"scope": axis.get("scope", "workload")} for name, axis in text["space"]["axes"].items()}
    share = {"metric": "exact_match", "kind": "share", "direction": "maximize", "depends_on": ["quantization"]}
    path = tmp_path / "replay.yaml"
    path.write_text(yaml.safe_dump({"study": {"storage": f"sqlite:///{tmp_path / 'replay.db'}"},
                                    "space": {"axes": axes}, "runner": replay, "targets": ["ttft_ms", share],
                                    "stop": {"trials": 4}}))
    opened = planner.open_study(path)
    opened.run()
    assert opened.predict().exact_match.notna().all()
