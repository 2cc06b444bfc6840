"""The regressor of each quantity: what it may know of a point, and what one reading holds for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from planner.models.configuration_regressor import ConfigurationRegressor
from planner.models.prior import Prior, columns_for
from planner.models.prior_regressor import with_priors
from planner.models.quantities import Quantity
from planner.models.regressor import Regressor
from planner.space.grid import Grid
from planner.space.types import Features, Kind

__all__ = ["regressor_for"]


def regressor_for(
    quantity: Quantity, grid: Grid, trajectory: str | None, make: Callable[[Features], Regressor],
    priors: Sequence[Prior] = (),
) -> Regressor:
    """A new regressor of a quantity over the grid, built by `make`, with what old studies say of it."""
    features = _features(quantity, grid, trajectory)
    made = with_priors(make(features), features, columns_for(priors, quantity.name), grid.is_served)
    axes = quantity.depends_on
    return made if axes is None else ConfigurationRegressor(made, grid.combinations(axes))


def _features(quantity: Quantity, grid: Grid, trajectory: str | None) -> Features:
    if quantity.depends_on is not None:
        return grid.features_of(quantity.depends_on)
    if quantity.length_independent:
        return grid.features_without(trajectory)
    return grid.step_features if quantity.kind is Kind.STEP else grid.features
