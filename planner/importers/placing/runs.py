"""Rows of any format → runs of a study: axes found, metrics renamed, repeats gathered. Nothing is written here.

The value of an axis comes from, in this order: the column that --map names, the field of the axis' name, a field with
another tool's name for it, and, where the file does not say it, --set. A row that cannot be placed is refused, or with
`skip_unknown` left out and counted. A row whose figures cannot be right is left out, and a note names it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from planner.importers.placing.consistency import contradictions
from planner.importers.placing.grouping import Imported, Placed, gather
from planner.importers.placing.options import ImportOptions, check_options, columns_of, names_in
from planner.importers.placing.place import Places
from planner.importers.placing.readings import Metrics, Price
from planner.importers.placing.remarks import absent, different_at_one_point, left_alone, listed, odd_sizes
from planner.importers.placing.settings_check import check_settings, settings_of
from planner.importers.rows import Row
from planner.space.expressions import parse
from planner.space.grid import Grid
from planner.space.types import Metric, Point, StudyError, Value
from planner.tables.success import status_lookalikes, successes

__all__ = ["ImportOptions", "Imported", "Runs", "StudyContext", "runs_of"]


@dataclass(frozen=True, slots=True)
class StudyContext:
    """What a study says that files are placed in.

    devices: accelerators of a point; counts_devices: whether the study file says itself how many. fixed: settings of
    its runner for all points. known: identities of readings in the record. former: by format, the settings of an
    earlier import that are no axis.
    """

    grid: Grid
    targets: tuple[Metric, ...]
    devices: Callable[[Point], float]
    counts_devices: bool = False
    fixed: Mapping[str, Any] = field(default_factory=dict)
    known: Collection[str] = frozenset()
    former: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Runs:
    """All runs of some rows; known: how many rows are in the record already, or twice in the files; the number of rows
    left out by reason; and notes for the user."""

    runs: tuple[Imported, ...]
    known: int
    skipped: Mapping[str, int]
    notes: tuple[str, ...]


def runs_of(rows: Sequence[Row], study: StudyContext, options: ImportOptions) -> Runs:
    """The runs that `rows` describe. Raises StudyError.

    Whatever concerns a file as a whole is asked of all its rows, those in the record included.
    """
    check_options(rows, study.grid, options)
    names = names_in(rows)
    places = Places(study.grid, options, names, rows)
    metrics = Metrics.of(study.targets, options, names, [axis.name for axis in study.grid.axes])
    price = Price.of(options, names)
    rows = _judged(_filtered(rows, options), options)
    check_settings(rows, places.covered, options, study.fixed, study.former)
    fresh = _fresh(rows, study.known)
    desk = _Desk(study, options, places, metrics, price)
    for row in fresh:
        desk.take(row)
    desk.check(len(fresh))
    used = {*desk.used, *_named(options, names), *(target.name for target in study.targets),
            *(name for each in desk.placed for name in each.row.metrics)}
    notes = [*desk.notes(), *price.notes, *metrics.notes, *absent(study.targets, desk.placed),
             *odd_sizes(desk.placed, study.targets), *different_at_one_point(desk.placed, used)]
    if fresh:
        notes += left_alone(rows, used)
        notes += _lookalikes(rows, used, options)
    runs = gather(desk.placed, study.devices, study.counts_devices)
    return Runs(tuple(runs), len(rows) - len(fresh), dict(desk.skipped), tuple(dict.fromkeys(notes)))


class _Desk:
    """Takes rows one by one: each gets its place, or a reason why it has none."""

    def __init__(self, study: StudyContext, options: ImportOptions, places: Places, metrics: Metrics, price: Price
                 ) -> None:
        self._study, self._options, self._places, self._metrics, self._price = study, options, places, metrics, price
        self.placed: list[Placed] = []
        self.skipped: Counter[str] = Counter()
        self.used: set[str] = set()
        self._homeless: list[str] = []
        self._unusable: list[str] = []
        self._notes: list[str] = []
        self._contradictions: dict[str, list[str]] = {}

    def take(self, row: Row) -> None:
        """Place the row, or note why it has no place."""
        where = row.provenance.where
        point, problem = self._places.of(row)
        sources = self._places.sources(row)
        self.used |= sources
        if not problem:
            number = self._study.grid.find(point)
            single = bool(number is not None and self._study.grid.single_token[number])
            aside = sources | {axis.name for axis in self._study.grid.axes}
            row, unusable = self._metrics.read(row, aside, single)
            if unusable:
                self.skipped["a figure cannot be right"] += 1
                self._unusable.append(f"{where}: {unusable}")
                return
            row = self._price.read(row)
            problem = self._missing(row) or self._contradiction(row, point)
        if problem:
            self.skipped[problem.partition(":")[0]] += 1
            self._homeless.append(f"{where}: {problem}")
            return
        self._notes += row.notes
        self.placed.append(Placed(point, row, settings_of(row, self._places.covered)))

    def check(self, rows: int) -> None:
        """Raises StudyError if rows have no place, or none of the rows has figures that can be right."""
        if self._homeless and not self._options.skip_unknown:
            raise StudyError(f"{self._homeless[0]}; {len(self._homeless)} of {rows} rows have no place in the study, "
                             "and --skip-unknown leaves such rows out")
        if self._unusable and not self.placed:
            raise StudyError(f"{self._unusable[0]}; no row is left: say with --ok which rows succeeded, or correct "
                             "the file")

    def notes(self) -> list[str]:
        """Notes of the rows, and those about rows left out for their figures."""
        left = [f"left out: {text}" for text in self._unusable[:3]]
        if len(self._unusable) > len(left):
            left.append(f"left out: {len(self._unusable) - len(left)} more rows like these")
        doubts = [texts[0] + (f" (so in {len(texts) - 1} more rows)" if len(texts) > 1 else "")
                  for texts in self._contradictions.values()]
        hint = ["if such rows are failed runs, say so: --ok \"CONDITION\""] if left else []
        return [*self._notes, *doubts, *left, *hint]

    def _missing(self, row: Row) -> str:
        targets = [target.name for target in self._study.targets]
        if row.failure or any(target in row.metrics for target in targets):
            return ""
        given = listed(sorted(row.metrics)) or "no metric at all"
        return f"no target: none of {', '.join(targets)} is there, but {given}"

    def _contradiction(self, row: Row, point: Point) -> str:
        if row.failure:
            return ""
        found = contradictions(row, point, self._study.grid)
        if false := next((each for each in found if each.false), None):
            return f"contradicts itself: {false.text}; correct the file, or leave the row out by --where"
        for each in found:
            self._contradictions.setdefault(each.kind, []).append(f"{row.provenance.where}: {each.text}")
        return ""


def _named(options: ImportOptions, names: set[str]) -> set[str]:
    """The names that options use."""
    texts = [*options.renames.values(), *(text for text in (options.where, options.ok) if text)]
    found = {*options.ignore, *(text for text in texts if text in names)}
    return found.union(*(parse(text, names, "").names for text in texts if text not in names))


def _filtered(rows: Sequence[Row], options: ImportOptions) -> Sequence[Row]:
    if options.where is None:
        return rows
    condition = parse(options.where, sorted(names_in(rows)), "--where")
    value = condition(columns_of(rows, condition.names))
    keep = np.broadcast_to(np.asarray(getattr(value, "truth", value), dtype=bool), (len(rows),))
    if not keep.any():
        raise StudyError(f"--where: no row meets '{options.where}'; loosen it")
    return [row for row, kept in zip(rows, keep, strict=True) if kept]


def _judged(rows: Sequence[Row], options: ImportOptions) -> Sequence[Row]:
    """The rows, those that failed by --map status or --ok without metrics and with the reason."""
    status = options.renames.get("status")
    if status is None and options.ok is None:
        return rows
    ok, reasons = successes(columns_of(rows, names_in(rows)), status, options.ok, file="the files",
                            status_key="--map status", ok_key="--ok")
    return [row if row.failure or good else replace(row, metrics={}, failure=reason)
            for row, good, reason in zip(rows, ok.tolist(), reasons, strict=True)]


def _lookalikes(rows: Sequence[Row], used: Collection[str], options: ImportOptions) -> list[str]:
    if options.ok is not None or "status" in options.renames:
        return []
    others = {name for row in rows for name in row.others}
    return status_lookalikes(columns_of(rows, others), used, "--ok")


def _fresh(rows: Sequence[Row], known: Collection[str]) -> list[Row]:
    """The rows that are neither recorded nor there twice (a sweep's run=0.json and its summary.json hold the same)."""
    taken, kept = set(known), []
    for row in rows:
        place = row.provenance
        if place.identity not in taken and not (place.formerly and place.formerly in taken):
            taken.add(place.identity)
            kept.append(row)
    return kept
