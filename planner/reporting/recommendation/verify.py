"""The best point measured before it is believed: of thousands of predictions the best one is also the luckiest."""

from __future__ import annotations

from collections.abc import Callable

from planner.acquisition.strategy import Belief, Strategy
from planner.ledger.observations import Observations
from planner.reporting.recommendation.recommend import Recommendation
from planner.space.types import Status

__all__ = ["Verifier"]

_ROUNDS = 5
_WORTH_A_RUN = 0.5


class Verifier:
    """A strategy for the loop: measures the winner and its closest rival, asks anew, and ends once the winner is
    measured, after a few rounds, or where a run was stopped by hand.

    Where no point meets the conditions with the probability asked for, the most probable one takes the winner's
    place, if it is as likely as not.
    """

    def __init__(self, make: Callable[[], Strategy], ask: Callable[[Belief, Observations], Recommendation]) -> None:
        self._make = make
        self._ask = ask
        self._pricing = make()
        self._rounds = _ROUNDS
        self._queue: list[int] = []

    def propose(self, seen: Observations) -> int | None:
        """The next row to measure."""
        if seen.runs and seen.runs[-1].measurement.status is Status.INTERRUPTED:
            return None
        if not self._open(seen) and self._rounds:
            self._rounds -= 1
            self._queue = self._next(seen)
        ready = self._open(seen)
        return ready[0] if ready else None

    def believe(self, seen: Observations) -> Belief:
        """That of the study's own strategy, begun anew: whoever asks again later must get the same answer."""
        return self._make().believe(seen)

    def is_due(self, seen: Observations) -> bool:
        """Never: nothing but the winner ends it."""
        return False

    def price(self, row: int, seen: Observations) -> float:
        """That of the study's own strategy."""
        return self._pricing.price(row, seen)

    def _open(self, seen: Observations) -> list[int]:
        return [row for row in self._queue if not seen.known[row] and row not in seen.pending]

    def _next(self, seen: Observations) -> list[int]:
        answer = self._ask(self.believe(seen), seen)
        winner = answer.winner
        if winner is None or seen.known[winner] or answer.probability[winner] < _WORTH_A_RUN:
            return []
        rival = answer.rival(winner)
        return [winner] if rival is None else [winner, rival]
