"""Observers of a campaign: the contract, and a combination of several."""

from __future__ import annotations

from planner.ledger.observations import Observations, Run
from planner.space.types import Point
from planner.strategies.strategy import Posterior

__all__ = ["Observer", "Observers"]


class Observer:
    """Is notified of events of a campaign. Every method may be overridden; none may raise or take long.

    Contract: `begun` comes first and once, when the record is open; then, for each run, `started` and `finished`, those
    of several workers in any order; after a run any number of `checkpoint`s; `waiting` and `noted` at any time; `ended`
    comes last, unless an exception ends the campaign.
    """

    def begun(self, observations: Observations) -> None:
        """The record is open; `observations` holds all earlier measurements."""

    def started(self, point: Point, observations: Observations) -> None:
        """A run begins."""

    def finished(self, run: Run, observations: Observations) -> None:
        """A run ended, and is in `observations`."""

    def checkpoint(self, posterior: Posterior, observations: Observations) -> None:
        """A posterior was computed from all runs so far."""

    def waiting(self, problem: str) -> None:
        """The record cannot be written now; one line says why, and that it is tried again."""

    def noted(self, text: str) -> None:
        """One line that the user should know of several workers."""

    def ended(self, reason: str, observations: Observations) -> None:
        """Nothing more is measured."""


class Observers(Observer):
    """Passes every event to several observers, in order."""

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

    def waiting(self, problem: str) -> None:
        """The record cannot be written now."""
        for observer in self._observers:
            observer.waiting(problem)

    def noted(self, text: str) -> None:
        """One line that the user should know."""
        for observer in self._observers:
            observer.noted(text)

    def ended(self, reason: str, observations: Observations) -> None:
        """Nothing more is measured."""
        for observer in self._observers:
            observer.ended(reason, observations)
