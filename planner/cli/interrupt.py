"""Ctrl-C while a study runs: the first one lets the run in hand end, a second one drops it."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Any

from planner.campaign.observers import Observer

if TYPE_CHECKING:
    from planner.ledger.observations import Observations

__all__ = ["CtrlC"]


class CtrlC(Observer):
    """Handles Ctrl-C from the beginning of a campaign to its end. Use it as a context manager, in the main thread."""

    def __init__(self) -> None:
        self._asked = False
        self._before: Any = None

    def __enter__(self) -> CtrlC:
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def requested(self) -> bool:
        """Whether the campaign shall stop after the run in hand."""
        return self._asked

    def begun(self, observations: Observations) -> None:
        """From now on."""
        self._before = signal.signal(signal.SIGINT, self._handle)

    def ended(self, reason: str, observations: Observations) -> None:
        """Until now."""
        self._restore()

    def _handle(self, *_: object) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
        print("\nstopping after the run in hand; Ctrl-C again drops it", file=sys.stderr)

    def _restore(self) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None
