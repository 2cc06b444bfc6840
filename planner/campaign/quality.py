"""Quality beside speed: which runs evaluate the quality of their configuration, and which have the result of another.

An evaluation holds for all points that share the axes it depends on. The first run of each such combination makes it
and is charged; every later one has its result in the record, as a metric like any other, and nothing on its bill.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from planner.campaign.loop import Measurer
from planner.ledger.observations import Observations
from planner.space.evaluation import STDERR, Evaluation
from planner.space.failure import TRIES
from planner.space.types import Measurement, Proposal, Reading, Status

__all__ = ["Evaluating"]


class Evaluating:
    """A runner that is asked to evaluate where the record has no result yet, and whose other runs get the recorded one.

    asked: the evaluation; None for a study without one. observations: the record as the campaign knows it, kept current
    by its owner.
    """

    def __init__(self, runner: Measurer, asked: Evaluation | None, observations: Observations) -> None:
        self._runner, self._seen = runner, observations
        self._metrics = [name for name in (asked.metrics if asked else ()) if name in observations.targets]

    @property
    def trajectory_axis(self) -> str | None:
        """As the runner's."""
        return self._runner.trajectory_axis

    def measure(self, proposal: Proposal) -> Measurement:
        """Execute one run, with an evaluation where one is due."""
        row = self._seen.grid.find(proposal.point)
        if not self._metrics or row is None:
            return self._runner.measure(proposal)
        if self._recorded(row):
            return self._with_recorded(self._runner.measure(proposal), row)
        if self._is_due(row):
            return self._runner.measure(replace(proposal, evaluate=True))
        # Another worker evaluates this combination now; its result may be there when this run has ended.
        return self._with_recorded(self._runner.measure(proposal), row)

    def _is_due(self, row: int) -> bool:
        """Whether nobody evaluates the row's combination now, and it has not failed too often to be tried again. While
        nothing was ever evaluated, every run tries."""
        if not self._seen.readings(self._metrics[0]):
            return True
        same = self._seen.combination(self._metrics[0])
        if any(run.row is not None and bool(same[run.row] == same[row]) for run in self._seen.underway):
            return False
        failed = [self._seen.grid.find(run.point) for run in self._seen.runs if "failed" in run.measurement.quality]
        return sum(at is not None and bool(same[at] == same[row]) for at in failed) < TRIES

    def _recorded(self, row: int) -> tuple[int, Mapping[str, tuple[float, ...]]] | None:
        """The trial number of the run that evaluated the row's combination, and what it gave; None without one."""
        seen, names = self._seen, {name + end for name in self._metrics for end in ("", STDERR)}
        same = seen.combination(self._metrics[0])
        for at, position in seen.readings(self._metrics[0]):
            if same[at] == same[row]:
                run = seen.runs[position]
                point = seen.grid.point(at)
                reading = next(one for one in run.measurement.readings if dict(one.point) == point)
                return run.number, {name: value for name, value in reading.metrics.items() if name in names}
        return None

    def _with_recorded(self, measured: Measurement, row: int) -> Measurement:
        found = self._recorded(row)
        if found is None or measured.status not in (Status.OK, Status.SATURATED):
            return measured
        number, metrics = found

        def joined(reading: Reading) -> Reading:
            return replace(reading, metrics={**reading.metrics, **metrics})

        return replace(measured, readings=tuple(map(joined, measured.readings)), quality={"run": number})
