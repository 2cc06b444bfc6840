"""The record: an Optuna study in RDB storage, and nothing else.

A run is a trial: its parameters are the point, its values the targets, `user_attrs["measurement"]` the whole
measurement. Order of writing makes a kill at any moment harmless: the trial is RUNNING before the run starts, the
measurement is stored before the trial is told, and a resume completes or closes what it finds half done.
"""

from __future__ import annotations

import contextlib
import statistics
import warnings
from collections.abc import Container, Mapping, Sequence
from typing import Any, Final

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from planner.ledger.constraints import CONSTRAINTS_KEY, conditions_of, violations
from planner.ledger.fingerprint import differences
from planner.ledger.observations import Observations, Run
from planner.ledger.settled import METRICS_KEY, settled_metrics
from planner.ledger.storage import (
    distributions,
    finish_rebuild,
    grown,
    load_whole,
    open_storage,
    rebuild,
    recorded_distributions,
)
from planner.ledger.worker import is_alive, this_worker
from planner.space.grid import Grid
from planner.space.metrics import metric_named
from planner.space.types import Axis, Cost, Direction, Measurement, Metric, Point, Role, Status, StudyError

__all__ = ["Ledger"]

_DISCARDED: Final = "discarded"


class Ledger:
    """One study's record. Build it with `create_or_resume` (writes) or `existing` (reads, discards)."""

    def __init__(self, study: optuna.Study, axes: tuple[Axis, ...], targets: Sequence[str | Metric]) -> None:
        self.study = study
        self.axes = axes
        self.metrics = settled_metrics(study, targets)
        self.targets = tuple(metric.name for metric in self.metrics)
        self._distributions = distributions(axes, recorded_distributions(study))
        self._slo = conditions_of(study.user_attrs.get("study_file", ""))

    @classmethod
    def existing(cls, storage: str, name: str, axes: tuple[Axis, ...], targets: Sequence[str | Metric]) -> Ledger:
        """The record of a study that must be there. targets: names, or metrics as the study file describes them.

        Raises StudyError.
        """
        opened = open_storage(storage, must_exist=True)
        try:
            return cls(load_whole(opened, name), axes, targets)
        except KeyError as error:
            raise StudyError(f"study.name: no study '{name}' in {storage}; `sweepwise run` creates it") from error

    @classmethod
    def create_or_resume(
        cls, storage: str, name: str, axes: tuple[Axis, ...], targets: Sequence[str | Metric],
        study_file: str, fingerprint: Mapping[str, str] | None,
    ) -> Ledger:
        """Create the study, or go on with it where targets and fingerprint are the same. Raises StudyError.

        fingerprint: None where nothing will be measured here (an import); the first run sets it.
        """
        opened = open_storage(storage)
        finish_rebuild(opened, name)
        metrics = [metric_named(target) if isinstance(target, str) else target for target in targets]
        names = [metric.name for metric in metrics]
        study = optuna.create_study(
            storage=opened, study_name=name, directions=[_direction(metric) for metric in metrics], load_if_exists=True,
            sampler=optuna.samplers.RandomSampler(),
        )
        recorded = study.user_attrs
        if "targets" in recorded:
            _check_resumable(name, recorded, names, fingerprint)
        if "fingerprint" not in recorded:
            study.set_user_attr("targets", names)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                study.set_metric_names(names)
        if METRICS_KEY not in recorded:
            study.set_user_attr(METRICS_KEY, [metric.to_json() for metric in settled_metrics(study, metrics)])
        if recorded.get("study_file") != study_file:
            study.set_user_attr("study_file", study_file)
        # Models that joined the axis join the fingerprint.
        merged = {**recorded.get("fingerprint", {}), **(fingerprint or {})}
        if fingerprint is not None and recorded.get("fingerprint") != merged:
            study.set_user_attr("fingerprint", merged)
        if grown(study, axes):
            _check_alone(study)
            study = rebuild(study, opened, distributions(axes, recorded_distributions(study)))
        ledger = cls(study, axes, targets)
        ledger._close_interrupted()
        return ledger

    @property
    def fingerprint(self) -> dict[str, str]:
        """The fingerprint of the study's measurements."""
        return dict(self.study.user_attrs.get("fingerprint", {}))

    def begin(self, point: Point, seed: int) -> tuple[optuna.Trial, Point]:
        """Open a RUNNING trial at `point`; or at a point that somebody enqueued, which comes first."""
        claim = {"worker": this_worker(), "seed": seed}
        trial = self._enqueued(point, claim)
        if trial is None:
            # In one transaction: a RUNNING trial always says where it is and whose it is.
            template = optuna.trial.create_trial(
                state=TrialState.RUNNING, params=dict(point), distributions=self._distributions, user_attrs=claim)
            storage = self.study._storage
            trial = optuna.Trial(self.study, storage.create_new_trial(self.study._study_id, template))
        return trial, dict(trial.params)

    def finish(self, trial: optuna.Trial, measurement: Measurement, planner_s: float = 0.0) -> Run:
        """Store the measurement, then close the trial."""
        if planner_s:
            trial.set_user_attr("planner_s", round(planner_s, 6))
        if measurement.reason:
            trial.set_user_attr("reason", measurement.reason)
        trial.set_user_attr("measurement", measurement.to_json())
        self._close(trial, measurement)
        return Run(trial.number, dict(trial.params), measurement, planner_s)

    def add(self, point: Point, measurement: Measurement, attributes: Mapping[str, Any]) -> int:
        """Record a run that was made elsewhere, in one transaction; its trial number."""
        state, values = self._ending(point, measurement)
        kept = {"measurement": measurement.to_json(), **attributes}
        if measurement.reason:
            kept["reason"] = measurement.reason
        own = next((r.metrics for r in measurement.readings if dict(r.point) == dict(point)), {})
        missed = violations(self._slo, own)
        template = optuna.trial.create_trial(
            state=state, values=values, params=dict(point), distributions=self._distributions, user_attrs=kept,
            system_attrs={CONSTRAINTS_KEY: missed} if missed else None)
        storage = self.study._storage
        return storage.get_trial(storage.create_new_trial(self.study._study_id, template)).number

    def abandon(self, trial: optuna.Trial, reason: str) -> None:
        """Close a trial whose run was cut short: it counts neither as a failure nor as a trial."""
        measurement = Measurement(Status.INTERRUPTED, Cost(), reason=reason)
        self.finish(trial, measurement)

    def observations(self, grid: Grid) -> Observations:
        """All runs that were not discarded, in order, as the planner sees them; others' runs are pending."""
        observations = Observations(grid, self.metrics)
        self._take_in(observations)
        return observations

    def refresh(self, observations: Observations, before: optuna.Trial | None = None) -> None:
        """Take in what other processes have finished since, and what they are measuring: with `before`, only
        what they began earlier than that trial. Closes the trials of processes that are no more."""
        self._close_interrupted()
        self._take_in(observations, None if before is None else before.number)

    @property
    def discarded(self) -> dict[int, str]:
        """Trial number → why it was taken back."""
        return {int(n): why for n, why in self.study.user_attrs.get(_DISCARDED, {}).items()}

    def discard(self, number: int, why: str) -> None:
        """Take a run back: kept in the record, used no more. Raises StudyError."""
        trials = self.study.get_trials(deepcopy=False)
        if not 0 <= number < len(trials) or not trials[number].state.is_finished():
            raise StudyError(f"run {number}: is no finished run of this study; `sweepwise status` lists them")
        if number in self.discarded:
            raise StudyError(f"run {number}: is discarded already; nothing to do")
        self.study.set_user_attr(_DISCARDED, {**{str(n): w for n, w in self.discarded.items()}, str(number): why})

    def _take_in(self, observations: Observations, before: int | None = None) -> None:
        taken = {run.number for run in observations.runs} | set(self.discarded)
        observations.pending.clear()
        for trial in self.study.get_trials(deepcopy=False):
            if trial.number in taken:
                continue
            if "measurement" in trial.user_attrs and trial.state.is_finished():
                observations.add(_run(trial), elsewhere=True)
            elif trial.state is TrialState.RUNNING and (before is None or trial.number < before):
                row = observations.grid.find(trial.params)
                if row is not None:
                    observations.pending.add(row)

    def _enqueued(self, point: Point, claim: Mapping[str, Any]) -> optuna.Trial | None:
        """Take over the first trial that a person enqueued, `point` where it leaves an axis open."""
        self.study.sampler = _Given(point, self._distributions)
        for waiting in self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            storage = self.study._storage
            for key, value in claim.items():  # before it is RUNNING, so that nobody takes it for an orphan
                storage.set_trial_user_attr(waiting._trial_id, key, value)
            if not storage.set_trial_state_values(waiting._trial_id, TrialState.RUNNING):
                continue
            trial = optuna.Trial(self.study, waiting._trial_id)
            try:
                for name, distribution in self._distributions.items():
                    trial._suggest(name, distribution)
            except ValueError as error:
                self.finish(trial, Measurement(Status.FAILED, Cost(), reason=f"the enqueued point: {error}"))
                continue
            return trial
        return None

    def _close(self, trial: optuna.Trial, measurement: Measurement, reported: Container[int] = ()) -> None:
        self._report_trajectory(trial, measurement, reported)
        own = next((r.metrics for r in measurement.readings if dict(r.point) == trial.params), {})
        if missed := violations(self._slo, own):
            self.study._storage.set_trial_system_attr(trial._trial_id, CONSTRAINTS_KEY, missed)
        self._tell(trial.number, trial.params, measurement)

    def _tell(self, number: int, point: Point, measurement: Measurement) -> None:
        state, values = self._ending(point, measurement)
        if values is None:
            self.study.tell(number, state=state, skip_if_finished=True)
        else:
            self.study.tell(number, values, skip_if_finished=True)

    def _ending(self, point: Point, measurement: Measurement) -> tuple[TrialState, list[float] | None]:
        """How a trial with this measurement ends, and its values."""
        if measurement.status is not Status.OK:
            return TrialState.FAIL, None
        own = next((r.metrics for r in measurement.readings if dict(r.point) == dict(point)), {})
        values = [statistics.median(own[target]) for target in self.targets if own.get(target)]
        # A target that is undefined at the point (tpot at one output token) leaves the trial without values:
        # Optuna has no partial ones, and an invented number is worse than none.
        return (TrialState.COMPLETE, values) if len(values) == len(self.targets) else (TrialState.PRUNED, None)

    def _report_trajectory(self, trial: optuna.Trial, measurement: Measurement, reported: Container[int]) -> None:
        axis = next((a.name for a in self.axes if Role.OUTPUT_TOKENS in a.roles), None)
        if len(self.targets) != 1 or axis is None or len(measurement.readings) < 2:
            return
        for reading in measurement.readings:
            step = int(reading.point[axis])
            if step not in reported and (repeats := reading.metrics.get(self.targets[0])):
                trial.report(statistics.median(repeats), step)

    def _close_interrupted(self) -> None:
        """Complete or close the RUNNING trials of workers that are no more."""
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if is_alive(trial.user_attrs.get("worker", "")):
                continue
            left = optuna.Trial(self.study, trial._trial_id)
            # Another process may be closing it at the same time.
            with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
                if "measurement" in trial.user_attrs:
                    measurement = Measurement.from_json(trial.user_attrs["measurement"])
                    self._close(left, measurement, trial.intermediate_values)
                else:
                    self.abandon(left, "the process that ran it is gone")


class _Given(optuna.samplers.BaseSampler):
    """Hands Optuna the point that the planner chose: asking creates the trial and fixes the point in one go."""

    def __init__(self, point: Point, space: dict[str, BaseDistribution]) -> None:
        self._point = point
        self._space = space

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._space

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return dict(self._point)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._point[param_name]


def _direction(metric: Metric) -> optuna.study.StudyDirection:
    """Optuna wants one of every value; nothing of ours goes by it."""
    maximize = metric.direction is Direction.MAXIMIZE
    return optuna.study.StudyDirection.MAXIMIZE if maximize else optuna.study.StudyDirection.MINIMIZE


def _check_resumable(
    name: str, recorded: Mapping[str, Any], targets: list[str], fingerprint: Mapping[str, str] | None
) -> None:
    mend = "give the new study another name (study.name or --name)"
    if recorded.get("targets") != targets:
        raise StudyError(f"targets: study '{name}' was begun for {', '.join(recorded['targets'])}; {mend}")
    if fingerprint is None or "fingerprint" not in recorded:
        return
    if different := differences(recorded["fingerprint"], fingerprint):
        raise StudyError(f"study '{name}': its measurements do not fit what would run now "
                         f"({'; '.join(different)}); restore that, or {mend}")


def _check_alone(study: optuna.Study) -> None:
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if is_alive(trial.user_attrs.get("worker", "")):
            raise StudyError(f"study '{study.study_name}': another process is measuring for it, and new values on a "
                             "category axis need the study to themselves; run again when it has ended")


def _run(trial: FrozenTrial) -> Run:
    measurement = Measurement.from_json(trial.user_attrs["measurement"])
    return Run(trial.number, dict(trial.params), measurement, float(trial.user_attrs.get("planner_s", 0.0)))
