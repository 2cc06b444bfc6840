"""What the user should know about an import, one line each."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from typing import Final

import numpy as np

from planner.importers.placing.grouping import Placed
from planner.importers.rows import Row
from planner.space.meaning import as_number
from planner.space.types import Metric
from planner.tables.named_columns import far_from_the_rest

__all__ = ["absent", "different_at_one_point", "left_alone", "listed", "odd_sizes"]

_SHOWN: Final = 8


def left_alone(rows: Iterable[Row], used: Collection[str]) -> list[str]:
    """One line that names what is in the files and has no meaning for the study."""
    names = dict.fromkeys(name for row in rows for name in row.others if name in row.unknown and name not in used)
    return [f"left alone: {listed(names)}"] if names else []


def different_at_one_point(placed: Sequence[Placed], used: Collection[str]) -> list[str]:
    """A line for each text or truth value that differs between rows of one point, which count as its repeats."""
    first: dict[tuple[object, ...], Placed] = {}
    found: dict[str, tuple[object, object]] = {}
    for each in placed:
        before = first.setdefault((*each.point.values(), bool(each.row.failure)), each)
        for name in {*before.row.others, *each.row.others} - set(used):
            pair = before.row.others.get(name), each.row.others.get(name)
            if pair[0] != pair[1] and all(value is None or math.isnan(as_number(value)) for value in pair):
                found.setdefault(name, pair)
    return [f"rows of one point count as repeats, but differ in {name} ("
            f"{' and '.join('nothing' if value is None else str(value)[:40] for value in pair)}); if that is a "
            "setting, make it an axis or choose rows with --where" for name, pair in sorted(found.items())]


def odd_sizes(placed: Sequence[Placed], targets: Iterable[Metric]) -> list[str]:
    """A line for each target with a value ten orders of magnitude from the others."""
    notes = []
    for target in targets:
        there = [(value, each) for each in placed for value in each.row.metrics.get(target.name, ())]
        for i, usual in far_from_the_rest(np.array([value for value, _ in there], dtype=np.float64)):
            value, each = there[i]
            notes.append(f"{each.row.provenance.where}: {target.name} is {value:g}, the others are about {usual:.3g}: "
                         "a word for \"failed\"? Leave it out by --where, or say with --ok which rows succeeded")
    return notes


def absent(targets: Iterable[Metric], placed: Sequence[Placed]) -> list[str]:
    """A line for each target that no row gives."""
    return [f"no row gives {target.name}" for target in targets
            if placed and not any(target.name in each.row.metrics for each in placed)]


def listed(names: Iterable[str]) -> str:
    """Names as text, a long list cut."""
    names = list(names)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
