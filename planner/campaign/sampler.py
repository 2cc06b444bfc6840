"""SweepSampler: sweepwise's strategy as an ordinary Optuna sampler, for a user's own objective."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from planner.ledger.observations import Observations, Run
from planner.ledger.optuna_private import contains, enqueued_params, identity
from planner.space.grid import Grid
from planner.space.types import Cost, Measurement, Point, Reading, Status, Value
from planner.strategies.adaptive import AdaptiveStrategy
from planner.strategies.strategy import Strategy, StrategyContext

__all__ = ["SweepSampler"]


class SweepSampler(optuna.samplers.BaseSampler):
    """Proposes the grid points that reduce the variance of the whole grid most for each second they take.

    ::

        grid = full_grid([Axis("batch_size", (1, 2, 4, 8), scale=Scale.LOG)])
        study = optuna.create_study(sampler=SweepSampler(grid, seed=0))
        study.optimize(objective, n_trials=20)

    The objective suggests each axis by its name, by any suggest method whose range holds the axis' values. Every
    objective value is a quantity to learn, not to minimise. A trial's duration is its cost, a failed trial a point
    that cannot run. Trials that are running (other threads, other processes) count as if they were measured, so that
    each next point adds to them. Once the whole grid is measured, points are drawn at random, with a warning.

    Parameters
    ----------
    space : the grid.
    seed : of everything random.
    strategy : how points are chosen; sweepwise's own by default.
    accelerators : devices that a trial at a point occupies; one by default.
    """

    def __init__(
        self, space: Grid, *, seed: int = 0, strategy: Callable[[StrategyContext], Strategy] = AdaptiveStrategy,
        accelerators: Callable[[Point], float] | None = None,
    ) -> None:
        self.grid = space
        self._seed = seed
        self._make = strategy
        # Devices of each point, (N,), computed once.
        self._devices = np.ones(len(space)) if accelerators is None else np.array(
            [accelerators(space.point(row)) for row in range(len(space))], dtype=np.float64)
        self._constant = {axis.name: axis.values[0] for axis in space.axes if len(axis.values) == 1}
        self._lock = threading.Lock()
        self._forget()

    def _forget(self) -> None:
        self._study: tuple[optuna.storages.BaseStorage, int] | None = None
        self._strategy: Strategy | None = None
        self._observations: Observations | None = None
        self._taken: set[int] = set()
        self._points: dict[int, Mapping[str, Value]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """The state without the lock, and without data that the study's storage has."""
        return {**vars(self), "_lock": None, "_study": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._lock = threading.Lock()

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Empty: every parameter comes from `sample_independent`, whatever its distribution."""
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Empty; see `infer_relative_search_space`."""
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """The chosen point's value on the axis `param_name`. Raises ValueError if the objective's range does not
        contain it, or the name is not an axis."""
        with self._lock:
            self._enter(study)
            point = self._points.get(trial.number)
            if point is None:
                point = self._points[trial.number] = self._choose(study)
        if param_name not in point:
            raise ValueError(f"{param_name}: is not an axis of the space; suggest only {', '.join(point)}")
        value = point[param_name]
        if not contains(param_distribution, value):
            raise ValueError(f"{param_name}: {value!r} is outside {param_distribution}; suggest the axis' values")
        return value

    def _enter(self, study: optuna.Study) -> None:
        """Discard all state if the study is not the one before."""
        present = identity(study)
        if self._observations is not None and self._study == present:
            return
        self._forget()
        self._study = present
        names = study.metric_names or [f"value_{i}" for i in range(len(study.directions))]
        self._observations = Observations(self.grid, tuple(names))

    def _choose(self, study: optuna.Study) -> Mapping[str, Value]:
        observations = self._observe(study)
        if self._strategy is None:
            context = StrategyContext(
                self.grid, observations.targets, None, self._devices, self._seed)
            self._strategy = self._make(context)
        row = self._strategy.propose(observations)
        if row is None:
            warnings.warn("SweepSampler: every grid point is measured or under way; drawing at random", stacklevel=2)
            row = int(np.random.default_rng([self._seed, len(observations.runs)]).integers(len(self.grid)))
        return self.grid.point(row)

    def _observe(self, study: optuna.Study) -> Observations:
        """The observations, with all trials finished by now; the others are pending."""
        assert self._observations is not None
        pending = []
        for trial in study.get_trials(deepcopy=False):
            if not trial.state.is_finished():
                pending.append(self._point(trial))
            elif trial.number not in self._taken:
                self._taken.add(trial.number)
                self._observations.add(self._run(trial))
                self._points.pop(trial.number, None)
        self._observations.pending = {row for row in map(self.grid.find, pending) if row is not None}
        return self._observations

    def _point(self, trial: FrozenTrial) -> Mapping[str, Value]:
        """The point of a trial: suggested values, else values reserved for it, else values that cannot differ."""
        return {**self._constant, **self._points.get(trial.number, {}), **enqueued_params(trial), **trial.params}

    def _run(self, trial: FrozenTrial) -> Run:
        assert self._observations is not None
        seconds = trial.duration.total_seconds() if trial.duration else 0.0
        point = self._point(trial)
        row = self.grid.find(point)
        cost = Cost(measure_s=seconds, accelerators=1.0 if row is None else float(self._devices[row]))
        if trial.state is not TrialState.COMPLETE or trial.values is None:
            return Run(trial.number, point, Measurement(Status.FAILED, cost, reason="the trial failed"))
        metrics = {name: (value,) for name, value in zip(self._observations.targets, trial.values, strict=True)}
        readings = (Reading(point, metrics, max(seconds, 1e-6)),)
        return Run(trial.number, point, Measurement(Status.OK, cost, readings))
