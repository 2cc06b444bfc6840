"""One quantity over the grid by BoTorch's own Gaussian process, as its tutorials have it. The one file of the planner
that imports torch and BoTorch (the extra `compare`); import it only after checking that they are installed.

Notation: N grid points, n readings; y in any unit.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
import torch
from botorch.exceptions.errors import ModelFittingError
from botorch.fit import fit_gpytorch_mll
from botorch.models import MixedSingleTaskGP, SingleTaskGP
from botorch.models.transforms import Standardize
from botorch.utils.sampling import manual_seed
from gpytorch.mlls import ExactMarginalLogLikelihood

from planner.space.types import Features, FloatArray, IntArray
from planner.strategies.settings import BOTORCH_BLOCK

__all__ = ["StockGP"]


class StockGP:
    """SingleTaskGP, or MixedSingleTaskGP if there are categories, with all their defaults.

    Parameters
    ----------
    cube : all grid points; numeric columns on [0, 1].
    seed : of the fit's restarts, which happen only if the first attempt fails.
    """

    noise_: float

    def __init__(self, cube: Features, seed: int = 0) -> None:
        self.seed = seed
        columns = np.hstack([cube.numeric, cube.category])
        self._X = torch.as_tensor(columns if columns.shape[1] else np.zeros((len(cube), 1)), dtype=torch.double)
        self._categories = list(range(cube.numeric.shape[1], columns.shape[1]))

    def fit(self, rows: IntArray, y: FloatArray, start: Mapping[str, Any] | None = None) -> Self:
        """Learn from n ≥ 1 values y at `rows`. start: `learned_` of an earlier fit, to start its search there."""
        Y = torch.as_tensor(y, dtype=torch.double)[:, None]
        more = {"cat_dims": self._categories} if self._categories else {}
        kind = MixedSingleTaskGP if self._categories else SingleTaskGP
        with _hushed(), manual_seed(self.seed):
            self._model = kind(self._X[rows], Y, outcome_transform=Standardize(m=1), **more)
            if start is not None:
                self._model.load_state_dict({**self._model.state_dict(), **start})
            try:
                fit_gpytorch_mll(ExactMarginalLogLikelihood(self._model.likelihood, self._model))
            except ModelFittingError:
                self._model.eval()  # keeps its start values: a user would continue, and fit again after more runs
        self.learned_ = {name: value.detach().clone() for name, value in self._model.named_parameters()}
        scale = float(self._model.outcome_transform.stdvs.squeeze())
        self.noise_ = float(self._model.likelihood.noise.detach().squeeze()) ** 0.5 * scale
        return self

    def predict(self) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation of the noise-free quantity at every grid point, each (N,)."""
        means, stds = [], []
        with _hushed(), torch.no_grad():
            for block in self._X.split(BOTORCH_BLOCK):
                posterior = self._model.posterior(block)
                means.append(posterior.mean[:, 0].numpy())
                stds.append(posterior.variance[:, 0].clamp_min(0).sqrt().numpy())
        return np.concatenate(means), np.concatenate(stds)

    def covariance(self, rows: IntArray) -> FloatArray:
        """Posterior covariance of the noise-free quantity among `rows`, (n, n)."""
        with _hushed(), torch.no_grad():
            covariance: FloatArray = self._model.posterior(self._X[rows]).distribution.covariance_matrix.numpy()
        return covariance


@contextmanager
def _hushed() -> Iterator[None]:
    """Suppress warnings about few or equal readings, restarts of a fit, and rounding."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
