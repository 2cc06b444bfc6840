"""Which rows succeeded: the column's word, the user's condition, and what is said where neither finds any."""

from __future__ import annotations

from typing import Any

import pytest

from planner.space.cells import Cells
from planner.space.types import StudyError
from planner.tables.success import status_lookalikes, success_condition, successes


def found(status: str | None, ok: str | None, **columns: Any) -> tuple[list[bool], tuple[str, ...]]:
    fine, reasons = successes({name: Cells.of(cells) for name, cells in columns.items()}, status, ok, file="t.csv")
    return fine.tolist(), reasons


def refused(status: str | None, ok: str | None, **columns: Any) -> str:
    with pytest.raises(StudyError) as caught:
        found(status, ok, **columns)
    return str(caught.value)


def test_without_a_word_every_row_is_ok() -> None:
    assert found(None, None, y=["1", "2"]) == ([True, True], ("ok", "ok"))


def test_the_word_ok_in_any_case() -> None:
    assert found("s", None, s=["ok", "OK", " Ok ", "oom", ""]) == (
        [True, True, True, False, False], ("ok", "ok", "ok", "oom", "no status"))


@pytest.mark.parametrize(("ok", "column", "fine", "why"), [
    ("x == 'COMPLETE'", ["COMPLETE", "FAIL", None], [True, False, False], ("ok", "x is 'FAIL'", "x is blank")),
    ("x", ["True", "false", ""], [True, False, False], ("ok", "x is 'false'", "x is blank")),
    ("x", [True, False, None], [True, False, False], ("ok", "x is 'False'", "x is blank")),
    ("not x", ["TRUE", "False"], [False, True], ("x is 'TRUE'", "ok")),
    ("x == ''", ["", "CUDA out of memory"], [True, False], ("ok", "x is 'CUDA out of memory'")),
    ("x == 0", ["0", "137"], [True, False], ("ok", "x is '137'")),
    ("x != 'OOM'", ["20.1", "OOM"], [True, False], ("ok", "x is 'OOM'")),
])
def test_a_condition(ok: str, column: list[Any], fine: list[bool], why: tuple[str, ...]) -> None:
    assert found(None, ok, x=column) == (fine, why)


def test_the_condition_decides_and_the_status_has_the_reason() -> None:
    assert found("s", "y > 0", s=["ok", "FIT", "FAIL_oom", "ok"], y=["0", "1", "0", "0"]) == (
        [False, True, False, False], ("y is '0'", "ok", "FAIL_oom", "y is '0'"))


@pytest.mark.parametrize(("column", "says"), [
    (["COMPLETE", "FAIL"], "(it says 'COMPLETE', 'FAIL'); say which rows succeeded, as in ok: \"s == 'COMPLETE'\""),
    (["FAIL_oom", "FIT"], "(it says 'FAIL_oom', 'FIT'); say which rows succeeded, as in ok: \"s == 'FIT'\""),
    (["True", "False"], "(it says 'True', 'False'); say which rows succeeded, as in ok: \"s == true\""),
    (["0", "1"], "(it says '0', '1'); say which rows succeeded, as in ok: \"s == 1\""),
    (["oom", "timeout"], "(it says 'oom', 'timeout'); nothing can be learned from failures alone"),
    ([str(i) + "x" for i in range(9)], "(it says '0x', '1x', '2x', '3x', '4x', …); say which"),
])
def test_success_in_other_words_is_asked_about(column: list[str], says: str) -> None:
    message = refused("s", None, s=column)
    assert message.startswith("runner.status: no row of t.csv is 'ok' in column 's'") and says in message


def test_conditions_that_are_none() -> None:
    assert "does not say true or false (it says '1', '0'); compare it, as in ok: \"s == 1\"" in refused(
        None, "s", s=["1", "0"])
    assert "'s + 1' is not a condition" in refused(None, "s + 1", s=["1", "0"])
    assert refused(None, "s == 'x'", s=["a", "b"]) == (
        "runner.ok: no row of t.csv meets 's == 'x'' (s says 'a', 'b'); correct the condition")
    assert "unknown name 't'" in refused(None, "t == 'x'", s=["a", "b"])
    assert "no column 't'" in refused("t", None, s=["a", "b"])


def test_options_are_written_as_options() -> None:
    with pytest.raises(StudyError, match=r'^--map status: .* as in --ok "`run state` == \'COMPLETE\'"$'):
        successes({"run state": Cells.of(["COMPLETE"])}, "run state", None, file="t", status_key="--map status",
                  ok_key="--ok")


@pytest.mark.parametrize(("name", "column"), [
    ("state", ["COMPLETE", "FAIL"]), ("status", ["ok", "oom"]), ("valid_sla", ["True", "False"]), ("valid", [1, 0]),
    ("exit_code", ["0", "137"]), ("error", ["", "CUDA out of memory"]), ("whatever", ["FIT", "FAIL_oom"]),
    ("passed", [True, False, None]), ("failed", ["false", "true"]), ("returncode", [0, -9]), ("status", ["ok", ""]),
])
def test_columns_that_look_like_a_status(name: str, column: list[Any]) -> None:
    cells = Cells.of(column)
    note, = status_lookalikes({name: cells}, ())
    assert f"'{name}'" in note and f'ok: "{success_condition(name, cells)}"' in note
    assert status_lookalikes({name: cells}, {name}) == []
    fine, _ = successes({name: cells}, None, success_condition(name, cells), file="t")
    assert fine.any() and not fine.all()


@pytest.mark.parametrize(("name", "column"), [
    ("state", ["COMPLETE", "COMPLETE"]), ("status", ["ok", "OK"]), ("valid", ["True", "true"]), ("exit_code", [0, 0]),
    ("error", ["", ""]), ("error", ["0.013", "0.02"]), ("success", [996, 990]), ("eager", ["true", "false"]),
    ("model", ["a", "b"]), ("failed", [0, 0]), ("kv", ["auto", "fp8"]),
])
def test_columns_that_do_not(name: str, column: list[Any]) -> None:
    assert status_lookalikes({name: Cells.of(column)}, ()) == []
