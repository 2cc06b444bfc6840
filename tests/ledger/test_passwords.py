"""A storage's password leaves the process by no way: no output, no written file, nothing in the database."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import MetaData, create_engine, select

import planner
from planner.cli import app
from planner.space.types import StudyError

PASSWORD = "S3cret/Pw"
SECRETS = ("S3cret/Pw", "S3cret%2FPw", "S3cret")
TABLE = "model,batch_size,latency_s\n" + "".join(
    f"{model},{batch},{scale + batch * 0.25}\n" for model, scale in (("a-1b", 1), ("b-7b", 6))
    for batch in (1, 2, 4, 8))
VERBS: dict[str, list[str]] = {
    "init": ["new.yaml"], "validate": ["STUDY"], "doctor": [], "plan": ["STUDY"], "run": ["STUDY"],
    "status": ["STUDY", "--runs"], "discard": ["STUDY", "0"], "predict": ["STUDY", "-o", "predicted.csv"],
    "evaluate": ["STUDY", "--truth", "grid.csv"], "recommend": ["STUDY", "--minimize", "latency_s"],
    "capacity": ["STUDY", "--rate", "1"], "idealize": ["STUDY"], "compare": ["STUDY", "STUDY", "-o", "figure.html"],
    "report": ["STUDY", "--no-baselines", "-o", "report.html"], "dashboard": ["STUDY", "--port", "0", "--no-open"],
    "import": ["STUDY", "grid.csv"], "export": ["STUDY", "-o", "exported.csv"],
    "simulate": ["STUDY", "--strategies", "random", "--seeds", "1"],
}
WITHOUT_STORAGE = {"init", "doctor"}
Cli = Callable[..., Any]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a table."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "grid.csv").write_text(TABLE)
    return tmp_path


@pytest.fixture
def address(postgresql: Callable[[], str]) -> str:
    """An empty database's address with a password, which this server does not ask for."""
    return postgresql().replace("tests@", f"tests:{PASSWORD.replace('/', '%2F')}@")


def write(place: Path, storage: str) -> Path:
    path = place / "pw.yaml"
    path.write_text(f"# the password is {PASSWORD}\n" + yaml.safe_dump({
        "study": {"name": "pw", "storage": storage},
        "space": {"axes": {"model": {"scale": "category", "scope": "engine"}, "batch_size": {"scale": "log"}}},
        "runner": {"kind": "replay", "table": "grid.csv", "cost_s": "latency_s"},
        "targets": [{"metric": "latency_s", "direction": "minimize"}], "stop": {"trials": 6}}))
    return path


def check_hidden(*texts: str) -> None:
    for text in texts:
        for secret in SECRETS:
            found = text.find(secret)
            assert found < 0, text[max(0, found - 200):found + 100]


def content(address: str) -> str:
    """Every row of every table."""
    engine = create_engine(address)
    metadata = MetaData()
    metadata.reflect(engine)
    with engine.connect() as connection:
        found = [repr(row) for table in metadata.sorted_tables for row in connection.execute(select(table))]
    engine.dispose()
    assert any("study_file" in row for row in found)
    return "\n".join(found)


def verbs() -> set[str]:
    return {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}


def test_every_verb_is_tried() -> None:
    assert verbs() == set(VERBS)


def begin(verb: str, sweepwise: Cli, *options: str) -> Any:
    """Run a verb with --json, where it has one."""
    answer = [] if verb == "init" else ["--json", "answer.json"]
    return sweepwise(verb, *(part.replace("STUDY", "pw.yaml") for part in VERBS[verb]), *answer, *options)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("where", ["file", "option"])
def test_no_verb_lets_the_password_out(
        verb: str, where: str, place: Path, address: str, sweepwise: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    study = write(place, address)
    if verb not in {*WITHOUT_STORAGE, "validate", "plan", "run"}:
        planner.open_study(study).run()
    if where == "option":
        study.write_text(study.read_text().replace(address, "sqlite:///other.db").replace(PASSWORD, "elsewhere"))
    monkeypatch.setattr(threading.Thread, "join", lambda *_: None)  # the dashboard ends at once
    ran = begin(verb, sweepwise, *(["--storage", address] if where == "option" and verb not in WITHOUT_STORAGE else []))
    assert ran.code == (2 if verb in {"idealize", "capacity"} else 0), ran.err  # which want other targets
    check_hidden(ran.out, ran.err, *(path.read_text(errors="replace") for path in place.iterdir() if path != study))
    if verb not in {*WITHOUT_STORAGE, "validate", "plan", "simulate"}:
        check_hidden(content(address))


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in WITHOUT_STORAGE])
@pytest.mark.parametrize("wrong", ["name", "server", "address", "at", "type"])
def test_no_error_tells_the_password(
        verb: str, wrong: str, place: Path, postgresql_server: str, sweepwise: Cli) -> None:
    where = {"name": postgresql_server.format("postgres").replace("tests@", f"tests:{PASSWORD}@"),
             "server": f"postgresql+psycopg://tests:{PASSWORD}@/none?host={place}",
             "address": f"postgresql+psycopg://tests:{PASSWORD}", "at": f"postgresql://u:a@{PASSWORD}@h/b",
             "type": f"postgresql//tests:{PASSWORD}@h/b"}[wrong]
    write(place, "sqlite:///other.db")
    ran = begin(verb, sweepwise, "--storage", where, *(
        ["--name", "none"] if wrong == "name" and verb not in {"validate", "simulate", "run", "import"} else []))
    check_hidden(ran.out, ran.err)
    assert "Traceback" not in ran.err and ran.err.count("\n") <= 1
    if wrong in {"address", "at", "type"}:
        assert ran.code == 2 and ran.err.startswith("sweepwise: --storage: ")


def test_misplaced_addresses_are_not_repeated(place: Path, sweepwise: Cli) -> None:
    where = "postgresql://tests:S3cret@h/b"
    write(place, "sqlite:///other.db")
    for arguments in (["status", where], ["run", "pw.yaml", where], ["run", "pw.yaml", f"--storag={where}"],
                      ["import", "pw.yaml", where], ["discard", "pw.yaml", where], [where]):
        ran = sweepwise(*arguments)
        assert ran.code == 2
        check_hidden(ran.out, ran.err)
    for text in (f"study: {{storag: '{where}'}}", f"study: {where}", f"study: {{storage: ['{where}']}}",
                 f"storage: {where}: x", f"{{{where}: 1, {where}: 2}}", f"study: {{name: '{where}\\n'}}"):
        (place / "bad.yaml").write_text(text)
        ran = sweepwise("validate", "bad.yaml")
        assert ran.code == 2
        check_hidden(ran.out, ran.err)


def test_a_study_goes_on_with_the_password_in_the_environment(
        place: Path, postgresql: Callable[[], str], sweepwise: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `resume with:` says is a command that works, on a server that asks for the password."""
    empty = postgresql()
    engine = create_engine(empty, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql("DROP ROLE IF EXISTS locked")
        connection.exec_driver_sql(f"CREATE ROLE locked SUPERUSER LOGIN PASSWORD '{PASSWORD}'")
    engine.dispose()
    where = empty.replace("tests@", f"locked:{PASSWORD}@")
    write(place, "sqlite:///other.db")
    monkeypatch.setattr("planner.campaign.loop.Loop.run", lambda _: "interrupted")
    ran = sweepwise("run", "pw.yaml", "--storage", where)
    monkeypatch.undo()
    monkeypatch.chdir(place)
    assert ran.code == 130
    check_hidden(ran.out, ran.err)
    resumed = re.search(r"resume with: sweepwise run pw.yaml --storage '?([^\s']+)'? \(with the password in the "
                        r"environment variable PGPASSWORD\)", ran.out)
    assert resumed is not None and "***" not in resumed[1], ran.out
    command = ["run", "pw.yaml", "--storage", resumed[1], "--quiet"]
    monkeypatch.delenv("PGPASSWORD", raising=False)
    refused = sweepwise(*command)
    assert refused.code == 2 and "password" in refused.err
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    assert sweepwise(*command).code == 0
    assert len(planner.open_study("pw.yaml", storage=where).observations().runs) == 6


def test_a_traceback_has_no_password(
        place: Path, sweepwise: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of ours may quote anything."""
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError(f"postgresql://u:{PASSWORD}@h/b and the bare {PASSWORD}")

    monkeypatch.setattr("planner.study.open_study", fail)
    write(place, "sqlite:///other.db")
    ran = sweepwise("status", "pw.yaml", "--storage", f"postgresql://u:{PASSWORD}@h/b")
    assert ran.code == 1 and "Traceback" in ran.err and "RuntimeError: postgresql://u:***@h/b" in ran.err
    check_hidden(ran.err)


def test_errors_of_the_python_api_have_no_password(place: Path) -> None:
    write(place, f"postgresql+psycopg://tests:{PASSWORD}@/none?host={place}")
    with pytest.raises(StudyError) as told:
        planner.open_study("pw.yaml").status()
    error: BaseException | None = told.value
    while error is not None:
        check_hidden(str(error))
        error = error.__cause__ or error.__context__
