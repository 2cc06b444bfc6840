"""Addresses of databases as people and files see them, and study files as records keep them."""

from __future__ import annotations

import pytest
import yaml

from planner.campaign.setup import open_setup
from planner.space.address import (
    check_address,
    command_without_passwords,
    hidden,
    password_help,
    shown,
    without_passwords,
)
from planner.space.spec import parse_spec
from planner.space.study_text import text_to_keep
from planner.space.types import StudyError

PASSWORD = "S3cretPw"
ADDRESS = f"postgresql+psycopg://sweep:{PASSWORD}@127.0.0.1:5432/bench"
STUDY = """
study: {{name: pw, storage: {storage}}}
space: {{axes: {{a: {{range: [1, 4]}}}}}}
runner: {{kind: command, command: [x, "{{a}}"]}}
targets: [ttft_ms]
slo: ["ttft_ms <= 500"]
"""


@pytest.mark.parametrize(("address", "said"), [
    (ADDRESS, "postgresql+psycopg://sweep:***@127.0.0.1:5432/bench"),
    ("postgresql://u:S3/cret?Pw@h/b", "postgresql://u:***@h/b"), ("postgresql://u:S3%40cretPw@h/b", "postgresql://u:***@h/b"),
    ("postgresql://u@h/b?password=S3cretPw&sslmode=require", "postgresql://u@h/b?password=***&sslmode=require"),
    ("mysql+pymysql://:S3cretPw@h", "mysql+pymysql://:***@h"),
    ("mssql+pyodbc:///?odbc_connect=DRIVER%3Dx%3BPWD%3DS3cretPw", "mssql+pyodbc:///?odbc_connect=***"),
    ("postgresql://u:S3@cretPw@h/b", "postgresql://***"), ("postgresql://u:S3cretPw", "postgresql://***"),
    ("u:S3cretPw@h", "***"),
    ("postgresql://u@h/b", "postgresql://u@h/b"), ("postgresql://u@/b?host=/tmp/x", "postgresql://u@/b?host=/tmp/x"),
    ("sqlite:///sweepwise.db", "sqlite:///sweepwise.db"), ("sqlite:////a:b@c/d e.db", "sqlite:////a:b@c/d e.db"),
])
def test_an_address_is_shown_without_its_password(address: str, said: str) -> None:
    assert shown(address) == said


@pytest.mark.parametrize(("address", "says"), [
    ("postgresql://u:S3@cretPw@h/b", "write an '@' in a user's name or password as %40"),
    ("postgresql://u:S3cretPw", "is no address that can be read"), ("u:S3cretPw@h/b", "is not a database address"),
    ("postgresql//u:S3cretPw@h/b", "is not a database address"), ([ADDRESS], "is not a database address"),
    ("postgresql://u:S3cret\nPw@h/b", "is not a database address"), (None, "is not a database address"),
])
def test_an_address_that_is_refused_is_not_repeated(address: object, says: str) -> None:
    with pytest.raises(ValueError, match=r"address|two") as told:
        check_address(address)
    assert says in str(told.value) and "cret" not in str(told.value)
    text = STUDY.format(storage=yaml.safe_dump(address, default_flow_style=True).removesuffix("...\n").strip())
    with pytest.raises(StudyError, match=r"^study.storage: ") as refused:
        parse_spec(text)
    error: BaseException | None = refused.value
    while error is not None:  # what a traceback would print
        assert "cret" not in str(error)
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize(("text", "said"), [
    ("storage: postgresql://me:secret@host/db", "storage: postgresql://me:***@host/db"),
    ("storage: sqlite:///a.db", "storage: sqlite:///a.db"), ("http://host:80/a@b", "http://host:80/a@b"),
    ("curl http://me:secret@host/a", "curl http://me:***@host/a"), ("# mysql://a:b/c@d@e/f", "# mysql://a:***@e/f"),
    ("postgresql://h/b?user=me&password=secret'", "postgresql://h/b?user=me&password=***'"),
])
def test_what_looks_like_a_password_is_hidden(text: str, said: str) -> None:
    assert without_passwords(text) == said


def test_the_passwords_of_an_address_are_hidden_wherever_they_stand() -> None:
    address = "postgresql://u:p%40ss-w@h/b"
    assert hidden(f"no '{address}': tried p@ss-w and p%40ss-w for u", address) == (
        "no 'postgresql://u:***@h/b': tried *** and *** for u")
    assert hidden("a ban on all", "postgresql://u:a@h/b") == "*** ban on all"
    assert hidden("a ban on all", "sqlite:///a.db") == "a ban on all"


@pytest.mark.parametrize(("storage", "bare", "help"), [
    (ADDRESS, "postgresql+psycopg://sweep@127.0.0.1:5432/bench", "in the environment variable PGPASSWORD"),
    ("postgresql://u@h/b?password=S3cretPw&sslmode=require", "postgresql://u@h/b?sslmode=require", "PGPASSWORD"),
    ("mysql+pymysql://u:S3cretPw@h/b", "mysql+pymysql://u@h/b", "put into the address again"),
    ("postgresql+pg8000://u:S3cretPw@h/b", "postgresql+pg8000://u@h/b", "put into the address again"),
    ("sqlite:///a.db", "sqlite:///a.db", ""), ("postgresql://u@h/b", "postgresql://u@h/b", ""),
])
@pytest.mark.parametrize("form", [["--storage", "{}"], ["--storage={}"]])
def test_a_command_to_type_again_has_no_password(storage: str, bare: str, help: str, form: list[str]) -> None:
    arguments = ["sweepwise", "run", "pw.yaml", *(part.format(storage) for part in form)]
    typed = command_without_passwords(arguments)
    assert PASSWORD not in typed and "***" not in typed
    assert bare in typed and help in password_help(arguments) and bool(help) == bool(password_help(arguments))


@pytest.mark.parametrize("storage", [
    ADDRESS, f'"{ADDRESS}"', f"'{ADDRESS}'", ADDRESS.replace("S", r"\x53").join('""'), f"&where {ADDRESS}",
    f"!!str {ADDRESS}",
])
def test_the_record_keeps_the_study_file_without_the_password(storage: str) -> None:
    text = STUDY.format(storage=storage).replace("[x,", f"[x, '{PASSWORD}', {ADDRESS},") + (
        f"# was {ADDRESS.replace(PASSWORD, 'Earlier9')}; the password is {PASSWORD}\n")
    spec = parse_spec(text)
    assert spec.study.storage == ADDRESS
    kept = text_to_keep(text, spec.study.storage)
    assert PASSWORD not in kept and "Earlier9" not in kept and kept.count("\n") == text.count("\n")
    again = parse_spec(kept)
    assert again.slo == spec.slo and again.space == spec.space and again.study.name == "pw"
    assert again.study.storage == shown(ADDRESS)


def test_a_block_scalar_is_hidden_too() -> None:
    text = STUDY.replace("{{name: pw, storage: {storage}}}", f"\n  storage: >-\n    {ADDRESS}\n  name: pw").format()
    kept = text_to_keep(text, parse_spec(text).study.storage)
    assert PASSWORD not in kept and parse_spec(kept).study.name == "pw" and parse_spec(kept).slo


def test_a_password_that_is_a_word_of_the_study_leaves_the_record_readable() -> None:
    """The service levels are read from the text that the record keeps."""
    text = STUDY.format(storage="postgresql://u:ttft_ms@h/b")
    kept = text_to_keep(text, "postgresql://u:ttft_ms@h/b")
    assert "u:ttft_ms" not in kept and parse_spec(kept).slo == ["ttft_ms <= 500"]


@pytest.mark.parametrize("storage", ["sqlite:///a.db", "postgresql://u@h/b", '"sqlite:////a:b@c/d"'])
def test_a_study_file_without_a_password_is_kept_as_it_is(storage: str) -> None:
    text = STUDY.format(storage=storage) + "# a comment: mail me@home\n"
    assert text_to_keep(text, parse_spec(text).study.storage) == text


def test_a_setup_printed_in_a_log_has_no_password(tmp_path: object) -> None:
    path = tmp_path / "pw.yaml"  # type: ignore[operator]
    path.write_text(STUDY.format(storage=ADDRESS))
    setup = open_setup(path)
    assert setup.storage == ADDRESS and PASSWORD not in repr(setup) + str(setup.spec) + setup.text
    setup = open_setup(path, storage=ADDRESS.replace(PASSWORD, "Other5"))
    assert "Other5" in setup.storage and not {"Other5", PASSWORD} & set(repr(setup).replace(":", " ").split())


@pytest.mark.parametrize("address", [
    "postgresql://u:S3@cret/Pw@h/b", "postgresql://u:a@cret?x@h/b", "postgresql://u:a@cret:5@h", "postgresql://u@h/b@cret",
])
def test_a_password_that_ends_early_is_refused(address: str) -> None:
    """Its rest would be a host or a database, which a server's errors name."""
    with pytest.raises(ValueError, match="write an '@' in a user's name or password as %40"):
        check_address(address)
    assert "cret" not in shown(address) + command_without_passwords(["--storage", address])
