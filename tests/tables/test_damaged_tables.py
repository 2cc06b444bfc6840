"""Recorded tables and imported ones, damaged: a grid that can be replayed, or one line that names the file.

More examples: FUZZ=20 pytest tests/tables/test_damaged_tables.py
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.cli.test_fuzz import REPLAY, TABLE, check
from tests.time_limit import within

TIMES = int(os.environ.get("FUZZ", "1"))
FEW = settings(max_examples=12 * TIMES, deadline=None, derandomize=TIMES == 1, phases=[Phase.generate],
               suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
HANG_S = 30.0
ROWS = [line.split(",") for line in TABLE.splitlines()]
CELLS = st.sampled_from(["", "nan", "inf", "1e400", "-1", "9" * 5000, "\0", "\x1b[2J", "=1+1", "'", '"', ",", "\n",
                         "\u2028", "x" * 20_000, "0x10", "1_000", "٣", "True", "null", "[]", "{}", "1,000", "1e-400",
                         "-0", "\ufeff", "a-1b", "b-7b", "{[]: 1}", "[" * 500, "../x"])
BYTES = st.binary(max_size=4) | st.sampled_from(
    [b"\xff\xfe", b"\xed\xa0\x80", b"[" * 2000, b'{"a": ' * 2000, b"\r", b"\n,,,,,,\n", b'"', b"PAR1"])
LINES = "".join(f'{{"model": "a-1b", "batch_size": {batch}, "latency_s": {batch}.5, "mode": "x"}}\n'
                for batch in (1, 2, 4))
Cli = Callable[..., Any]


@pytest.fixture(scope="module")
def parquet(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The table in Parquet's form."""
    pytest.importorskip("pyarrow")
    path = tmp_path_factory.mktemp("table") / "grid.parquet"
    pd.DataFrame(ROWS[1:], columns=ROWS[0]).astype(
        {"batch_size": int, "latency_s": float}).to_parquet(path)
    return path.read_bytes()


def try_both(sweepwise: Cli, tmp_path: Path, name: str, content: bytes) -> None:
    """As the table of a replay study, and as a file to import."""
    (tmp_path / name).write_bytes(content)
    (tmp_path / "study.yaml").write_text(REPLAY.replace("grid.csv", name))
    if not (tmp_path / "whole.yaml").exists():
        (tmp_path / "whole.csv").write_text(TABLE)
        (tmp_path / "whole.yaml").write_text(REPLAY.replace("grid.csv", "whole.csv"))
    before = sorted(tmp_path.iterdir())
    with within(HANG_S):
        check(sweepwise("validate", "study.yaml"))
        check(sweepwise("import", "whole.yaml", name, "--dry-run"))
    assert sorted(tmp_path.iterdir()) == before, "nothing is written"


@FEW
@given(st.data())
def test_cells_and_rows_of_a_csv_file(
    sweepwise: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: st.DataObject
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [list(row) for row in ROWS]
    for _ in range(data.draw(st.integers(1, 3))):
        row = data.draw(st.integers(0, len(rows) - 1))
        what = data.draw(st.sampled_from(["cell", "more", "less", "again", "gone"]))
        if what == "more":
            rows[row].append(data.draw(CELLS))
        elif what == "less" and rows[row]:
            rows[row].pop()
        elif what == "again":
            rows.append(list(rows[row]))
        elif what == "gone" and len(rows) > 1:
            del rows[row]
        elif rows[row]:
            rows[row][data.draw(st.integers(0, len(rows[row]) - 1))] = data.draw(CELLS)
    text = "\n".join(",".join(row) for row in rows) + "\n"
    encoding = data.draw(st.sampled_from(["utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-32"]))
    try_both(sweepwise, tmp_path, "x.csv", text.encode(encoding, "surrogatepass"))


@FEW
@given(st.sampled_from(["x.csv", "x.jsonl", "x.json"]), st.data())
def test_bytes_of_a_text_file(
    sweepwise: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, data: st.DataObject
) -> None:
    monkeypatch.chdir(tmp_path)
    content = bytearray((TABLE if name == "x.csv" else LINES).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content)))
        content[at:at + data.draw(st.integers(0, 8))] = data.draw(BYTES)
    try_both(sweepwise, tmp_path, name, bytes(content))


@FEW
@given(st.data())
def test_bytes_of_a_parquet_file(
    parquet: bytes, sweepwise: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: st.DataObject
) -> None:
    monkeypatch.chdir(tmp_path)
    content = bytearray(parquet)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content)) | st.integers(max(0, len(content) - 600), len(content)))
        content[at:at + data.draw(st.integers(0, 8))] = data.draw(BYTES)
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))):]
    try_both(sweepwise, tmp_path, "x.parquet", bytes(content))
