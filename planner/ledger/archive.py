"""The studies of ours that a database file holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import optuna

from planner.ledger.storage import open_storage

__all__ = ["ArchivedStudy", "archived_studies"]

_NOT_STUDIES: Final = (" (audit)", " (being rebuilt)")


@dataclass(frozen=True, slots=True)
class ArchivedStudy:
    """A study in a database. text: its study file, without passwords."""

    storage: str
    name: str
    text: str


def archived_studies(file: Path) -> list[ArchivedStudy]:
    """The studies of the SQLite database `file`, by name; audits, and studies that sweepwise did not make, are left
    out. Raises StudyError if it is no database of Optuna's."""
    storage = f"sqlite:///{file}"
    opened = open_storage(storage, must_exist=True)
    found = []
    for name in sorted(optuna.get_all_study_names(opened)):
        text = optuna.load_study(study_name=name, storage=opened).user_attrs.get("study_file")
        if isinstance(text, str) and not name.endswith(_NOT_STUDIES):
            found.append(ArchivedStudy(storage, name, text))
    return found
