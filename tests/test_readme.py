"""Every command and every piece of Python in the README runs, in the README's order, in a copy of the studies."""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from planner.importers.registry import OURS
from planner.space.spec import parse_spec
from planner.views.metrics import metric_lines

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BIN = Path(sys.executable).parent

# `make test` is what runs this; `make quickstart` has a test of its own (tests/test_quickstart.py); a dashboard serves
# until it is stopped, and is tested in tests/cli/test_dashboard.py.
ELSEWHERE = ("make ", "sweepwise dashboard ", "git clone", "cd ")


def _commands() -> list[str]:
    blocks = re.findall(r"```console\n(.*?)```", README, flags=re.DOTALL)
    return [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def _here(commands: list[str]) -> list[str]:
    return [command for command in commands if not command.startswith(ELSEWHERE)]


def _needs_engine(command: str) -> bool:
    return "quickstart.yaml" in command and not command.startswith(("sweepwise validate", "sweepwise plan"))


def _thin(table: Path) -> None:
    """Leave of a recorded grid its batch sizes that are powers of two: a fifth of it, played in a tenth of the time."""
    header, *rows = table.read_text().splitlines(keepends=True)
    column = header.split(",").index("batch_size")
    kept = [row for row in rows if int(row.split(",")[column]).bit_count() == 1]
    assert 0.1 < len(kept) / len(rows) < 0.25
    table.write_text("".join([header, *kept]))


def test_commands_run(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "studies", tmp_path / "studies")
    commands = [command for command in _here(_commands()) if not _needs_engine(command)]
    assert len(commands) >= 8
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "120"}

    def run(command: str) -> str:
        result = subprocess.run(shlex.split(command), cwd=tmp_path, env=environment, capture_output=True, text=True,
                                timeout=300, check=False)
        assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
        return result.stdout

    points = re.search(r"([\d,]+) grid points", run("sweepwise validate studies/replay.yaml"))
    assert points is not None and points[0] in README  # the whole of it is there, and is what the README says
    _thin(tmp_path / "studies/data/quickstart_truth.csv")
    for command in commands:
        assert run(command).strip(), f"{command} printed nothing"


def test_what_is_run_elsewhere_is_what_we_think() -> None:
    elsewhere = {command for command in _commands() if command.startswith(ELSEWHERE)}
    assert {"make quickstart", "make test"} <= elsewhere
    engine = [command for command in _here(_commands()) if _needs_engine(command)]
    # These run in tests/test_quickstart.py, on the study that make quickstart leaves behind.
    tree = ast.parse((ROOT / "tests/test_quickstart.py").read_text())
    assigned = {node.targets[0].id: node.value for node in tree.body  # type: ignore[attr-defined]
                if isinstance(node, ast.Assign)}
    assert set(engine) == {*ast.literal_eval(assigned["COMMANDS"]), *ast.literal_eval(assigned["SERVE_COMMANDS"])}


@pytest.mark.parametrize(("code", "printed"), re.findall(
    r"```python\n(.*?)```\n(?:\n```text\n(.*?)```)?", README, flags=re.DOTALL))
def test_python_runs(code: str, printed: str, tmp_path: Path) -> None:
    """Where the README shows what a piece prints, it prints that: the same words, and numbers of the same places."""
    shutil.copytree(ROOT / "studies", tmp_path / "studies")
    script = tmp_path / "example.py"
    script.write_text(code)
    result = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=600,
                            check=False)
    assert result.returncode == 0, result.stderr
    if printed:
        assert _words(result.stdout) == _words(printed)


def _words(text: str) -> list[str]:
    return re.sub(r"\d+(\.\d+)?", "0", text).split()


STUDY = {"space": {"axes": {"input_len": {"values": [1, 2]}}}, "runner": {"kind": "command", "command": ["true"]},
         "targets": ["ttft_ms"]}
"""What a study file needs, for pieces of one."""


@pytest.mark.parametrize("text", re.findall(r"```yaml\n(.*?)```", README, flags=re.DOTALL))
def test_study_files_are_valid(text: str) -> None:
    parse_spec(yaml.safe_dump({**STUDY, **yaml.safe_load(text)}))


def test_validate_prints_what_is_shown_of_targets() -> None:
    found = re.search(r"```yaml\n(targets:.*?)```.*?`validate` prints[^\n]*\n\n```text\n(.*?)```", README,
                      flags=re.DOTALL)
    assert found is not None
    metrics = parse_spec(yaml.safe_dump({**STUDY, **yaml.safe_load(found[1])})).metrics
    assert metric_lines(metrics) == found[2].splitlines()


def test_the_rooms_are_those_of_the_import_rules() -> None:
    """The README's table of rooms has the order that tests/test_boundaries.py checks."""
    tree = ast.parse((ROOT / "tests/test_boundaries.py").read_text())
    rooms = next(ast.literal_eval(node.value) for node in tree.body if isinstance(node, ast.AnnAssign)
                 and isinstance(node.target, ast.Name) and node.target.id == "ROOMS" and node.value is not None)
    table = README.split("| room |")[1].split("\n\n")[0]
    assert re.findall(r"^\| `(\w+)[/.]", table, flags=re.MULTILINE) == [room for level in rooms for room in level]


def test_links_lead_somewhere() -> None:
    for page in (ROOT / "README.md", *(ROOT / "studies").rglob("*.md")):
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert link.startswith("https://") or (page.parent / link).exists(), f"{page.name}: {link}"


def test_strategies_and_options_exist() -> None:
    """Names in the documents are those of now."""
    from planner.strategies.registry import STRATEGIES

    text = "".join(page.read_text() for page in (ROOT / "README.md", *(ROOT / "studies").rglob("*.md")))
    named = set(re.findall(r"sweepwise-[a-z]\w+", text))
    assert named and named <= set(STRATEGIES)
    short = README.split("Ablations are")[1].split("[studies/README.md]")[0]
    assert {f"sweepwise{name.removeprefix('sweepwise')}" for name in re.findall(r"`([^`]+)`", short)} == {
        name for name in STRATEGIES if name.startswith("sweepwise-")}


def test_the_api_is_shown_with_what_it_prints() -> None:
    blocks = re.findall(r"```python\n(.*?)```\n\n```text\n", README, flags=re.DOTALL)
    assert any("planner.open_study" in block and ".run(" in block and ".recommend(" in block for block in blocks)


def test_the_table_of_import_lists_every_format() -> None:
    listed = re.findall(r"^\| `([a-z-]+)` \| ", README.partition("| `--format` |")[2], flags=re.MULTILINE)
    assert sorted(listed[:len(OURS)]) == sorted(OURS)
