"""The next runs for a choice: those that tell most, for each accelerator-second, of what could still change the winner.

Notation
--------
case, chosen, contender, regret     see planner.evaluation.choice
contrast    the difference of the objective between a contender and the chosen candidate, a sum over rows; or, where it
            is uncertain whether one of them meets a condition, that metric at each of its parts
L           expected loss: what the contender adds to the regret
Δ(c)        Σ L · share of the contrast's variance that a run at c removes, summed over contrasts and metrics

The contenders that most often are the better ones weigh most, as in top-two Thompson sampling (Russo, Oper. Res. 68,
2020), and a run counts for what it tells of differences, as in the knowledge gradient for correlated alternatives
(Frazier, Powell & Dayanik, INFORMS J. Comput. 21, 2009): the chosen one is run where that tells more. Δ does not depend
on values not measured yet, so a batch is chosen greedily, and runs under way count as measured.

A measured row may be run again, where noise alone leaves a case open.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from planner.acquisition.batch_selection import BatchSelection
from planner.acquisition.initial_design import by_engine
from planner.acquisition.settings import LEAST_CONTRAST, LEAST_OPENNESS, MOST_CONTRASTS
from planner.acquisition.underway import prices, rows_underway
from planner.acquisition.variance_reduction import choose_batch
from planner.evaluation.choice import Case, Choice, ChoiceQuestion, choice_of
from planner.evaluation.joint import JointMetric
from planner.evaluation.mix import part_shares
from planner.evaluation.settings import MOST_RUNS_A_POINT
from planner.ledger.observations import Observations
from planner.models.cost import CostModel
from planner.models.grid_model import GridModel
from planner.models.joint_errors import JointErrors
from planner.space.types import BoolArray, FloatArray, IntArray

__all__ = ["ChoiceChooser"]


@dataclass(frozen=True, slots=True)
class ChoiceChooser:
    """A Chooser (planner.acquisition.variance_reduction) of runs that settle which configuration is best."""

    question: ChoiceQuestion

    def __call__(
        self, model: GridModel, cost: CostModel, observations: Observations, feasibility: FloatArray, size: int,
        rng: np.random.Generator,
    ) -> list[int]:
        """Up to `size` grid rows to run next, engines in an order that starts each at most once; none once every case
        is settled. feasibility: probability that each point can run, (N,)."""
        choice = choice_of(self.question, model.predict(), feasibility, JointErrors(model), observations)
        if choice.conclusion is not None:
            return []
        rows, places = _candidates(choice, observations)
        if not len(rows):  # other processes run all that counts: meanwhile any run that tells of the grid will do
            return choose_batch(model, cost, observations, feasibility, size, rng)
        fields = [field.part(places) for field in _fields(choice, feasibility, rows_underway(model, observations))]
        engines = model.grid.engine[rows]
        selection = BatchSelection(
            # A run that fails settles whether its candidate can run.
            fields, np.ones(len(rows)), prices(cost, rows, observations),
            cost.start_seconds()[rows] * cost.devices[rows], engines, observations.current_engine)
        chosen: list[int] = []
        while len(chosen) < min(size, len(rows)):
            chosen += selection.select(size - len(chosen))
        return by_engine(rows[chosen], engines[chosen], observations.current_engine)


@dataclass(eq=False)
class _Contrasts:
    """A Field (planner.acquisition.batch_selection): covariance of one metric's errors at n rows with m contrasts,
    (n, m), and among rows, (n, n). weights: L over the contrast's variance, (m,). reading: standard deviation of a
    reading at each row, (n,)."""

    to_contrasts: FloatArray
    among: FloatArray
    weights: FloatArray
    reading: FloatArray

    def utility(self) -> FloatArray:
        """Δ of each row, (n,), for this metric."""
        noisy = np.maximum(np.diagonal(self.among), 0.0) + self.reading**2 + 1e-12
        utility: FloatArray = (self.to_contrasts**2 @ self.weights) / noisy
        return utility

    def part(self, candidates: IntArray) -> _Contrasts:
        """The same for some of the rows only."""
        return _Contrasts(self.to_contrasts[candidates], self.among[np.ix_(candidates, candidates)], self.weights,
                          self.reading[candidates])

    def observe(self, c: int) -> None:
        """Condition on a reading at row c."""
        noisy = max(self.among[c, c], 0.0) + self.reading[c] ** 2 + 1e-12
        column = self.among[:, c].copy()
        self.to_contrasts = self.to_contrasts - np.outer(column / noisy, self.to_contrasts[c])
        self.among = self.among - np.outer(column / noisy, column)


def _candidates(choice: Choice, observations: Observations) -> tuple[IntArray, IntArray]:
    """Rows of contenders of unsettled cases that may be run, and their places among the rows of the joint metrics."""
    joint = next(iter(choice.joint.values()))
    wanted = np.zeros(len(joint.rows), dtype=bool)
    for case in choice.cases:
        if case.is_unsettled:
            wanted[case.places] = True
    rows = joint.rows
    again = observations.measured[rows] & (observations.run_counts[rows] < MOST_RUNS_A_POINT) & (joint.reading > 0)
    may_run: BoolArray = wanted & (~observations.known[rows] | again)
    may_run &= ~np.isin(rows, list(observations.pending))
    places = np.flatnonzero(may_run)
    return rows[places], places


def _fields(choice: Choice, feasibility: FloatArray, underway: IntArray) -> list[_Contrasts]:
    """One for each metric, and one for whether rows can run; what is under way counts as measured."""
    found: dict[str, list[tuple[FloatArray, float]]] = {name: [] for name in choice.joint}
    n = len(next(iter(choice.joint.values())).rows)
    fails = np.zeros(n)
    for case in choice.cases:
        if case.is_unsettled:
            for metric, contrast, loss in _contrasts(choice, case, n):
                found[metric].append((contrast, loss))
            np.add.at(fails, case.places, case.loss[:, None])
    fields = [_field(choice.joint[name], contrasts) for name, contrasts in found.items() if contrasts]
    rows = next(iter(choice.joint.values())).rows
    able = feasibility[rows]
    fields.append(_Contrasts(np.eye(n), np.eye(n), 4 * able * (1 - able) * fails, np.zeros(n)))
    for place in np.flatnonzero(np.isin(rows, underway)).tolist():
        for field in fields:
            field.observe(place)
    return fields


def _field(joint: JointMetric, contrasts: list[tuple[FloatArray, float]]) -> _Contrasts:
    heavy = sorted(contrasts, key=lambda one: -one[1])[:MOST_CONTRASTS]
    matrix = np.array([contrast for contrast, _ in heavy]).T
    to_contrasts = joint.covariance @ matrix
    variance = np.maximum((matrix * to_contrasts).sum(axis=0), LEAST_CONTRAST)
    return _Contrasts(to_contrasts, joint.covariance.copy(), np.array([loss for _, loss in heavy]) / variance,
                      joint.reading)


def _contrasts(choice: Choice, case: Case, n: int) -> Iterator[tuple[str, FloatArray, float]]:
    """Metric, coefficients of the rows, (n,), and L of each contrast of a case."""
    question = choice.question.question
    objective = choice.joint[question.objective]
    shares = part_shares(case.mix, objective.about)
    for k in np.flatnonzero(case.loss > 0).tolist():
        if k > 0:
            contrast = np.zeros(n)
            np.add.at(contrast, case.places[k], shares)
            np.add.at(contrast, case.places[0], -shares)
            yield question.objective, contrast, float(case.loss[k])
    for condition in question.conditions:
        openness = choice.joint[condition.metric].openness(condition)
        counts = (case.loss > 0)[:, None] & (openness[case.places] > LEAST_OPENNESS)
        for k, part in np.argwhere(counts).tolist():
            place = case.places[k, part]
            contrast = np.zeros(n)
            contrast[place] = 1.0
            yield condition.metric, contrast, float(case.loss[k] * openness[place])
