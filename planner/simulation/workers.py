"""Several workers on one recorded grid, in simulated time.

Each worker is a campaign of its own, with its own runner, and so its own running engine. All of them share one record
and one strategy. A run ends when its recorded seconds are over; it is then recorded, and its worker chooses its next
run while the others' runs are under way. Choosing takes no simulated time. Workers of a real study have a strategy
each, fitted as often or more often, and each comes to its own decision to stop.

Notation: runs are numbered as they begin, from 0 on and without gaps, as in a study's record. The first k runs are what
a study has that begins no more than k: whatever was under way is finished and paid.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from threadpoolctl import threadpool_limits

from planner.campaign.loop import Loop
from planner.ledger.observations import Observations, Run, Underway
from planner.space.types import Measurement, Point
from planner.strategies.strategy import Posterior

__all__ = ["Charge", "SharedRecord", "WorkerRecord", "play_together"]


@dataclass(frozen=True, slots=True)
class Charge:
    """What a run costs. cost: accelerator-seconds, start_cost of them for starting its engine. ends_s: seconds from the
    beginning of the simulation. slowdown: of its machine when it ends."""

    cost: float
    start_cost: float
    ends_s: float
    slowdown: float


@dataclass
class SharedRecord:
    """The record of all workers of a simulation. charges: of each run that has begun, by number. underway: the workers
    that are measuring, by the number of their run.

    observations: all runs that have ended. Its `pending`, `underway` and `current_engine` are as one worker sees them:
    the one that has called `WorkerRecord.refresh` last.
    """

    observations: Observations
    charges: list[Charge] = field(default_factory=list)
    underway: dict[int, WorkerRecord] = field(default_factory=dict)

    def first(self, runs: int) -> Observations:
        """What is known once the first `runs` runs have ended."""
        seen = self.observations
        return seen.of_runs([run for run in seen.runs if run.number < runs])

    def cost(self, runs: int) -> float:
        """Accelerator-seconds of the first `runs` runs."""
        return sum(charge.cost for charge in self.charges[:runs])

    def start_cost(self, runs: int) -> float:
        """Accelerator-seconds that they spend on starting engines."""
        return sum(charge.start_cost for charge in self.charges[:runs])

    def last(self, runs: int) -> Charge:
        """The charge of the run that ends last of the first `runs` runs, of which there is one at least."""
        return max(self.charges[:runs], key=lambda charge: charge.ends_s)


class WorkerRecord:
    """One worker's access to the shared record: a recorder of the loop (planner.campaign.loop.Recorder).

    trajectory: the axis along which its runs also measure every smaller value, or None. slowdown_now: of its machine.
    """

    def __init__(self, shared: SharedRecord, trajectory: str | None, slowdown_now: Callable[[], float]) -> None:
        self.shared = shared
        self.rows: set[int] = set()
        self.row: int | None = None
        self.now = 0.0
        self.engine: int | None = None
        self._trajectory = trajectory
        self._slowdown_now = slowdown_now

    def begin(self, point: Point, seed: int) -> tuple[int, Point]:
        """The run's number."""
        grid, number = self.shared.observations.grid, len(self.shared.charges)
        self.row = grid.find(point)
        if self.row is not None:
            shorter = grid.shorter(self._trajectory, self.row).tolist() if self._trajectory else []
            self.rows = {self.row, *shorter}
        self.shared.underway[number] = self
        return number, point

    def charge(self, measurement: Measurement) -> float:
        """Charge the run that has begun; when it will end."""
        cost = measurement.cost
        self.now += cost.seconds
        starts = (cost.import_s + cost.start_s) * cost.accelerators
        self.shared.charges.append(Charge(cost.accelerator_seconds, starts, self.now, self._slowdown_now()))
        return self.now

    def finish(self, trial: int, measurement: Measurement, planner_s: float = 0.0) -> Run:
        """The run, no longer under way."""
        seen = self.shared.observations
        assert self.row is not None
        run = Run(trial, seen.grid.point(self.row), measurement, planner_s)
        self.abandon(trial, "")
        self.engine = seen.left_running(run)
        return run

    def abandon(self, trial: int, reason: str) -> None:
        """No run begins: the number is given again."""
        del self.shared.underway[trial]

    def refresh(self, observations: Observations, before: int | None = None) -> None:
        """What the others are measuring; what they have measured is in the shared observations already."""
        others = [worker for worker in self.shared.underway.values() if worker is not self]
        observations.pending = {row for worker in others for row in worker.rows}
        observations.underway = tuple(Underway(worker.row, worker.engine) for worker in others)
        observations.current_engine = self.engine


def play_together(loops: Sequence[Loop]) -> None:
    """Run the workers' campaigns to their ends. Each one's recorder is a WorkerRecord of the same shared record."""
    # As the loop does when it runs by itself.
    with threadpool_limits(limits=1):
        workers = [_Worker(loop) for loop in loops]
        ahead: list[tuple[float, int, _Worker, Measurement]] = []
        posterior: Posterior | None = None
        for worker in workers:
            ahead += worker.advance(None, posterior)
            posterior = worker.loop.posterior
        heapq.heapify(ahead)
        while ahead:
            _, _, worker, measurement = heapq.heappop(ahead)
            for run in worker.advance(measurement, posterior):
                heapq.heappush(ahead, run)
            posterior = worker.loop.posterior


class _Worker:
    """A campaign that is played run by run."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self._turns = loop.turns()

    def advance(
        self, measurement: Measurement | None, posterior: Posterior | None
    ) -> list[tuple[float, int, _Worker, Measurement]]:
        """Record the run that has ended, None at first, and begin the next: when it will end, its number, its worker
        and what it will have measured; nothing where the campaign ends. posterior: of the last checkpoint."""
        record = self.loop.recorder
        assert isinstance(record, WorkerRecord)
        record.refresh(self.loop.observations)
        self.loop.posterior = posterior
        try:
            asked = self._turns.send(measurement)
        except StopIteration:
            return []
        number, found = len(record.shared.charges), self.loop.measured(*asked)
        return [(record.charge(found), number, self, found)]
