"""How sure it is which configuration is the best one: for a workload or, without one, for each combination of given
values.

Notation
--------
case        the configurations under one workload (planner.evaluation.mix); what can be chosen there are candidates
chosen      the candidate of the best objective among those that meet every condition with the question's confidence,
            or else the most probable to meet them: what a recommendation names
contenders  the chosen candidate and those that may still beat it; K of them
P           probability that the chosen one meets every condition, and that no other which does is better by more than
            settings.CHOICE_TOLERANCE; or, where that is more probable, that none meets every condition
runner_up       the contender that most often is the better one

P is a share of joint draws: neighbouring configurations err alike, and so do the parts of one (planner.evaluation.
joint). Whether candidates can run is drawn with one number for all: where memory ends for one, it does for the larger.

A case is *decided* if P is what was asked for. It is *narrowed* if so few contenders as the shortlist has hold that
probability: that one of them meets every condition, and none that does is better by more. It is *tied* if noise alone
stands in the way: readings taken as exact would decide it for one of the contenders, and the two were run as often as a
point is at most.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from planner.evaluation import settings
from planner.evaluation.choice_case import Case, Draws, Options
from planner.evaluation.joint import JointMetric, joint_metric
from planner.evaluation.metric_posterior import metric_posterior
from planner.evaluation.mix import Candidates, Mix, candidates_of
from planner.ledger.observations import Observations
from planner.models.joint_errors import JointErrors
from planner.models.prediction import Prediction
from planner.space.question import Question
from planner.space.types import FloatArray, IntArray

__all__ = ["Case", "Choice", "ChoiceQuestion", "Named", "choice_of"]


@dataclass(frozen=True, eq=False)
class ChoiceQuestion:
    """What a study must decide. mixes: its cases. accelerators: of a run of each grid point, (N,). probability: with
    which each case is to be decided. shortlist: configurations that may be left of a case."""

    question: Question
    mixes: tuple[Mix, ...]
    accelerators: FloatArray
    probability: float
    shortlist: int = 1


@dataclass(frozen=True, eq=False)
class Named:
    """What an answer names in one case, to be judged in place of our own choice. chosen: None where it names none.
    beside: other candidates that it shows, drawn with the contenders."""

    candidates: Candidates
    chosen: int | None
    beside: tuple[int, ...] = ()

    @property
    def rows(self) -> IntArray:
        """Rows of the study's grid that are drawn whether or not they are contenders'."""
        drawn = [] if self.chosen is None else [self.chosen, *self.beside]
        rows = self.candidates.mix.rows[drawn].ravel()
        return rows[rows >= 0]


@dataclass(frozen=True, eq=False)
class Choice:
    """What is known of every case. joint: each metric at the rows of all contenders, then at those of others that an
    answer shows. draws: of these; None where nothing is known."""

    question: ChoiceQuestion
    cases: tuple[Case, ...]
    joint: Mapping[str, JointMetric]
    draws: Draws | None = None

    @property
    def open_count(self) -> int:
        """Number of cases that keep a study going."""
        return sum(case.state == "open" for case in self.cases)

    @property
    def decided_count(self) -> int:
        """Number of cases that are decided."""
        return sum(case.state == "decided" for case in self.cases)

    @cached_property
    def conclusion(self) -> Literal["decision", "shortlist", "tie"] | None:
        """Why no more runs are worth making: every case is decided, or the others are narrowed or tied; None if one is
        open."""
        states = {case.state for case in self.cases}
        if "open" in states:
            return None
        return "tie" if "tied" in states else "shortlist" if "narrowed" in states else "decision"


def choice_of(
    asked: ChoiceQuestion, prediction: Prediction, feasibility: FloatArray, errors: JointErrors | None,
    observations: Observations, named: Sequence[Named] | None = None, shown: Sequence[str] = (),
) -> Choice:
    """What is known. feasibility: probability that each point can run, (N,). named: what is chosen in each case, in
    place of our own choice. shown: metrics that are drawn besides those of the question. All metrics are targets of
    `observations`."""
    question = asked.question
    known = {name: metric_posterior(name, prediction, observations)
             for name in dict.fromkeys((*question.metrics, *shown))}
    metrics = {name: observations.metric(name) for name in known}
    every = ([candidates_of(mix, known, metrics, feasibility, asked.accelerators) for mix in asked.mixes]
             if named is None else [one.candidates for one in named])
    options = [Options.of(candidates, question, metrics) for candidates in every]
    most = max(2, min(settings.CONTENDERS, settings.CONTENDER_ROWS // sum(mix.rows.shape[1] for mix in asked.mixes)))
    picked = [one.chosen for one in (options if named is None else named)]
    contenders = [np.zeros(0, dtype=np.int64) if pick is None else one.contenders(pick, most)
                  for one, pick in zip(options, picked, strict=True)]
    wanted = [one.mix.rows[some].ravel() for one, some in zip(options, contenders, strict=True)]
    rows = np.unique(np.concatenate(wanted)) if wanted else np.zeros(0, dtype=np.int64)
    if not len(rows):
        return Choice(asked, tuple(map(Case, asked.mixes)), {})
    beside = np.concatenate([one.rows for one in named]) if named else np.zeros(0, dtype=np.int64)
    drawn = np.concatenate([rows, np.setdiff1d(beside, rows)])
    joint = {name: joint_metric(one, errors, observations, drawn) for name, one in known.items()}
    draws = Draws(joint, rows, observations)
    cases = [Case(one.mix) if pick is None else draws.case(one, pick, some, asked.probability, asked.shortlist)
             for one, pick, some in zip(options, picked, contenders, strict=True)]
    return Choice(asked, tuple(cases), joint, draws)
