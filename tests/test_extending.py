"""A package that is no part of sweepwise (tests/data/plugin), installed by pip and driven by the command line.

The README shows its files: what is shown is what is tested.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from planner.space.grid import full_grid
from planner.space.types import Axis, Proposal, RunnerContext
from planner.testing import check_importer, check_runner, check_strategy

ROOT = Path(__file__).resolve().parents[1]
PLUGIN = ROOT / "tests/data/plugin"
MODULES = ("acme_runner", "acme_strategy", "acme_importer")
LOG = "".join(f'ACME {{"isl": {isl}, "bs": {bs}, "p50_s": {isl * bs / 1e5}, "runs": 3}}\n'
              for isl in (1, 4, 16) for bs in (1, 2, 8))


def python(*arguments: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False,
                          env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "COLUMNS": "250", **environment})


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as pip installs it, in a folder of its own; nothing is fetched."""
    source, site = tmp_path_factory.mktemp("source") / "plugin", tmp_path_factory.mktemp("site")
    shutil.copytree(PLUGIN, source, ignore=shutil.ignore_patterns("__pycache__"))
    done = python("-m", "pip", "install", "--no-deps", "--no-build-isolation", "--no-index", "--no-compile", "--quiet",
                  "--target", site, source, cwd=source)
    assert done.returncode == 0, done.stderr
    return site


@pytest.fixture
def command(site: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The real command line, in a process that has the package."""
    def call(*arguments: object, installed: bool = True) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([str(ROOT), *([str(site)] if installed else [])])
        return python("-c", "from planner.cli import main; main()", *arguments, cwd=tmp_path, PYTHONPATH=path)

    return call


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "acme.yaml"
    path.write_text(yaml.safe_dump({
        "study": {"name": "acme", "storage": f"sqlite:///{tmp_path / 'acme.db'}"},
        "space": {"axes": {"input_len": {"values": [1, 4, 16], "scale": "log"},
                           "batch_size": {"values": [1, 2, 8], "scale": "log"}}},
        "runner": {"kind": "acme-hash"}, "targets": ["e2el_ms"], "stop": {"trials": 4}}))
    return path


def test_its_runner_and_its_strategy_make_a_study(
    command: Callable[..., Any], study: Path, tmp_path: Path, trials: Callable[..., Any]
) -> None:
    ran = command("run", study, "--strategy", "acme-farthest", "--json", tmp_path / "run.json")
    assert ran.returncode == 0, ran.stderr
    state = json.loads((tmp_path / "run.json").read_text())
    assert (state["runs"], state["failed"], state["stopped"]) == (4, 0, "trials")
    points = [(trial.params["input_len"], trial.params["batch_size"])
              for trial in trials(f"sqlite:///{tmp_path / 'acme.db'}", "acme")]
    # The farthest point from the first is a corner, and so is the farthest from these two.
    assert len(set(points)) == 4 and set(points[1:3]) <= {(1, 1), (1, 8), (16, 1), (16, 8)}
    assert "algorithm" in command("validate", "--schema").stdout
    wrong = yaml.safe_load(study.read_text())
    wrong["runner"]["algoritm"] = "md5"
    study.write_text(yaml.safe_dump(wrong))
    refused = command("validate", study)
    assert refused.returncode == 2 and "algoritm" in refused.stderr and "Traceback" not in refused.stderr


def test_its_importer_reads_named_or_not(command: Callable[..., Any], study: Path, tmp_path: Path) -> None:
    (tmp_path / "acme.log").write_text(LOG)
    for form, runs in ((("--format", "acme-log"), 9), ((), 0)):
        done = command("import", study, "acme.log", *form, "--json", tmp_path / "import.json")
        assert done.returncode == 0, done.stderr
        answer = json.loads((tmp_path / "import.json").read_text())
        assert (answer["formats"], answer["rows"], answer["runs"], answer["known"]) == (["acme-log"], 9, runs, 9 - runs)
    assert answer["cost_s"] == 0
    (tmp_path / "acme.log").write_text(LOG + "ACME []\n")
    refused = command("import", study, "acme.log")
    assert refused.returncode == 2
    assert refused.stderr.strip() == "sweepwise: acme.log line 10: is no result of acme; leave the line out"


def test_its_strategy_plays_against_a_recorded_grid(
    command: Callable[..., Any], recorded: Callable[..., Any], tmp_path: Path
) -> None:
    grid = recorded(models=("small",), inputs=(128,), outputs=(16, 64), batches=(1, 2, 4, 8),
                    runner={"engine_start_s": 0})
    played = command("simulate", grid.study, "--strategies", "acme-farthest,random", "--seeds", "1", "--jobs", "2",
                     "--at-cost", "0.5", "--json", tmp_path / "played.json")
    assert played.returncode == 0, played.stderr
    runs = json.loads((tmp_path / "played.json").read_text())["runs"]
    assert [run["strategy"] for run in runs] == ["acme-farthest", "random"]
    assert all(run["at"][0]["measured"] > 0 for run in runs)


def test_names_come_with_the_package_and_are_unknown_without(
    command: Callable[..., Any], study: Path, recorded: Callable[..., Any]
) -> None:
    grid = recorded()
    for verb, option, there in (("run", "--strategy", True), ("simulate", "--strategies", True),
                                ("run", "--strategy", False)):
        refused = command(verb, grid.study, option, "nobodys", installed=there)
        assert refused.returncode == 2 and f"{option}: unknown strategy 'nobodys'" in refused.stderr
        assert ("acme-farthest" in refused.stderr) == there and "powers_of_two" in refused.stderr
    refused = command("import", grid.study, "acme.log", "--format", "nobodys")
    assert refused.returncode == 2 and "acme-log" in refused.stderr and "fmwork" in refused.stderr
    assert "unknown runner 'acme-hash'" in command("validate", study, installed=False).stderr


def test_its_classes_keep_the_contracts(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(site))
    modules = {name: pytest.importorskip(name) for name in MODULES}
    assert all(str(module.__file__).startswith(str(site)) for module in modules.values())
    runner, axes = modules["acme_runner"].HashRunner, (Axis("input_len", (1, 2)), Axis("batch_size", (1, 2)))
    context, point = RunnerContext(axes, ("e2el_ms",), tmp_path), full_grid(axes).point(3)
    check_runner(lambda: runner(runner.Config(), context), Proposal(point, (point,)))
    broken = runner(runner.Config(algorithm="sha257"), context).measure(Proposal(point, (point,)))
    assert broken.reason and not broken.readings
    check_strategy(modules["acme_strategy"].Farthest)
    (tmp_path / "acme.log").write_text(LOG)
    check_importer(modules["acme_importer"].AcmeLog(), [tmp_path / "acme.log"])
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name)


@pytest.mark.parametrize("module", MODULES)
def test_the_readme_shows_these_files(module: str) -> None:
    text = (PLUGIN / f"{module}.py").read_text()
    assert f"```python\n{text}```\n" in (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 30


def test_the_readme_shows_the_entry_points() -> None:
    text = (PLUGIN / "pyproject.toml").read_text()
    shown = text[text.index("[project.entry-points"):text.index("\n[tool.setuptools]")]
    assert f"```toml\n{shown}```\n" in (ROOT / "README.md").read_text()
