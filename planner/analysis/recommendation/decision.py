"""The answer to a question: the best configuration for a workload or, without one, for each combination of given
values.

Given values are never ranked: that short prompts are served faster than long ones helps nobody to choose.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from planner.analysis import settings
from planner.analysis.choice_status import CaseStatus
from planner.analysis.recommendation.limits import LoadLimits, load_limits
from planner.analysis.recommendation.recommend import Recommendation, chosen
from planner.analysis.recommendation.sure import how_sure
from planner.campaign.verify import Verification
from planner.evaluation.metric_posterior import metric_posterior
from planner.evaluation.mix import mixes
from planner.ledger.observations import Observations
from planner.space.question import Question
from planner.space.types import FloatArray, Point, StudyError
from planner.strategies.strategy import Posterior
from planner.tables.workload import PlacedWorkload

__all__ = ["Decision", "decide", "metrics_needed"]

_SHOWN = ("output_throughput", "tpot_ms", "energy_per_output_token_j")
"""What an answer shows besides, where it was measured."""


@dataclass(frozen=True, eq=False)
class Decision:
    """What to run. cases: one for the workload or, without one, for each combination of given values, in the order of
    the axes. limits: how far each line of the grid can be loaded. sure: how sure the winner of each case is; empty
    where they are too many. verified: the cost of measuring the winner, if asked.
    """

    question: Question
    workload: PlacedWorkload | None
    cases: tuple[Recommendation, ...]
    limits: LoadLimits
    sure: tuple[CaseStatus, ...]
    verified: Verification | None = None

    @property
    def only(self) -> Recommendation | None:
        """The one case; None if there are several."""
        return self.cases[0] if len(self.cases) == 1 else None

    def sure_of(self, case: Recommendation) -> CaseStatus | None:
        """How sure the winner of a case is; None where cases are too many."""
        return self.sure[self.cases.index(case)] if self.sure else None

    def given(self, case: Recommendation) -> Point:
        """The given values of a case of one part; empty for a mix, and where nothing is given."""
        parts = case.candidates.mix.given
        return parts[0] if len(parts) == 1 else {}

    @property
    def considered(self) -> int:
        """Configurations, in all cases, whose objective and conditions are defined and which have not failed."""
        return sum(case.considered for case in self.cases)

    def check_verifiable(self) -> None:
        """Raises StudyError where the winners of so many cases would be measured."""
        if len(self.cases) > settings.MOST_VERIFIED:
            raise StudyError(f"--verify: would measure the best for each of {len(self.cases)} kinds of requests; say "
                             "which by --workload, as in input_len=1024,output_len=128")

    @cached_property
    def to_measure(self) -> tuple[int, ...]:
        """Rows of the study's grid that are worth a run to be sure of the winner of each case: its own that nobody has
        measured, then those of its closest competitor. None where the winner is measured, or is more likely to miss a
        condition than not."""
        return tuple(dict.fromkeys(row for case in self.cases for row in _to_measure(case)))


def _to_measure(answer: Recommendation) -> Iterator[int]:
    winner = answer.winner
    if winner is None or answer.probability[winner] < settings.WORTH_A_RUN:
        return
    rows = list(_unmeasured(answer, winner))
    yield from rows
    if rows and (other := answer.runner_up(winner)) is not None:
        yield from _unmeasured(answer, other)


def _unmeasured(answer: Recommendation, row: int) -> Iterator[int]:
    """Rows of the study's grid at which a metric of the question was not measured for this candidate."""
    for part, place in enumerate(answer.candidates.mix.rows[row].tolist()):
        known = (answer.candidates.parts[metric][part] for metric in answer.question.metrics)
        if place >= 0 and not all(one.measured[row] for one in known):
            yield place


def decide(
    question: Question, posterior: Posterior, observations: Observations, accelerators: FloatArray,
    price: float | None = None, workload: PlacedWorkload | None = None,
) -> Decision:
    """The answer. posterior: of every metric of the question, which are targets of `observations`. accelerators: of a
    run of each point, (N,). price: of an accelerator-hour."""
    known = {metric: metric_posterior(metric, posterior.prediction, observations) for metric in observations.targets}
    cases = tuple(chosen(question, known, posterior, observations, accelerators, price, mix)
                  for mix in mixes(observations.grid, workload))
    meets = np.zeros(len(observations.grid), dtype=bool)
    for case in cases:
        rows = case.candidates.mix.rows[case.best]
        meets[rows[rows >= 0]] = True
    cases, sure = how_sure(question, cases, posterior, observations, accelerators)
    return Decision(question, workload, cases, load_limits(question, known, posterior, observations, meets), sure)


def metrics_needed(question: Question, measured: Sequence[str]) -> tuple[str, ...]:
    """The metrics to model for the question: its own, and those of the `measured` ones that an answer shows."""
    return (*question.modelled, *(metric for metric in _SHOWN if metric in measured))
