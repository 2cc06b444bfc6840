"""A study ready to use: spec, grid, runner and strategy, made from a study file."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from planner.acquisition.baseline_runs import first_of_baseline
from planner.campaign.study_grid import context_of, grid_of_spec
from planner.space.address import check_address
from planner.space.baseline import resolved_baseline
from planner.space.descriptors import known_numbers, numbers_missing
from planner.space.executor import Executor
from planner.space.grid import Grid
from planner.space.load import load_axis
from planner.space.metrics import check_given
from planner.space.plugins import runner_class
from planner.space.prior_spec import PriorSpec, prior_of_file
from planner.space.runner_hints import accelerators_of, check_evaluates, estimated_seconds, metrics_of
from planner.space.slo import Boundary, Condition, parse_condition
from planner.space.spec import StudySpec, parse_spec, read_spec, validate_model
from planner.space.study_text import text_to_keep
from planner.space.types import FloatArray, Metric, Runner, RunnerContext, StudyError, Value
from planner.space.workload import Workload, workload_of_options
from planner.tables.recorded_grid import RecordedGrid, RecordedRunner
from planner.tables.workload import PlacedWorkload, PointWeights, placed, point_weights

if TYPE_CHECKING:
    from planner.campaign.stopping import Limits
    from planner.evaluation.change import ChangeQuestion
    from planner.evaluation.choice import ChoiceQuestion
    from planner.ledger.ledger import Ledger
    from planner.ledger.observations import Observations
    from planner.models.prior import Prior
    from planner.strategies.strategy import Posterior, Strategy

__all__ = ["StudySetup", "open_setup"]


@dataclass(frozen=True)
class StudySetup:
    """Everything known about a study before its record is opened. `open_setup` builds it, and starts nothing.

    text: the study file, to be kept and shown: without passwords. notes: on the recorded table that the study replays,
    one line each. more_priors: those of the command line.
    """

    spec: StudySpec
    text: str
    directory: Path
    name: str
    storage: str = field(repr=False)
    seed: int
    settings: Any
    grid: Grid
    context: RunnerContext
    notes: tuple[str, ...] = ()
    more_priors: tuple[PriorSpec, ...] = ()

    @property
    def targets(self) -> tuple[str, ...]:
        """The metrics to predict."""
        return tuple(metric.name for metric in self.metrics)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The targets as the study file describes them."""
        return self.spec.metrics

    @cached_property
    def runner(self) -> Runner:
        """The runner, built on first use. Raises StudyError where its settings are wrong."""
        return runner_class(self.spec.runner.kind)(self.settings, self.context)

    @cached_property
    def accelerators(self) -> FloatArray:
        """Devices that a run of each grid point occupies, (N,)."""
        if self.recorded_grid is not None:
            return self.recorded_grid.accelerators
        return accelerators_of(self.runner, self.grid)

    @cached_property
    def prices(self) -> FloatArray | None:
        """Accelerator-seconds of a run of each point as the runner estimates them, (N,); None without an estimate."""
        seconds = estimated_seconds(self.runner, self.grid)
        return None if seconds is None else seconds * self.accelerators

    @cached_property
    def priors(self) -> tuple[Prior, ...]:
        """What old studies and tables say of the grid, learned on first use. Raises StudyError."""
        from planner.campaign.prior_record import recorded_priors

        kept = recorded_priors(self.ledger()) if self.has_record() else ()
        together = [*self.spec.prior, *kept, *self.more_priors]
        entries = [entry for i, entry in enumerate(together) if entry not in together[:i]]
        if not entries:
            return ()
        from planner.campaign.priors import learn_priors

        own = self.storage, self.name
        return learn_priors(entries, self.grid, self.metrics, self.directory, open_setup, own)

    @cached_property
    def workload(self) -> PlacedWorkload | None:
        """The study file's workload on the grid; None without one. Raises StudyError."""
        asked = Workload.of_entries(self.spec.workload)
        return placed(asked, self.grid, self.directory) if asked else None

    @cached_property
    def weights(self) -> PointWeights | None:
        """How much each grid point counts for the workload; None without one. Raises StudyError."""
        return None if self.workload is None else point_weights(self.workload, self.grid)

    def placed_workload(self, options: Sequence[str]) -> PlacedWorkload | None:
        """The workload of options of the command line or, without any, the study file's. Raises StudyError."""
        asked = workload_of_options(options)
        return placed(asked, self.grid, Path()) if asked else self.workload

    @property
    def prior_notes(self) -> tuple[str, ...]:
        """What each prior measured, and how it was read, one line each."""
        return tuple(note for prior in self.priors for note in (
            f"prior {prior.name}: {prior.points:,} points measured there", *prior.notes))

    @cached_property
    def recorded_grid(self) -> RecordedGrid | None:
        """The recording of the grid; None if the runner replays none."""
        return RecordedGrid(self.grid, self.runner) if isinstance(self.runner, RecordedRunner) else None

    def recorded(self) -> RecordedGrid:
        """The recording of the grid. Raises StudyError if there is none."""
        if self.recorded_grid is None:
            raise StudyError("runner.kind: simulate needs a recorded grid; use `kind: replay`")
        return self.recorded_grid

    def strategy(self, name: str) -> Strategy:
        """A new strategy by name. Raises StudyError."""
        from planner.strategies.registry import make_strategy, uses_trajectories
        from planner.strategies.strategy import StrategyContext

        trajectory = self.runner.trajectory_axis if uses_trajectories(name) else None
        context = StrategyContext(
            self.grid, self.targets, trajectory, self.accelerators, self.seed, self.prices, self.boundary, self.priors,
            self.difference, self.weights, first_of_baseline(self.grid, self.baseline, self.workload), self.choice)
        return make_strategy(name, context)

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """The service levels whose bounds are numbers, not relative to the baseline. Raises StudyError."""
        return tuple(condition for i, text in enumerate(self.spec.slo)
                     if not (condition := parse_condition(text, f"slo[{i}]")).of_baseline)

    @cached_property
    def baseline(self) -> Mapping[str, Value]:
        """The baseline's chosen values; empty without one. Raises StudyError."""
        return resolved_baseline(self.spec.baseline, self.grid)

    @property
    def boundary(self) -> Boundary | None:
        """What the study must find along the load; None if it is not asked for."""
        return self.spec.stop.parsed_boundary

    @property
    def difference(self) -> ChangeQuestion | None:
        """What differs from the first prior by more than how much; None if it is not asked for. Raises StudyError."""
        if self.spec.stop.difference is None:
            return None
        from planner.evaluation.change import ChangeQuestion, check_question

        check_question(self.priors, self.metrics)
        return ChangeQuestion(self.spec.stop.difference, self.spec.stop.difference_confidence)

    @cached_property
    def choice(self) -> ChoiceQuestion | None:
        """What the study must decide; None if that is not asked for. Raises StudyError."""
        from planner.campaign.choice import choice_asked

        return choice_asked(self.spec, self.grid, self.workload, self.accelerators)

    @property
    def clock(self) -> Callable[[], float] | None:
        """The clock that charges the planner's seconds; None for a replay, whose costs are recorded."""
        return time.perf_counter if self.recorded_grid is None else None

    def posterior(self, observations: Observations, strategy: str = "sweepwise") -> Posterior:
        """The posterior of a new strategy on `observations`, which have at least one measured point. Raises
        StudyError."""
        from threadpoolctl import threadpool_limits

        from planner.strategies.strategy import with_answers

        # The matrices are small: with many threads on a busy machine they take up to forty times as long.
        with threadpool_limits(limits=1):
            found = self.strategy(strategy).posterior(observations)
            return with_answers(found, self.boundary, self.choice, observations)

    def ledger(self) -> Ledger:
        """The record, which must exist. Raises StudyError. One object for all who ask: it reads no trial twice."""
        return self._existing

    @cached_property
    def _existing(self) -> Ledger:
        from planner.ledger.ledger import Ledger

        _hush_optuna()
        return Ledger.existing(self.storage, self.name, self.grid.axes, self.metrics)

    def has_record(self) -> bool:
        """Whether there is a record. An unreadable storage counts as none; opening it raises the error."""
        try:
            self.ledger()
        except StudyError:
            return False
        return True

    def create_or_resume(self, made_by: Runner | Executor | None = None) -> Ledger:
        """The record, created if there is none. made_by: what makes the runs, if not the runner here. Raises
        StudyError, also if the fingerprint differs."""
        from planner.campaign.prior_record import keep_priors
        from planner.ledger.ledger import Ledger

        _hush_optuna()
        ledger = Ledger.create_or_resume(
            self.storage, self.name, self.grid.axes, self.metrics, self.text, (made_by or self.runner).fingerprint())
        keep_priors(ledger, self.more_priors)
        return ledger

    def create_for_import(self) -> Ledger:
        """The record, created if there is none, of a study that measures nothing now: no runner is asked for its
        fingerprint, and the first run sets it. Raises StudyError."""
        from planner.ledger.ledger import Ledger

        _hush_optuna()
        return Ledger.create_or_resume(self.storage, self.name, self.grid.axes, self.metrics, self.text, None)

    def limits(self) -> Limits:
        """The limits at which to stop."""
        from planner.campaign.stopping import limits_of

        return limits_of(self.spec.stop, self.spec.price, self.boundary, self.choice)


def open_setup(
    path: Path, storage: str | None = None, name: str | None = None, seed: int = 0, text: str | None = None,
    priors: Sequence[str] = (),
) -> StudySetup:
    """The setup of a study file, checked. storage, name: override those of the file. priors: files beside those that it
    names. Raises StudyError."""
    if storage is not None:
        try:
            check_address(storage)
        except ValueError as error:
            raise StudyError(f"--storage: {error}") from None
    spec, text = read_spec(path) if text is None else (parse_spec(text, str(path)), text)
    directory = path.resolve().parent
    kind = runner_class(spec.runner.kind)
    settings = validate_model(kind.Config, spec.runner.settings, "runner")
    grid, notes = grid_of_spec(spec, directory, kind, settings, seed)
    missing = (numbers_missing(axis, known_numbers(axis, directory)) for axis in grid.axes)
    notes = (*notes, *filter(None, missing))
    context = context_of(spec, grid.axes, directory, seed)
    kept = text_to_keep(text, spec.study.storage, storage or spec.study.storage)
    study = StudySetup(
        spec, kept, directory, name or spec.study.name or path.stem, storage or spec.study.storage, seed, settings,
        grid, context, notes, tuple(prior_of_file(prior, directory) for prior in priors),
    )
    _check_metrics(study)
    if study.boundary is not None and load_axis(grid) is None:
        raise StudyError("stop.boundary: no axis is a load; give one `role: concurrency`, `role: rate` or `role: "
                         "batch`, and several values")
    return study


def _check_metrics(study: StudySetup) -> None:
    """Raises StudyError if the runner's settings are wrong, or it gives no such metric, or cannot evaluate."""
    check_evaluates(study.runner, study.spec.runner.kind, study.context.quality)
    given = metrics_of(study.runner)
    if given is None:
        return
    source = f"the runner '{study.spec.runner.kind}'"
    if problem := check_given(study.targets, given, source):
        raise StudyError(f"targets: {problem}")
    for i, text in enumerate(study.spec.slo):
        if problem := check_given([parse_condition(text, f"slo[{i}]").metric], given, source):
            raise StudyError(f"slo[{i}]: {problem}")


def _hush_optuna() -> None:
    """Silence Optuna's messages about created studies: we report those ourselves."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
