"""Imported runs into the record: each once, all checked before the first is written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from planner.importers.placement import Imported
from planner.importers.rows import Row
from planner.ledger.ledger import Ledger

__all__ = ["ATTRIBUTE", "fresh_rows", "record_runs", "recorded_identities"]

ATTRIBUTE = "imported"
"""The trial's user attribute that says where an imported run came from."""


def recorded_identities(ledger: Ledger) -> set[str]:
    """What has been imported already, and was not discarded since."""
    gone = ledger.discarded
    return {
        identity
        for trial in ledger.study.get_trials(deepcopy=False)
        if trial.number not in gone and ATTRIBUTE in trial.user_attrs
        for identity in trial.user_attrs[ATTRIBUTE]["identities"]
    }


def fresh_rows(rows: Sequence[Row], known: Iterable[str]) -> list[Row]:
    """The rows that are neither recorded nor there twice (a sweep's run=0.json and its summary.json say the same)."""
    observations, kept = set(known), []
    for row in rows:
        if row.provenance.identity not in observations:
            observations.add(row.provenance.identity)
            kept.append(row)
    return kept


def record_runs(ledger: Ledger, runs: Iterable[Imported]) -> list[int]:
    """Write the runs; their trial numbers. Cut short, the same import again adds those that are missing."""
    return [ledger.add(run.point, run.measurement, {ATTRIBUTE: dict(run.origin)}) for run in runs]
