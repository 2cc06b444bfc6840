"""Two beliefs about one quantity, averaged: one that only interpolates, one that also knows a latency law.

The law (physics.py) helps most where cheap points must tell about dear ones, and alone it hurts where a grid does not
obey it; the average keeps both gains, and where the two disagree it says so by a wider interval.

Notation: m_j, v_j mean and variance of member j; π_j ∝ 1/its squared error on left-out runs; w_j ∝ π_j/v_j;
mean Σ w_j m_j; variance Σ w_j (v_j + (m_j − mean)²), that of the mixture.
"""

from __future__ import annotations

from typing import Protocol, Self

import numpy as np

from planner.space.types import Features, FloatArray, IntArray, Surrogate
from planner.surrogates.gp import GaussianProcess

__all__ = ["Committee", "Learner", "Single"]

_LEAST_RUNS = 5
_GLITCH = 3.0


class Learner(Protocol):
    """Learns one quantity over a grid. Rows are numbers of grid points; N grid points, n readings.

    Contract: built with the features of all grid points as the quantity sees them; `fit` may be called again and may
    start from what it learned before; the other methods need a fit. `noise_` is the spread of one more reading.
    """

    noise_: float

    def fit(self, rows: IntArray, y: FloatArray, runs: IntArray | None, law: FloatArray | None) -> Self:
        """Learn from values y (n,) at `rows`; runs (n,) where readings of one run share its luck; law (N,) a physical
        law's logarithm at every point, where there is one."""
        ...

    def predict(self) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation at every grid point, (N,), noise-free."""
        ...

    def leave_group_out(self, runs: IntArray) -> tuple[FloatArray, FloatArray] | None:
        """Mean and standard deviation, noise included, of each reading from the other runs, (n,); None where this
        learner cannot say."""
        ...

    def covariance(self, rows: IntArray, others: IntArray) -> FloatArray | None:
        """Posterior covariance (rows, others) of the noise-free quantity; None where this learner cannot say."""
        ...


class Single:
    """One Surrogate by itself, with no law and no say about covariance: a forest, say."""

    def __init__(self, features: Features, surrogate: Surrogate) -> None:
        self.features = features
        self._surrogate = surrogate

    def fit(self, rows: IntArray, y: FloatArray, runs: IntArray | None, law: FloatArray | None) -> Self:
        """Learn; runs and law are not used."""
        self._surrogate.fit(self.features[rows], y)
        self.noise_ = self._surrogate.noise_
        return self

    def predict(self) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation at every row."""
        return self._surrogate.predict(self.features)

    def leave_group_out(self, runs: IntArray) -> None:
        """Cannot say."""

    def covariance(self, rows: IntArray, others: IntArray) -> None:
        """Cannot say."""


class Committee:
    """Two Gaussian processes as one Learner; the plain one alone where there is no law."""

    def __init__(self, features: Features) -> None:
        self.features = features
        self._plain = GaussianProcess()
        d = features.numeric.shape[1]
        self._lawful = GaussianProcess(linear_only=(d,), category_terms=("offset",))

    def fit(self, rows: IntArray, y: FloatArray, runs: IntArray | None, law: FloatArray | None) -> Self:
        """Learn; the law is one more column of the second member's linear part."""
        self.members_ = [(self._plain, self.features)]
        if law is not None and np.ptp(law) > 1e-9:
            column = (law - law.mean()) / law.std()
            numeric = np.column_stack([self.features.numeric, column])
            self.members_.append((self._lawful, Features(numeric, self.features.category, self.features.levels)))
        for member, features in self.members_:
            member.fit(features[rows], y, groups=runs)
        self._groups = np.arange(len(rows)) if runs is None else runs
        self.trust_ = self._trust(y)
        self.noise_ = float(self.trust_ @ [member.noise_ for member, _ in self.members_])
        return self

    def predict(self) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation of the mixture at every row, noise-free."""
        return _mixture([member.predict(features) for member, features in self.members_], self.trust_)

    def leave_group_out(self, runs: IntArray) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation, noise included, of each reading from the other runs."""
        return _mixture([member.leave_group_out(runs) for member, _ in self.members_], self.trust_)

    def covariance(self, rows: IntArray, others: IntArray) -> FloatArray:
        """Posterior covariance between rows, the members' mean by trust."""
        covariance = np.zeros((len(rows), len(others)))
        for trust, (member, features) in zip(self.trust_, self.members_, strict=True):
            covariance += trust * member.covariance(features[rows], features[others])
        return covariance

    def _trust(self, y: FloatArray) -> FloatArray:
        """π ∝ 1 / mean squared error on left-out runs, each run counted once; equal while there are few.

        Choosing the better member outright, or by predictive density, follows the cheap runs that were made and forgets
        the dear ones that were not: there the law is what helps.
        """
        _, of_run, counts = np.unique(self._groups, return_inverse=True, return_counts=True)
        if len(self.members_) == 1 or len(counts) < _LEAST_RUNS:
            return np.full(len(self.members_), 1 / len(self.members_))
        errors = np.array([_left_out_error(member, y, self._groups, of_run) for member, _ in self.members_])
        trust: FloatArray = (1 / errors) / np.sum(1 / errors)
        return trust


def _left_out_error(member: GaussianProcess, y: FloatArray, groups: IntArray, of_run: IntArray) -> float:
    squares = (y - member.leave_group_out(groups)[0]) ** 2
    # One glitch must not choose the member.
    squares = np.minimum(squares, _GLITCH**2 * np.median(squares) + 1e-12)
    return float(np.mean(np.bincount(of_run, squares) / np.bincount(of_run))) + 1e-12


def _mixture(
    members: list[tuple[FloatArray, FloatArray]], trust: FloatArray
) -> tuple[FloatArray, FloatArray]:
    means = np.array([mean for mean, _ in members])
    variances = np.array([std**2 for _, std in members])
    weights = trust[:, None] / variances
    weights /= weights.sum(axis=0)
    mean = (weights * means).sum(axis=0)
    variance = (weights * (variances + (means - mean) ** 2)).sum(axis=0)
    return mean, np.sqrt(variance)
