"""Several observers as one."""

from __future__ import annotations

from planner.campaign.loop import Observer
from planner.ledger.observations import Observations, Run
from planner.space.types import Point
from planner.strategies.strategy import Posterior

__all__ = ["Observers"]


class Observers(Observer):
    """Tells each of several observers what it is told, in their order."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def started(self, point: Point, observations: Observations) -> None:
        """A run begins."""
        for observer in self._observers:
            observer.started(point, observations)

    def finished(self, run: Run, observations: Observations) -> None:
        """A run ended."""
        for observer in self._observers:
            observer.finished(run, observations)

    def checkpoint(self, posterior: Posterior, observations: Observations) -> None:
        """The belief was looked at anew."""
        for observer in self._observers:
            observer.checkpoint(posterior, observations)
