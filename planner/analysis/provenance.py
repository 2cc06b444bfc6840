"""The origin of a report's numbers, and how to reproduce them."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from planner.campaign.setup import StudySetup
from planner.ledger.observations import Observations
from planner.space.address import command_without_passwords, shown

__all__ = ["Provenance", "provenance_of"]

_PACKAGES: Final = ("sweepwise", "optuna", "numpy", "scikit-learn", "plotly")


@dataclass(frozen=True, eq=False)
class Provenance:
    """Everything needed to check a report. seeds: of the study's first run, if recorded, and of the report."""

    study_file: str
    storage: str
    fingerprint: Mapping[str, str]
    environments: Sequence[str]
    versions: Mapping[str, str]
    planned_on: str
    run_seed: int | None
    seed: int
    commands: Sequence[str]
    written: str


def provenance_of(
    study: StudySetup, observations: Observations, fingerprint: Mapping[str, str], run_seed: int | None, path: Path,
    arguments: Sequence[str],
) -> Provenance:
    """The provenance of a report. fingerprint, run_seed: from the record. path: the study file.
    arguments: of `sweepwise report`, to repeat it."""
    file = shlex.quote(str(path))
    again = f"sweepwise run {file}" + (f" --seed {run_seed}" if run_seed else "")
    return Provenance(
        study.text, shown(study.storage), dict(fingerprint),
        sorted({run.measurement.environment for run in observations.runs} - {""}),
        {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}},
        f"{platform.system()} {platform.machine()}", run_seed, study.seed,
        [f"sweepwise validate {file}", again,
         command_without_passwords(["sweepwise", "report", *arguments])],
        datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
