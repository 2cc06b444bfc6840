"""What a study names, and what a benchmark says, reaches terminals, pages and spreadsheets as text."""

from __future__ import annotations

import csv
import io
import re
import sqlite3
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import planner
from planner.space.cells import as_text_cell, from_text_cell
from planner.space.text import printable
from planner.views.console import SafeConsole
from planner.views.dashboard import note_of

TITLE = "\x1b]0;owned\x07"
MODELS = [f"{TITLE}red", "=HYPERLINK(1)", "@sum", "</script><img src=x onerror=alert(1)>", "-1+2", "'quoted'"]
BENCH = """import json, sys
model, batch = sys.argv[1], int(sys.argv[2])
if batch == 8:
    sys.exit("=1+1 \\x1b[2J\\x1b[31mout of memory\\x9b2J \\x08\\x08 \\u202e<b>")
print(json.dumps({"latency_ms": 2.0 + batch + len(model), "=cmd()": 1.0}))
"""
Cli = Callable[..., Any]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of models and reasons that would do harm, measured in full. Its file."""
    tmp_path = tmp_path_factory.mktemp("hostile")
    (tmp_path / "bench.py").write_text(BENCH)
    path = tmp_path / "hostile.yaml"
    path.write_text(yaml.safe_dump({
        "study": {"name": "<i>study</i>", "storage": f"sqlite:///{tmp_path / 'hostile.db'}"},
        "space": {"axes": {"model": {"values": MODELS, "scope": "engine", "scale": "category"},
                           "batch_size": {"values": [1, 2, 8]}}},
        "runner": {"kind": "command", "command": [sys.executable, "-S", "-E", "bench.py", "{model}", "{batch_size}"]},
        "targets": ["latency_ms"], "stop": {"trials": 100}}))
    planner.open_study(path).run(strategy="full")
    return path


def check_text(text: str) -> None:
    """Nothing that a terminal obeys, and nothing that turns the direction of a line."""
    assert not [character for character in text if unicodedata.category(character) in {"Cc", "Cf", "Cs"}
                and character not in "\n\t"]


def test_names_and_reasons_give_a_terminal_no_orders(
        hostile: Path, sweepwise: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ran = sweepwise("run", hostile, "--strategy", "full", "--name", "again")
    assert ran.code == 0 and "out of memory" in ran.out and "failed" in ran.out
    check_text(ran.out + ran.err)
    database = sqlite3.connect(hostile.with_suffix(".db"))
    assert any("u001b" in row[0] for row in database.execute("SELECT value_json FROM trial_user_attributes"))
    database.close()
    for verb in (["validate"], ["status", "--runs"], ["predict"], ["plan"], ["recommend", "--minimize", "latency_ms"]):
        ran = sweepwise(verb[0], hostile, *verb[1:])
        assert ran.code == 0, ran.err
        check_text(ran.out + ran.err)
    assert [path.name for path in tmp_path.iterdir()] == ["_i_study__i__predictions.csv"]  # no folder of that name
    assert "red" in sweepwise("status", hostile, "--runs").out
    ran = sweepwise("status", hostile, "--name", "none\x1b[2J")
    assert ran.code == 2
    check_text(ran.err)


NAME = f"a{TITLE}<b>,=1+1"
# Verb and arguments: {study} is the study's file, {table} its export, {other} a table with hostile columns and cells.
VERBS = [
    "validate {study}", "plan {study}", "status {study} --runs", "predict {study} -o {new}.csv",
    "predict {study} --point batch_size=2,model=@sum", "predict {study} --point batch_size=2,model={name}",
    "recommend {study} --minimize latency_ms", "recommend {study} --minimize {name}",
    "evaluate {study} --truth {table}", "evaluate {study} --truth {other}", "evaluate {study} --audit 1",
    "compare {study} {study} -o {new}.html", "compare {study} {study} --target {name}",
    "compare {study} {study} --fail-if {name}", "report {study} -o {new}.html --no-baselines",
    "report {study} -o {new}.md --no-baselines", "idealize {study}", "export {study} -o {new}.csv",
    "import {study} {table} --dry-run", "import {study} {other} --dry-run", "import {study} {other} --set model={name}",
    "import {study} {other} --format {name}", "import {study} {other} --where {name}",
    "discard {study} 999 --why {name}",
    "simulate {study} --strategies {name}", "run {study} --strategy {name}",
    "run {study} --storage sqlite:///{name}/x.db", "status {name}.yaml", "status {study} --json {name}/x.json",
    "doctor", "init {name}.yaml", "dashboard {study} --host {name}",
]


@pytest.mark.parametrize("line", VERBS)
def test_every_way_out(
    line: str, hostile: Path, sweepwise: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a verb prints or writes, well or not, is text; and no file gets a name that is not asked for."""
    monkeypatch.chdir(tmp_path)
    table, other = tmp_path / "table.csv", tmp_path / "other.csv"
    assert sweepwise("export", hostile, "-o", table).code == 0
    other.write_text(f'{NAME.partition(",")[0]},batch_size,latency_ms,"=1+1",{TITLE}\n{TITLE}<b>,{TITLE},@1,=2,x\n')
    given = {"study": hostile, "table": table, "other": other, "new": "new", "name": NAME}
    before = {path.name for path in tmp_path.iterdir()}
    ran = sweepwise(*(word.format(**given) for word in line.split()))
    assert ran.code in {0, 1, 2} and "Traceback" not in ran.err, ran.err
    check_text(ran.out + ran.err)
    assert ran.code != 2 or ran.err.count("\n") == 1
    made = {path.name for path in tmp_path.iterdir()} - before
    assert made <= {"new.csv", "new.html", "new.md", f"{NAME}.yaml"}, made
    for name in made:
        text = (tmp_path / name).read_text()
        if name == "new.csv":  # a model's name is read again as it was
            rows = [{key: cell for key, cell in row.items() if key != "model"}
                    for row in csv.DictReader(io.StringIO(text))]
            check_text("".join(cell for row in rows for cell in (*row, *row.values())))
            assert not [cell for row in csv.reader(io.StringIO(text)) for cell in row
                        if re.match(r"[=+@\t\r]|-(?![\d.])", cell)]
        else:
            assert "<img src=x" not in text and "<i>study" not in text and "<b>out" not in text
            assert name != "new.md" or not set(text) & {"\x1b", "\x07", "\x9b"}


def test_a_note_in_the_dashboard_is_text(hostile: Path) -> None:
    subject = planner.open_study(hostile)
    note = note_of(subject.overview(), "not finished")
    assert "<" not in note.replace("\\<", "") and "study" in note
    check_text(note)


def test_on_a_terminal_only_our_own_codes_are_left() -> None:
    out = io.StringIO()
    console = SafeConsole(file=out, force_terminal=True, color_system="truecolor", width=80)
    console.print("a \x1b[2J\x9b2J\x1b]8;;http://evil\x07link", style="bold")
    codes = re.findall(r"\x1b\[[0-9;]*m", out.getvalue())
    assert codes
    check_text(re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue()))
    assert "a [2J" in out.getvalue()


def test_text_keeps_its_lines_blanks_and_letters() -> None:
    assert printable("a\u00a0b\tc\nd é 漢 …") == "a\u00a0b\tc\nd é 漢 …"
    assert printable("\x1b[0ma\r\x00\ud800b") == "[0mab"


def test_a_spreadsheet_computes_nothing(hostile: Path, sweepwise: Cli, tmp_path: Path) -> None:
    table = tmp_path / "measured.csv"
    assert sweepwise("export", hostile, "-o", table).code == 0
    with table.open(newline="") as file:
        rows = list(csv.reader(file))
    texts = [cell for row in rows for cell in row if not re.fullmatch(r"-?[\d.e+-]+", cell) or cell == "-1+2"]
    assert not [cell for cell in texts if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert {"'=HYPERLINK(1)", "'@sum", "'-1+2", "'quoted'"} <= set(texts) and "'=cmd()" in rows[0]


def test_the_table_is_read_again_as_it_was(hostile: Path, sweepwise: Cli, tmp_path: Path) -> None:
    table, again = tmp_path / "measured.csv", tmp_path / "again.yaml"
    assert sweepwise("export", hostile, "-o", table).code == 0
    data = yaml.safe_load(hostile.read_text())
    data["study"]["storage"] = f"sqlite:///{tmp_path / 'again.db'}"
    data["runner"] = {"kind": "replay", "table": table.name, "cost_s": "seconds", "status": "status"}
    again.write_text(yaml.safe_dump(data))
    ran = sweepwise("validate", again)
    assert ran.code == 0 and "18 grid points" in ran.out, ran.err


@pytest.mark.parametrize(("cell", "written"), [
    ("=1", "'=1"), ("-", "'-"), ("'=1", "''=1"), ("a=1", "a=1"), ("'a", "'a"), ("", ""), (-1.5, -1.5), (None, None),
    ("\t=1", "'\t=1"),
])
def test_a_text_cell_comes_back(cell: Any, written: Any) -> None:
    assert as_text_cell(cell) == written
    if isinstance(cell, str):
        assert from_text_cell(written) == cell


@pytest.mark.parametrize("name", ["report.html", "report.md"])
def test_a_page_shows_names_as_text(hostile: Path, sweepwise: Cli, tmp_path: Path, name: str) -> None:
    ran = sweepwise("report", hostile, "-o", tmp_path / name, "--no-baselines")
    assert ran.code == 0, ran.err
    text = (tmp_path / name).read_text()
    assert "study" in text and "<img src=x" not in text and "<i>study" not in text and "</script><img" not in text
    assert name == "report.md" or "onerror" in text


def test_a_figure_shows_names_as_text(hostile: Path, sweepwise: Cli, tmp_path: Path) -> None:
    figure = tmp_path / "figure.html"
    ran = sweepwise("compare", hostile, hostile, "-o", figure)
    assert ran.code == 0, ran.err
    text = figure.read_text()
    assert "onerror" in text and "<img src=x" not in text and "</script><img" not in text
