"""A regressor that averages Gaussian processes: gp_base, gp_physics and gp_embedding.

gp_base interpolates. gp_physics also knows a latency model (latency_model.py): it helps most where cheap points must
predict expensive ones, and alone it is worse where a grid does not follow the model. gp_embedding also knows which
categories gp_base predicts to behave alike (category_embedding.py); it is there where categories are many, and helps
most while few points of each are measured. The average keeps these advantages, and its interval is wider where the
members disagree.

Ensemble weights come from one-step-ahead forecasts of the later half of the runs. These were chosen where the posterior
was least certain, as the unmeasured points are now. Leaving out one run of all, the usual way, would weigh members by
the cheap and crowded corner where most runs are.

Notation
--------
N, n, J     grid points; readings; members
m_j, v_j    mean and variance of member j at a point
π_j         ensemble weight of member j, ∝ 1 / its mean squared forecast error; Σ π_j = 1
w_j         weight at a point, ∝ π_j / v_j; Σ w_j = 1

Mean Σ w_j m_j; variance Σ w_j (v_j + (m_j − mean)²), that of the mixture.
"""

from __future__ import annotations

import copy
from functools import partial
from typing import Self

import numpy as np

from planner.models import settings
from planner.models.category_embedding import CategoryEmbedding
from planner.models.heavy_tails import HeavyTailedProcess
from planner.models.regressor import ALL, DriftEstimate, check_readings
from planner.space.types import Features, FloatArray, IntArray

__all__ = ["Ensemble", "mixture", "squared_error", "standardised"]


class Ensemble:
    """Regressor by up to three Gaussian processes; gp_base alone with no latency model and few categories.

    only: the one member that counts, 0 for gp_base, -1 for the last; all where None. embedding: whether gp_embedding
    may be a member. heavy_tails: whether outliers are always set aside (heavy_tails.py), not only where that helps
    all others much. steady: whether hyper-parameters are kept for longer then (HeavyTailedProcess). Learned:
    `members_`, each with its features; `weights_` (J,); `noise_`.
    """

    def __init__(
        self, features: Features, only: int | None = None, embedding: bool = True, heavy_tails: bool = False,
        steady: bool = False,
    ) -> None:
        self.features = features
        self._only = only
        process = partial(HeavyTailedProcess, least_gain=0.0 if heavy_tails else settings.OUTLIERS_LEAST_GAIN,
                          steady=steady)
        self._gp_base = process()
        self._embedding = CategoryEmbedding(features) if embedding else CategoryEmbedding(features, most=0)
        latency_model = (features.numeric.shape[1],)
        # The latency model stands for what bends between the sizes of a category; a level and slopes are left to it.
        self._gp_physics = process(linear_only=latency_model, category_terms=("offset", "slope"))
        self._gp_embedding = process(linear_only=latency_model)

    def __copy__(self) -> Self:
        other = object.__new__(type(self))
        vars(other).update(vars(self))
        copies = {part: copy.copy(getattr(self, part)) for part in (
            "_gp_base", "_gp_physics", "_gp_embedding", "_embedding")}
        vars(other).update(copies)
        if hasattr(self, "members_"):
            by_original = {id(getattr(self, part)): copies[part] for part in copies}
            other.members_ = [(by_original[id(member)], features) for member, features in self.members_]
        return other

    def fit(
        self, rows: IntArray, y: FloatArray, runs: IntArray, noise: FloatArray | None = None,
        run_effect: bool = False, latency_model: FloatArray | None = None, ages: FloatArray | None = None,
    ) -> Self:
        """Return self, fitted as in the contract.

        The latency model is a column of the linear parts of gp_physics and gp_embedding. The embedding is further
        columns of all parts of gp_embedding.
        """
        check_readings(len(self.features), rows, y, runs, noise, latency_model, ages)
        groups = runs if run_effect else None
        self._read = rows
        self.members_ = [(self._gp_base.fit(self.features[rows], y, noise, groups, ages), self.features)]
        if latency_model is not None and np.ptp(latency_model) > settings.EQUAL:
            features = self._wider(standardised(latency_model))
            self.members_.append((self._gp_physics.fit(features[rows], y, noise, groups, ages), features))
        if self._embedding.width:
            known = np.zeros(len(self.features)) if latency_model is None else standardised(latency_model)
            features = self._wider(known, self._embedding.fit(self._gp_base).columns(self._gp_base))
            self.members_.append((self._gp_embedding.fit(features[rows], y, noise, groups, ages), features))
        if self._only is not None:
            self.members_ = [self.members_[self._only]]
        distinct = np.unique(runs)
        later = distinct[len(distinct) // 2:]
        self._forecasts = [
            self._embedding_forecasts(rows, runs, later, features) if member is self._gp_embedding
            else member.one_step_ahead(runs)
            for member, features in self.members_]
        early = runs < later[0]
        for mean, std in self._forecasts:
            mean[early], std[early] = np.nan, np.nan
        self.weights_ = self._weights(y, runs)
        self.noise_ = float(self.weights_ @ [member.noise_ for member, _ in self.members_])
        return self

    def predict(self, rows: IntArray | slice = ALL) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation of the mixture, each (n,), of one more reading at `rows`.

        Each member's own noise is included: what a member cannot explain counts as noise, and lowers its weight.

        gp_embedding takes the coordinates of a category that was never run for known, and does not count there. Where
        several others were measured, gp_physics, which knows the numbers that describe it, counts alone: leaving each
        model out in turn, errors are 12.5 % with it and 19.1 % with gp_base too on MI300X, which chose this as A100
        did. Of few devices it is too sure: on four devices 79 in place of 112 % with both, which the same grid chose.
        None of these grids is in the repository (results.md).
        """
        weights, new = self.weights_, self._never_run(rows)
        if len(self.members_) > 1 and new.any():
            few, many = self._roles
            weights = np.where(new == 0, weights[:, None], np.where(new == 1, few[:, None], many[:, None]))
        readings = []
        for member, features in self.members_:
            mean, std = member.predict(features[rows])
            readings.append((mean, np.hypot(std, member.noise_)))
        return mixture(readings, weights)

    @property
    def _roles(self) -> tuple[FloatArray, FloatArray]:
        """Weights of the members for a category never run, (J,) each: where few others, and where many were run."""
        without = np.array([member is not self._gp_embedding for member, _ in self.members_], dtype=np.float64)
        physics = np.array([member is self._gp_physics for member, _ in self.members_], dtype=np.float64)
        return without, physics if physics.any() else without

    def _never_run(self, rows: IntArray | slice) -> IntArray:
        """Whether a category of each of the rows has no reading, (n,): 0 no; 1 where few other categories of that axis
        have, 2 where many have."""
        codes, new = self.features.category, np.zeros(len(self.features.category[rows]), dtype=np.int64)
        for axis in range(codes.shape[1]):
            run = np.unique(codes[self._read, axis])
            missing = ~np.isin(codes[rows, axis], run)
            grade = 2 if len(run) >= settings.MANY_CATEGORIES else 1
            new = np.where(missing, np.where(new == 1, 1, grade), new)
        return new

    def one_step_ahead(self) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation of the mixture, each (n,), of each later reading from the runs before it."""
        return mixture(self._forecasts, self.weights_)

    def covariance(self, rows: IntArray, others: IntArray) -> FloatArray:
        """Posterior covariance of the first member, gp_base, (len(rows), len(others)).

        gp_physics is too sure of expensive points once it knows cheap ones. On MI300X, which is not in the repository,
        points chosen by its covariance, by the average or by the members in turn gave worse predictions later on.
        """
        member, features = self.members_[0]
        return member.covariance(features[rows], features[others])

    @property
    def drift_(self) -> DriftEstimate | None:
        """As the member has it that has most weight."""
        return self.members_[int(np.argmax(self.weights_))][0].drift_

    def _embedding_forecasts(
        self, rows: IntArray, runs: IntArray, later: IntArray, features: Features
    ) -> tuple[FloatArray, FloatArray]:
        """One-step-ahead forecasts of gp_embedding, each (n,): of readings of the `later` runs, NaN for others.

        Each uses an embedding that was not read off its run. Otherwise the run's noise would be part of its category's
        coordinates, and its forecast would look too good.
        """
        mean, std = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
        width = self._embedding.width
        for fold in range(min(settings.EMBEDDING_FOLDS, len(later))):
            held_out = np.isin(runs, later[fold::settings.EMBEDDING_FOLDS])
            if held_out.all():
                continue  # the only run there is
            columns = self._embedding.columns(self._gp_base.given(np.flatnonzero(~held_out)))
            numeric = np.column_stack([features.numeric[:, :-width], columns])
            wider = Features(numeric, features.category, features.levels)
            forecast_mean, forecast_std = self._gp_embedding.one_step_ahead(runs, wider[rows])
            mean[held_out], std[held_out] = forecast_mean[held_out], forecast_std[held_out]
        return mean, std

    def _wider(self, *columns: FloatArray) -> Features:
        """The features of the grid with more numeric columns."""
        return Features(
            np.column_stack([self.features.numeric, *columns]), self.features.category, self.features.levels)

    def _weights(self, y: FloatArray, runs: IntArray) -> FloatArray:
        """π, (J,); equal while there are few runs.

        Choosing the best member alone, or weights by predictive density, drops gp_physics where only it would help.
        """
        if len(self.members_) == 1 or len(np.unique(runs)) < settings.LEAST_RUNS_TO_WEIGH:
            return np.full(len(self.members_), 1 / len(self.members_))
        errors = np.array([squared_error(y - mean, runs) for mean, _ in self._forecasts])
        weights: FloatArray = (1 / errors) / np.sum(1 / errors)
        return weights


def standardised(latency_model: FloatArray) -> FloatArray:
    """The column (N,) with mean 0 and standard deviation 1."""
    column: FloatArray = (latency_model - latency_model.mean()) / max(float(latency_model.std()), settings.EQUAL)
    return column


def squared_error(error: FloatArray, runs: IntArray) -> float:
    """Mean square of the errors (n,) that are not NaN, each run counted once."""
    observed = np.isfinite(error)
    squares = error[observed] ** 2
    squares = np.minimum(squares, settings.GLITCH**2 * np.median(squares) + settings.TINY)
    _, of_run = np.unique(runs[observed], return_inverse=True)
    return float(np.mean(np.bincount(of_run, squares) / np.bincount(of_run))) + settings.TINY


def mixture(
    members: list[tuple[FloatArray, FloatArray]], weights: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Mean and standard deviation of the mixture, each (N,), of members' means and standard deviations. weights: (J,),
    or (J, N)."""
    means = np.array([mean for mean, _ in members])
    variances = np.array([std**2 for _, std in members])
    weights = (weights if weights.ndim > 1 else weights[:, None]) / variances
    weights /= weights.sum(axis=0)
    mean = (weights * means).sum(axis=0)
    variance = (weights * (variances + (means - mean) ** 2)).sum(axis=0)
    return mean, np.sqrt(variance)
