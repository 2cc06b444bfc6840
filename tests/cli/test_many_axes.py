"""Studies of more axes than a numpy array may have dimensions, through the verbs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

SAY = "import sys; print('{\"ttft_ms\": %f}' % (5 + sum(map(float, sys.argv[1:]))))"


@pytest.mark.parametrize("axes", [33, 70])
def test_many_axes(axes: int, tmp_path: Path, sweepwise: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = [f"ax{i}" for i in range(axes)]
    two = {name for i, name in enumerate(names) if i % 10 == 5 and i < 40}
    Path("wide.yaml").write_text(yaml.safe_dump({
        "study": {"name": "wide", "storage": "sqlite:///wide.db"},
        "space": {"axes": {name: {"values": [1, 2] if name in two else [3]} for name in names}},
        "runner": {"kind": "command", "command": [sys.executable, "-S", "-E", "-c", SAY.replace("{", "{{").replace(
            "}", "}}"), *(f"{{{name}}}" for name in names)]},
        "targets": ["ttft_ms"], "stop": {"trials": 5}}))
    points = 2 ** len(two)
    for arguments in (["validate"], ["plan"], ["run"], ["status", "--runs"], ["predict", "-o", "p.csv"],
                      ["recommend", "--minimize", "ttft_ms"], ["export", "-o", "e.csv"], ["report", "--no-baselines"]):
        ran = sweepwise(arguments[0], "wide.yaml", *arguments[1:])
        assert ran.code == 0 and not ran.err, (arguments, ran.err)
        if arguments == ["validate"]:
            assert f"{points} grid points" in ran.out
    assert len(Path("p.csv").read_text().splitlines()) == points + 1


@pytest.mark.parametrize(("kind", "axes", "says"), [
    ("command", 10, "some 10^50 combinations are more than 2,000,000; thin out an axis"),
    ("command", 80, "8,000,000 values are more than 2,000,000; narrow a range"),
    ("replay", 80, "8,000,000 values are more than 2,000,000; narrow a range"),
])
def test_enormous_ranges_are_refused(
        kind: str, axes: int, says: str, tmp_path: Path, sweepwise: Callable[..., Any]) -> None:
    (tmp_path / "t.csv").write_text("ax0,ttft_ms\n1,2\n")
    (tmp_path / "huge.yaml").write_text(yaml.safe_dump({
        "space": {"axes": {f"ax{i}": {"range": [1, 100_000]} for i in range(axes)}},
        "targets": ["ttft_ms"], "runner": {"kind": kind, **(
            {"command": ["x"]} if kind == "command" else {"table": "t.csv", "cost_s": "ttft_ms"})}}))
    ran = sweepwise("validate", tmp_path / "huge.yaml")
    assert ran.code == 2 and says in ran.err and ran.err.count("\n") == 1
