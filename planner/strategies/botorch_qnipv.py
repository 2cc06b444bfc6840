"""The baseline `botorch_qnipv`: active learning with BoTorch, as a competent user of it would set it up.

- Model: SingleTaskGP or MixedSingleTaskGP with their defaults, one a target (as in a ModelListGP), on sizes in log2
  scaled to [0, 1] and bare categories; logarithms of targets that are positive.
- Acquisition: qNegIntegratedPosteriorVariance over discrete candidates, mc_points drawn from the unmeasured grid. It is
  negative, so what is divided by the price is the *reduction* of the integrated variance, as BoTorch's
  InverseCostWeightedUtility asks for; summed over targets, whose log variances compare. The price is a GP on log
  seconds × accelerators, and a share of an engine start where one is needed. Both know how likely a point is to run.
- Evaluated in closed form, exactly (tests/simulation/test_botorch.py holds it against BoTorch's class): for one more
  point c, the mean of var(u) falls by mean_u k(u, c)² / (k(c, c) + noise²), and pending points condition k beforehand,
  as X_pending does. BoTorch's own way, by fantasy models, takes minutes a batch here, so that a user would take
  fewer candidates; here it has as many as ours.
- A Latin hypercube to start; refits as often as ours, each from the last one's hyperparameters.

It reads trajectories where the study has them, and has no estimate of its accuracy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from planner.acquisition.initial_design import by_engine
from planner.acquisition.settings import CANDIDATES, REFERENCES
from planner.acquisition.underway import executed, given_readings
from planner.acquisition.variance_reduction import open_sample, sample
from planner.ledger.observations import Observations
from planner.models.cost import CostModel
from planner.models.feasibility import probability_of_feasibility
from planner.models.grid_model import Prediction
from planner.space.types import Z90, FloatArray, IntArray
from planner.strategies.adaptive import batch_size
from planner.strategies.fixed_designs import latin_hypercube
from planner.strategies.greedy_batch import Candidates, choose_greedily
from planner.strategies.settings import BOTORCH_LEAST_FIRST_RUNS
from planner.strategies.strategy import Posterior, StrategyContext, sweeps
from planner.strategies.unit_cube import unit_cube

if TYPE_CHECKING:
    from planner.strategies.botorch_gp import StockGP

__all__ = ["BotorchQnipv", "IntegratedVariance"]


@dataclass(eq=False)
class IntegratedVariance:
    """The reduction of one target's integrated variance. covariance: (n + m, n + m), candidates before mc_points;
    noise: standard deviation of a reading; weights: (m,) of the mc_points, of sum 1."""

    covariance: FloatArray
    noise: float
    weights: FloatArray

    def of_each(self) -> FloatArray:
        n = len(self.covariance) - len(self.weights)
        utility: FloatArray = (self.covariance[:n, n:] ** 2 @ self.weights) / (
            np.diagonal(self.covariance)[:n] + self.noise**2)
        return utility

    def choose(self, c: int) -> None:
        column = self.covariance[:, c]
        self.covariance = self.covariance - np.outer(column / (column[c] + self.noise**2), column)


@dataclass(eq=False)
class _Fits:
    """Fitted models. version: of the observations; logs: the targets learned as logarithms; price:
    accelerator-seconds of a run at each grid point, (N,); learned: hyperparameters by target, "" the price's."""

    version: tuple[object, int] | None = None
    targets: dict[str, StockGP] = field(default_factory=dict)
    logs: set[str] = field(default_factory=set)
    price: FloatArray | None = None
    learned: dict[str, Mapping[str, Any]] = field(default_factory=dict)


class BotorchQnipv:
    """See the module."""

    def __init__(self, context: StrategyContext) -> None:
        self.context = context
        grid = context.grid
        self._cube = unit_cube(grid)
        dimensions = self._cube.numeric.shape[1] + self._cube.category.shape[1]
        count = max(BOTORCH_LEAST_FIRST_RUNS, 2 * (dimensions + 1))
        first = latin_hypercube(grid, count, np.random.default_rng(context.seed))
        self._queue = by_engine(first, grid.engine[first])
        self._devices = context.accelerators
        self._fits = _Fits()

    def propose(self, observations: Observations) -> int | None:
        """The next row of the Latin hypercube, then of the present batch, then of a new batch."""
        closed = observations.known | (observations.broken > 0)
        ready = [row for row in self._queue if not closed[row] and row not in observations.pending]
        if not ready:
            ready = self._next_batch(observations)
            self._queue = self._queue + ready
        return ready[0] if ready else None

    def posterior(self, observations: Observations) -> Posterior:
        """BoTorch's posterior; the sweep's cost comes from our own cost model, for the report alone."""
        fits = self._fits if self._fits.version == observations.version else self._learn(observations, _Fits())
        value, low, high, std = ({t: np.full(len(observations.grid),
                                             np.nan) for t in self.context.targets} for _ in range(4))
        for target, gp in fits.targets.items():
            mean, doubt = gp.predict()
            back = np.exp if target in fits.logs else np.asarray
            std[target] = np.hypot(doubt, gp.noise_)
            value[target] = back(mean)
            low[target], high[target] = back(mean - Z90 * std[target]), back(mean + Z90 * std[target])
        cost = CostModel(self.context.grid, self.context.accelerators).fit(observations)
        return Posterior(Prediction(value, low, high, std), dict.fromkeys(self.context.targets),
                      probability_of_feasibility(observations.grid, observations), *sweeps(cost,
                          self.context.trajectory),
                      weights=self.context.weights_left(observations))

    def is_due(self, observations: Observations) -> bool:
        """False: nothing estimates its accuracy."""
        return False

    def price(self, row: int, observations: Observations) -> float:
        """Predicted accelerator-seconds of a run at `row`, engine start included; 0 until the first batch is chosen."""
        if self._fits.price is None:
            return 0.0
        starts = self.context.grid.engine[row] != observations.current_engine
        return float(self._fits.price[row] + (self._starts(observations)[row] if starts else 0.0))

    def _next_batch(self, observations: Observations) -> list[int]:
        rng = np.random.default_rng([self.context.seed, len(observations.runs)])
        rows = observations.open_rows
        if not len(rows):
            return []
        if not observations.measured.any():
            return [int(rng.choice(observations.fresh_rows))]
        if self._fits.version != observations.version:
            self._fits = self._learn(observations, self._fits)
        feasibility = probability_of_feasibility(self.context.grid, observations)
        tried = open_sample(observations, CANDIDATES, rng)
        mc_points = sample(observations.unmeasured_rows, REFERENCES, rng, self.context.grid)
        weights = np.maximum(feasibility[mc_points], 1e-12)
        weights /= weights.sum()
        pending = np.array(executed(self.context.grid, self.context.trajectory, observations.pending), dtype=np.int64)
        variances = [IntegratedVariance(_after_pending(gp, tried, pending, mc_points), gp.noise_, weights)
                     for gp in self._fits.targets.values()]
        price = np.ones(len(feasibility)) if self._fits.price is None else self._fits.price
        candidates = Candidates(tried, self.context.grid.engine[tried], price[tried], self._starts(observations)[tried],
                                feasibility[tried])
        return choose_greedily(candidates, variances, batch_size(observations), observations.current_engine)

    def _learn(self, observations: Observations, before: _Fits) -> _Fits:
        from planner.strategies.botorch_gp import StockGP

        def learn(name: str, rows: IntArray, y: FloatArray) -> StockGP:
            gp = StockGP(self._cube, self.context.seed).fit(rows, y, before.learned.get(name))
            fits.learned[name] = gp.learned_
            return gp

        fits = _Fits(observations.version)
        for target in self.context.targets:
            values = observations.column(target)
            rows = np.flatnonzero(np.isfinite(values))
            if not len(rows):
                continue
            y = values[rows]
            if y.min() > 0:
                fits.logs.add(target)
                y = np.log(y)
            fits.targets[target] = learn(target, rows, y)
        rows = np.flatnonzero(np.isfinite(observations.seconds) & (observations.seconds > 0))
        if len(rows):
            fits.price = np.exp(learn("", rows, np.log(observations.seconds[rows])).predict()[0]) * self._devices
        return fits

    def _starts(self, observations: Observations) -> FloatArray:
        """Accelerator-seconds of an engine start at each point, (N,): the median of the starts observed."""
        known = [second for seconds in observations.engine_starts().values() for second in seconds]
        starts: FloatArray = (float(np.median(known)) if known else 0.0) * self._devices
        return starts


def _after_pending(gp: StockGP, tried: IntArray, pending: IntArray, mc_points: IntArray) -> FloatArray:
    """Posterior covariance of candidates and mc_points, (n + m, n + m), once the pending points are measured."""
    points = np.concatenate([tried, mc_points, pending])
    n = len(tried) + len(mc_points)
    return given_readings(gp.covariance(points), range(n, len(points)), gp.noise_)[:n, :n]
