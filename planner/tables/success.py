"""STUB until the tables branch lands."""
from collections.abc import Collection, Mapping

import numpy as np

from planner.space.cells import Cells
from planner.space.expressions import parse
from planner.space.types import BoolArray, StudyError


def successes(columns: Mapping[str, Cells], status: str | None, ok: str | None, status_key: str, ok_key: str, name: str) -> tuple[BoolArray, tuple[str, ...]]:
    n = len(next(iter(columns.values())))
    words = [("" if c is None else str(c)) for c in columns[status]] if status else [""] * n
    if ok:
        v = parse(ok, columns, ok_key)(columns)
        good = np.broadcast_to(np.asarray(getattr(v, "truth", v), dtype=bool), (n,))
    else:
        good = np.array([w.lower() == "ok" for w in words])
    if not good.any():
        raise StudyError(f"{status_key}: no row says ok; it says {', '.join(dict.fromkeys(words))}; --ok \"{status} == '{words[0]}'\"")
    return good, tuple(w or "failed" for w in words)


def status_lookalikes(columns: Mapping[str, Cells], used: Collection[str]) -> list[str]:
    return [f"column {n} looks like a status" for n in columns if n in ("status", "state") and n not in used]
