"""Every constant of stopping, verifying and auditing: what it does, and where its evidence lies.

"Recorded grids" are the 22 of studies/compare/results.md, most of which are not in the repository.
"""

from __future__ import annotations

DEFAULT_ACCURACY = 0.95
"""Accuracy at which a study without `stop` ends. By judgement."""

CHECKPOINTS_IN_A_ROW = 2
"""Checkpoints in a row at which the accuracy must be likely: one may be so by chance; two, each with its own fit,
rarely are. Replayed on recorded grids of 60 to 3,072 points with ten goals, 95 % of stops were right with two, at
2.0 times the cost of a stop that knows the truth; 97 % with three, at 2.7 times (results.md)."""

NOTHING_WORKS = 20
"""Number of failures without a success after which a study stops, for a person to check: if three quarters of a grid
cannot run, this happens by chance in one of 300 studies. By calculation."""

VERIFY_ROUNDS = 5
"""Rounds of measuring the winner and the runner-up. By judgement; not measured."""

POINTS_PER_CONTROL = 5
"""Audited points for each control: a point measured again to see whether the machine has changed. By judgement; not
measured."""

AWAIT_S = 2.0
"""Seconds after which a worker reads the record again, if it has nothing to do until it is known whether another lives.
By judgement: reading takes milliseconds."""

LONE_RUNS = 3
"""Runs without a success after which a worker that was to measure alone gets company: a study whose first points fail
does not wait for the check of neighbours. By judgement; not measured."""

EVENT_WAIT_S = 0.2
"""Seconds for which the process that shows a study's progress waits for an event of its workers: how late a Ctrl-C may
reach them. By judgement."""

END_GRACE_S = 10.0
"""Seconds for a worker to end its engine and close its run before it is killed, where the process that started it ends
with an error. By judgement: an engine ends in good order within some seconds."""

DEFAULT_DIFFERENCE = 0.05
"""Share by which a point of a new version must differ from the old one to count, where nobody says. By judgement: less
than the 20 % at which teams that compare nightly benchmarks raise an alarm, more than repeats of one run differ by."""
