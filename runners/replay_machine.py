"""The simulated machine under replayed runs: how long they take, and whether they end.

What is drawn, when, and with which seed:

- Once, with the study's seed: the path of the drift. It is common to all points.
- For each run, with the study's seed, the proposal's seed and the executed point: whether it hangs or crashes.
- For each repeat of a run, with the same three: its noise, and whether it is an outlier.

Hangs and crashes, noise, and outliers each have a stream of their own: switching one on changes no draw of another.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from typing import Final

import numpy as np

from planner.space.types import FloatArray
from planner.tables.machine import DriftSettings, MachineSettings

__all__ = ["ReplayMachine"]

_STEPS: Final = 1000
"""By calculation: between two steps of a walk its standard deviation is size / √1000, a 30th of that of the whole."""


class ReplayMachine:
    """A machine whose time is the sum of the seconds charged so far. A new one begins at 0.

    A factor multiplies times and divides rates. `key`: the seeds of a run.
    """

    def __init__(self, settings: MachineSettings, seed: int) -> None:
        self._settings = settings
        self._clock_s = 0.0
        self._times, self._factors = _path(settings.drift, seed)

    def charge(self, seconds: float) -> None:
        """A run has taken that long."""
        self._clock_s += seconds

    def slowdown_now(self) -> float:
        """The factor of the drift now: 1 at the start, 1.3 where everything takes 30 % longer."""
        return float(np.interp(self._clock_s, self._times, self._factors))

    def repeat_factors(self, key: Sequence[int], repeats: int) -> FloatArray:
        """The factor of each repeat of a run that begins now, (repeats,): drift, noise and outliers."""
        factors = np.full(repeats, self.slowdown_now())
        if noise := self._settings.noise:
            factors *= np.exp(noise * _generator(key, "noise").standard_normal(repeats))
        if outliers := self._settings.outliers:
            factors[_generator(key, "outliers").random(repeats) < outliers.share] *= outliers.factor
        return factors

    def fault(self, key: Sequence[int]) -> str:
        """How a run fails by the machine: "hang", "crash" or, where it does not, nothing."""
        hang, crash = self._settings.hang, self._settings.crash
        if not hang and not crash:
            return ""
        drawn = _generator(key, "fault").random()
        return "hang" if drawn < hang else "crash" if drawn < hang + crash else ""


def _generator(key: Sequence[int], name: str) -> np.random.Generator:
    return np.random.default_rng([*key, zlib.crc32(name.encode())])


def _path(drift: DriftSettings | None, seed: int) -> tuple[FloatArray, FloatArray]:
    """Seconds, ascending, and the factor at each; constant before and after, linear between."""
    if drift is None:
        return np.zeros(1), np.ones(1)
    generator = _generator([seed], "drift")
    if drift.kind == "walk":
        steps = generator.standard_normal(_STEPS) * drift.size / math.sqrt(_STEPS)
        return np.linspace(0, drift.over_s, _STEPS + 1), np.exp(np.concatenate([[0.0], np.cumsum(steps)]))
    moment = generator.random() * drift.over_s
    between = (0.0, drift.over_s) if drift.kind == "ramp" else (moment, math.nextafter(moment, math.inf))
    return np.array(between), np.array([1.0, 1 + drift.size])
