"""What is commonly used to predict what was never run, on the same descriptors as the study has. Nothing is tuned.

Every method learns the logarithm of a target. Numbers enter as their logarithm, as log(1 + x) where one is 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import LinearRegression

from planner.space.types import FloatArray
from studies.published.leave_out import Case, Fold, Predictor

__all__ = ["BASELINES"]


def _numbers(case: Case, points: pd.DataFrame) -> FloatArray:
    """Numeric axes, and the descriptors of the others, (n, d)."""
    columns = []
    for axis in case.axes:
        descriptors = case.descriptors(axis)
        if case.axes[axis].get("scale") != "category":
            columns.append(_logarithm(points[axis], case.table[axis]))
        for numbers in descriptors.values():
            columns.append(_logarithm(points[axis].map(numbers), pd.Series(numbers.values())))
    return np.column_stack(columns)


def _logarithm(values: pd.Series[Any], every: pd.Series[Any]) -> FloatArray:
    shift = 1.0 if float(every.min()) <= 0 else 0.0
    logarithm: FloatArray = np.log(values.to_numpy(dtype=float) + shift)
    return logarithm


def _fitted(make: Callable[[Case], Any]) -> Predictor:
    def predict(case: Case, fold: Fold) -> pd.DataFrame:
        known, asked = _numbers(case, fold.known), _numbers(case, fold.asked)
        found = {target: np.exp(make(case).fit(known, np.log(fold.known[target].to_numpy(dtype=float))).predict(asked))
                 for target in case.targets}
        return pd.DataFrame(found)

    return predict


def _median_of_others(case: Case, fold: Fold) -> pd.DataFrame:
    """The median over everything else that was measured at the same setting."""
    return _looked_up(case, fold, lambda rows: rows.median())


def _nearest(case: Case, fold: Fold) -> pd.DataFrame:
    """What the nearest of the others has at the same setting, by its descriptors over their spread."""
    descriptors = case.descriptors(case.left_out)
    everyone = sorted(case.table[case.left_out].unique())
    places = np.column_stack([_logarithm(pd.Series(everyone).map(numbers), pd.Series(numbers.values()))
                              for numbers in descriptors.values()])
    spread = places.std(axis=0)
    places = places / np.where(spread > 0, spread, 1.0)
    distance = np.linalg.norm(places - places[everyone.index(fold.value)], axis=1)
    order = {name: float(gap) for name, gap in zip(everyone, distance, strict=True)}
    return _looked_up(case, fold, lambda rows: rows.iloc[0], order)


def _looked_up(
    case: Case, fold: Fold, chosen: Callable[[pd.DataFrame], pd.Series[Any]], order: Mapping[str, float] | None = None
) -> pd.DataFrame:
    """`chosen` of the rows of the same setting; where nobody has it, of those of the nearest setting.

    The nearest: most categories in common, then the least distance of the numbers' logarithms.
    """
    known = fold.known
    if order is not None:
        known = known.iloc[known[case.left_out].map(order).argsort(kind="stable")]
    others = [axis for axis in case.axes if axis != case.left_out]
    categories = [axis for axis in others if case.axes[axis].get("scale") == "category"]
    numeric = [axis for axis in others if axis not in categories]
    logs = np.log1p(known[numeric].to_numpy(dtype=float))
    found = []
    for _, point in fold.asked.iterrows():
        gap = np.abs(logs - np.log1p(point[numeric].to_numpy(dtype=float))).sum(axis=1)
        unlike = (known[categories].to_numpy() != point[categories].to_numpy()).sum(axis=1)
        far = unlike * _FAR + gap
        found.append(chosen(known[far <= far.min() + 1e-9][list(case.targets)]))
    return pd.DataFrame(found).reset_index(drop=True)


_FAR: Final = 1e3  # farther than any two numbers of these tables are apart

BASELINES: Final[Mapping[str, Predictor]] = {
    "median of the others": _median_of_others,
    "nearest of the others": _nearest,
    "linear regression": _fitted(lambda _: LinearRegression()),
    "random forest": _fitted(lambda _: RandomForestRegressor(300, random_state=0)),
    "gradient boosting": _fitted(lambda _: HistGradientBoostingRegressor(random_state=0)),
}
