"""The next runs: most information about the whole unmeasured grid for each accelerator-second.

Notation
--------
c, u        candidate; unmeasured reference point
q           a quantity that a surrogate learns; all are measured by one run
w_q(u)      what the variance of q adds to the summed variance of the targets at u
k_q(·,·)    posterior covariance given everything measured, and everything chosen for this batch
gain(c)     Σ_q Σ_u w_q(u) k_q(u, c)² / (k_q(c, c) + noise²): how much the summed variance of log targets falls
price(c)    expected accelerator-seconds of the run, and its share of an engine start where one is needed

Integrated posterior variance (Sacks et al. 1989; BoTorch's qNegIntegratedPosteriorVariance) does not depend on the
values that will be measured, so a batch is chosen greedily with rank-one updates of k.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.acquisition.initial import by_engine
from planner.ledger.observations import Observations
from planner.space.types import FloatArray, IntArray
from planner.surrogates.cost import CostModel
from planner.surrogates.model import GridModel

__all__ = ["choose_batch"]

_CANDIDATES = 600
_REFERENCES = 400


@dataclass(eq=False)
class _Field:
    """Posterior covariance of one quantity: between candidates and references, and among candidates."""

    to_references: FloatArray
    among: FloatArray
    weights: FloatArray
    noise: float

    def gain(self) -> FloatArray:
        noisy = np.maximum(np.diagonal(self.among), 0.0) + self.noise**2 + 1e-12
        gain: FloatArray = (self.to_references**2 @ self.weights) / noisy
        return gain

    def observe(self, c: int) -> None:
        """Condition on a noisy reading at candidate c."""
        noisy = max(self.among[c, c], 0.0) + self.noise**2 + 1e-12
        column = self.among[:, c].copy()
        self.to_references = self.to_references - np.outer(column / noisy, self.to_references[c])
        self.among = self.among - np.outer(column / noisy, column)


def choose_batch(
    model: GridModel, cost: CostModel, seen: Observations, success: FloatArray, size: int, rng: np.random.Generator,
    engine: int | None = None,
) -> list[int]:
    """Up to `size` grid rows to run next, engines in an order that starts each at most once.

    success: probability that each point can run, (N,); a run that fails tells nothing about the targets.
    engine: the only engine configuration to choose from, None for all.
    """
    open_rows = np.flatnonzero(~seen.known)
    open_rows = open_rows[~np.isin(open_rows, list(seen.pending))]
    candidates = open_rows if engine is None else open_rows[model.grid.engine[open_rows] == engine]
    candidates = _sample(candidates, _CANDIDATES, rng)
    if not len(candidates):
        return []
    references = _sample(open_rows, _REFERENCES, rng)
    fields = _fields(model, candidates, references, success)
    price = cost.price(candidates)
    start = cost.start_seconds()[candidates] * cost.devices[candidates]
    engines = model.grid.engine[candidates]
    running = np.array([engine == seen.current_engine for engine in engines])
    chosen: list[int] = []
    while len(chosen) < min(size, len(candidates)):
        gain = np.sum([field.gain() for field in fields], axis=0) * success[candidates]
        # A start is shared by the runs that follow it on the same engine: about as many as a batch holds.
        score = gain / (price + np.where(running, 0.0, start / size))
        score[chosen] = -np.inf
        best = int(np.argmax(score))
        chosen.append(best)
        running |= engines == engines[best]
        for field in fields:
            field.observe(best)
    return by_engine(candidates[chosen], engines[chosen], seen.current_engine)


def _fields(model: GridModel, candidates: IntArray, references: IntArray, success: FloatArray) -> list[_Field]:
    weights = model.weights(references)
    fields = []
    for quantity in model.quantities:
        learner = model.learners_.get(quantity.name)
        both = learner.covariance(candidates, np.concatenate([candidates, references])) if learner else None
        if learner is None or both is None:
            continue
        n = len(candidates)
        fields.append(_Field(both[:, n:], both[:, :n], weights[quantity.name] * success[references], learner.noise_))
    return fields


def _sample(rows: IntArray, most: int, rng: np.random.Generator) -> IntArray:
    return rows if len(rows) <= most else np.sort(rng.choice(rows, most, replace=False))
