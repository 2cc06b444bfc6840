"""Forecasts as they would have been made at the time: by models of the runs before, hyper-parameters included.

The one-step-ahead forecasts of a regressor (gp.py) use hyper-parameters learned from all runs, those that are forecast
among them. On static grids that does not show. On a served grid a few points are many times their neighbours, the
hyper-parameters bend to explain those that were measured, and the forecasts look better than what is still to come. So
there the model is fitted again to the runs up to each of some boundaries, and forecasts the runs up to the next one.

What was imported is no part of that order: every model knows it, and runs made here alone are forecast, and counted for
the boundaries. By models of imported runs alone the first runs of another device were forecast so vaguely that any
error was less than expected, and the stated accuracy was too high.

Notation: N grid points; n readings; z error of a forecast over its σ.

Source: Dawid, J. R. Statist. Soc. A 147 (1984), who calls such forecasts prequential.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import TypeAlias

import numpy as np

from planner.ledger.observations import Observations
from planner.models import settings
from planner.models.calibration import Forecasts, forecasts_of
from planner.models.judges import made_here
from planner.space.types import FloatArray, IntArray, Metric

__all__ = ["Forecast", "PastForecasts", "boundaries", "joined"]

Forecast: TypeAlias = Callable[[IntArray], Mapping[str, tuple[FloatArray, FloatArray]]]
"""Mean and σ of each target at some rows, (n,) each, on the scale of its transform."""


class PastForecasts:
    """Makes the forecasts. Models of earlier runs are kept while they are needed, so that each boundary is fitted once.

    learn : fits a new model to observations, and gives what it predicts.
    """

    def __init__(self, learn: Callable[[Observations], Forecast]) -> None:
        self._learn = learn
        self._kept: dict[tuple[int, ...], Forecast] = {}
        self._used: dict[str, set[tuple[int, ...]]] = {}

    def of(self, metric: Metric, observations: Observations) -> Forecasts:
        """The forecasts of the readings of the later half of the study's own runs that measured the metric, in order of
        rows."""
        rows, runs, actual = observations.first_readings(metric.name)
        own = made_here(observations)
        elsewhere = [row for row, run in observations.readings(metric.name) if not own[run]]
        judges = own[runs] & ~np.isin(rows, elsewhere)
        distinct = np.unique(runs[judges])
        if len(distinct):
            later = judges & (runs >= distinct[len(distinct) // 2])
            rows, runs, actual = rows[later], runs[later], actual[later]
        mean, std = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
        edges = np.flatnonzero(own)[boundaries(int(own.sum()))]
        used = self._used[metric.name] = set()
        for begin, end in pairwise([*edges.tolist(), len(own)]):
            here = (runs >= begin) & (runs < end)
            known = np.flatnonzero(~own | (np.arange(len(own)) < begin))
            found = self._model(observations, known, used)(rows[here]) if here.any() else {}
            if metric.name in found:
                mean[here], std[here] = found[metric.name]
        needed = set().union(*self._used.values())
        self._kept = {key: forecast for key, forecast in self._kept.items() if key in needed}
        return forecasts_of(metric.transform, mean, std, actual, runs)

    def _model(self, observations: Observations, places: IntArray, used: set[tuple[int, ...]]) -> Forecast:
        """What is learned from the runs at these places of the record."""
        known = [observations.runs[place] for place in places]
        key = tuple(run.number for run in known)
        used.add(key)
        if key not in self._kept:
            before = observations.of_runs(known)
            self._kept[key] = self._learn(before) if before.measured.any() else lambda _: {}
        return self._kept[key]


def boundaries(runs: int) -> list[int]:
    """Numbers of runs at which the model is fitted again, below `runs`: each a quarter more than the one before."""
    found, at = [], float(settings.FIRST_REFIT)
    while at < runs:
        found.append(int(at))
        at = np.ceil(at * settings.REFIT_STEP)
    return found


def joined(one: Forecasts, other: Forecasts) -> Forecasts:
    """Both sets of forecasts. A run that is in both still counts once: by the mean of its errors."""
    return Forecasts(*(np.concatenate([getattr(one, name), getattr(other, name)])
                       for name in ("ape", "expected", "z", "runs")))
