"""Beliefs about one quantity, averaged: one that only interpolates; one that also knows a latency law; and, where there
are many categories, one that knows besides which of them the first believes to be alike.

The law (physics.py) helps most where cheap points must tell about dear ones, and alone it hurts where a grid does not
obey it; likeness (likeness.py) helps most while little is measured of each model. The average keeps the gains, and
where the members disagree it says so by a wider interval.

Each is judged by what it said of each run before that run was made, in the later half of the runs: those lie where the
belief was least sure when they were chosen, as the unmeasured points do now. Leaving out one run of all, the usual way,
judges by the cheap and crowded corner where most runs are.

Notation: m_j, v_j mean and variance of member j; π_j ∝ 1/its mean squared error ahead; w_j ∝ π_j/v_j; mean Σ w_j m_j;
variance Σ w_j (v_j + (m_j − mean)²), that of the mixture.
"""

from __future__ import annotations

import copy
from typing import Protocol, Self

import numpy as np

from planner.models.category_embedding import CategoryEmbedding
from planner.models.gp import GaussianProcess
from planner.space.types import Features, FloatArray, IntArray, Surrogate

__all__ = ["Ensemble", "Regressor", "SingleRegressor"]

_LEAST_RUNS = 5
_GLITCH = 3.0
# Parts in which the later runs are judged; each part's likeness is read off all other runs.
_FOLDS = 4


class Regressor(Protocol):
    """Learns one quantity over a grid. Rows are numbers of grid points; N grid points, n readings.

    Contract: built with the features of all grid points as the quantity sees them; `fit` may be called again and may
    start from what it learned before; the other methods need a fit; fitting a `copy.copy` leaves the original
    alone. `noise_` is the spread of one more reading.
    """

    noise_: float

    def fit(
        self, rows: IntArray, y: FloatArray, runs: IntArray, noise: FloatArray | None = None,
        run_effect: bool = False, latency_model: FloatArray | None = None,
    ) -> Self:
        """Learn from values y (n,) at `rows`, given by `runs` (n,), numbers ascending in time.

        noise: what is known of each reading's standard deviation, (n,). run_effect: readings of one run share a part
        of their noise. law: a physical law's logarithm at every grid point, (N,)."""
        ...

    def predict(self) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation of a reading at every grid point, (N,), noise included."""
        ...

    def one_step_ahead(self) -> tuple[FloatArray, FloatArray] | None:
        """Mean and standard deviation, noise included, of each reading of the later half of the runs, from the runs
        before its own, (n,), NaN for the earlier half; None where this learner cannot say."""
        ...

    def covariance(self, rows: IntArray, others: IntArray) -> FloatArray | None:
        """Posterior covariance (rows, others) of the noise-free quantity; None where this learner cannot say."""
        ...


class SingleRegressor:
    """One Surrogate by itself, with no law and no say about covariance: a forest, say."""

    def __init__(self, features: Features, regressor: Surrogate) -> None:
        self.features = features
        self._regressor = regressor

    def __copy__(self) -> Self:
        return type(self)(self.features, copy.copy(self._regressor))

    def fit(
        self, rows: IntArray, y: FloatArray, runs: IntArray, noise: FloatArray | None = None,
        run_effect: bool = False, latency_model: FloatArray | None = None,
    ) -> Self:
        """Learn; runs and law are not used."""
        self._regressor.fit(self.features[rows], y, noise)
        self.noise_ = self._regressor.noise_
        return self

    def predict(self) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation of a reading at every row."""
        mean, std = self._regressor.predict(self.features)
        return mean, np.hypot(std, self.noise_)

    def one_step_ahead(self) -> None:
        """Cannot say."""

    def covariance(self, rows: IntArray, others: IntArray) -> None:
        """Cannot say."""


class Ensemble:
    """Gaussian processes as one Learner; the plain one alone where there is no law and are few categories.

    heard: the only member to believe, 0 the plain one, -1 the last; all where None. alike: whether there is a member
    that is told which categories are alike.
    """

    def __init__(self, features: Features, only: int | None = None, embedding: bool = True) -> None:
        self.features = features
        self._only = only
        self._gp_base = GaussianProcess()
        self._embedding = CategoryEmbedding(features) if embedding else CategoryEmbedding(features, most=0)
        latency_model = (features.numeric.shape[1],)
        # The law stands for what bends between the sizes of one model; what is left to a category is a level and tilt.
        self._gp_physics = GaussianProcess(linear_only=latency_model, category_terms=("offset", "slope"))
        self._gp_embedding = GaussianProcess(linear_only=latency_model)

    def __copy__(self) -> Self:
        other = object.__new__(type(self))
        vars(other).update(vars(self))
        for part in ("_gp_base", "_gp_physics", "_gp_embedding", "_embedding"):
            setattr(other, part, copy.copy(getattr(self, part)))
        return other

    def fit(
        self, rows: IntArray, y: FloatArray, runs: IntArray, noise: FloatArray | None = None,
        run_effect: bool = False, latency_model: FloatArray | None = None,
    ) -> Self:
        """Learn; the law is one more column of a member's linear part, likeness more columns throughout."""
        groups = runs if run_effect else None
        self.members_ = [(self._gp_base.fit(self.features[rows], y, noise, groups), self.features)]
        if latency_model is not None and np.ptp(latency_model) > 1e-9:
            features = self._wider(_standardised(latency_model))
            self.members_.append((self._gp_physics.fit(features[rows], y, noise, groups), features))
        if self._embedding.width:
            known = np.zeros(len(self.features)) if latency_model is None else _standardised(latency_model)
            features = self._wider(known, self._embedding.fit(self._gp_base).columns(self._gp_base))
            self.members_.append((self._gp_embedding.fit(features[rows], y, noise, groups), features))
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

    def predict(self) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation of the mixture at every row, noise included: what a member cannot explain it
        takes for noise, and must not be trusted as if it could."""
        said = []
        for member, features in self.members_:
            mean, std = member.predict(features)
            said.append((mean, np.hypot(std, member.noise_)))
        return _mixture(said, self.weights_)

    def one_step_ahead(self) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation, noise included, of each later reading from the runs before it."""
        return _mixture(self._forecasts, self.weights_)

    def covariance(self, rows: IntArray, others: IntArray) -> FloatArray:
        """Posterior covariance of the first member, the plain one.

        The law believes that it knows dear points from cheap ones. Replaying recorded grids, points chosen by its
        covariance, by the members' average or by the two in turn made for worse predictions later on.
        """
        member, features = self.members_[0]
        return member.covariance(features[rows], features[others])

    def _embedding_forecasts(
        self, rows: IntArray, runs: IntArray, later: IntArray, features: Features
    ) -> tuple[FloatArray, FloatArray]:
        """What the told member says ahead of the `later` runs, NaN of others; each by a likeness that was not read off
        it: a run whose noise has gone into its model's coordinates would be foretold too well."""
        mean, std = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
        width = self._embedding.width
        for fold in range(min(_FOLDS, len(later))):
            judged = np.isin(runs, later[fold::_FOLDS])
            if judged.all():
                continue  # the only run there is
            columns = self._embedding.columns(self._gp_base.given(np.flatnonzero(~judged)))
            numeric = np.column_stack([features.numeric[:, :-width], columns])
            said = self._gp_embedding.one_step_ahead(runs, Features(numeric, features.category, features.levels)[rows])
            mean[judged], std[judged] = said[0][judged], said[1][judged]
        return mean, std

    def _wider(self, *columns: FloatArray) -> Features:
        return Features(
            np.column_stack([self.features.numeric, *columns]), self.features.category, self.features.levels)

    def _weights(self, y: FloatArray, runs: IntArray) -> FloatArray:
        """π; equal while there are few runs.

        Choosing the better member outright, or by predictive density, forgets the law where only it would help.
        """
        if len(self.members_) == 1 or len(np.unique(runs)) < _LEAST_RUNS:
            return np.full(len(self.members_), 1 / len(self.members_))
        errors = np.array([_squared_error(y - mean, runs) for mean, _ in self._forecasts])
        weights: FloatArray = (1 / errors) / np.sum(1 / errors)
        return weights


def _standardised(latency_model: FloatArray) -> FloatArray:
    standardised: FloatArray = (latency_model - latency_model.mean()) / max(float(latency_model.std()), 1e-9)
    return standardised


def _squared_error(error: FloatArray, runs: IntArray) -> float:
    """Mean square, each run counted once, of the errors (n,) that are not NaN."""
    observed = np.isfinite(error)
    squares = error[observed] ** 2
    # One glitch must not choose the member.
    squares = np.minimum(squares, _GLITCH**2 * np.median(squares) + 1e-12)
    _, of_run = np.unique(runs[observed], return_inverse=True)
    return float(np.mean(np.bincount(of_run, squares) / np.bincount(of_run))) + 1e-12


def _mixture(
    members: list[tuple[FloatArray, FloatArray]], weights: FloatArray
) -> tuple[FloatArray, FloatArray]:
    means = np.array([mean for mean, _ in members])
    variances = np.array([std**2 for _, std in members])
    weights = weights[:, None] / variances
    weights /= weights.sum(axis=0)
    mean = (weights * means).sum(axis=0)
    variance = (weights * (variances + (means - mean) ** 2)).sum(axis=0)
    return mean, np.sqrt(variance)
