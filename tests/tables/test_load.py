"""Recorded grids: what the loader reads, and that it refuses rubbish in one line that names the key."""

from __future__ import annotations

import math
import pickle
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from planner.space.fingerprint_id import environment_id
from planner.space.types import StudyError
from planner.tables.load import RecordedTable, TableSettings, load_table, read_measured

MI300X = """model,n_gpus,io_len,batch_size,latency_s,throughput_tok_s,n_repeats
Qwen/Qwen2-7B,1,128,1,2.9898335489997407,85.62,1
Qwen/Qwen2-7B,1,128,16,1.4483453389984788,2828.05,1
meta/llama-70b,4,128,1,4.25,60.1,1
"""
FAILURES = """engine,gpu,model,n_gpus,batch_size,tok_s,status
vLLM,A100,Bloom-1b7,1,1,133.0,ok
vLLM,A100,Bloom-1b7,1,4,200.0,ok
vLLM,V100,Bloom-7b1,1,4,17.0,out of memory
vLLM,V100,Bloom-7b1,2,4,,oom
"""
TRAJECTORY = """mode,input_len,output_len,repeat,e2el_s
trajectory,64,1,0,0.10
trajectory,64,4,0,0.40
trajectory,64,1,1,0.12
trajectory,64,4,1,0.44
direct,64,4,0,0.90
"""


def load(directory: Path, text: str | bytes, axes: Any, targets: Any = ("y",), **given: Any) -> RecordedTable:
    """Write grid.csv and load it. `axes`: names, or name → given values."""
    (directory / "grid.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    keys = {"table": "grid.csv", "cost_s": 1, **given}
    axes = axes if isinstance(axes, dict) else dict.fromkeys(axes)
    return load_table(TableSettings(**keys), directory, axes, targets)


def refusal(directory: Path, text: str | bytes, axes: Any, targets: Any = ("y",), **given: Any) -> str:
    with pytest.raises(StudyError) as caught:
        load(directory, text, axes, targets, **given)
    message = str(caught.value)
    assert "\n" not in message and str(directory) not in message
    return message


def test_one_reading_a_row(tmp_path: Path) -> None:
    table = load(tmp_path, MI300X, ["model", "n_gpus", "io_len", "batch_size"], ["latency_s"],
                 cost_s="latency_s", accelerators="n_gpus")
    assert len(table) == 3
    assert table.points() == {"model": ["Qwen/Qwen2-7B", "Qwen/Qwen2-7B", "meta/llama-70b"], "n_gpus": [1, 1, 4],
                              "io_len": [128, 128, 128], "batch_size": [1, 16, 1]}
    assert {type(value) for value in table.points()["n_gpus"]} == {int}
    assert table.axis_values("model") == ("Qwen/Qwen2-7B", "meta/llama-70b")
    assert table.truth("latency_s").tolist() == [2.9898335489997407, 1.4483453389984788, 4.25]  # to the last bit
    assert table.plain_seconds.tolist() == table.truth("latency_s").tolist()
    assert table.accelerators.tolist() == [1, 1, 4]
    assert set(table.metrics) == {"latency_s", "throughput_tok_s", "n_repeats"}
    assert math.isnan(table.noise("latency_s"))
    assert not table.failed.any()


def test_failed_rows_have_a_reason_a_cost_and_no_numbers(tmp_path: Path) -> None:
    table = load(tmp_path, FAILURES, ["gpu", "model", "n_gpus", "batch_size"], ["tok_s"], status="status",
                 cost_s="batch_size * 100 / tok_s", failed_cost_s=20, accelerators="n_gpus")
    assert table.failed.tolist() == [False, False, True, True]
    assert table.status == ("ok", "ok", "out of memory", "oom")
    assert table.cost_s.tolist() == [100 / 133.0, 2.0, 20.0, 20.0]
    truth = table.truth("tok_s")
    assert truth[:2].tolist() == [133.0, 200.0] and np.isnan(truth[2:]).all()  # the partial 17.0 is ignored
    assert np.isnan(table.metrics["tok_s"][2])


def test_repeats_are_rows_of_equal_axis_values(tmp_path: Path) -> None:
    text = "a,b,y,status\n2,x,10,ok\n1,x,5,ok\n2,x,20,ok\n2,x,90,ok\n1,x,,oom\n"
    table = load(tmp_path, text, ["a", "b"], status="status", cost_s="a", failed_cost_s=7)
    assert table.points() == {"a": [2, 1], "b": ["x", "x"]}
    assert table.axis_values("a") == (1, 2)
    assert table.truth("y").tolist() == [20.0, 5.0]  # the median of the ok ones
    assert table.failed.tolist() == [False, False]
    assert table.rows(table.find({"a": 2, "b": "x"})).tolist() == [0, 2, 3]
    assert table.plain_seconds.tolist() == [2.0, 4.0]  # failed rows have their price
    assert table.noise("y") == pytest.approx((0.5 + 0 + 3.5) / 3)  # of the point of three ok rows only
    with pytest.raises(KeyError):
        table.find({"a": 3, "b": "x"})


def test_where_values_and_repeat(tmp_path: Path) -> None:
    table = load(tmp_path, TRAJECTORY, ["input_len", "output_len"], ["e2el_s"], cost_s="e2el_s",
                 where="mode == 'trajectory'", repeat="repeat", trajectory="output_len")
    assert len(table) == 2 and len(table.point) == 4
    assert table.reading is not None and table.reading.tolist() == [0, 0, 1, 1]
    assert "repeat" not in table.metrics and set(table.metrics) == {"e2el_s"}
    some = load(tmp_path, TRAJECTORY, {"input_len": None, "output_len": [4, 7]}, ["e2el_s"])
    assert some.points() == {"input_len": [64], "output_len": [4]}
    assert len(some.point) == 3


def test_one_repeat_number_twice_is_two_readings(tmp_path: Path) -> None:
    table = load(tmp_path, TRAJECTORY, ["input_len", "output_len"], ["e2el_s"], repeat="repeat")
    assert table.reading is not None and table.reading.tolist() == [0, 0, 1, 1, 2]


def test_kinds_of_values(tmp_path: Path) -> None:
    text = "flag,half,name,mixed,y\ntrue,0.5,None,1,1\nFalse,2,NA,auto,2\ntrue,1.0,None,8,3\n"
    table = load(tmp_path, text, ["flag", "half", "name", "mixed"])
    assert table.points() == {"flag": [True, False, True], "half": [0.5, 2.0, 1.0], "name": ["None", "NA", "None"],
                              "mixed": ["1", "auto", "8"]}
    kinds = {name: {type(v) for v in column} for name, column in table.points().items()}
    assert kinds == {"flag": {bool}, "half": {float}, "name": {str}, "mixed": {str}}
    assert load(tmp_path, text, {"flag": [True], "mixed": [1, 8]}).points() == {"flag": [True, True], "mixed": [1, 8]}
    with pytest.raises(StudyError):
        load(tmp_path, text, {"flag": [1]})  # a number is no truth value
    assert len(load(tmp_path, text, ["name"], where="name == 'None'")) == 1


def test_spreadsheets(tmp_path: Path) -> None:
    text = "\ufeffa , y,note\r\n\r\n1,2,\"two\nlines\"\r\n,,\r\n2,n/a,x\r\n".encode()
    assert "grid.csv line 6" in refusal(tmp_path, text, ["a"])
    table = load(tmp_path, text, {"a": [1]})
    assert table.points() == {"a": [1]} and table.truth("y").tolist() == [2.0]


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_parquet_reads_like_csv(tmp_path: Path, suffix: str) -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"model": ["a", "a", None], "tp": pd.array([1, 2, None], dtype="Int64"), "y": [1.5, 2.5, 9],
                          "kind": pd.Categorical(["x", "y", "x"]), "on": [True, False, True]})
    name = f"grid.{suffix}"
    frame.to_parquet(tmp_path / name) if suffix == "parquet" else frame.to_csv(tmp_path / name, index=False)
    given = dict.fromkeys(["model", "tp", "kind", "on"])
    table = load_table(TableSettings(table=name, cost_s="y", where="y < 5"), tmp_path, given, ["y"])
    assert table.points() == {"model": ["a", "a"], "tp": [1, 2], "kind": ["x", "y"], "on": [True, False]}
    assert [type(v) for v in table.points()["on"]] == [bool, bool]
    with pytest.raises(StudyError, match=r"space.axes.model: grid.\w+ (line 4|row 3) has no value"):
        load_table(TableSettings(table=name, cost_s=1), tmp_path, given, ["y"])


@pytest.mark.parametrize(("text", "given", "says"), [
    ("a,y\n1,2\n2,\n", {}, ["targets", "grid.csv line 3", "'y'", "status"]),
    ("a,y\n1,2\n2,inf\n", {}, ["targets", "line 3"]),
    ("a,y\n1,2\n2,fast\n", {}, ["targets", "line 3"]),
    ("a,y,s\n1,,ok\n2,3,ok\n", {"status": "s"}, ["targets", "line 2", "mark its status"]),
    ("b,y\n1,2\n", {}, ["space.axes.a", "grid.csv", "no column 'a'"]),
    ("a,z\n1,2\n", {}, ["targets", "no column 'y'"]),
    ("a,y\n1,2\n", {"status": "state"}, ["runner.status", "no column 'state'"]),
    ("a,y\n1,2\n", {"repeat": "r"}, ["runner.repeat", "no column 'r'"]),
    ("a,y\n1,2\n", {"repeat": "a"}, ["runner.repeat", "axis"]),
    ("a,y,r\n1,2,1\n1,3,\n", {"repeat": "r"}, ["runner.repeat", "line 3"]),
    ("a,y\n1,2\n", {"trajectory": "b"}, ["runner.trajectory", "'b'"]),
    ("a,y\nx,2\n", {"trajectory": "a"}, ["runner.trajectory", "numbers"]),
    ("a,y\n", {}, ["runner.table", "no rows"]),
    ("", {}, ["runner.table", "no rows"]),
    ("a,y\n,2\n", {}, ["space.axes.a", "line 2"]),
    ("a,y\n1,2\nnan,2\n", {}, ["space.axes.a", "line 3"]),
    ("a,y\n1,2\nnan,2\n", {}, ["space.axes.a", "line 3"]),
    ("a,y\n1,2,3\n", {}, ["runner.table", "line 2", "3 cells"]),
    ("a,y\n1,2\n3\n", {}, ["runner.table", "line 3", "1 cells"]),
    ("a,y,y\n1,2,3\n", {}, ["runner.table", "two columns", "'y'"]),
    ("a;y\n1;2\n", {}, ["space.axes.a", "no column 'a'"]),
    (b"a,y\n1,\xff\n", {}, ["runner.table", "UTF-8"]),
    ("a,y\n1,2\n", {"where": "a > 5"}, ["runner.where", "no row"]),
    ("a,y\n1,2\n", {"where": "a + 5"}, ["runner.where", "condition"]),
    ("a,y\n1,2\n", {"where": "b > 5"}, ["runner.where", "'b'"]),
    ("a,y\n1,2\n", {"where": "__import__('os')"}, ["runner.where"]),
    ("a,y\n1,2\n", {"cost_s": "latency"}, ["runner.cost_s", "'latency'"]),
    ("a,y,c\n1,2,3\n2,2,-3\n", {"cost_s": "c"}, ["runner.cost_s", "line 3", "-3 seconds"]),
    ("a,y,c\n1,2,3\n2,2,x\n", {"cost_s": "c"}, ["runner.cost_s", "line 3", "no number"]),
    ("a,y,c\n1,2,x\n2,2,y\n", {"cost_s": "c"}, ["runner.cost_s", "line 2"]),
    ("a,y,c\n1,2,x\n2,2,y\n", {"cost_s": "c * 2"}, ["runner.cost_s"]),
    ("a,y\n1,2\n0,2\n", {"cost_s": "y / a"}, ["runner.cost_s", "line 3"]),
    ("a,y,s\n1,2,ok\n2,,oom\n", {"cost_s": "y", "status": "s"}, ["runner.failed_cost_s", "line 3", "failed run"]),
    ("a,y,s\n1,2,oom\n", {"status": "s"}, ["runner.status", "'oom'"]),
    ("a,y\n1,2\n0,2\n", {"accelerators": "a"}, ["runner.accelerators", "line 3", "above 0"]),
])
def test_bad_tables_are_named_in_one_line(tmp_path: Path, text: Any, given: dict[str, Any], says: list[str]) -> None:
    message = refusal(tmp_path, text, ["a"], **given)
    assert message.startswith(says[0])
    for word in says:
        assert word in message


def test_line_breaks_do_not_get_into_messages(tmp_path: Path) -> None:
    text = 'a,"y\nin ms","\x0bz\0"\n"p\nq",2,3\n'
    assert "use one of: a, y in ms, z" in refusal(tmp_path, text, ["a"])
    assert refusal(tmp_path, text, {"a": ["x"]}, ["y in ms"]).endswith("use some of: p q")
    assert load(tmp_path, text, ["a"], ["z"], where="(z >\n 2)\n", cost_s="z *\n 2").cost_s.tolist() == [6]
    assert refusal(tmp_path, text, ["a"], ["z"], where="(z >\n 9)\n").startswith("runner.where: '(z > 9)' leaves")


def test_missing_files_and_values(tmp_path: Path) -> None:
    assert refusal(tmp_path, "a,y\n1,2\n", ["a"], table="grids.csv").startswith("runner.table: there is no file grids")
    assert refusal(tmp_path, "a,y\n1,2\n", ["a"], table=".").startswith("runner.table: cannot open")
    assert refusal(tmp_path, "a,y\n1,2\n", ["a"], table="a\0b").startswith("runner.table: cannot open")
    (tmp_path / "x.parquet").write_bytes(b"PAR1 not really PAR1")
    assert refusal(tmp_path, "", ["a"], table="x.parquet").startswith("runner.table: cannot read x.parquet")
    message = refusal(tmp_path, "a,y\n1,2\n4,2\n", {"a": [2, 8]})
    assert message.startswith("space.axes.a") and message.endswith("use some of: 1, 4")
    assert refusal(tmp_path, "a,y\n1,2\n", ["a"], ["a"]).startswith("targets: 'a' is an axis")


@pytest.mark.parametrize("given", [
    {}, {"cost_s": True}, {"cost_s": -1}, {"cost_s": math.nan}, {"cost_s": math.inf}, {"cost_s": [1]}, {"cost_s": " "},
    {"cost_s": 1, "repeats": 0}, {"cost_s": 1, "engine_start_s": -1}, {"cost_s": 1, "run_overhead_s": math.inf},
    {"cost_s": 1, "costs": 3}, {"cost_s": 1, "kind": "replay"}, {"cost_s": 1, "failed_cost_s": -2},
])
def test_bad_settings_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TableSettings(table="grid.csv", **given)


def test_bad_settings_are_named_by_their_key() -> None:
    from planner.space.spec import validate_model

    with pytest.raises(StudyError, match=r"^runner.cost_s: give a column, a number from 0") as caught:
        validate_model(TableSettings, {"table": "grid.csv", "cost_s": -4}, "runner")
    assert "\n" not in str(caught.value)


def test_any_measured_table_as_truth(tmp_path: Path) -> None:
    path = tmp_path / "truth.csv"
    path.write_text("out,tpot,ttft,status\n4,,5,ok\n8,2,6,ok\n64,,,oom\n")
    table = read_measured(path, {"out": None}, ["tpot", "ttft"])
    assert np.isnan(table.truth("tpot")).tolist() == [True, False, True]
    assert table.failed.tolist() == [False, False, True]  # undefined is not failed
    with pytest.raises(StudyError, match=r"^targets: .*truth.csv line 2 is ok"):
        read_measured(path, {"out": None}, ["tpot"], allow_undefined=False)
    with pytest.raises(StudyError, match=r"^--truth: there is no file"):
        read_measured(tmp_path / "no.csv", {"out": None}, ["tpot"])
    assert len(read_measured(path, {"out": [8]}, ["tpot"], where="out < 20")) == 1


def test_time_between_tokens_is_undefined_at_one_token_and_nowhere_else(tmp_path: Path) -> None:
    table = load(tmp_path, "out,tpot_ms\n1,\n8,2\n", ["out"], targets=("tpot_ms",))
    assert np.isnan(table.truth("tpot_ms")).tolist() == [True, False]
    assert table.failed.tolist() == [False, False]
    for text, target in (("out,tpot_ms\n1,3\n8,\n", "tpot_ms"), ("out,ttft_ms\n1,\n8,2\n", "ttft_ms")):
        with pytest.raises(StudyError, match="is ok but has no number"):
            load(tmp_path, text, ["out"], targets=(target,))


def test_hash_is_of_the_file_and_a_table_travels(tmp_path: Path) -> None:
    one, two = load(tmp_path, "a,y\n1,2\n", ["a"]), load(tmp_path, "a,y\n1,3\n", ["a"])
    assert len(one.sha256) == 64 and one.sha256 != two.sha256
    back = pickle.loads(pickle.dumps(two))
    assert back.truth("y").tolist() == [3.0] and back.find({"a": 1}) == 0


def test_environment_id_ignores_order() -> None:
    assert environment_id({"a": "1", "b": "2"}) == environment_id({"b": "2", "a": "1"})
    assert environment_id({"a": "1"}) != environment_id({"a": "2"})
    assert len(environment_id({"ä": "\udc80"})) == 12


def test_a_hundred_thousand_rows_take_a_second(tmp_path: Path) -> None:
    rows = (f"m{i % 7},{i % 50},{i // 350},{i * 0.5 + 1}" for i in range(100_000))
    begin = time.process_time()
    table = load(tmp_path, "model,batch,len,y\n" + "\n".join(rows) + "\n", ["model", "batch", "len"], cost_s="y / 2")
    table.truth("y"), table.find({"model": "m0", "batch": 0, "len": 0}), table.rows(3)
    assert len(table) == 100_000
    assert time.process_time() - begin < 6  # 0.6 s; up to 4 s where a neighbour shares the core


good = st.sampled_from(["1", "2", "0.5", "8"])
cell = good | st.sampled_from(["-3", "", "nan", "inf", "1e999", "ok", "oom", "true", "x", '"', "é", "\n", "\0"])
column = st.sampled_from(["a", "b", "y", "c", "s", "r", "a b", ""])
expression = st.sampled_from(["y", "c", "a * y", "1 / a", "a ==", "'x'", "y == 'x'", "a > 1", "not a", "log2(y)", "5",
                              "zzz", "a ** 999 ** 9", "min(a, b)", "a < b < y"])


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_rubbish_is_refused_and_never_a_traceback(tmp_path: Path, data: st.DataObject) -> None:
    tidy = data.draw(st.booleans())
    header = ["a", "y", "c", "s"] if tidy else data.draw(st.lists(column, min_size=1, max_size=6))
    width = len(header) + (not tidy and data.draw(st.sampled_from([0, 0, 0, 1])))
    row = st.lists(good if tidy else cell, min_size=len(header), max_size=width)
    text = "\n".join(",".join(cells) for cells in [header, *data.draw(st.lists(row, min_size=tidy, max_size=6))])
    optional = {} if tidy else {key: value for key in ("status", "repeat", "trajectory")
                                if (value := data.draw(st.none() | column.filter(bool)))}
    optional |= {key: value for key in ("where", "failed_cost_s", "accelerators")
                 if (value := data.draw(st.just(None) if tidy and key != "accelerators" else st.none() | expression))}
    values = data.draw(st.none() | st.lists(st.sampled_from([1, 0.5, "x", True, "1", 2**80, "é"]), min_size=1))
    axes = {"a": values, "b": None} if "b" in header else {"a": values}
    try:
        table = load(tmp_path, text, axes, cost_s=data.draw(expression), **optional)
    except StudyError as error:
        assert str(error) and "\n" not in str(error)
        return
    event("read")
    _check_sound(table)


def _check_sound(table: RecordedTable) -> None:
    assert len(table) >= 1 and table.ok.any()
    assert np.isfinite(table.cost_s).all() and (table.cost_s >= 0).all()
    assert np.isfinite(table.accelerators).all() and (table.accelerators > 0).all()
    assert (np.isnan(table.truth("y")) == table.failed).all()
    for i, point in enumerate(zip(*table.points().values(), strict=True)):
        assert table.find(dict(zip(table.axes, point, strict=True))) == i
        assert all(type(value) in {int, float, str, bool} for value in point)
    assert sorted(row for i in range(len(table)) for row in table.rows(i)) == list(range(len(table.point)))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode(errors="replace")))
def test_bytes_of_any_kind(tmp_path: Path, raw: bytes) -> None:
    for name in ("raw.csv", "raw.parquet"):
        (tmp_path / name).write_bytes(raw)
        with pytest.raises(StudyError) as caught:
            load_table(TableSettings(table=name, cost_s=1), tmp_path, {"axis": None}, ["metric"])
        assert len(str(caught.value).splitlines()) == 1


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(st.integers(0, 3), st.sampled_from("pqr"), st.floats(0.001, 1e6), st.booleans()),
                     min_size=1, max_size=40).filter(lambda rows: any(row[3] for row in rows)))
def test_the_truth_is_the_median_of_the_ok_repeats(tmp_path: Path, rows: list[tuple[int, str, float, bool]]) -> None:
    text = "a,b,y,s\n" + "\n".join(f"{a},{b},{y!r},{'ok' if ok else 'oom'}" for a, b, y, ok in rows)
    table = load(tmp_path, text, ["a", "b"], status="s", cost_s="y")
    order = list(dict.fromkeys((a, b) for a, b, _, _ in rows))
    assert list(zip(*table.points().values(), strict=True)) == order
    for i, point in enumerate(order):
        ok = [y for a, b, y, fine in rows if (a, b) == point and fine]
        assert table.failed[i] == (not ok)
        assert table.truth("y")[i] == pytest.approx(statistics.median(ok)) if ok else np.isnan(table.truth("y")[i])
        assert table.plain_seconds[i] == pytest.approx(statistics.median([r[2] for r in rows if r[:2] == point]))
