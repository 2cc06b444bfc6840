"""YAML of bounded size: aliases of aliases cost nothing."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
import yaml

from planner.campaign.setup import open_setup
from planner.importers.inference_perf_config import _yaml
from planner.space.spec import read_spec
from planner.space.types import StudyError
from planner.space.validation import load_yaml
from planner.space.yaml_text import LARGEST_TEXT, BoundedLoader

BOMB = "bomb:\n  - &x0 [1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"  - &x{i} [{','.join([f'*x{i - 1}'] * 9)}]\n" for i in range(1, 9))
MERGES = "a: &x0 {k: [1, 2]}\n" + "".join(
    f"a{i}: &x{i} {{<<: [{', '.join([f'*x{i - 1}'] * 9)}]}}\n" for i in range(1, 9))


@pytest.mark.parametrize("text", [BOMB, MERGES, BOMB.replace("bomb:", "study:\n  name:")])
def test_aliases_of_aliases_are_refused_at_once(text: str) -> None:
    began = time.process_time()
    with pytest.raises(StudyError, match=r"^study.yaml: holds more than 250,000 keys and values once") as told:
        load_yaml(text, "study.yaml")
    assert time.process_time() - began < 1 and len(str(told.value)) < 200


def test_the_limit_counts_what_aliases_stand_for() -> None:
    few = f"a: &x [{', '.join('1' * 1000)}]\nb: [{', '.join(['*x'] * 247)}]\n"  # 1 + 2 + 1001 + 1 + 247 × 1001
    assert len(load_yaml(few, "x")["b"]) == 247
    with pytest.raises(StudyError, match="holds more than"):
        load_yaml(few.replace("[*x", "[*x, *x, *x, *x"), "x")


@pytest.mark.parametrize("text", ["a: &x [*x]", "a: &x {b: *x}", "&x {a: *x}"])
def test_a_value_within_itself_is_refused(text: str) -> None:
    with pytest.raises(StudyError, match="an alias stands within its own value; correct the YAML there"):
        load_yaml(text, "x")


def test_ordinary_aliases_still_work(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text("""
space: {axes: {a: &one {values: &numbers [1, 2, 3]}, b: {values: *numbers}, c: {<<: *one, scale: log}}}
runner: {kind: command, command: [x, "{a}", "{b}", "{c}"]}
targets: [ttft_ms]
""")
    assert len(open_setup(path).grid) == 27


def test_a_file_without_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "long.yaml").write_text("#" * (LARGEST_TEXT + 1))
    for path in (tmp_path / "long.yaml", Path("/dev/zero")):
        with pytest.raises(StudyError, match=r"is longer than 4,000,000 characters; give a YAML study file"):
            read_spec(path)


def test_another_tools_configuration_is_bounded_too(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(BOMB)
    assert _yaml(path) is None
    path.write_text("a: [1, 2]")
    assert _yaml(path) == {"a": [1, 2]}


def test_no_other_loader_is_used() -> None:
    root = Path(__file__).parents[2]
    users = {path.relative_to(root).as_posix() for folder in ("planner", "runners")
             for path in (root / folder).rglob("*.py") if re.search(r"yaml\.load|safe_load", path.read_text())}
    assert users == {"planner/space/validation.py", "planner/importers/inference_perf_config.py"}
    assert issubclass(BoundedLoader, yaml.SafeLoader)
