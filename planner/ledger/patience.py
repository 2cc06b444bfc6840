"""A record that is written again where its database fails for a while: a measurement costs more than a minute."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable
from typing import Final, TypeVar

import optuna

from planner.ledger.endings import metrics_at
from planner.ledger.ledger import Ledger
from planner.ledger.observations import Observations, Run
from planner.ledger.worker import give_up
from planner.space.text import point_text
from planner.space.types import Measurement, Point, RecordError, Status

__all__ = ["PatientLedger"]

_PATIENCE_S: Final = 60.0
"""Seconds to go on trying. A restarted PostgreSQL server is back within seconds, a person who frees a disk needs
longer, and meanwhile accelerators wait. By judgement; not measured."""
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 5.0

T = TypeVar("T")


class PatientLedger:
    """A ledger as the loop needs it (planner.campaign.loop.Recorder). Where the database fails in a way that may pass,
    each method tries again for a minute. Raises RecordError after that, and at once where waiting is of no use.

    waiting: is told in one line of a failure that a second try does not overcome.
    """

    def __init__(self, ledger: Ledger, waiting: Callable[[str], None]) -> None:
        self.ledger = ledger
        self._waiting = waiting
        self._in_hand: dict[int, optuna.Trial] = {}

    def begin(self, point: Point, seed: int) -> tuple[optuna.Trial, Point]:
        """As the ledger's. If an answer was lost, but not what it answered, that trial is taken."""
        trial, taken = self.again(lambda: self.ledger.begin(point, seed), lambda: self.ledger.begun(seed))
        self._in_hand[trial.number] = trial
        return trial, taken

    def finish(self, trial: optuna.Trial, measurement: Measurement, planner_s: float = 0.0) -> Run:
        """As the ledger's. Raises RecordError that says what was measured, for the record will not have it."""
        try:
            run = self.again(lambda: self.ledger.finish(trial, measurement, planner_s))
        except RecordError as error:
            if measurement.status is Status.INTERRUPTED:
                raise
            point = {axis.name: trial.params[axis.name] for axis in self.ledger.axes}
            raise RecordError(f"{error}. Run {trial.number} is not in the record and will be measured anew: "
                              f"{point_text(point)} gave {_outcome(point, measurement)}") from error
        self._in_hand.pop(trial.number, None)
        return run

    def abandon(self, trial: optuna.Trial, reason: str) -> None:
        """As the ledger's."""
        self.again(lambda: self.ledger.abandon(trial, reason))
        self._in_hand.pop(trial.number, None)

    def leave(self) -> None:
        """The campaign is over: what it has begun and not finished is given up. Asks no database."""
        for trial in self._in_hand.values():
            give_up(trial)

    def refresh(self, observations: Observations, before: optuna.Trial | None = None) -> None:
        """As the ledger's."""
        self.again(lambda: self.ledger.refresh(observations, before))

    def again(self, act: Callable[[], T], found: Callable[[], T | None] = lambda: None) -> T:
        """What `act` returns, called again until it succeeds; or, from the second time on, what `found` returns."""
        tries, until, pause = 0, 0.0, _FIRST_PAUSE_S
        while True:
            try:
                return self._once_more(act, found) if tries else act()
            except RecordError as error:
                if not error.passes:
                    raise
                if not tries:  # often another process that writes: nobody needs to know
                    until = time.monotonic() + _PATIENCE_S
                elif time.monotonic() >= until:
                    raise RecordError(f"{error}, then run the same command: it goes on from here") from error
                if tries == 1:
                    self._waiting(f"{error}; trying again for {_PATIENCE_S:g} s")
            tries += 1
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _once_more(self, act: Callable[[], T], found: Callable[[], T | None]) -> T:
        with warnings.catch_warnings():  # Optuna's, of a value that it has already
            warnings.simplefilter("ignore", UserWarning)
            known = found()
            return act() if known is None else known


def _outcome(point: Point, measurement: Measurement) -> str:
    """What the run gave at its point, on one line."""
    said = [f"{name} {statistics.median(values):.6g}"
            for name, values in metrics_at(point, measurement).items() if values]
    return ", ".join(said) or measurement.reason or measurement.status
