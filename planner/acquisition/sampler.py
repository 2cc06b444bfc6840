"""SweepSampler: sweepwise's strategy as an ordinary Optuna sampler, for a user's own objective."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from planner.acquisition.adaptive import AdaptiveStrategy
from planner.acquisition.strategy import Strategy, StrategyContext
from planner.ledger.observations import Observations, Run
from planner.space.grid import Grid
from planner.space.types import Cost, Measurement, Point, Reading, Status, Value

__all__ = ["SweepSampler"]


class SweepSampler(optuna.samplers.BaseSampler):
    """Proposes the grid points that tell most about the whole grid for each second they take.

    ::

        grid = full_grid([Axis("batch_size", (1, 2, 4, 8), scale=Scale.LOG)])
        study = optuna.create_study(sampler=SweepSampler(grid, seed=0))
        study.optimize(objective, n_trials=20)

    The objective suggests each axis by its name, by any suggest method whose range holds the axis' values. Every
    objective value is a quantity to learn, not to minimise. A trial's duration is its cost, a failed trial a point
    that cannot run. Once the whole grid is measured, points are drawn at random and a warning says so.

    Parameters
    ----------
    space : the grid.
    seed : of everything random.
    strategy : how points are chosen; sweepwise's own by default.
    accelerators : devices that a trial at a point occupies.
    """

    def __init__(
        self, space: Grid, *, seed: int = 0, strategy: Callable[[StrategyContext], Strategy] = AdaptiveStrategy,
        accelerators: Callable[[Point], float] = lambda _: 1.0,
    ) -> None:
        self.grid = space
        self._seed = seed
        self._make = strategy
        self._accelerators = accelerators
        self._strategy: Strategy | None = None
        self._seen: Observations | None = None
        self._taken: set[int] = set()
        self._points: dict[int, Mapping[str, Value]] = {}
        self._lock = threading.Lock()

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """None: every parameter is answered by `sample_independent`, whatever its distribution."""
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Nothing; see `infer_relative_search_space`."""
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """The chosen point's value on the axis `param_name`. Raises ValueError where the objective's range
        does not hold it, or the name is no axis."""
        with self._lock:
            point = self._points.get(trial._trial_id)
            if point is None:
                point = self._points[trial._trial_id] = self._choose(study)
        if param_name not in point:
            raise ValueError(f"{param_name}: is no axis of the space; suggest only {', '.join(point)}")
        value = point[param_name]
        if not param_distribution._contains(param_distribution.to_internal_repr(value)):
            raise ValueError(f"{param_name}: {value!r} is outside {param_distribution}; suggest the axis' values")
        return value

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Forget the trial's point."""
        self._points.pop(trial._trial_id, None)

    def _choose(self, study: optuna.Study) -> Mapping[str, Value]:
        seen = self._observe(study)
        if self._strategy is None:
            context = StrategyContext(self.grid, seen.targets, None, self._accelerators, self._seed)
            self._strategy = self._make(context)
        row = self._strategy.propose(seen)
        if row is None:
            warnings.warn("SweepSampler: every grid point is measured or under way; drawing at random", stacklevel=2)
            row = int(np.random.default_rng([self._seed, len(seen.runs)]).integers(len(self.grid)))
        return self.grid.point(row)

    def _observe(self, study: optuna.Study) -> Observations:
        """Take in the trials that have finished since the last look."""
        if self._seen is None:
            names = study.metric_names or [f"value_{i}" for i in range(len(study.directions))]
            self._seen = Observations(self.grid, tuple(names))
        for trial in study.get_trials(deepcopy=False):
            if trial.state.is_finished() and trial.number not in self._taken:
                self._taken.add(trial.number)
                self._seen.add(self._run(trial))
        points = [*(t.params for t in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))),
                  *self._points.values()]
        self._seen.pending = {row for row in map(self.grid.find, points) if row is not None}
        return self._seen

    def _run(self, trial: FrozenTrial) -> Run:
        assert self._seen is not None
        seconds = trial.duration.total_seconds() if trial.duration else 0.0
        inside = self.grid.find(trial.params) is not None
        cost = Cost(measure_s=seconds, accelerators=self._accelerators(trial.params) if inside else 1.0)
        if trial.state is not TrialState.COMPLETE or trial.values is None:
            return Run(trial.number, trial.params, Measurement(Status.FAILED, cost, reason="the trial failed"))
        metrics = {name: (value,) for name, value in zip(self._seen.targets, trial.values, strict=True)}
        readings = (Reading(trial.params, metrics, max(seconds, 1e-6)),)
        return Run(trial.number, trial.params, Measurement(Status.OK, cost, readings))
