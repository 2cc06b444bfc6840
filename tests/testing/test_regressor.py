"""The regressors' suite: ours keep the contract, and each way of breaking it is reported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import numpy as np
import pytest

from planner.models.regressor import ALL, Regressor, check_readings
from planner.space.types import Features, FloatArray, IntArray
from planner.testing import check_regressor


class Sound:
    """The mean of the readings of each row, else of all. Subclasses break one thing each."""

    drift_ = None

    def __init__(self, features: Features) -> None:
        self.features = features

    def fit(
        self, rows: IntArray, y: FloatArray, runs: IntArray, noise: FloatArray | None = None,
        run_effect: bool = False, latency_model: FloatArray | None = None, ages: FloatArray | None = None,
    ) -> Self:
        check_readings(len(self.features), rows, y, runs, noise, latency_model)
        self.mean_ = np.full(len(self.features), y.mean())
        for row in np.unique(rows):
            self.mean_[row] = y[rows == row].mean()
        self.noise_ = float(np.std(y)) + 0.1
        later = np.unique(runs)[len(np.unique(runs)) // 2]
        self.forecasts_ = np.where(runs < later, np.nan, y.mean())
        return self

    def predict(self, rows: IntArray | slice = ALL) -> tuple[FloatArray, FloatArray]:
        return self.mean_[rows].copy(), np.full(len(self.mean_[rows]), self.noise_)

    def one_step_ahead(self) -> tuple[FloatArray, FloatArray] | None:
        return self.forecasts_.copy(), np.where(np.isnan(self.forecasts_), np.nan, self.noise_)

    def covariance(self, rows: IntArray, others: IntArray) -> FloatArray | None:
        return np.equal.outer(rows, others).astype(np.float64)


def test_a_sound_regressor_passes() -> None:
    check_regressor(Sound)


def test_a_regressor_that_forecasts_nothing_passes() -> None:
    class Silent(Sound):
        def one_step_ahead(self) -> None:
            return None

        def covariance(self, rows: IntArray, others: IntArray) -> None:
            return None

    check_regressor(Silent)


def altered(method: str, change: Callable[[Any], Any]) -> dict[str, Any]:
    """What `method` gives, changed."""
    return {method: lambda self, *given, **more: change(getattr(Sound, method)(self, *given, **more))}


def after_fit(change: Callable[[Any], None]) -> dict[str, Any]:
    """Something more is done by `fit`."""
    def fit(self: Any, *given: Any, **more: Any) -> Any:
        Sound.fit(self, *given, **more)
        change(self)
        return self
    return {"fit": fit}


def greedy(self: Any, rows: IntArray, y: FloatArray, *given: Any, **more: Any) -> Any:
    Sound.fit(self, rows, y, *given, **more)
    y -= y.mean()
    return self


def first_only(self: Any, *given: Any, **more: Any) -> Any:
    if not hasattr(self, "mean_"):
        Sound.fit(self, *given, **more)
    return self


def at_first_only(self: Any, *given: Any, **more: Any) -> Any:
    """Learns, keeps its forecasts up to date, and predicts as it did at first."""
    mean = getattr(self, "mean_", None)
    Sound.fit(self, *given, **more)
    self.mean_ = self.mean_ if mean is None else mean
    return self


def unchecked(self: Any, rows: IntArray, y: FloatArray, runs: IntArray, *_: Any, **__: Any) -> Any:
    rows, runs = np.clip(rows, 0, 23), runs[: len(y)]
    if not len(rows):
        rows, y, runs = np.array([0]), np.array([0.0]), np.array([0])
    rows, y = rows[: len(y)], np.nan_to_num(y, posinf=0.0)
    return Sound.fit(self, rows, y, runs)


def other_error(self: Any, rows: IntArray, y: FloatArray, runs: IntArray, *given: Any, **more: Any) -> Any:
    if not len(rows):
        raise KeyError("no reading")
    return Sound.fit(self, rows, y, runs, *given, **more)


def forgetful(self: Any, rows: Any = ALL) -> Any:
    mean, std = Sound.predict(self, rows)
    self.mean_ = self.mean_ + 1
    return mean, std


def wider_for_some(self: Any, rows: Any = ALL) -> Any:
    mean, std = Sound.predict(self, rows)
    return mean, std if isinstance(rows, slice) else 2 * std


def disturbing(self: Any, rows: IntArray, others: IntArray) -> Any:
    self.mean_ = self.mean_ + 1
    return Sound.covariance(self, rows, others)


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "not self": (altered("fit", lambda _: None), "return self"),
    "changes y": ({"fit": greedy}, "must not change their arguments"),
    "learns once": ({"fit": first_only}, "shape|50 higher"), "predicts once": ({"fit": at_first_only}, "50 higher"),
    "checks nothing": ({"fit": unchecked}, "must raise ValueError for no reading, and takes it"),
    "raises otherwise": ({"fit": other_error}, "not KeyError"),
    "no noise": (after_fit(lambda self: setattr(self, "noise_", 0.0)), "noise_ must be above 0"),
    "noise of nothing": (after_fit(lambda self: setattr(self, "noise_", np.nan)), "noise_ must be"),
    "noises": (after_fit(lambda self: setattr(self, "noise_", self.mean_ + 99)), "noise_ must be"),
    "random": (after_fit(lambda self: setattr(self, "mean_", self.mean_ + np.random.random())), "seed what is random"),
    "readings only": (altered("predict", lambda said: (said[0][:3], said[1][:3])), "shape"),
    "infinite": (altered("predict", lambda said: (said[0] * np.inf, said[1])), "finite"),
    "certain": (altered("predict", lambda said: (said[0], 0 * said[1])), "above 0"),
    "its own arrays": ({"predict": lambda self, _=ALL: (self.mean_, np.full(len(self.mean_), self.noise_))},
                       "belong to"),
    "always all": ({"predict": lambda self, _=ALL: Sound.predict(self)}, "of some rows"),
    "other numbers": ({"predict": wider_for_some}, "of some rows"),
    "drifts": ({"predict": forgetful}, "asked again"),
    "forecasts of all points": (altered("one_step_ahead", lambda _: (np.ones(24), np.ones(24))), "shape"),
    "forecasts of the past": (altered("one_step_ahead", lambda said: tuple(map(np.nan_to_num, said))), "earlier half"),
    "certain forecasts": (altered("one_step_ahead", lambda said: (said[0], 0 * said[1])), "above 0"),
    "half a forecast": (altered("one_step_ahead", lambda said: (said[0], said[1] * np.nan)), "together"),
    "endless forecasts": (altered("one_step_ahead", lambda said: (said[0] * np.inf, said[1])), "finite or NaN"),
    "moody forecasts": (altered("one_step_ahead", lambda said: (said[0] + np.random.random(), said[1])), "other numb"),
    "transposed": (altered("covariance", lambda said: said.T), "covariance must have the shape"),
    "not symmetric": (altered("covariance", lambda said: said + np.arange(said.shape[1])), "symmetric"),
    "negative": (altered("covariance", lambda said: -said), "negative"),
    "covariance of nothing": (altered("covariance", lambda said: said * np.nan), "finite"),
    "covariance changes it": ({"covariance": disturbing}, "changes what is predicted"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_regressor_is_reported(name: str) -> None:
    members, says = BROKEN[name]
    broken: Any = type("Broken", (Sound,), members)
    with pytest.raises(AssertionError, match=says):
        check_regressor(broken)


def ours() -> dict[str, Callable[[Features], Regressor]]:
    from functools import partial

    from planner.models import forest
    from planner.models.ensemble import Ensemble

    return {"ensemble": Ensemble, "base": partial(Ensemble, only=0), "last": partial(Ensemble, only=-1),
            "no embedding": partial(Ensemble, embedding=False), "forest": partial(forest.ForestRegressor, trees=10)}


@pytest.mark.parametrize("name", ours())
def test_every_regressor_of_ours_keeps_the_contract(name: str) -> None:
    check_regressor(ours()[name])
