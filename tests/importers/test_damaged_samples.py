"""Every sample of every tool, damaged in several places at once: rows that a measurement can give, or one line.

More examples: FUZZ=20 pytest tests/importers/test_damaged_samples.py
"""

from __future__ import annotations

import copy
import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.importers.test_rubbish import DATA, outcome
from tests.time_limit import within

TIMES = int(os.environ.get("FUZZ", "1"))
FEW = settings(max_examples=4 * TIMES, deadline=None, derandomize=TIMES == 1, phases=[Phase.generate],
               suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
HANG_S = 30.0
SAMPLES = sorted(path.relative_to(DATA).as_posix() for path in DATA.rglob("*")
                 if path.suffix in {".json", ".jsonl", ".csv", ".yaml", ".log"})
DEEP: Any = 1
for _ in range(400):
    DEEP = [DEEP]
VALUES = st.sampled_from([
    None, True, math.nan, -math.inf, 10**400, -1, 0, 1e308, 5e-324, "", "x" * 200_000, "nan", "1e999", "\0", "\ud800",
    "../../outside", "/etc/passwd", "=1+1", "\x1b[2J", [], {}, [None], [[]], {"": None}, {"mean": "x"}, DEEP,
    2**63, "٣", [math.nan] * 3, {"unit": 3}, [1, "a", None]]) | st.integers() | st.floats() | st.text(max_size=9)


def nodes(data: Any) -> list[tuple[Any, Any]]:
    """Each container with a key of it."""
    found, left = list[tuple[Any, Any]](), [data]
    while left:
        node = left.pop()
        keys = list(node) if isinstance(node, dict) else range(min(len(node), 4)) if isinstance(node, list) else ()
        found += [(node, key) for key in keys]
        left += [node[key] for key in keys]
    return found


def damage(data: Any, draw: st.DataObject) -> Any:
    """One value, or one key, is not what it was."""
    found = nodes(data)
    if not found:
        return draw.draw(VALUES)
    node, key = draw.draw(st.sampled_from(found))
    what = draw.draw(st.sampled_from(["replace", "drop", "rename", "wrap", "exchange", "text"]))
    if what == "replace":
        node[key] = draw.draw(VALUES)
    elif what == "drop":
        del node[key]
    elif what == "rename" and isinstance(node, dict):
        node[draw.draw(st.text(max_size=5))] = node.pop(key)
    elif what == "wrap":
        node[key] = draw.draw(st.sampled_from([[node[key]], {"mean": node[key]}, {str(key): node[key]}]))
    elif what == "text":
        node[key] = str(node[key])
    else:
        other, its_key = draw.draw(st.sampled_from(found))
        node[key] = copy.deepcopy(other[its_key])
    return data


def damaged(text: str, draw: st.DataObject) -> bytes:
    """The content of a file with one to three faults: in its values where it is JSON, and in its bytes."""
    lines = text.splitlines() if text.count("\n{") else [text]
    try:
        loaded = [json.loads(line) for line in lines]
    except ValueError:
        loaded = []
    if loaded and draw.draw(st.integers(0, 3)):
        which = draw.draw(st.integers(0, len(loaded) - 1))
        for _ in range(draw.draw(st.integers(1, 3))):
            loaded[which] = damage(loaded[which], draw)
        text = "\n".join(map(json.dumps, loaded))
    content = bytearray(text.encode(draw.draw(st.sampled_from(["utf-8"] * 6 + ["utf-8-sig", "utf-16", "utf-32"])),
                                    "surrogatepass"))
    if not loaded or not draw.draw(st.integers(0, 3)):
        at = draw.draw(st.integers(0, len(content)))
        content[at:at + draw.draw(st.integers(0, 9))] = draw.draw(st.binary(max_size=4) | st.sampled_from(
            [b"\xff\xfe", b"\xed\xa0\x80", b"[" * 2000, b'{"a": ' * 2000, b",,,", b"\n\n", b"\0", b'"', b"9" * 5000]))
    return bytes(content)


@FEW
@given(st.data())
@pytest.mark.parametrize("name", SAMPLES)
def test_a_damaged_sample(name: str, tmp_path: Path, data: st.DataObject) -> None:
    """In its folder, for some importers read the files beside it too."""
    folder = tmp_path / "samples"
    shutil.rmtree(folder, ignore_errors=True)
    beside = (DATA / name).parent
    if beside == DATA:
        folder.mkdir()
    else:
        shutil.copytree(beside, folder)
    path = folder / Path(name).name
    path.write_bytes(damaged((DATA / name).read_text(encoding="utf-8"), data))
    before = sorted(folder.rglob("*"))
    with within(HANG_S):
        outcome(path, "auto")
        if beside != DATA:
            outcome(folder, "auto")
    assert sorted(folder.rglob("*")) == before and len(list(tmp_path.iterdir())) == 1, "nothing is written"
