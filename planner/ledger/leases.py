"""Leases: the runs of workers whose process cannot be seen from here, on another machine or in another container.

A worker renews the lease of its runs every BEAT_S seconds. A run whose lease was not renewed for GRACE_S seconds is
lost, and its point is free again. Three things must not make a living worker look dead: clocks that differ (only the
database's counts), a run that lasts for hours (a thread renews), and a database that was slow or away for longer than
the grace. The last one silences all workers at once, so an overdue lease is watched for CONFIRM_S seconds more: a
worker that lives renews it as soon as it can.

Optuna's own heartbeat would close trials by their age alone, and its thread ends at the first error of the database.
"""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

import optuna
from optuna.trial import FrozenTrial, TrialState

from planner.ledger.optuna_private import beat, heartbeats
from planner.ledger.worker import is_given_up, this_worker

__all__ = ["BEAT_S", "CONFIRM_S", "GRACE_S", "Leases"]

BEAT_S: Final = 30.0
"""Seconds between renewals: one small transaction, which nothing waits for. By judgement."""
GRACE_S: Final = 300.0
"""Seconds without a renewal after which a lease is overdue: ten missed in a row. A database that another process holds
delays one by a minute at most, the time that SQLite waits for a lock. By judgement."""
CONFIRM_S: Final = 2 * BEAT_S
"""Seconds for which an overdue lease is watched: every worker that lives has tried to renew it twice by then."""


class Leases:
    """The leases of one study. Any thread may call `keep`; `lost` is for the thread that closes trials.

    clock: seconds, of this process; tests give their own.
    """

    def __init__(self, study: optuna.Study, clock: Callable[[], float] = time.monotonic) -> None:
        self._study = study
        self._clock = clock
        self._overdue: dict[tuple[int, datetime], float] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        weakref.finalize(self, self._over.set)

    def keep(self) -> None:
        """Renew the leases of all runs of this process from now on, for as long as this object is held."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=_renew, args=(weakref.ref(self), self._over), name="leases",
                                                daemon=True)
                self._thread.start()

    def renew(self) -> None:
        """Renew the leases of this process' runs."""
        mine = [trial for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
                if trial.user_attrs.get("worker") == this_worker() and not is_given_up(trial)]
        beat(self._study, mine)

    def lost(self, elsewhere: Sequence[FrozenTrial]) -> set[int]:
        """The numbers of those of these RUNNING trials whose worker has not renewed their lease in time.

        A run without a lease gets one now: its worker writes none before it has run for BEAT_S seconds.
        """
        if not elsewhere:
            self._overdue = {}
            return set()
        now, at = heartbeats(self._study)
        beat(self._study, [trial for trial in elsewhere if trial.number not in at])
        late = [(trial.number, at[trial.number]) for trial in elsewhere
                if trial.number in at and now - at[trial.number] > timedelta(seconds=GRACE_S)]
        self._overdue = {lease: self._overdue.get(lease, self._clock()) for lease in late}
        return {number for (number, _), since in self._overdue.items() if self._clock() - since >= CONFIRM_S}

    @property
    def doubtful(self) -> bool:
        """Whether a lease was overdue when `lost` was last asked, and is watched."""
        return bool(self._overdue)


def _renew(leases: weakref.ref[Leases], over: threading.Event) -> None:
    """Renew until nobody holds the leases any more. A failure is tried again at the next time: a process that has lost
    the database for good hears of it from its next write."""
    while not over.wait(BEAT_S):
        held = leases()
        if held is None:
            return
        with contextlib.suppress(Exception):
            held.renew()
        del held
