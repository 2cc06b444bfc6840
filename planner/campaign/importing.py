"""Other tools' results into the record: each run once, all checked before the first is written."""

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
"""The trial's user attribute that says where an imported run came from."""


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What an import added, or would add (dry_run).

    rows: of the files; known: those of them that are in the study already, or twice in the files. runs, failed: new
    runs, and those of them that failed. points: grid points measured. skipped: rows left out, by reason. cost_s:
    accelerator-seconds. notes: what a reader of the result should know. formats: of the files.
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
        """As `import --json` writes it."""
        return asdict(self)


def import_files(
    study: StudySetup, files: Sequence[Path], options: ImportOptions, form: str = "auto", dry_run: bool = False
) -> ImportResult:
    """What was added to the record, which is created where there is none: no runner is asked, nothing is measured.

    form: "auto" or a format of planner.importers. Raises StudyError before the first run is written, where a file
    cannot be read or a row has no place in the study.
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
    """Text that is a number as a number: an axis' values are told apart by their type."""
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
    """The rows that are neither recorded nor there twice (a sweep's run=0.json and its summary.json say the same)."""
    taken, kept = set(known), []
    for row in rows:
        if row.provenance.identity not in taken:
            taken.add(row.provenance.identity)
            kept.append(row)
    return kept


def record_runs(ledger: Ledger, runs: Iterable[Imported]) -> list[int]:
    """Write the runs; their trial numbers. Cut short, the same import again adds those that are missing."""
    return [ledger.add(run.point, run.measurement, {ATTRIBUTE: dict(run.origin)}) for run in runs]
