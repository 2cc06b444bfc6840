"""What one target has more than an old study found, at every point of a grid, as far as some readings tell.

Notation
--------
N, n        grid points; readings of the new study
y           (n,) logarithm of a reading
o           (N,) logarithm of the old value: as it was measured, else as the learned old surface has it
δ           (N,) log(new / old) at each point: what is asked for
t           the amount that is asked about, as a logarithm: a change is |δ| > t
D           the machine's drift since the first run, of which δ knows nothing

A reading is o + δ + D + what the old value is off by at its point + the run's noise. Departures have a prior of a fixed
size, in units of t, and are not learned from how little has changed elsewhere: that nothing changed on one engine says
nothing of another, and only runs there can. A common level comes first, then what each value of an engine axis or a
category has more, what is smooth in the sizes, and what is an engine configuration's own: in all, in a block of sizes
(short or long, few or many: an engine takes another path from some size on), and smoothly.

A learned surface is off where the true one bends, the same way each time it is read: where the old study measured,
what it measured is used, noise and all. On an A100 grid, which is not in the repository, the learned surface in its
place made a finding of thirteen points of equal versions.

The size of the noise and that of the drift are averaged over, by how probable they make the readings (Bayesian model
averaging: Hoeting, Madigan, Raftery & Volinsky, Stat. Sci. 14, 1999). Half of the noise belongs to the point, being the
old reading's: measuring again does not remove it. Readings of one run share most of it. A reading that is far off is
taken to have noise as large as its error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.stats import norm

from planner.evaluation import settings
from planner.models.prior import OldTarget
from planner.space.grid import Grid
from planner.space.types import BoolArray, FloatArray, IntArray, Scale, Scope

__all__ = ["ChangeModel", "ChangeReadings", "Level"]


@dataclass(frozen=True, eq=False)
class ChangeReadings:
    """rows, y: of the readings; runs: the number of each one's run; times: when it began, 0 at the first run and 1 at
    the last; (n,) each."""

    rows: IntArray
    y: FloatArray
    runs: IntArray
    times: FloatArray

    def __getitem__(self, kept: BoolArray | IntArray) -> ChangeReadings:
        return ChangeReadings(self.rows[kept], self.y[kept], self.runs[kept], self.times[kept])


@dataclass(frozen=True, slots=True)
class Level:
    """A logarithm and its standard deviation."""

    log: float
    std: float


@dataclass(frozen=True, eq=False)
class _Member:
    """One noise and drift. Learned: factor, alpha. weight: its posterior probability."""

    noise: float
    drift: float
    factor: FloatArray
    alpha: FloatArray
    weight: float


class ChangeModel:
    """The difference of one target. Fit it, then ask. trajectory: the axis along which a run measures several points.
    amount: t. known: where the old study says something, (N,). cells: the block of an engine configuration that each
    point is in, (N,). doubted, once fitted: rows of readings that are far off."""

    def __init__(self, grid: Grid, old: OldTarget, trajectory: str | None, amount: float) -> None:
        self.grid, self.amount = grid, amount
        self.known: BoolArray = np.isfinite(old.learned)
        measured = np.isfinite(old.measured) & self.known
        self._old = np.where(measured, old.measured, old.learned)
        self._old_std = np.where(measured, 0.0, old.std)
        self._lines = np.arange(len(grid)) if trajectory is None else grid.lines(trajectory)
        self._sizes, self._blocks = _sizes(grid), _blocks(grid)
        self.cells: IntArray = grid.engine * (self._blocks.max() + 1) + self._blocks
        self._labels = [grid.codes[:, i] for i, axis in enumerate(grid.axes)
                        if len(axis.values) > 1 and (axis.scope is Scope.ENGINE or axis.scale is Scale.CATEGORY)]

    def fit(self, readings: ChangeReadings) -> Self:
        """Return self, fitted to the readings at points that the old study knows, one at least."""
        self.readings = readings
        added = np.zeros(len(readings.rows))
        self._members = self._learned(added)
        for _ in range(settings.CHANGE_OUTLIER_ROUNDS):
            error, deviation = self._left_out(self._members[0])
            far = np.where(np.abs(error) > settings.CHANGE_OUTLIER * deviation, error**2, 0.0)
            if not (far > added).any():
                break
            added = np.maximum(added, far)
            self._members = self._learned(added)
        self.doubted: IntArray = np.unique(readings.rows[added > 0])
        return self

    @property
    def noise(self) -> float:
        """Standard deviation of one reading's difference, the most probable one."""
        return self._members[0].noise

    @property
    def drift_scale(self) -> float:
        """Standard deviation of the machine's drift over the study so far, as learned."""
        return float(sum(one.weight * one.drift for one in self._members))

    def posterior(self) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation of δ, (N,) each; NaN where the old study says nothing."""
        rows = np.flatnonzero(self.known)
        mean, std = np.full(len(self.grid), np.nan), np.full(len(self.grid), np.nan)
        prior = self._delta_variance()
        parts = []
        for one in self._members:
            cross = self._delta(rows, self.readings.rows)
            white = solve_triangular(one.factor, cross.T, lower=True, check_finite=False)
            parts.append((cross @ one.alpha, prior - np.einsum("ij,ij->j", white, white) + self._old_std[rows] ** 2))
        weights = np.array([one.weight for one in self._members])
        means, variances = (np.array(part) for part in zip(*parts, strict=True))
        mean[rows] = weights @ means
        std[rows] = np.sqrt(np.maximum(weights @ (variances + (means - mean[rows]) ** 2), settings.LEAST_VARIANCE))
        return mean, std

    def drift(self) -> Level:
        """D now."""
        parts = []
        for one in self._members:
            cross = one.drift**2 * self.readings.times
            white = solve_triangular(one.factor, cross, lower=True, check_finite=False)
            parts.append((float(cross @ one.alpha), one.drift**2 - float(white @ white)))
        return _mixed(parts, [one.weight for one in self._members])

    def level(self) -> Level:
        """What all points have in common of δ."""
        variance, parts = self._scale(settings.CHANGE_LEVEL), []
        for one in self._members:
            cross = np.full(len(self.readings.rows), variance)
            white = solve_triangular(one.factor, cross, lower=True, check_finite=False)
            parts.append((float(cross @ one.alpha), variance - float(white @ white)))
        return _mixed(parts, [one.weight for one in self._members])

    def covariances(self, candidates: IntArray, references: IntArray) -> tuple[FloatArray, FloatArray, float]:
        """Of the most probable member: posterior covariance of a reading now at each candidate, its run's noise left
        out, with δ at each reference, (k, m), and with each other, (k, k); and the standard deviation of that noise."""
        one, read = self._members[0], self.readings
        now = one.drift**2 * read.times
        to_readings = self._delta(candidates, read.rows) + self._of_point(candidates, read.rows, one) + now
        white = solve_triangular(one.factor, to_readings.T, lower=True, check_finite=False)
        back = solve_triangular(one.factor, self._delta(references, read.rows).T, lower=True, check_finite=False)
        among = self._delta(candidates, candidates) + self._of_point(candidates, candidates, one) + one.drift**2
        return (self._delta(candidates, references) - white.T @ back, among - white.T @ white,
                one.noise * math.sqrt(0.5))

    def _learned(self, added: FloatArray) -> list[_Member]:
        """The probable members, the most probable one first. added: more variance of each reading, (n,)."""
        read = self.readings
        delta, drifting = self._delta(read.rows, read.rows) + np.diag(added), np.minimum.outer(read.times, read.times)
        noisy = (_shared(read.runs) + self._alike(read.rows, read.rows)) / 2
        same, found = np.equal.outer(read.rows, read.rows), []
        residual = read.y - self._old[read.rows]
        level = self._scale(settings.CHANGE_LEVEL)
        unchanged = level + settings.CHANGE_QUIET**2 * (delta - level) + np.diag(added)
        for drift in settings.CHANGE_DRIFTS:
            known = same * self._old_std[read.rows] ** 2 + drift**2 * drifting
            for noise in settings.CHANGE_NOISES:
                factor, alpha, log = _solved(delta + known + noise**2 * noisy, residual)
                if_none = _solved(unchanged + known + noise**2 * noisy, residual)[2]
                found.append((float(np.logaddexp(log, if_none)) + _log_prior(noise, drift),
                              _Member(noise, drift, factor, alpha, 0.0)))
        return _weighed(found)

    def _left_out(self, one: _Member) -> tuple[FloatArray, FloatArray]:
        """Error and standard deviation of each reading as all others predict it, (n,) each."""
        inverse = cho_solve((one.factor, True), np.eye(len(one.alpha)), check_finite=False)
        return one.alpha / np.diag(inverse), 1 / np.sqrt(np.diag(inverse))

    def _scale(self, share: float) -> float:
        return float((share * self.amount) ** 2)

    def _delta(self, rows: IntArray, others: IntArray) -> FloatArray:
        """Prior covariance of δ, (len(rows), len(others))."""
        smooth = _matern(self._sizes[rows], self._sizes[others])
        same = np.equal.outer(self.grid.engine[rows], self.grid.engine[others])
        whole, block, rest = settings.CHANGE_OWN_PARTS
        own = whole + block * np.equal.outer(self._blocks[rows], self._blocks[others]) + rest * smooth
        found: FloatArray = self._scale(settings.CHANGE_LEVEL) + self._scale(settings.CHANGE_SMOOTH) * smooth
        found += self._scale(settings.CHANGE_OWN) * same * own
        for label in self._labels:
            found += self._scale(settings.CHANGE_OFFSET) * np.equal.outer(label[rows], label[others])
        return found

    def _delta_variance(self) -> float:
        return (self._scale(settings.CHANGE_LEVEL) + self._scale(settings.CHANGE_SMOOTH)
                + self._scale(settings.CHANGE_OWN) + len(self._labels) * self._scale(settings.CHANGE_OFFSET))

    def _of_point(self, rows: IntArray, others: IntArray, one: _Member) -> FloatArray:
        """Covariance of what the old values are off by."""
        alone = np.equal.outer(rows, others) * self._old_std[rows][:, None] ** 2
        found: FloatArray = one.noise**2 / 2 * self._alike(rows, others) + alone
        return found

    def _alike(self, rows: IntArray, others: IntArray) -> FloatArray:
        """Correlation of the noise of old readings, of which those of a line were one run."""
        share = settings.CHANGE_SHARED_NOISE
        found: FloatArray = (1 - share) * np.equal.outer(rows, others)
        return found + share * np.equal.outer(self._lines[rows], self._lines[others])


def _solved(covariance: FloatArray, residual: FloatArray) -> tuple[FloatArray, FloatArray, float]:
    """The covariance's lower factor, its inverse times the residual, and the residual's log density but a constant."""
    factor: FloatArray = np.tril(cho_factor(covariance, lower=True, check_finite=False)[0])
    alpha: FloatArray = cho_solve((factor, True), residual, check_finite=False)
    return factor, alpha, float(-0.5 * residual @ alpha - np.log(np.diag(factor)).sum())


def _sizes(grid: Grid) -> FloatArray:
    """The sizes that are swept, each from 0 to 1, (N, d)."""
    numeric = grid.features.numeric
    found: FloatArray = (numeric - numeric.min(axis=0)) / np.ptp(numeric, axis=0) if numeric.size else numeric
    return found


def _blocks(grid: Grid) -> IntArray:
    """The block of each point, (N,): which sizes are in the upper half of their axis."""
    found = np.zeros(len(grid), dtype=np.int64)
    for i, axis in enumerate(grid.axes):
        if axis.scale is not Scale.CATEGORY and axis.scope is not Scope.ENGINE:
            found = 2 * found + (2 * grid.codes[:, i] >= len(axis.values))
    return found


def _matern(X: FloatArray, others: FloatArray) -> FloatArray:
    """Matérn-5/2 correlation (Rasmussen & Williams, 2006, eq. 4.17)."""
    r = np.zeros((len(X), len(others)))
    for a, b in zip(X.T, others.T, strict=True):
        r += np.subtract.outer(a, b) ** 2
    r = math.sqrt(5) * np.sqrt(r) / settings.CHANGE_LENGTHSCALE
    found: FloatArray = (1 + r + r**2 / 3) * np.exp(-r)
    return found


def _shared(runs: IntArray) -> FloatArray:
    """Correlation of the noise of the readings' runs, (n, n)."""
    share = settings.CHANGE_SHARED_NOISE
    found: FloatArray = share * np.equal.outer(runs, runs) + (1 - share) * np.eye(len(runs))
    return found


def _log_prior(noise: float, drift: float) -> float:
    changing = (1 - settings.CHANGE_STEADY) / (len(settings.CHANGE_DRIFTS) - 1)
    return float(norm.logpdf(math.log(noise), *settings.CHANGE_NOISE_PRIOR)) + math.log(
        changing if drift else settings.CHANGE_STEADY)


def _weighed(found: list[tuple[float, _Member]]) -> list[_Member]:
    logs = np.array([log for log, _ in found])
    weights = np.exp(logs - logs.max())
    order = [i for i in np.argsort(-weights, kind="stable") if weights[i] > settings.CHANGE_LEAST_WEIGHT]
    total = float(weights[order].sum())
    return [_Member(one.noise, one.drift, one.factor, one.alpha, float(weights[i]) / total)
            for i in order for one in [found[i][1]]]


def _mixed(parts: list[tuple[float, float]], weights: list[float]) -> Level:
    mean = sum(weight * log for weight, (log, _) in zip(weights, parts, strict=True))
    variance = sum(weight * (max(spread, 0.0) + (log - mean) ** 2)
                   for weight, (log, spread) in zip(weights, parts, strict=True))
    return Level(mean, math.sqrt(variance))
