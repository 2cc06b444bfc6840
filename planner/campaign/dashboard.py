"""A study's record as the web application of optuna-dashboard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from planner.campaign.setup import StudySetup
from planner.space import plugins
from planner.space.types import StudyError

__all__ = ["Dashboard", "dashboard_of"]


@dataclass(frozen=True, eq=False)
class Dashboard:
    """application: for any WSGI server. page: the path of the study's page."""

    application: Any
    page: str


def dashboard_of(study: StudySetup) -> Dashboard:
    """The dashboard of a study that has a record. Raises StudyError where it has none, or the extra is missing."""
    from planner.ledger.storage import open_storage

    if not plugins.dashboard_installed():
        raise StudyError("dashboard: optuna-dashboard is not installed; pip install 'sweepwise[dashboard]'")
    from optuna_dashboard import wsgi

    from planner.ledger.optuna_private import study_id

    record = study.ledger().study
    return Dashboard(wsgi(open_storage(study.storage, must_exist=True)), f"dashboard/studies/{study_id(record)}")
