"""How much a neighbour disturbs: the first measured point is measured alone, and once more when others run too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

import optuna

from planner.campaign.settings import LONE_RUNS
from planner.evaluation.neighbours import Disturbance, beside, disturbance
from planner.ledger.observations import Observations, Run
from planner.space.text import percent
from planner.space.types import Status

__all__ = ["NeighbourCheck"]

_NEIGHBOURS: Final = "neighbours"


class NeighbourCheck:
    """Made once in a study, whose attributes keep the outcome, and again for more workers than then.

    The second measurement is a run that is enqueued, as a person would. Where several machines work on the study,
    another may take it; then this one says nothing.
    """

    def __init__(self, study: optuna.Study, workers: int) -> None:
        self._study, self._workers = study, workers
        self._finished = 0
        self._is_over = self._is_known()
        self._alone: Run | None = None
        self._is_enqueued = False

    @property
    def lets_others_start(self) -> bool:
        """Whether nothing has to be measured alone any more."""
        return self._is_over or self._alone is not None or self._finished >= LONE_RUNS

    def finished(self, run: Run) -> None:
        """A worker of this machine has finished a run."""
        self._finished += 1
        if self._finished <= LONE_RUNS and self._alone is None and _is_measured(run):
            self._alone = run

    def enqueue(self) -> None:
        """Others run now: have the point measured again."""
        if self._alone is not None and not self._is_over and not self._is_enqueued and not self._is_known():
            self._study.enqueue_trial(dict(self._alone.point))
            self._is_enqueued = True

    def outcome(self, observations: Observations, targets: Sequence[str]) -> str | None:
        """One line that says what a neighbour changes, once, as soon as that is known."""
        if self._alone is None or self._is_over or not self._is_enqueued:
            return None
        together = beside(observations.runs)
        again = [run for run in observations.runs
                 if _is_again(run, self._alone) and self._alone.number not in together[run.number]]
        found = disturbance(self._alone, again[0], together[again[0].number], targets) if again else None
        if found is None or not found.neighbours:
            return None
        self._is_over = True
        self._study.set_user_attr(_NEIGHBOURS, {**asdict(found), "workers": self._workers})
        return _said(found)

    def _is_known(self) -> bool:
        return bool(self._study.user_attrs.get(_NEIGHBOURS, {}).get("workers", 0) >= self._workers)


def _is_again(run: Run, alone: Run) -> bool:
    """Whether a run measured the same point on the same machine later."""
    return (_is_measured(run) and run.number > alone.number and dict(run.point) == dict(alone.point)
            and run.measurement.placement["machine"] == alone.measurement.placement["machine"])


def _is_measured(run: Run) -> bool:
    return run.measurement.status is Status.OK and bool(run.measurement.placement)


def _said(found: Disturbance) -> str:
    target, ratio = found.largest
    change = f"{percent(abs(ratio - 1))} {'higher' if ratio > 1 else 'lower'}"
    advice = "; --parallel 1 measures undisturbed" if found.is_large else ""
    others = "run" if len(found.neighbours) == 1 else "runs"
    return (f"neighbours: {target} is {change} in run {found.beside}, beside {others} "
            f"{', '.join(map(str, found.neighbours))}, than in run {found.alone}, alone{advice}")
