"""Several observers as one."""

from __future__ import annotations

from planner.acquisition.strategy import Belief
from planner.ledger.observations import Observations, Run
from planner.loop import Observer
from planner.space.types import Point

__all__ = ["Observers"]


class Observers(Observer):
    """Tells each of several observers what it is told, in their order."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def started(self, point: Point, seen: Observations) -> None:
        """A run begins."""
        for observer in self._observers:
            observer.started(point, seen)

    def finished(self, run: Run, seen: Observations) -> None:
        """A run ended."""
        for observer in self._observers:
            observer.finished(run, seen)

    def believed(self, belief: Belief, seen: Observations) -> None:
        """The belief was looked at anew."""
        for observer in self._observers:
            observer.believed(belief, seen)
