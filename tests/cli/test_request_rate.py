"""A request rate of `inf`, vLLM's own default: all requests at once."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from planner.space.spec import parse_spec

STUDY = {
    "study": {"name": "rates", "storage": "sqlite:///rates.db"},
    "space": {"axes": {"request_rate": {"values": [1, 4, 16, "inf"], "scale": "log"},
                       "input_len": {"values": [64, 128, 256], "scale": "log"}}},
    "runner": {"kind": "command", "command": [
        sys.executable, "-c", "import sys, json; r = float(sys.argv[1]); n = int(sys.argv[2]);"
        "print(json.dumps({{'ttft_ms': n / 8 + min(r, 40)}}))", "{request_rate}", "{input_len}"]},
    "targets": ["ttft_ms"], "slo": ["ttft_ms <= 200"],
}


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rates.yaml").write_text(yaml.safe_dump(STUDY))
    return tmp_path / "rates.yaml"


def test_a_study_of_rates_up_to_infinity(
    study: Path, sweepwise: Callable[..., Any], answer: Callable[..., Any]
) -> None:
    assert answer("run", study, "--strategy", "full")["points_measured"] == 12
    best = answer("recommend", study, "--minimize", "ttft_ms", "--top", 12)["best"]
    assert [entry["point"]["request_rate"] for entry in best].count("inf") == 3
    assert all(entry["predicted"]["ttft_ms"][0] >= 48 for entry in best if entry["point"]["request_rate"] == "inf")
    shown = sweepwise("predict", study, "--point", "request_rate=inf,input_len=128")
    assert shown.code == 0 and "56" in shown.out and "inf" in shown.out and "–" not in shown.out
    (asked,) = answer("predict", study, "--point", "request_rate=inf,input_len=128")
    assert asked["request_rate"] == "inf" and asked["ttft_ms"] == 56
    assert sweepwise("report", study, "-o", "page.html").code == 0
    assert sweepwise("export", study, "-o", "all.csv").code == 0 and "64,inf," in Path("all.csv").read_text()


def test_it_comes_back_from_a_table(study: Path, sweepwise: Callable[..., Any], answer: Callable[..., Any]) -> None:
    """Exported, replayed as a recorded grid, resumed with one rate more."""
    assert sweepwise("run", study, "--strategy", "full").code == 0
    assert sweepwise("export", study, "-o", "all.csv").code == 0
    replay = {**STUDY, "study": {"name": "again", "storage": "sqlite:///again.db"}, "stop": {"trials": 6},
              "runner": {"kind": "replay", "table": "all.csv", "cost_s": "seconds"}}
    axes = {name: {"scale": "log"} for name in ("request_rate", "input_len")}
    Path("again.yaml").write_text(yaml.safe_dump({**replay, "space": {"axes": axes}}))
    assert answer("run", "again.yaml")["runs"] == 6
    more = {**STUDY["space"]["axes"], "request_rate": {"values": [1, 2, 4, 16, "inf"], "scale": "log"}}  # type: ignore[index]
    study.write_text(yaml.safe_dump({**STUDY, "space": {"axes": more}}))
    assert answer("run", study, "--strategy", "full")["points_measured"] == 15


def test_it_is_imported_from_our_table_and_from_vllm(
    study: Path, sweepwise: Callable[..., Any], answer: Callable[..., Any]
) -> None:
    assert sweepwise("run", study, "--strategy", "full").code == 0
    assert sweepwise("export", study, "-o", "all.csv").code == 0
    assert answer("import", study, "all.csv", "--name", "copy")["runs"] == 12
    result = {"date": "20261001-000000", "endpoint_type": "vllm", "model_id": "m", "num_prompts": 4, "duration": 2.0,
              "completed": 4, "total_input_tokens": 512, "total_output_tokens": 8, "request_throughput": 2.0,
              "output_throughput": 4.0, "total_token_throughput": 260.0, "mean_ttft_ms": 60.0, "median_ttft_ms": 60.0,
              "std_ttft_ms": 1.0, "p99_ttft_ms": 61.0, "request_rate": "inf"}
    Path("result.json").write_text(json.dumps(result))
    assert answer("import", study, "result.json", "--set", "input_len=128", "--name", "theirs")["runs"] == 1
    (asked,) = answer("predict", study, "--point", "request_rate=inf,input_len=128", "--name", "theirs")
    assert asked["source"] == "measured" and asked["ttft_ms"] == 60


def test_json_lines_have_a_word_for_it(study: Path, sweepwise: Callable[..., Any]) -> None:
    assert sweepwise("run", study, "--strategy", "full").code == 0
    assert sweepwise("export", study, "-o", "all.jsonl").code == 0

    def refuse(word: str) -> None:
        raise ValueError(f"{word} is no JSON")

    rows = [json.loads(line, parse_constant=refuse) for line in Path("all.jsonl").read_text().splitlines()]
    assert [row["request_rate"] for row in rows].count("inf") == 3


def test_an_infinite_measurement_is_refused(study: Path, sweepwise: Callable[..., Any]) -> None:
    Path("bad.csv").write_text("request_rate,input_len,ttft_ms\ninf,64,inf\n")
    ran = sweepwise("import", study, "bad.csv", "--dry-run")
    assert ran.code == 2 and "ttft_ms is inf" in ran.err


@pytest.mark.parametrize(("axis", "fine"), [
    ("request_rate: {values: [1, .inf]}", True), ("rate: {values: [1, inf], role: rate}", True),
    ("batch_size: {values: [1, .inf]}", False), ("x: {values: [1, .inf]}", False), ("request_rate: {values: [0, inf]}",
        False),
    ("request_rate: {values: [-.inf]}", False), ("request_rate: {values: [.nan]}", False),
])
def test_only_a_rate_may_be_infinite(axis: str, fine: bool) -> None:
    from planner.space.types import StudyError

    spec = parse_spec(f"space: {{axes: {{{axis}}}}}\nrunner: {{kind: command}}\ntargets: [ttft_ms]\n")
    (name,) = spec.space.axes
    if fine:
        assert spec.space.axes[name].resolve(name).values[-1] == float("inf")
    else:
        with pytest.raises(StudyError):
            spec.space.axes[name].resolve(name)


def test_json_has_a_word_for_it() -> None:
    from planner.space.text import as_json

    written = json.dumps(as_json({"point": {"request_rate": float("inf")}, "high": float("inf")}), allow_nan=False)
    assert json.loads(written) == {"point": {"request_rate": "inf"}, "high": None}
