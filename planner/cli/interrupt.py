"""Signals while a study runs: the first Ctrl-C lets the run in hand end; a second one, or SIGTERM, drops it."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Any

from planner.campaign.observers import Observer

if TYPE_CHECKING:
    from planner.ledger.observations import Observations, Run
    from planner.space.types import Point

__all__ = ["CtrlC"]


class CtrlC(Observer):
    """Handles both signals from the beginning of a campaign to its end. Use it as a context manager, in the main
    thread.

    SIGTERM comes from a batch queue or a container that is about to end, and will soon be followed by SIGKILL. The run
    in hand is recorded as interrupted: workers on other machines need not wait until its lease is over.
    """

    def __init__(self) -> None:
        self._asked = False
        self._in_hand = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> CtrlC:
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def requested(self) -> bool:
        """Whether the campaign shall stop after the run in hand."""
        return self._asked

    def begun(self, observations: Observations) -> None:
        """From now on."""
        self._before = {number: signal.signal(number, handler) for number, handler in (
            (signal.SIGINT, self._handle), (signal.SIGTERM, self._terminate))}

    def started(self, point: Point, observations: Observations) -> None:
        """A run can be dropped from now on."""
        self._in_hand = True

    def finished(self, run: Run, observations: Observations) -> None:
        """There is none to drop."""
        self._in_hand = False

    def ended(self, reason: str, observations: Observations) -> None:
        """Until now."""
        self._restore()

    def _handle(self, *_: object) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
        print("\nstopping after the run in hand; Ctrl-C again drops it", file=sys.stderr)

    def _terminate(self, *_: object) -> None:
        self._asked = True
        print("\nstopping at once, as SIGTERM asks; the run in hand is dropped", file=sys.stderr)
        if self._in_hand:
            raise KeyboardInterrupt

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
