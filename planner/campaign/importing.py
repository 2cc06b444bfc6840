"""Importing other tools' results into the record: each run once, all checked before the first is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from planner.campaign.setup import StudySetup
from planner.importers.placing.runs import Imported, ImportOptions, StudyContext, runs_of
from planner.importers.registry import check_format, read_rows
from planner.ledger.ledger import Ledger
from planner.ledger.run import IMPORTED
from planner.space.meaning import plain_value

__all__ = ["ImportResult", "import_files", "record_runs", "recorded_origins"]


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
    given = {axis: plain_value(value) if isinstance(value, str) else value for axis, value in options.given.items()}
    rows = [row for path in files for row in read_rows(path, form, given, options.renames)]
    found = runs_of(rows, _context(study), options)
    if not dry_run and found.runs:
        record_runs(study.create_for_import(), found.runs)
    readings = [reading for run in found.runs for reading in run.measurement.readings]
    return ImportResult(
        tuple(str(path) for path in files), len(rows), found.known, len(found.runs),
        sum(not run.measurement.readings for run in found.runs),
        len({tuple(reading.point.values()) for reading in readings}), dict(found.skipped),
        sum(run.measurement.cost.accelerator_seconds for run in found.runs), tuple(found.notes),
        tuple(sorted({row.provenance.format for row in rows})), dry_run)


def _context(study: StudySetup) -> StudyContext:
    settings = study.spec.runner.settings
    origins = recorded_origins(study.ledger()) if study.has_record() else []
    return StudyContext(
        study.grid, study.metrics, study.runner.accelerators, settings.get("accelerators") is not None,
        {key: value for key, value in settings.items() if isinstance(value, str | int | float)},
        {identity for origin in origins for identity in origin["identities"]},
        {origin["format"]: origin["settings"] for origin in origins if "settings" in origin})


def recorded_origins(ledger: Ledger) -> list[Mapping[str, Any]]:
    """Where each run came from that was imported before and has not been discarded since."""
    gone = ledger.discarded
    return [trial.user_attrs[IMPORTED] for trial in ledger.study.get_trials(deepcopy=False)
            if trial.number not in gone and IMPORTED in trial.user_attrs]


def record_runs(ledger: Ledger, runs: Iterable[Imported]) -> list[int]:
    """The trial numbers of the runs, once written. If interrupted, repeating the import adds the missing ones."""
    return [ledger.add(run.point, run.measurement, {IMPORTED: dict(run.origin)}) for run in runs]
