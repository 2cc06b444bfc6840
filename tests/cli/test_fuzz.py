"""Hostile files and addresses through the command line: they end in an answer or in one line, never in a traceback."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

# More examples: FUZZ=20 pytest tests/cli/test_fuzz.py
TIMES = int(os.environ.get("FUZZ", "1"))
SUPPRESSED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
Cli = Callable[..., Any]
TABLE = "model,batch_size,latency_s,mode\n" + "".join(
    f"{model},{batch},{scale + batch * 0.25},x\n" for model, scale in (("a-1b", 1), ("b-7b", 6)) for batch in (1, 2, 4))
REPLAY = """study: {name: grid, storage: sqlite:///grid.db}
space:
  axes:
    model: {scale: category, scope: engine, values: [a-1b, b-7b], descriptors: {params_b: {a-1b: 1, b-7b: 7}}}
    batch_size: {scale: log, role: batch}
  constraints: ["batch_size <= 4"]
runner: {kind: replay, table: grid.csv, cost_s: latency_s, engine_start_s: 1, where: "mode == 'x'"}
targets: [latency_s]
stop: {accuracy: 0.9, trials: 6, cost: 2h}
price: {per_accelerator_hour: 2.5}
slo: ["latency_s <= 5"]
"""
COMMAND = """study: {name: grid, storage: sqlite:///grid.db}
space:
  axes:
    batch_size: {range: [1, 8], scale: log}
    mode: {values: [x, y, 3, true, null], scale: category}
runner: {kind: command, command: [bench, "{batch_size}", "{mode}"], timeout_s: 5, repeats: 2}
targets: [ttft_ms, {metric: accuracy, direction: maximize, kind: share, unit: "%"}]
stop: {cost: "$20", boundary: ttft_ms <= 500, confidence: 0.9}
price: {per_accelerator_hour: 2.5}
"""
VALUES = [
    "0x" + "f" * 5000, "9" * 4000, "9" * 5000, "1e400", "-1e400", ".nan", ".inf", "-.inf", "-0.0", "5e-324",
    "1:99:99:99", "0b" + "1" * 20_000, "!!int ''", "!!float x", "!!binary aGk=", "!!binary '?'",
    "!!timestamp 2001-01-01",
    "2001-99-99", "!!set {a, b}", "!!omap [a: 1]", "!!pairs [a: 1]", "!!python/object/apply:os.abort []", "!x y",
    "*none", "&a [*a]",
    "[" * 300 + "]" * 300, "{a: " * 100 + "1" + "}" * 100, r'"\0"', r'"\ud800"', r'"\U0010ffff"', r'"\e[31m"',
    r'"\r\n"',
    '"\u202e"', "{<<: [1]}", "{<<: {a: 1}}", "{? [a] : b}", "{? {a: 1} : b}", "[1, 100000]", "[1, 100001]",
    "[-9007199254740993, 1]", "[9223372036854775807, 9223372036854775808]", "{range: [1, 100000]}", "[[]]", "[{}]",
    "{}",
    "[]", "''", "null", "~", "true", "-1", "0", "x" * 10_000, "[null, nan, .nan, 'nan']", "[1, 1.0, true]", "{1: 2}",
    "{values: [0x" + "f" * 5000 + "]}", "{values: [1, 2], scale: log, role: rate}", "{values: [.inf], role: rate}",
    "{values: [1e-300, 1e300], scale: log}", "latency_s ** batch_size ** 9999", "batch_size <= 9**9**9",
    "'batch_size <= 1e400'", "'" + "(" * 300 + "batch_size" + ")" * 300 + " < 1'", "'not ' * 300", "/dev/zero", "..",
    "/dev/null", "'\t'", "grid.yaml",
]


def check(ran: Any) -> None:
    """Done, or one printable line that says why not."""
    assert ran.code in {0, 2}, ran.err[-3000:]
    if ran.code == 2:
        assert ran.out == "" and ran.err.startswith("sweepwise: ") and ran.err.endswith("\n"), (ran.out, ran.err)
        assert ran.err.count("\n") == 1 and ran.err[:-1].isprintable() and len(ran.err) < 1000, ran.err


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "grid.csv").write_text(TABLE)
    (tmp_path / "grid.yaml").write_text(REPLAY)
    return tmp_path


def spans(text: str) -> list[tuple[int, int]]:
    """Where the values and keys of a study file begin and end, those of flow collections too."""
    import yaml

    found: list[tuple[int, int]] = []

    def walk(node: yaml.Node) -> None:
        found.append((node.start_mark.index, node.end_mark.index))
        for child in node.value if not isinstance(node, yaml.ScalarNode) else ():
            for part in child if isinstance(child, tuple) else (child,):
                walk(part)

    walk(yaml.compose(text, Loader=yaml.SafeLoader))
    return found[1:]


@settings(max_examples=150 * TIMES, deadline=None, suppress_health_check=SUPPRESSED, derandomize=TIMES == 1)
@given(st.sampled_from([(text, span) for text in (REPLAY, COMMAND) for span in spans(text)]), st.sampled_from(VALUES))
def test_one_value_of_a_study_replaced(
        place: Path, sweepwise: Cli, where: tuple[str, tuple[int, int]], value: str) -> None:
    text, (start, end) = where
    (place / "bad.yaml").write_text(f"{text[:start]}{value}{text[end:]}", encoding="utf-8")
    check(sweepwise("validate", "bad.yaml"))


@settings(max_examples=60 * TIMES, deadline=None, suppress_health_check=SUPPRESSED, derandomize=TIMES == 1)
@given(st.sampled_from([REPLAY, COMMAND]), st.data())
def test_some_bytes_of_a_study_replaced(place: Path, sweepwise: Cli, text: str, data: st.DataObject) -> None:
    content = bytearray(text.encode())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content)))
        content[at:at + data.draw(st.integers(0, 5))] = data.draw(
            st.binary(max_size=4) | st.sampled_from([b"\0", b"\xff\xfe", b"\xed\xa0\x80", b"\x1b[2J", b"\t", b"%",
            b"*a",
                                                     b"&a ", b"<<: ", b"!!", b"\xe2\x80\xa8", b"\xc2\x85", b"---\n"]))
    (place / "bad.yaml").write_bytes(content)
    check(sweepwise("validate", "bad.yaml"))


PIECES = st.sampled_from(["sqlite", "postgresql", "+psycopg", "+none", "mysql", "oracle", "://", ":///", "/", ":", "@",
                          "?", "&", "=", "%", "%zz", "%00", "[::1]", "[", "host=/none", "user", "x" * 300, "é",
                          "#", "\\", " ",
                          "mode=ro", "uri=true", "file:", "99999999", "-1", ".", "..", ";", "'", '"', "\x1b", "\n"])


@settings(max_examples=80 * TIMES, deadline=None, suppress_health_check=SUPPRESSED, derandomize=TIMES == 1)
@given(st.lists(PIECES, max_size=8).map("".join) | st.text(max_size=30))
def test_any_address(place: Path, sweepwise: Cli, address: str) -> None:
    check(sweepwise("validate", "grid.yaml", "--storage", address))
    if "://" not in address or address.startswith("sqlite:///"):  # no host is asked
        check(sweepwise("import", "grid.yaml", "grid.csv", "--dry-run", "--storage", address))
    (place / "bad.yaml").write_text(REPLAY.replace("sqlite:///grid.db", repr(address)), encoding="utf-8",
                                    errors="surrogatepass")
    check(sweepwise("validate", "bad.yaml"))
