"""The next runs of a study that compares a new version with an old one: where it is least decided what has changed.

Notation
--------
c, u        candidate; undecided reference point
P(u)        posterior probability that u differs by twice the amount, where that is not decided; while there are
            suspects, which may well have changed, at these alone
k(u, c)     posterior covariance of δ at u with a reading at c (planner.evaluation.change_model)
Δ(c)        Σ_u P(u) k(u, c)² / (k(c, c) + noise²) / Σ_u P(u) v(u), summed over the targets

That is integrated variance weighted by where the answer is open (targeted IMSE: Picheny, Ginsbourger, Roustant,
Haftka & Kim, J. Mech. Des. 132, 2010): a corner where nothing ran has the prior's P, and a point that is decided none.
Suspects come first, and may be measured again. A batch has one run in each block of an engine configuration: whether
another is needed there, its result says. Near the end it has no more than may be needed.

Before a finding counts, another of its points is run if it rests on one run: the same point again would share what the
old reading is off by. And one of the first runs, cheap and far from the finding, is made again: a machine that has
become slower shows in both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from planner.acquisition.batch_selection import BatchSelection
from planner.acquisition.initial_design import by_engine
from planner.acquisition.settings import CANDIDATES, EARLY_RUNS, REFERENCES, RUNS_A_SUSPECT
from planner.acquisition.underway import prices
from planner.acquisition.variance_reduction import VarianceField
from planner.evaluation.change import Change
from planner.evaluation.change_model import ChangeModel
from planner.ledger.observations import Observations
from planner.models.cost import CostModel
from planner.space.types import BoolArray, FloatArray, IntArray, Status

__all__ = ["confirmation", "search_batch"]


def search_batch(
    models: Mapping[str, ChangeModel], change: Change, cost: CostModel, observations: Observations,
    feasibility: FloatArray, size: int, rng: np.random.Generator,
) -> list[int]:
    """Up to `size` rows to run next, engines in an order that starts each at most once; none where all is decided."""
    suspected = np.unique(observations.grid.engine[change.suspects])
    weight = np.where(change.suspects if len(suspected) else change.undecided, change.open_probability, 0.0)
    cells = next(iter(models.values())).cells
    largest = int(np.bincount(cells[change.undecided]).max(initial=1))
    size = min(size, RUNS_A_SUSPECT * len(suspected) if len(suspected) else math.ceil(change.excess / largest))
    references = _sample(np.flatnonzero(weight), REFERENCES, weight, rng)
    known = np.any([model.known for model in models.values()], axis=0)
    may_run = known & ~observations.failed & (~observations.measured | change.suspects)
    may_run[list(observations.pending)] = False
    candidates = _sample(np.flatnonzero(may_run), CANDIDATES, np.ones(len(weight)), rng)
    if not len(references) or not len(candidates):
        return []
    fields = [_field(model, candidates, references, weight[references] * feasibility[references])
              for model in models.values()]
    engines = observations.grid.engine[candidates]
    selection = BatchSelection(
        fields, feasibility[candidates], prices(cost, candidates, observations),
        cost.start_seconds()[candidates] * cost.devices[candidates], engines, observations.current_engine)
    chosen: list[int] = []
    while len(chosen) < min(size, len(candidates)):
        chosen += selection.select(size - len(chosen))
    alone = [chosen[i] for i in np.sort(np.unique(cells[candidates[chosen]], return_index=True)[1])]
    return by_engine(candidates[alone], engines[alone], observations.current_engine)


def confirmation(change: Change, cost: CostModel, observations: Observations) -> int | None:
    """A row to measure before the findings count; None where they rest on enough."""
    found = np.flatnonzero(change.changed)
    if not len(found):
        return None
    engines = observations.grid.engine
    price = np.full(len(change.counts), np.inf)
    price[found] = prices(cost, found, observations)
    for engine in np.unique(engines[found]):
        here = found[(engines[found] == engine) & ~_taken(observations)[found]]
        ran = here[observations.measured[here]]
        if len(ran) and observations.run_counts[ran].sum() < 2 and _readings_at(observations, ran) < 2:
            others = here[~observations.measured[here]]
            some = others if len(others) else ran
            return int(some[np.argmin(price[some])])
    if not observations.run_counts[found].any():
        left = found[~_taken(observations)[found]]
        return int(left[np.argmin(price[left])]) if len(left) else None
    return _control(change, cost, observations)


def _control(change: Change, cost: CostModel, observations: Observations) -> int | None:
    """One of the first runs, to be made again after the first run at a finding; None where that was done."""
    order = [observations.grid.find(run.point) if run.measurement.status is Status.OK else None
             for run in observations.runs]
    first = next((i for i, row in enumerate(order) if row is not None and change.changed[row]), len(order))
    early = list(dict.fromkeys(row for row in order[:EARLY_RUNS] if row is not None))
    if not early or any(row in early for row in order[max(first, EARLY_RUNS) + 1:]):
        return None
    outside = [row for row in early if not change.changed[row]] or early
    rows = np.array([row for row in outside if row not in observations.pending], dtype=np.int64)
    if not len(rows):
        return None
    starts = np.where(observations.grid.engine[rows] == observations.current_engine, 0.0,
                      cost.start_seconds()[rows] * cost.devices[rows])
    return int(rows[np.argmin(prices(cost, rows, observations) + starts)])


def _readings_at(observations: Observations, rows: IntArray) -> int:
    """Number of runs that gave a reading at any of the rows."""
    inside = set(rows.tolist())
    return len({run for target in observations.targets for row, run in observations.readings(target) if row in inside})


def _taken(observations: Observations) -> BoolArray:
    taken = np.zeros(len(observations.grid), dtype=bool)
    taken[list(observations.pending)] = True
    return taken


def _field(model: ChangeModel, candidates: IntArray, references: IntArray, weights: FloatArray) -> VarianceField:
    to_references, among, noise = model.covariances(candidates, references)
    return VarianceField(to_references, among, weights / max(float(weights.sum()), 1e-12), noise,
                         model.known[candidates])


def _sample(rows: IntArray, most: int, weight: FloatArray, rng: np.random.Generator) -> IntArray:
    """At most `most` of the rows, ascending; the heavier ones are drawn the likelier."""
    if len(rows) <= most:
        return rows
    share = weight[rows] / weight[rows].sum()
    return np.sort(rng.choice(rows, most, replace=False, p=share))
