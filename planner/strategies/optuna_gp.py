"""The baseline `optuna_gp`: Optuna's GPSampler proposes, our own grid model predicts.

GPSampler optimises: it searches for the best values of the targets (by expected hypervolume improvement if there are
several). Its aim is not to know the whole grid, but it is what a user of Optuna has. A run is a trial, a failed run a
failed trial. Its proposals are moved to the nearest point not yet measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from planner.ledger.observations import Observations
from planner.space.types import Direction, FloatArray, Status
from planner.strategies.fixed_designs import GridPosterior
from planner.strategies.strategy import StrategyContext
from planner.strategies.unit_cube import unit_cube

__all__ = ["OptunaGp"]


class OptunaGp(GridPosterior):
    """See the module. The study is rebuilt from the runs each time, so that the same runs give the same answer."""

    def __init__(self, context: StrategyContext) -> None:
        super().__init__(context)
        self._cube = unit_cube(context.grid)
        self._sizes = [f"x{i}" for i in range(self._cube.numeric.shape[1])]
        self._categories = [f"c{i}" for i in range(len(self._cube.levels))]
        self._space: dict[str, BaseDistribution] = {
            **{name: FloatDistribution(0, 1) for name in self._sizes},
            **{name: CategoricalDistribution(range(levels))
               for name, levels in zip(self._categories, self._cube.levels, strict=True)},
        }

    def propose(self, observations: Observations) -> int | None:
        """The open row nearest to the sampler's proposal; another category is as far as the other end of an axis."""
        rows = observations.open_rows
        if not len(rows):
            return None
        wish = self._wish(observations)
        numeric = np.array([wish[name] for name in self._sizes], dtype=float)
        category = np.array([wish[name] for name in self._categories], dtype=int)
        distance = ((self._cube.numeric[rows] - numeric) ** 2).sum(axis=1)
        return int(rows[np.argmin(distance + (self._cube.category[rows] != category).sum(axis=1))])

    def _wish(self, observations: Observations) -> dict[str, float]:
        seed = int(np.random.default_rng([self.context.seed, len(observations.runs)]).integers(2**31))
        directions = [StudyDirection.MAXIMIZE if observations.metric(target).direction is Direction.MAXIMIZE
                      else StudyDirection.MINIMIZE
                      for target in self.context.targets]
        values = np.column_stack([observations.column(target) for target in self.context.targets])
        with _hushed():
            study = optuna.create_study(directions=directions, sampler=optuna.samplers.GPSampler(seed=seed))
            study.add_trials([self._trial(row, run.measurement.status is Status.OK, values[row])
                              for run in observations.runs if (row := observations.grid.find(run.point)) is not None])
            wish: dict[str, float] = study.ask(self._space).params
        return wish

    def _trial(self, row: int, ran: bool, values: FloatArray) -> FrozenTrial:
        params = {**dict(zip(self._sizes, self._cube.numeric[row].tolist(), strict=True)),
                  **dict(zip(self._categories, self._cube.category[row].tolist(), strict=True))}
        # Optuna has no trials with some of their values: a trial with an undefined target is left out.
        if ran and np.isfinite(values).all():
            return create_trial(params=params, distributions=self._space, values=values.tolist())
        return create_trial(state=TrialState.FAIL, params=params, distributions=self._space)


@contextmanager
def _hushed() -> Iterator[None]:
    """Suppress Optuna's messages about created studies and faster packages."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
