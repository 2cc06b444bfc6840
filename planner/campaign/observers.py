"""Observers of a campaign: the contract, and several as one."""

from __future__ import annotations

from planner.ledger.observations import Observations, Run
from planner.space.types import Point
from planner.strategies.strategy import Posterior

__all__ = ["Observer", "Observers"]


class Observer:
    """Hears what happens. Every method may be overridden; none may raise or take long.

    Contract: `begun` comes first and once, when the record is open; then, for each run, `started` and `finished`, and
    between runs any number of `checkpoint`s; `ended` comes last, unless an exception ends it all.
    """

    def begun(self, observations: Observations) -> None:
        """The record is open: what was measured before is in `observations`."""

    def started(self, point: Point, observations: Observations) -> None:
        """A run begins."""

    def finished(self, run: Run, observations: Observations) -> None:
        """A run ended, and is in `observations`."""

    def checkpoint(self, posterior: Posterior, observations: Observations) -> None:
        """A posterior was computed from all runs so far."""

    def ended(self, reason: str, observations: Observations) -> None:
        """Nothing more is measured."""


class Observers(Observer):
    """Passes what it hears to each of several observers, in their order."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def begun(self, observations: Observations) -> None:
        """The record is open."""
        for observer in self._observers:
            observer.begun(observations)

    def started(self, point: Point, observations: Observations) -> None:
        """A run begins."""
        for observer in self._observers:
            observer.started(point, observations)

    def finished(self, run: Run, observations: Observations) -> None:
        """A run ended."""
        for observer in self._observers:
            observer.finished(run, observations)

    def checkpoint(self, posterior: Posterior, observations: Observations) -> None:
        """A posterior was computed."""
        for observer in self._observers:
            observer.checkpoint(posterior, observations)

    def ended(self, reason: str, observations: Observations) -> None:
        """Nothing more is measured."""
        for observer in self._observers:
            observer.ended(reason, observations)
