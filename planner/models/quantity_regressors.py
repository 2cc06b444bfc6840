"""The regressors of a grid's quantities: what each is built from, and fitted to.

Notation: N grid points; n readings.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from planner.models.configuration_regressor import ConfigurationRegressor
from planner.models.imported_regressor import ImportedRegressor, OldSurface
from planner.models.imported_values import ImportedValue, without_axis
from planner.models.latency_models import QuantityLatencies
from planner.models.prior import Prior, columns_for
from planner.models.prior_regressor import PriorRegressor, with_priors
from planner.models.quantities import Data, Quantity
from planner.models.regressor import Regressor
from planner.space.grid import Grid
from planner.space.types import BoolArray, Features, Kind

__all__ = ["QuantityRegressors"]


@dataclass(frozen=True, eq=False)
class _Learned:
    """An old surface, the readings that it was learned from, and what goes on when there are more."""

    data: Data
    surface: OldSurface
    learner: QuantityRegressors

    def is_of(self, data: Data) -> bool:
        return all(np.array_equal(getattr(self.data, part), getattr(data, part)) for part in ("rows", "runs", "values"))


class QuantityRegressors:
    """Builds and fits them; it keeps what imported values were found to say, and each regressor is its caller's.

    make: builds a regressor for features. priors: what old studies say of the grid.
    """

    def __init__(
        self, grid: Grid, trajectory: str | None, make: Callable[[Features], Regressor], priors: Sequence[Prior] = ()
    ) -> None:
        self._grid, self._trajectory, self._make, self._priors = grid, trajectory, make, priors
        self._length_independent_features = grid.features_without(trajectory) if trajectory else grid.features
        self._latencies = QuantityLatencies(grid)
        self._learned: dict[tuple[str, str], _Learned] = {}

    def fitted(
        self, before: Regressor | None, quantity: Quantity, used: Data, every: Data,
        imported: Sequence[ImportedValue] = (),
    ) -> Regressor:
        """The regressor of a quantity, fitted to the readings `used`; `before`, that of the last fit, goes on where it
        can. every: all readings, for the latency model. imported: values that are priors of the others."""
        elsewhere: BoolArray = np.any([value.inside for value in imported], axis=0) if imported else np.zeros(
            len(self._grid), dtype=bool)
        here = ~elsewhere[used.rows]
        # One reading of what depends on some axes alone holds for many points: there is no surface to carry over.
        carried = imported if quantity.depends_on is None and here.any() else ()
        old = [self._old(quantity, used, value) for value in carried if value.inside[used.rows].any()]
        if old:
            every = every.at(np.flatnonzero(~elsewhere[every.rows]))
        goes_on = before.is_of(old) if isinstance(before, ImportedRegressor) else not old
        regressor = before if before is not None and goes_on else self._new(quantity, old)
        # The readings of one run share a run effect: taken as independent, they make intervals too narrow.
        run_effect = self._trajectory is not None and not quantity.length_independent
        return regressor.fit(used.rows, used.values, used.runs, used.noise, run_effect,
                             self._latencies.logarithm(quantity, every), used.ages)

    def _new(self, quantity: Quantity, old: Sequence[OldSurface]) -> Regressor:
        features = self._features(quantity)
        columns = [*columns_for(self._priors, quantity.name), *(surface.column for surface in old)]
        regressor = with_priors(self._make(features), features, columns, self._grid.is_served)
        if quantity.depends_on is not None:
            return ConfigurationRegressor(regressor, self._grid.combinations(quantity.depends_on))
        return ImportedRegressor(old, regressor) if isinstance(regressor, PriorRegressor) and old else regressor

    def _old(self, quantity: Quantity, data: Data, value: ImportedValue) -> OldSurface:
        """What the value's readings say of every point, as if the axis were not there. Learned when they change."""
        data, key = data.at(np.flatnonzero(value.inside[data.rows])), (quantity.name, value.name)
        known = self._learned.get(key)
        if known is None or not known.is_of(data):
            grid, place = without_axis(self._grid, value.axis)
            learner = known.learner if known else QuantityRegressors(grid, self._trajectory, self._make)
            # No ages: when another tool measured says nothing of how this machine changes.
            there = Data(place[data.rows], data.values, data.runs, data.noise, data.excess)
            before = copy.copy(known.surface.regressor) if known else None
            surface = OldSurface(value, learner.fitted(before, quantity, there, there), grid, place, there.rows)
            known = self._learned[key] = _Learned(data, surface, learner)
        return known.surface

    def _features(self, quantity: Quantity) -> Features:
        if quantity.depends_on is not None:
            return self._grid.features_of(quantity.depends_on)
        if quantity.length_independent:
            return self._length_independent_features
        return self._grid.step_features if quantity.kind is Kind.STEP else self._grid.features
