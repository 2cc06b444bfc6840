"""What a user installs: the wheel holds everything, and works far from the source tree."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]


def tool(*arguments: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False,
                          env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", **environment})
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-3000:]
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the tree that holds what git would hold."""
    tree, out = tmp_path_factory.mktemp("tree") / "source", tmp_path_factory.mktemp("wheel")
    tree.mkdir()
    skip = shutil.ignore_patterns("__pycache__", "*.db", "*.db-*", "*.egg-info")
    for part in ("planner", "runners", "studies"):
        shutil.copytree(ROOT / part, tree / part, ignore=skip)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    tool("-m", "build", "--wheel", "--no-isolation", "--outdir", out, tree, cwd=tree)
    (built,) = out.glob("sweepwise-*.whl")
    return built


def test_the_wheel_holds_all_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    source = {str(path.relative_to(ROOT)) for part in ("planner", "runners", "studies")
              for path in (ROOT / part).rglob("*.py") if "__pycache__" not in path.parts}
    assert source <= names
    assert {"planner/py.typed", "runners/py.typed", "studies/quickstart.yaml"} <= names
    data = {str(path.relative_to(ROOT)) for pattern in ("data/*.csv", "models/*/config.json", "*.yaml")
            for path in (ROOT / "studies").glob(pattern)}
    assert data and data <= names
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"planner", "runners", "studies"}
    assert not any(name.endswith((".pyc", ".db")) for name in names)


def test_the_installed_wheel_works_from_another_directory(
    wheel: Path, tmp_path: Path, recorded: Callable[..., Any]
) -> None:
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    tool("-m", "pip", "install", "--no-deps", "--no-index", "--no-compile", "--quiet", "--target", site, wheel,
         cwd=elsewhere)

    def sweepwise(*arguments: object) -> str:
        # -P and PYTHONPATH: the installed copy comes before the tree that this environment may be linked to.
        script = "from planner.cli import main; main()"
        return tool("-P", "-c", script, *arguments, cwd=elsewhere, PYTHONPATH=str(site)).stdout

    where = tool("-P", "-c", "import planner, runners, studies; print(planner.__file__, runners.__file__)",
                 cwd=elsewhere, PYTHONPATH=str(site)).stdout
    assert where.count(str(site)) == 2
    assert (site / "bin" / "sweepwise").exists()
    sweepwise("init", "new.yaml", "--template", "command", "--quiet")
    assert "valid" in sweepwise("validate", "new.yaml")
    grid = recorded(models=("small",), inputs=(128,), outputs=(16, 64), batches=(1, 2, 4), stop={"trials": 5})
    assert "6 grid points" in sweepwise("validate", grid.study)
    sweepwise("run", grid.study, "--json", elsewhere / "run.json", "--quiet")
    state = json.loads((elsewhere / "run.json").read_text())
    assert (state["runs"], state["stopped"]) == (5, "trials")
    assert json.loads(sweepwise("validate", "--schema"))["title"] == "StudySpec"
