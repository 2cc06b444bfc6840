"""How accurate a study's predictions were: against a measured grid, or on the points of an audit."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from planner.analysis import settings
from planner.campaign.audit import Audit, Drift
from planner.campaign.setup import StudySetup
from planner.evaluation.accuracy import Score, balanced_accuracy, score
from planner.evaluation.estimate import Estimate
from planner.evaluation.gains import Gains, gains
from planner.ledger.observations import Observations
from planner.space.types import BoolArray, FloatArray, IntArray, StudyError
from planner.strategies.strategy import Posterior
from planner.tables.axis_cells import kinds_of
from planner.tables.load import read_measured
from planner.tables.recorded import RecordedTable
from planner.tables.recorded_grid import Sweep
from planner.tables.table_file import read_table_file

__all__ = ["EvaluationReport", "TruthTable", "against_audit", "against_truth", "truth_values"]


@dataclass(frozen=True, slots=True)
class TruthTable:
    """A measured grid, and how it is read: renames, as `map` of a replay study; ok, a condition that successful rows
    meet; where, a condition of the rows in use."""

    path: Path
    renames: Mapping[str, str] = field(default_factory=dict)
    ok: str | None = None
    where: str | None = None


@dataclass(frozen=True, eq=False)
class EvaluationReport:
    """Scores and estimates by target, and the gains.

    kind: "truth" or "audit". interval: 90 % interval of the accuracy, by bootstrap over the audited points; absent
    against a whole grid. noise: mean |repeat − median| / median of the truth. failures: balanced accuracy.
    drift: how the study's own points have changed in the audit. failed: points that could not run, which are in no
    accuracy. notes: what the user should know of the truth, one line each. is_weighted: whether points count by a
    workload.
    """

    kind: str
    scores: Mapping[str, Score]
    estimates: Mapping[str, Estimate | None]
    gains: Gains
    interval: Mapping[str, tuple[float, float]]
    noise: Mapping[str, float]
    failures: float
    drift: Mapping[str, Drift] = field(default_factory=dict)
    failed: int = 0
    notes: tuple[str, ...] = ()
    is_weighted: bool = False

    @property
    def controls(self) -> int:
        """Number of the study's own points that an audit measured again."""
        return max((drift.controls for drift in self.drift.values()), default=0)

    @property
    def has_drifted(self) -> bool:
        """Whether the controls show that the machine has changed since the study."""
        return any(abs(math.log(drift.ratio)) > settings.DRIFT for drift in self.drift.values())

    def to_json(self) -> dict[str, Any]:
        """The form of `evaluate --json`."""
        targets = {
            target: {
                **asdict(result),
                "estimated": asdict(e) if (e := self.estimates.get(target)) else None,
                "interval90": self.interval.get(target), "truth_noise": self.noise.get(target),
                "drift": asdict(d) if (d := self.drift.get(target)) else None,
            }
            for target, result in self.scores.items()
        }
        return {"kind": self.kind, "targets": targets, "gains": asdict(self.gains),
                "failed": self.failed, "failure_balanced_accuracy": self.failures, "notes": list(self.notes)}


def against_truth(
    study: StudySetup, observations: Observations, posterior: Posterior, file: TruthTable, any_fingerprint: bool
) -> EvaluationReport:
    """Scores of the predictions on the measured grid in `file`.

    any_fingerprint: accept any fingerprint. Raises StudyError if the table cannot be read, or was measured under
    another fingerprint than the study.
    """
    table = _recorded(study, file)
    if not any_fingerprint:
        _check_fingerprint(study, observations, table, file.path)
    rows, there = _match(study, table)
    failed = np.zeros(len(study.grid), dtype=bool)
    failed[there] = table.failed[rows[there]]
    truth = {target: _scattered(table.truth(target), rows, there) for target in study.targets}
    plain, longest, measured = _measured_sweeps(study, posterior, table, rows, there)
    savings = gains(observations, plain, longest)
    return EvaluationReport(
        "truth", _scores(observations, posterior, truth), posterior.accuracy,
        Gains(savings.experiments, savings.time, savings.resource, savings.longest, not measured), {},
        {target: table.noise(target) for target in study.targets},
        balanced_accuracy(posterior.feasibility[there], failed[there], observations.known[there]),
        failed=int((failed & ~observations.known).sum()), notes=table.notes,
        is_weighted=posterior.weights is not None,
    )


def truth_values(study: StudySetup, path: Path) -> dict[str, FloatArray]:
    """Target → its values in the measured grid in `path`, (N,); NaN where the point failed or is absent."""
    table = _recorded(study, TruthTable(path))
    rows, there = _match(study, table)
    return {target: _scattered(table.truth(target), rows, there) for target in study.targets}


def against_audit(audit: Audit, observations: Observations, posterior: Posterior, seed: int) -> EvaluationReport:
    """Scores of the predictions on the points of an audit; other points do not count. seed: of the bootstrap for the
    interval."""
    audited = audit.audited
    truth = {target: audited.column(target) for target in audited.targets}
    rng = np.random.default_rng(seed)
    interval = {}
    for target, values in truth.items():
        relative = observations.metric(target).is_relative
        known = np.isfinite(values) & ((values != 0) | (not relative))  # as `score` has it
        ape = np.abs(posterior.prediction.value[target][known] - values[known])
        if relative:
            ape = ape / np.abs(values[known])
        if len(ape) > 1:
            means = ape[rng.integers(len(ape), size=(settings.BOOTSTRAPS, len(ape)))].mean(axis=1)
            interval[target] = (1 - float(np.quantile(means, 0.95)), 1 - float(np.quantile(means, 0.05)))
    return EvaluationReport(
        "audit", _scores(observations, posterior, truth), posterior.accuracy,
        gains(observations, posterior.plain, posterior.longest), interval,
        {target: _noise(audited, target) for target in truth},
        balanced_accuracy(posterior.feasibility, audited.failed, ~audited.known), audit.drift,
        int(audited.failed.sum()))


def _scores(observations: Observations, posterior: Posterior, truth: Mapping[str, FloatArray]) -> dict[str, Score]:
    prediction = posterior.prediction
    return {
        target: score(values, prediction.value[target], (prediction.low[target], prediction.high[target]),
                      observations.column(target), observations.known, observations.metric(target),
                      posterior.weights)
        for target, values in truth.items()
    }


def _check_fingerprint(study: StudySetup, observations: Observations, table: RecordedTable, path: Path) -> None:
    fingerprint = study.runner.fingerprint()
    if fingerprint.get("table_sha256") == table.sha256:
        return
    recorded = read_table_file(path, str(path), "--truth").columns.get("environment")
    there = {str(value) for value in recorded if value is not None} if recorded is not None else set()
    ours = {run.measurement.environment for run in observations.runs}
    if not there or not there <= ours:
        raise StudyError(f"--truth: {path} was measured under another fingerprint "
                         f"({', '.join(sorted(there)) or 'none recorded'}, not {', '.join(sorted(ours))}); "
                         "give one measured by this study's set-up, or add --allow-other-fingerprint")


def _recorded(study: StudySetup, file: TruthTable) -> RecordedTable:
    """The measured grid in the file. If the study replays this file, it is read with the study's settings: `where`,
    `status`, `map`, costs."""
    if not file.path.exists():
        raise StudyError(f"--truth: there is no file {file.path}; name a table of measurements")
    own = study.recorded_grid
    if own is not None and file == TruthTable(file.path) and _digest(file.path) == own.runner.table.sha256:
        return own.runner.table
    axes = {axis.name: axis.values for axis in study.grid.axes}
    return read_measured(file.path, axes, study.metrics, ok=file.ok, where=file.where, renames=file.renames,
                         kinds=kinds_of(study.grid.axes))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _match(study: StudySetup, table: RecordedTable) -> tuple[IntArray, BoolArray]:
    """For each grid row its number in the table, (N,), and whether the table has it, (N,)."""
    rows = np.full(len(study.grid), -1, dtype=np.int64)
    for row in range(len(study.grid)):
        try:
            rows[row] = table.find(study.grid.point(row))
        except KeyError:
            continue
    if not (rows >= 0).any():
        raise StudyError(f"--truth: {table.name} holds no point of this study's grid; give a table with its axes")
    return rows, rows >= 0


def _scattered(values: FloatArray, rows: IntArray, there: BoolArray) -> FloatArray:
    result = np.full(len(rows), np.nan)
    result[there] = values[rows[there]]
    return result


def _measured_sweeps(
    study: StudySetup, posterior: Posterior, table: RecordedTable, rows: IntArray, there: BoolArray
) -> tuple[Sweep, Sweep | None, bool]:
    """The plain sweep and the sweep of the longest runs, from the table's own seconds if it has them for every point,
    else predicted by the study; and whether they are measured."""
    starts = posterior.plain.starts_s, posterior.plain.starts_cost
    own = study.recorded_grid
    if own is not None and table is own.runner.table:
        sweep_of_all = own.plain_sweep
        seconds, devices = own.plain_seconds, own.accelerators
        starts = sweep_of_all.starts_s, sweep_of_all.starts_cost
    elif "seconds" not in table.metrics or not there.all():
        return posterior.plain, posterior.longest, False
    else:
        seconds = table.truth("seconds")[rows]
        devices = table.truth("accelerators")[rows] if "accelerators" in table.metrics else np.ones(len(rows))
    if not np.isfinite(seconds).all():
        return posterior.plain, posterior.longest, False

    def sweep(of: IntArray) -> Sweep:
        total, cost = float(seconds[of].sum()) + starts[0], float((seconds * devices)[of].sum()) + starts[1]
        return Sweep((total,) * 3, (cost,) * 3, *starts)

    axis = study.runner.trajectory_axis
    longest = sweep(_longest(study, axis)) if posterior.longest and axis else None
    return sweep(np.arange(len(rows))), longest, True


def _longest(study: StudySetup, axis: str) -> IntArray:
    """The grid rows with the largest value along the trajectory."""
    codes, lines = study.grid.codes[:, study.grid.position(axis)], study.grid.lines(axis)
    order = np.lexsort((codes, lines))
    last: IntArray = order[np.append(np.diff(lines[order]) > 0, True)]
    return last


def _noise(audited: Observations, target: str) -> float:
    relative = audited.metric(target).is_relative
    spread = []
    for repeats in audited.repeats(target).values():
        unit = abs(float(np.median(repeats))) if relative else 1.0
        if len(repeats) > 1 and unit > 0:
            spread.append(float(np.mean(np.abs(np.array(repeats) - np.median(repeats)))) / unit)
    return float(np.mean(spread)) if spread else float("nan")
