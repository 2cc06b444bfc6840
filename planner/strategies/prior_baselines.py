"""What people do with an old study today, as baselines for `prior:`. All use the first prior of the context.

prior_as_is     the old values, whatever is measured
prior_scaled    the old values times one factor, from five runs
prior_axis      the old study's points imported as another value of a category axis: our strategy without `prior:`
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from planner.ledger.observations import Observations, Run
from planner.models.prediction import Prediction
from planner.models.prior import Prior
from planner.space.grid import Grid
from planner.space.types import (
    Axis,
    Cost,
    FloatArray,
    Measurement,
    Point,
    Reading,
    Scale,
    Scope,
    Status,
    StudyError,
    Transform,
)
from planner.strategies.adaptive import AdaptiveStrategy
from planner.strategies.fixed_designs import RuleOfThumb, shuffled
from planner.strategies.settings import RUNS_TO_SCALE
from planner.strategies.strategy import Posterior, StrategyContext

__all__ = ["PriorAsIs", "PriorAxis", "PriorScaled"]

_ORIGIN: Final = "origin_of_run"


class PriorScaled(RuleOfThumb):
    """Random points; the old values times the geometric mean of new over old at the first five of them."""

    scaled = True

    def __init__(self, context: StrategyContext) -> None:
        super().__init__(context, shuffled(context))
        self._prior = _first(context)

    def posterior(self, observations: Observations) -> Posterior:
        """Old values, scaled or not, without intervals or an estimated accuracy."""
        return self._bare({target: self._values(target, observations) for target in self.context.targets}, observations)

    def _values(self, target: str, observations: Observations) -> FloatArray:
        old = self._prior.values[target]
        if not self.scaled or observations.metric(target).transform is not Transform.LOG:
            return old
        rows, runs, new = observations.first_readings(target)
        first = np.isin(runs, np.unique(runs)[:RUNS_TO_SCALE]) & np.isfinite(old[rows])
        if not first.any():
            return old
        factor: float = np.exp(np.mean(np.log(new[first] / old[rows[first]])))
        return old * factor


class PriorAsIs(PriorScaled):
    """Random points; the old values as they are."""

    scaled = False


class _WithoutControls(AdaptiveStrategy):
    """Ours; nothing is measured again, since an old point cannot be."""

    def _control(self, observations: Observations) -> int | None:
        return None


class PriorAxis:
    """Our strategy on a grid with one more category axis: old and new. What is old has been imported."""

    def __init__(self, context: StrategyContext) -> None:
        self._grid, prior = context.grid, _first(context)
        origin = Axis(_ORIGIN, ("new", "old"), Scope.WORKLOAD, Scale.CATEGORY)
        codes = np.vstack([np.column_stack([self._grid.codes, np.full(len(self._grid), code)]) for code in (0, 1)])
        self._both = Grid((*self._grid.axes, origin), codes)
        self._old = _imported(prior, self._grid, context.targets)
        self._inner = _WithoutControls(replace(
            context, grid=self._both, accelerators=np.tile(context.accelerators, 2), prices=None, priors=()))
        self._last: tuple[object, Observations] | None = None
        self._proposed: tuple[object, int | None] | None = None

    def propose(self, observations: Observations) -> int | None:
        """The next row of ours; asked twice, the same."""
        asked = observations.version, frozenset(observations.pending)
        if self._proposed is None or self._proposed[0] != asked:
            self._proposed = asked, self._next(observations)
        return self._proposed[1]

    def _next(self, observations: Observations) -> int | None:
        both = self._joined(observations)
        both.pending = set(observations.pending) | set(np.flatnonzero(~both.known[len(self._grid):]) + len(self._grid))
        row = self._inner.propose(both)
        return None if row is None or row >= len(self._grid) else row

    def posterior(self, observations: Observations) -> Posterior:
        """Predictions at the new points."""
        found, n = self._inner.posterior(self._joined(observations)), len(self._grid)
        values, low, high, std = ({name: column[:n] for name, column in part.items()} for part in (
            found.prediction.value, found.prediction.low, found.prediction.high, found.prediction.std))
        return replace(found, prediction=Prediction(values, low, high, std), feasibility=found.feasibility[:n])

    def is_due(self, observations: Observations) -> bool:
        """As ours, once something new is measured."""
        return bool(observations.measured.any()) and self._inner.is_due(self._joined(observations))

    def price(self, row: int, observations: Observations) -> float:
        """As ours."""
        return self._inner.price(row, self._joined(observations))

    def _joined(self, observations: Observations) -> Observations:
        """Old runs, then the new ones."""
        if self._last is None or self._last[0] != observations.version:
            runs = [*self._old, *(_at(run, "new") for run in observations.runs)]
            numbered = [replace(run, number=number) for number, run in enumerate(runs)]
            metrics = [observations.metric(target) for target in observations.targets]
            self._last = observations.version, Observations(self._both, metrics, numbered)
        return self._last[1]


def _first(context: StrategyContext) -> Prior:
    if not context.priors:
        raise StudyError("--strategies: needs a prior; add `prior:` to the study file")
    missing = [target for target in context.targets if target not in context.priors[0].values]
    if missing:
        raise StudyError(f"prior[0]: says nothing of {missing[0]}; name its metric by `map`")
    return context.priors[0]


def _imported(prior: Prior, grid: Grid, targets: tuple[str, ...]) -> list[Run]:
    """A run for each point that the prior knows."""
    runs = []
    for row in np.flatnonzero(np.all([np.isfinite(prior.values[target]) for target in targets], axis=0)):
        seconds = 1.0 if prior.seconds is None else float(np.exp(prior.seconds.mean[row]))
        point: Point = grid.point(int(row))
        reading = Reading(point, {target: (float(prior.values[target][row]),) for target in targets}, seconds)
        runs.append(_at(Run(0, point, Measurement(Status.OK, Cost(0.0, 0.0, seconds, 1.0), (reading,)),
                            imported=True), "old"))
    return runs


def _at(run: Run, origin: str) -> Run:
    readings = tuple(replace(reading, point={**reading.point, _ORIGIN: origin}) for reading in run.measurement.readings)
    return replace(run, point={**run.point, _ORIGIN: origin}, measurement=replace(run.measurement, readings=readings))
