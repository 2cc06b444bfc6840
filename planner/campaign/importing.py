"""Importing other tools' results into the record: each run once, all checked before the first is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from planner.campaign.setup import StudySetup
from planner.importers.placement import Imported, ImportOptions, runs_of
from planner.importers.registry import check_format, read_rows
from planner.importers.rows import Row, scalar
from planner.ledger.ledger import Ledger
from planner.space.types import Value

__all__ = ["ATTRIBUTE", "ImportResult", "fresh_rows", "import_files", "record_runs", "recorded_identities"]

ATTRIBUTE = "imported"
"""The trial's user attribute with the origin of an imported run."""


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What an import added, or would add (dry_run).

    rows: of the files; known: rows that are in the study already, or twice in the files. runs, failed: new
    runs, and those of them that failed. points: grid points measured. skipped: rows left out, by reason. cost_s:
    accelerator-seconds. notes: remarks for the user. formats: of the files.
    """

    files: tuple[str, ...]
    rows: int
    known: int
    runs: int
    failed: int
    points: int
    skipped: Mapping[str, int]
    cost_s: float
    notes: tuple[str, ...]
    formats: tuple[str, ...]
    dry_run: bool

    def to_json(self) -> dict[str, Any]:
        """The form of `import --json`."""
        return asdict(self)


def import_files(
    study: StudySetup, files: Sequence[Path], options: ImportOptions, form: str = "auto", dry_run: bool = False
) -> ImportResult:
    """What was added to the record, which is created if there is none. No runner is used, nothing is measured.

    form: "auto" or a format of planner.importers. Raises StudyError before the first run is written, if a file cannot
    be read or a row cannot be placed in the study.
    """
    check_format(form)
    options = replace(options, given={axis: _value(value) for axis, value in options.given.items()})
    rows = [row for path in files for row in read_rows(path, form, options.given, options.renames)]
    fixed = {key: value for key, value in study.spec.runner.settings.items() if isinstance(value, str | int | float)}
    known = recorded_identities(study.ledger()) if study.has_record() else set()
    fresh = fresh_rows(rows, known)
    found = runs_of(fresh, study.grid, study.targets, options, fixed, study.runner.accelerators)
    if not dry_run and found.runs:
        record_runs(study.create_for_import(), found.runs)
    readings = [reading for run in found.runs for reading in run.measurement.readings]
    return ImportResult(
        tuple(str(path) for path in files), len(rows), len(rows) - len(fresh), len(found.runs),
        sum(not run.measurement.readings for run in found.runs),
        len({tuple(reading.point.values()) for reading in readings}), dict(found.skipped),
        sum(run.measurement.cost.accelerator_seconds for run in found.runs), tuple(found.notes),
        tuple(sorted({row.provenance.format for row in rows})), dry_run)


def _value(value: Value) -> Value:
    """The value, numeric text as a number: values of an axis are distinguished by type."""
    known = scalar(value)
    return value if known is None else known


def recorded_identities(ledger: Ledger) -> set[str]:
    """Identities of the rows that were imported before and have not been discarded since."""
    gone = ledger.discarded
    return {
        identity
        for trial in ledger.study.get_trials(deepcopy=False)
        if trial.number not in gone and ATTRIBUTE in trial.user_attrs
        for identity in trial.user_attrs[ATTRIBUTE]["identities"]
    }


def fresh_rows(rows: Sequence[Row], known: Iterable[str]) -> list[Row]:
    """The rows that are neither recorded nor there twice (a sweep's run=0.json and its summary.json hold the same)."""
    taken, kept = set(known), []
    for row in rows:
        if row.provenance.identity not in taken:
            taken.add(row.provenance.identity)
            kept.append(row)
    return kept


def record_runs(ledger: Ledger, runs: Iterable[Imported]) -> list[int]:
    """The trial numbers of the runs, once written. If interrupted, repeating the import adds the missing ones."""
    return [ledger.add(run.point, run.measurement, {ATTRIBUTE: dict(run.origin)}) for run in runs]
