"""Bad input through the command line: exit code 2, one line that names the key and the fix, and nothing written."""

from __future__ import annotations

import copy
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

COMMAND = Path(sys.executable).with_name("sweepwise")
TABLE = "model,input_len,batch_size,latency_s\n" + "".join(
    f"{model},{length},{batch},{scale * length / 64 + batch * 0.25}\n"
    for model, scale in (("small-1b", 1), ("large-7b", 6)) for length in (64, 128, 256) for batch in (1, 2, 4, 8))
GOOD: dict[str, Any] = {
    "study": {"name": "grid", "storage": "sqlite:///grid.db"},
    "space": {"axes": {"model": {"scale": "category", "scope": "engine"}, "input_len": {"scale": "log"},
                       "batch_size": {"scale": "log"}}, "constraints": ["batch_size * input_len <= 1024"]},
    "runner": {"kind": "replay", "table": "grid.csv", "cost_s": "latency_s", "engine_start_s": 1},
    "targets": ["latency_s"], "stop": {"accuracy": 0.9, "trials": 6},
}
GONE = object()
Cli = Callable[..., Any]


def edited(changes: dict[str, Any]) -> dict[str, Any]:
    """GOOD with other values at 'a.b.c' paths; GONE takes a key away."""
    data = copy.deepcopy(GOOD)
    for path, value in changes.items():
        *parents, last = path.split(".")
        inner: Any = data
        for part in parents:
            inner = inner.setdefault(part, {})
        if value is GONE:
            del inner[last]
        else:
            inner[last] = value
    return data


def written(directory: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in directory.rglob("*")}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a table and a good study over it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "grid.csv").write_text(TABLE)
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(GOOD, sort_keys=False))
    return tmp_path


@pytest.fixture
def refused(place: Path, sweepwise: Cli) -> Callable[..., str]:
    """Run a command that must refuse its input, and return the one line that it says."""

    def call(*arguments: object) -> str:
        before = written(place)
        ran = sweepwise(*arguments)
        assert ran.code == 2, (ran.code, ran.out, ran.err)
        check_one_line(ran.err)
        assert ran.out == ""
        assert written(place) == before
        return str(ran.err).removeprefix("sweepwise: ").rstrip("\n")

    return call


def check_one_line(text: str) -> None:
    assert text.startswith("sweepwise: ") and text.endswith("\n") and len(text.splitlines()) == 1, text
    assert "Traceback" not in text and "Error(" not in text and "pydantic" not in text


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of a study that measured six runs."""
    directory = tmp_path_factory.mktemp("record")
    (directory / "grid.csv").write_text(TABLE)
    (directory / "grid.yaml").write_text(yaml.safe_dump(GOOD, sort_keys=False))
    ended = subprocess.run([COMMAND, "run", "grid.yaml", "--quiet"], cwd=directory, capture_output=True, text=True,
                           check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "" and ended.stderr == ""
    return directory / "grid.db"


@pytest.mark.usefixtures("place")
def test_the_good_study_is_good(sweepwise: Cli) -> None:
    """What is refused below is refused for what was changed."""
    ran = sweepwise("validate", "grid.yaml")
    assert ran.code == 0 and ran.err == "" and "22 grid points" in ran.out


AXES = "space.axes"
BATCH = f"{AXES}.batch_size"
INPUT = f"{AXES}.input_len"


@pytest.mark.parametrize(("changes", "key", "fix"), [
    ({"target": ["latency_s"]}, "target", "did you mean 'targets'?"),
    ({f"{BATCH}.scales": "log"}, f"{BATCH}.scales", "did you mean 'scale'?"),
    ({"runner.tabel": "x"}, "runner.tabel", "did you mean 'table'?"),
    ({"runner.kind": "reply"}, "runner.kind", "unknown runner 'reply'; did you mean 'replay'?"),
    ({"runner.table": "gird.csv"}, "runner.table", "there is no file gird.csv; the path is relative to the study file"),
    ({"runner.table": GONE}, "runner.table", "is missing; add it"),
    ({"runner.cost_s": "latency"}, "runner.cost_s", "did you mean 'latency_s'?"),
    ({"runner.repeats": 0}, "runner.repeats", "greater than or equal to 1"),
    ({"runner.repeats": True}, "runner.repeats", "integer"),
    ({"runner.where": "mode == 'x'"}, "runner.where", "unknown name 'mode'"),
    ({"space": GONE}, "space", "is missing; add it"), ({"runner": GONE}, "runner", "is missing; add it"),
    ({"targets": "latency_s"}, "targets", "list"), ({AXES: ["model"]}, AXES, "dictionary"),
    ({"stop.trials": "many"}, "stop.trials", "integer"), ({"study": "grid"}, "study", "dictionary"),
    ({AXES: {}}, AXES, "at least 1"), ({f"{BATCH}.values": []}, BATCH, "list at least one"),
    ({f"{BATCH}.values": [3, 5]}, BATCH, "use some of: 1, 2, 4, 8"),
    ({f"{AXES}.tp": {"scale": "log"}}, f"{AXES}.tp", "has no column 'tp'"),
    ({"space.constraints": ["batch_size > 8"]}, "space.constraints[0]", "leaves no point in the grid; loosen it"),
    ({"space.constraints": ["1 < 2"]}, "space.constraints[0]", "names no axis"),
    ({"space.constraints": ["batchsize <= 4"]}, "space.constraints[0]", "did you mean 'batch_size'?"),
    ({"space.constraints": ["batch_size * 2"]}, "space.constraints[0]", "is not a condition; compare something"),
    ({"space.constraints": ["model < 5"]}, "space.constraints[0]", "compare like with like"),
    ({"space.constraints": ["__import__('os').abort()"]}, "space.constraints[0]", "is not allowed"),
    ({"space.constraints": ["+".join(["batch_size"] * 90) + " < 1"]}, "space.constraints[0]", ""),
    ({f"{BATCH}.values": [1, 2, 2]}, f"{BATCH}.values", "2 stands twice; list each value once"),
    ({f"{INPUT}.values": [-64, 64]}, f"{INPUT}.values", "whole numbers from 1"),
    ({f"{INPUT}.values": [-64], f"{INPUT}.role": "rate"}, f"{INPUT}.values", "use numbers above 0"),
    ({f"{BATCH}.values": [0, 1]}, f"{BATCH}.values", "0 is invalid for the role batch; use whole numbers from 1"),
    ({f"{BATCH}.range": [8, 1]}, BATCH, "write the smaller number first"),
    ({f"{BATCH}.range": [1, 8], f"{BATCH}.values": [1]}, BATCH, "give either values or range, not both"),
    ({f"{BATCH}.scale": "lg"}, f"{BATCH}.scale", "'log'"), ({f"{BATCH}.scope": "x"}, f"{BATCH}.scope", "'workload'"),
    ({f"{BATCH}.role": "batches"}, f"{BATCH}.role", "'batch'"),
    ({f"{AXES}.model.scale": "log"}, f"{AXES}.model", "number"),
    ({"stop.cost": "2 parsecs"}, "stop.cost", "write it like '2h', '45m', '90s', '5%' or '$20'"),
    ({"stop.cost": "$20"}, "stop.cost", "add `price: {per_accelerator_hour: ...}`"),
    ({"stop.accuracy": 1.5}, "stop.accuracy", "less than 1"), ({"stop.acuracy": 0.9}, "stop.acuracy", "'accuracy'"),
    ({"targets": []}, "targets", "at least 1"), ({"targets": ["latency_s"] * 2}, "targets", "name each target once"),
    ({"targets": ["latency"]}, "targets", "did you mean 'latency_s'?"),
    ({"targets": ["model"]}, "targets", "is an axis"),
    ({"slo": ["quick"]}, "slo[0]", "write it like 'p99_ttft_ms <= 500'"),
    ({"study.storage": "grid.db"}, "study.storage", "sqlite:///"), ({"study.name": ""}, "study.name", "at least 1"),
])
def test_wrong_studies(place: Path, refused: Cli, changes: dict[str, Any], key: str, fix: str) -> None:
    (place / "bad.yaml").write_text(yaml.safe_dump(edited(changes)))
    said = refused("validate", "bad.yaml")
    assert said.startswith((f"{key}: ", f"{key}.values: "))
    assert fix in said[len(key):]


@pytest.mark.parametrize(("text", "says"), [
    (TABLE.replace("large-7b,64,4,7.0", "large-7b,64,4,"),
     ["targets: ", "grid.csv line 16", "'latency_s'", "correct the row"]),
    (TABLE.replace("large-7b,64,4,7.0", "large-7b,64,4,nan"), ["targets: ", "grid.csv line 16", "correct the row"]),
    (TABLE.replace("large-7b,64,4,7.0", "large-7b,64,4,-7"), ["targets: ", "grid.csv line 16", "latency_s is -7",
                                                              "which no time is", "\"latency_s > 0\""]),
    (TABLE.replace("large-7b,64,4,7.0", "large-7b,64,7.0"),
     ["runner.table: ", "line 16", "3 cells", "correct the line"]),
    ("model,input_len,batch_size,latency_s\n", ["runner.table: ", "has no rows"]),
])
def test_wrong_tables(place: Path, refused: Cli, text: str, says: list[str]) -> None:
    assert text != TABLE
    (place / "grid.csv").write_text(text)
    said = refused("validate", "grid.yaml")
    assert said.startswith(says[0]) and all(word in said for word in says)


@pytest.mark.parametrize(("content", "says"), [
    (b"targets: [a]\ntargets: [b]\n", "line 2: the key 'targets' stands twice; correct the YAML there"),
    (b"space: {axes: [\n", "correct the YAML there"), (b"- a\n- b\n", "holds no keys; start from `sweepwise init`"),
    (b"", "holds no keys"), (b"\x80\x81\x82\x00\xff", "cannot be read as a text file; give a YAML study file"),
    (b"a: \x00", "correct the YAML there"), (b"a: !!python/name:os.system\n", "correct the YAML there"),
    (TABLE.encode(), "holds no keys"), (b"[" * 3000, ""),
])
def test_files_that_are_no_studies(place: Path, refused: Cli, content: bytes, says: str) -> None:
    (place / "bad.yaml").write_bytes(content)
    said = refused("validate", "bad.yaml")
    assert "bad.yaml" in said and says in said


def test_missing_files(refused: Cli) -> None:
    assert refused("validate", "none.yaml") == (
        "none.yaml: no such study file; `sweepwise init none.yaml` writes one to start from")
    assert "cannot be read as a text file" in refused("validate", ".")
    assert refused("validate").startswith("STUDY: is missing; name a study file")


READERS: list[list[object]] = [
    ["validate"], ["plan"], ["run"], ["status"], ["discard", 0], ["predict"], ["export"], ["evaluate", "--audit", 1],
    ["simulate"]]


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader[0])
def test_every_command_refuses_a_wrong_study(place: Path, refused: Cli, reader: list[object]) -> None:
    (place / "bad.yaml").write_text(yaml.safe_dump(edited({"stop.accuracy": 1.5})))
    verb, *rest = reader
    assert refused(verb, "bad.yaml", *rest).startswith("stop.accuracy: ")
    assert refused(verb, "none.yaml", *rest).startswith("none.yaml: no such study file")
    assert "STUDY" in refused(verb, *(rest if verb != "discard" else []))


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader[0])
@pytest.mark.parametrize("storage", ["grid.db", "no scheme", "", "sqlite:", "sqlite://"])
def test_storages_that_are_no_url(refused: Cli, reader: list[object], storage: str) -> None:
    verb, *rest = reader
    said = refused(verb, "grid.yaml", *rest, "--storage", storage)
    assert said == "--storage: is not a database address; write it like sqlite:///sweepwise.db"


@pytest.mark.parametrize("verb", ["run", "status", "predict", "export"])
@pytest.mark.parametrize("storage", ["oracel://x/y", "sqlite:///missing/grid.db", "redis://x"])
def test_storages_that_cannot_be_opened(refused: Cli, verb: str, storage: str) -> None:
    said = refused(verb, "grid.yaml", "--storage", storage)
    assert said.startswith("study.storage: ") and said.endswith(("correct the address", "`sweepwise run` creates it"))


@pytest.mark.parametrize("reader", [["status"], ["predict"], ["export"], ["discard", 0], ["evaluate", "--audit", 1]],
                         ids=lambda reader: reader[0])
def test_studies_that_do_not_exist(place: Path, refused: Cli, record: Path, reader: list[object]) -> None:
    verb, *rest = reader
    assert refused(verb, "grid.yaml", *rest) == "study.storage: grid.db does not exist; `sweepwise run` creates it"
    shutil.copy(record, place / "grid.db")
    said = refused(verb, "grid.yaml", *rest, "--name", "other")
    assert said == "study.name: no study 'other' in sqlite:///grid.db; `sweepwise run` creates it"
    (place / "text.db").write_text("no database")
    assert refused(verb, "grid.yaml", *rest, "--storage", "sqlite:///text.db").startswith("study.storage: cannot open")


@pytest.mark.parametrize(("arguments", "says"), [
    (["run", "grid.yaml", "--strategy", "greedy"], "unknown strategy 'greedy'; use one of: "),
    (["run", "grid.yaml", "--strategy", "randm"], "did you mean 'random'?"),
    (["simulate", "grid.yaml", "--strategies", "sweepwize"], "did you mean 'sweepwise'?"),
    (["simulate", "grid.yaml", "--strategies", "random,"  "greedy"], "unknown strategy 'greedy'"),
    (["simulate", "grid.yaml", "--strategies", ""], "--strategies: "),
    (["simulate", "grid.yaml", "--strategies", ","], "--strategies: "),
    (["simulate", "grid.yaml", "--seeds", 0], "'--seeds'"), (["simulate", "grid.yaml", "--seeds", "x"], "'--seeds'"),
    (["simulate", "grid.yaml", "--jobs", 0], "'--jobs'"),
    (["simulate", "grid.yaml", "--at-cost", "a"], "--at-cost: cannot read 'a'; write shares"),
    (["simulate", "grid.yaml", "--at-cost", ""], "--at-cost: "),
    (["simulate", "grid.yaml", "--at-cost", "0"], "--at-cost: "),
    (["simulate", "grid.yaml", "--at-cost", "0.1,2"], "--at-cost: '0.1,2' is out of range"),
    (["simulate", "grid.yaml", "--at-cost", "nan"], "--at-cost: "),
    (["simulate", "grid.yaml", "--stop-accuracy", 1.5], "'--stop-accuracy'"),
    (["simulate", "grid.yaml", "--stop-accuracy", "nan"], "--stop-accuracy"),
    (["simulate", "grid.yaml", "--seed", -1], "'--seed'"), (["run", "grid.yaml", "--seed", -1], "'--seed'"),
    (["plan", "grid.yaml", "--run-s", -1], "'--run-s'"), (["plan", "grid.yaml", "--start-s", "soon"], "'--start-s'"),
    (["evaluate", "grid.yaml"], "--truth: name a measured grid, or ask for --audit N; one of the two"),
    (["evaluate", "grid.yaml", "--truth", "grid.csv", "--audit", 2], "one of the two"),
    (["evaluate", "grid.yaml", "--audit", 0], "'--audit'"),
    (["discard", "grid.yaml"], "'RUN'"), (["discard", "grid.yaml", "first"], "'RUN': Input should be a valid integer"),
    (["run", "grid.yaml", "--strateggy", "random"], "--strategy"),
    (["validate", "grid.yaml", "more.yaml"], "more.yaml"),
    (["runn", "grid.yaml"], "runn"), (["--nothing"], "--nothing"),
    (["init", "new.yaml", "--template", "vlm"], "--template: unknown template 'vlm'; did you mean 'vllm'?"),
    (["init", "grid.yaml"], "grid.yaml: exists already; choose another name or add --force"),
    (["init", "missing/new.yaml"], "missing/new.yaml: cannot be written"),
])
def test_wrong_options(refused: Cli, arguments: list[object], says: str) -> None:
    assert says in refused(*arguments)


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader[0])
def test_where_no_answer_can_be_written_nothing_is_measured(
    place: Path, refused: Cli, record: Path, reader: list[object]
) -> None:
    """Hours of measuring must not end in a wrong path: that is an error before anything starts, a database included."""
    verb, *rest = reader
    assert refused(verb, "grid.yaml", *rest, "--json", "missing/answer.json").startswith("--json: ")
    if verb not in {"validate", "plan", "run", "simulate"}:
        shutil.copy(record, place / "grid.db")
    (place / "taken").mkdir()
    assert refused(verb, "grid.yaml", *rest, "--json", "taken").startswith("--json: ")


@pytest.mark.parametrize("verb", ["predict", "export"])
@pytest.mark.parametrize(("output", "says"), [
    ("answer.txt", ".csv nor .parquet"), ("answer", ".csv nor .parquet"), ("missing/answer.csv", "--output: "),
    ("missing/answer.parquet", "--output: ")])
def test_where_no_table_can_be_written(
    place: Path, refused: Cli, record: Path, verb: str, output: str, says: str
) -> None:
    shutil.copy(record, place / "grid.db")
    said = refused(verb, "grid.yaml", "--output", output, "--json", "answer.json")
    assert said.startswith("--output: ") and says in said


@pytest.mark.parametrize(("point", "says"), [
    ("batch=4", "unknown axis 'batch'; use model, input_len, batch_size"),
    ("model=small-1b,input_len=64", "'batch_size' is missing; name every axis"),
    ("model=small-1b,input_len=64,batch_size=5", "batch_size=5 is not on the axis; its values are 1, 2, 4, 8"),
    ("model=smal,input_len=64,batch_size=4",
     "model=smal is not on the axis, and not known; its values are small-1b, large-7b"),
    ("model=small-1b,input_len=256,batch_size=8", "a constraint excludes it"),
    ("model=small-1b,input_len=64,batch_size=", "is not on the axis"),
    ("model=small-1b,input_len=64,batch_size=1e999", "is not on the axis"),
    ("", "unknown axis ''"), ("4", "unknown axis '4'"),
])
def test_wrong_points(place: Path, refused: Cli, record: Path, point: str, says: str) -> None:
    shutil.copy(record, place / "grid.db")
    said = refused("predict", "grid.yaml", "--point", point, "--json", "answer.json", "--output", "answer.csv")
    assert said.startswith("--point: ") and says in said


@pytest.mark.parametrize(("number", "says"), [
    (99, "is not a finished run of this study"), (6, "is not a finished run"),
])
def test_wrong_runs(place: Path, refused: Cli, record: Path, number: int, says: str) -> None:
    shutil.copy(record, place / "grid.db")
    said = refused("discard", "grid.yaml", number)
    assert said.startswith(f"run {number}: ") and says in said


def test_a_run_is_discarded_once(place: Path, refused: Cli, sweepwise: Cli, record: Path) -> None:
    shutil.copy(record, place / "grid.db")
    assert sweepwise("discard", "grid.yaml", 0).code == 0
    assert refused("discard", "grid.yaml", 0) == "run 0: is discarded already; nothing to do"


def test_wrong_truths(place: Path, refused: Cli, record: Path) -> None:
    shutil.copy(record, place / "grid.db")
    assert refused("evaluate", "grid.yaml", "--truth", "none.csv").startswith("--truth: there is no file none.csv")
    (place / "other.csv").write_text("model,input_len\nsmall-1b,64\n")
    assert "has no column 'batch_size'" in refused("evaluate", "grid.yaml", "--truth", "other.csv")
    (place / "other.csv").write_text(TABLE + "small-1b,64,1,1.5\n")
    said = refused("evaluate", "grid.yaml", "--truth", "other.csv")
    assert said.startswith("--truth: ") and "another fingerprint" in said
    assert said.endswith("add --allow-other-fingerprint")


def test_simulations_need_a_recorded_grid(place: Path, refused: Cli) -> None:
    changes = {"runner": {"kind": "command", "command": ["true"]},
               AXES: {"batch_size": {"values": [1, 2]}}, "space.constraints": []}
    (place / "bad.yaml").write_text(yaml.safe_dump(edited(changes)))
    assert refused("simulate", "bad.yaml") == "runner.kind: simulate needs a recorded grid; use `kind: replay`"


@pytest.mark.parametrize(("runner", "key", "fix"), [
    ({}, "runner.command", "is missing; add it"), ({"command": []}, "runner.command", "at least 1"),
    ({"command": "python x.py"}, "runner.command", "list"),
    ({"command": [""]}, "runner.command", "name the program to run"),
    ({"command": ["x", "{batch}"]}, "runner.command", "did you mean 'batch_size'?"),
    ({"command": ["x", "{batch_size"]}, "runner.command", "write {{ and }} for braces"),
    ({"command": ["x"], "timeout_s": 0}, "runner.timeout_s", "greater than 0"),
    ({"command": ["x"], "shell": True}, "runner.shell", "unknown key"),
    ({"command": ["x"], "cwd": "missing"}, "runner.cwd", "there is no directory 'missing'"),
    ({"command": ["x"], "accelerators": "tp"}, "runner.accelerators", "unknown name 'tp'"),
])
def test_wrong_commands(place: Path, refused: Cli, runner: dict[str, Any], key: str, fix: str) -> None:
    axes = {"batch_size": {"values": [1, 2]}}
    (place / "bad.yaml").write_text(yaml.safe_dump(edited(
        {"runner": {"kind": "command", **runner}, AXES: axes, "space.constraints": []})))
    said = refused("validate", "bad.yaml")
    assert said.startswith(f"{key}: ") and fix in said


# ------------------------------------------------------------------------ the same in a process of its own, as users do


@pytest.mark.parametrize(("arguments", "says"), [
    (["validate", "bad.yaml"], "stop.accuracy: "), (["run", "grid.yaml", "--strategy", "x"], "unknown strategy 'x'"),
    (["simulate", "grid.yaml", "--seeds", "0"], "'--seeds'"), (["status", "grid.yaml"], "grid.db does not exist"),
])
def test_the_installed_command(place: Path, arguments: list[str], says: str) -> None:
    (place / "bad.yaml").write_text(yaml.safe_dump(edited({"stop.accuracy": 1.5})))
    before = written(place)
    ended = subprocess.run([COMMAND, *arguments], capture_output=True, text=True, cwd=place, check=False,
                           env={**os.environ, "PYTHONWARNINGS": "default"})
    assert ended.returncode == 2 and ended.stdout == ""
    check_one_line(ended.stderr)
    assert says in ended.stderr
    assert written(place) == before


@pytest.mark.usefixtures("place")
def test_help_where_nothing_is_asked(sweepwise: Cli) -> None:
    asked, unasked = sweepwise("--help"), sweepwise()
    assert asked.code == 0 and asked.err == "" and "simulate" in asked.out
    assert "simulate" in unasked.out + unasked.err
