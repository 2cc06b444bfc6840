"""The record: an Optuna study in RDB storage, and nothing else.

A run is a trial: its parameters are the point, its values the targets, `user_attrs["measurement"]` the whole
measurement. The order of writes makes a kill at any moment harmless: the trial is RUNNING before the run starts, the
measurement is stored before the trial is finished, and a resume completes or closes unfinished trials.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Container, Mapping, Sequence
from typing import Any, Final

import optuna
from optuna.trial import FrozenTrial, TrialState

from planner.ledger.constraints import conditions_of, violations
from planner.ledger.endings import ending, metrics_at, report_trajectory
from planner.ledger.fingerprint import check_resumable
from planner.ledger.leases import Leases
from planner.ledger.observations import Observations
from planner.ledger.opening import Opening
from planner.ledger.optuna_private import (
    change_user_attrs,
    enqueued_params,
    open_trial,
    set_violations,
    violations_attribute,
)
from planner.ledger.run import IMPORTED, Run, Underway, begun_at
from planner.ledger.settled import METRICS_KEY, settled_metrics
from planner.ledger.stop_reason import stop_reason
from planner.ledger.storage import check_no_other_copy, open_storage, widen
from planner.ledger.worker import is_alive, is_given_up, this_worker
from planner.space.address import shown
from planner.space.grid import Grid
from planner.space.metrics import metric_named
from planner.space.types import Axis, Cost, Direction, Measurement, Metric, Point, Status, StudyError, Value

__all__ = ["Ledger"]

_DISCARDED: Final = "discarded"


class Ledger:
    """One study's record. Build it with `create_or_resume` (writes) or `existing` (reads, discards)."""

    def __init__(self, study: optuna.Study, axes: tuple[Axis, ...], targets: Sequence[str | Metric]) -> None:
        self.study = study
        self.axes = axes
        self.metrics = settled_metrics(study, targets)
        self.targets = tuple(metric.name for metric in self.metrics)
        self._values = {axis.name: {value: value for value in axis.values} for axis in axes}
        self._opening = Opening(study, axes)
        self._leases = Leases(study)
        self._engines: dict[str, int | None] = {}  # worker → the engine configuration that its last run left running
        self._slo = conditions_of(study.user_attrs.get("study_file", ""))

    @classmethod
    def existing(cls, storage: str, name: str, axes: tuple[Axis, ...], targets: Sequence[str | Metric]) -> Ledger:
        """The record of a study that must exist. targets: names, or metrics as the study file describes them. Raises
        StudyError."""
        opened = open_storage(storage, must_exist=True)
        check_no_other_copy(opened, name)
        try:
            return cls(optuna.load_study(study_name=name, storage=opened), axes, targets)
        except KeyError as error:
            problem = f"study.name: no study '{name}' in {shown(storage)}; `sweepwise run` creates it"
            raise StudyError(problem) from error

    @classmethod
    def create_or_resume(
        cls, storage: str, name: str, axes: tuple[Axis, ...], targets: Sequence[str | Metric],
        study_file: str, fingerprint: Mapping[str, str] | None,
    ) -> Ledger:
        """The record of a study: created, or resumed if targets and fingerprint are the same. Raises StudyError.

        fingerprint: None if nothing will be measured here (an import); the first run sets it.
        """
        opened = open_storage(storage)
        check_no_other_copy(opened, name)
        metrics = [metric_named(target) if isinstance(target, str) else target for target in targets]
        names = [metric.name for metric in metrics]
        study = optuna.create_study(
            storage=opened, study_name=name, directions=[_direction(metric) for metric in metrics], load_if_exists=True,
            sampler=optuna.samplers.RandomSampler(),
        )
        settled = [metric.to_json() for metric in settled_metrics(study, metrics)]

        def resumed(recorded: Mapping[str, Any]) -> dict[str, Any]:
            if "targets" in recorded:
                check_resumable(name, recorded, names, fingerprint)
            began = {"targets": names, "study_file": study_file, METRICS_KEY: recorded.get(METRICS_KEY, settled)}
            # Models added to the axis are added to the fingerprint.
            return began if fingerprint is None else {
                **began, "fingerprint": {**recorded.get("fingerprint", {}), **fingerprint}}

        change_user_attrs(study, resumed)
        if study.metric_names != names:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                study.set_metric_names(names)
        widen(study, axes)
        ledger = cls(study, axes, targets)
        ledger.close_interrupted()
        return ledger

    @property
    def stopped(self) -> str | None:
        """Why the last campaign ended; None if none did, or one is under way."""
        return stop_reason(self.study)

    @property
    def fingerprint(self) -> dict[str, str]:
        """The fingerprint of the study's measurements."""
        return dict(self.study.user_attrs.get("fingerprint", {}))

    def begin(self, point: Point, seed: int) -> tuple[optuna.Trial, Point]:
        """A new RUNNING trial, written in one go, and its point: `point`, or an enqueued point if there is one."""
        self._leases.keep()
        whose = {"worker": this_worker(), "seed": seed}
        trial = self._enqueued(point, whose)
        if trial is None:
            trial = self._opening.create(state=TrialState.RUNNING, params=dict(point), user_attrs=whose)
        return trial, self._point(trial.params)

    def begun(self, seed: int) -> tuple[optuna.Trial, Point] | None:
        """The RUNNING trial that this worker has begun with this seed, and its point; None without one."""
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if (trial.user_attrs.get("worker"), trial.user_attrs.get("seed")) == (this_worker(), seed):
                return open_trial(self.study, trial), self._point(trial.params)
        return None

    def finish(self, trial: optuna.Trial, measurement: Measurement, planner_s: float = 0.0) -> Run:
        """The finished run. Stores the measurement, then closes the trial."""
        number = trial.number
        try:
            self._store(trial, measurement, planner_s)
        except optuna.exceptions.UpdateFinishedTrialError:
            number = self._keep(trial, measurement, planner_s)
        return Run(number, self._point(trial.params), measurement, planner_s, begun_at(trial))

    def add(self, point: Point, measurement: Measurement, attributes: Mapping[str, Any]) -> int:
        """The trial number of a run made elsewhere, recorded in one transaction."""
        state, values = ending(self.targets, point, measurement)
        kept = {"measurement": measurement.to_json(), **attributes}
        if measurement.reason:
            kept["reason"] = measurement.reason
        missed = violations(self._slo, metrics_at(point, measurement))
        return self._opening.create(state=state, values=values, params=dict(point), user_attrs=kept,
                            system_attrs=violations_attribute(missed)).number

    def abandon(self, trial: optuna.Trial, reason: str) -> None:
        """Close a trial whose run was interrupted; it counts neither as a failure nor as a trial. A point that a person
        enqueued is enqueued again."""
        (taken,) = (t for t in self.study.get_trials(deepcopy=False) if t.number == trial.number)
        if asked := enqueued_params(taken):
            self.study.enqueue_trial(asked)
        self.finish(trial, Measurement(Status.INTERRUPTED, Cost(), reason=reason))

    def observations(self, grid: Grid) -> Observations:
        """Observations of all runs that were not discarded, in order; other processes' unfinished runs are pending."""
        observations = Observations(grid, self.metrics)
        self._take_in(observations)
        return observations

    def refresh(self, observations: Observations, before: optuna.Trial | None = None) -> None:
        """Add the runs that other processes have finished since, drop those that were discarded, and mark as pending
        what others are measuring: with `before`, only trials begun earlier than that one. Closes the trials of dead
        processes."""
        self.close_interrupted()
        self._take_in(observations, before)

    @property
    def has_doubtful(self) -> bool:
        """Whether a run counts as under way whose worker, on another machine, will soon be taken for dead."""
        return self._leases.doubtful

    @property
    def discarded(self) -> dict[int, str]:
        """Trial number → why it was taken back."""
        return {int(n): why for n, why in self.study.user_attrs.get(_DISCARDED, {}).items()}

    def discard(self, number: int, why: str) -> None:
        """Discard a run: it stays in the record but is no longer used. Raises StudyError."""
        trials = self.study.get_trials(deepcopy=False)
        if not 0 <= number < len(trials) or not trials[number].state.is_finished():
            raise StudyError(f"run {number}: is not a finished run of this study; `sweepwise status` lists them")

        def with_it(recorded: Mapping[str, Any]) -> dict[str, Any]:
            earlier = recorded.get(_DISCARDED, {})
            if str(number) in earlier:
                raise StudyError(f"run {number}: is discarded already; nothing to do")
            return {_DISCARDED: {**earlier, str(number): why}}

        change_user_attrs(self.study, with_it)

    def close_interrupted(self) -> None:
        """Complete or close the RUNNING trials of dead workers."""
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        alive = {t.number: not is_given_up(t) and is_alive(t.user_attrs.get("worker", "")) for t in running}
        lost = self._leases.lost([trial for trial in running if alive[trial.number] is None])
        for trial in running:
            if alive[trial.number] is False or trial.number in lost:
                self._close_for(trial)

    def _close_for(self, trial: FrozenTrial) -> None:
        left = open_trial(self.study, trial)
        # Another process may be closing it at the same time.
        with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
            if "measurement" in trial.user_attrs:
                measurement = Measurement.from_json(trial.user_attrs["measurement"])
                self._close(left, measurement, trial.intermediate_values)
            else:
                gone = Measurement(Status.INTERRUPTED, Cost(), reason="the process that ran it is gone")
                self._store(left, gone)

    def _take_in(self, observations: Observations, before: optuna.Trial | None = None) -> None:
        gone, underway = set(self.discarded), []
        observations.drop(gone)
        taken = {run.number for run in observations.runs} | gone
        trials = self.study.get_trials(deepcopy=False)
        last = len(trials)
        if before is not None and not enqueued_params(trials[before.number]):
            last = before.number  # numbers are in the order of beginning, but for those of points enqueued long before
        for trial in trials:
            worker = trial.user_attrs.get("worker", "")
            if trial.number in taken:
                continue
            if "measurement" in trial.user_attrs and trial.state.is_finished():
                run = self._run(trial)
                observations.add(run, elsewhere=True)
                self._engines[worker] = observations.left_running(run)
            elif trial.state is TrialState.RUNNING and trial.number < last and (
                    before is None or trial.number != before.number):
                underway.append(Underway(observations.grid.find(trial.params), self._engines.get(worker)))
        observations.underway = tuple(underway)
        observations.pending = {run.row for run in underway if run.row is not None}

    def _enqueued(self, point: Point, whose: Mapping[str, Any]) -> optuna.Trial | None:
        """A trial enqueued by a person, taken over; None if there is none. Trials with values off the axes are closed
        as failed."""
        while (taken := self._opening.take_over(point, whose)) is not None:
            trial, unknown = taken
            if not unknown:
                return trial
            said = ", ".join(f"{name} {value!r}" for name, value in unknown.items())
            reason = f"the enqueued point: {said} is not on the axis"
            self.finish(trial, Measurement(Status.FAILED, Cost(), reason=reason))
        return None

    def _point(self, params: Mapping[str, Any]) -> dict[str, Value]:
        """Recorded parameters with the axes' own types: an integer recorded as 2.0 is 2."""
        return {name: self._values.get(name, {}).get(value, value) for name, value in params.items()}

    def _run(self, trial: FrozenTrial) -> Run:
        attrs, point = trial.user_attrs, self._point(trial.params)
        measurement, planner_s = Measurement.from_json(attrs["measurement"]), float(attrs.get("planner_s", 0.0))
        return Run(trial.number, point, measurement, planner_s, begun_at(trial), IMPORTED in attrs)

    def _store(self, trial: optuna.Trial, measurement: Measurement, planner_s: float = 0.0) -> None:
        if planner_s:
            trial.set_user_attr("planner_s", round(planner_s, 6))
        if measurement.reason:
            trial.set_user_attr("reason", measurement.reason)
        trial.set_user_attr("measurement", measurement.to_json())
        self._close(trial, measurement)

    def _keep(self, trial: optuna.Trial, measurement: Measurement, planner_s: float) -> int:
        """The number of the trial that holds a measurement after another process has closed its own trial.

        That process assumed this one was dead, which can happen if two containers share a host name.
        """
        (closed,) = (t for t in self.study.get_trials(deepcopy=False) if t.number == trial.number)
        stored = closed.user_attrs.get("measurement", {})
        if stored == measurement.to_json() or measurement.status is Status.INTERRUPTED:
            return trial.number
        kept: dict[str, Any] = {key: closed.user_attrs[key] for key in ("worker", "seed") if key in closed.user_attrs}
        if planner_s:
            kept["planner_s"] = round(planner_s, 6)
        return self.add(self._point(trial.params), measurement, kept)

    def _close(self, trial: optuna.Trial, measurement: Measurement, reported: Container[int] = ()) -> None:
        report_trajectory(self.axes, self.targets, trial, measurement, reported)
        set_violations(trial, violations(self._slo, metrics_at(trial.params, measurement)))
        self._tell(trial.number, trial.params, measurement)

    def _tell(self, number: int, point: Point, measurement: Measurement) -> None:
        state, values = ending(self.targets, point, measurement)
        if values is None:
            self.study.tell(number, state=state, skip_if_finished=True)
        else:
            self.study.tell(number, values, skip_if_finished=True)


def _direction(metric: Metric) -> optuna.study.StudyDirection:
    """A direction for Optuna, which requires one for every value; nothing here depends on it."""
    maximize = metric.direction is Direction.MAXIMIZE
    return optuna.study.StudyDirection.MAXIMIZE if maximize else optuna.study.StudyDirection.MINIMIZE
