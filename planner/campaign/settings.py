"""Every constant of stopping, verifying and auditing: what it does, and where its evidence lies.

"Recorded grids" are the 22 of studies/compare/results.md, most of which are not in the repository.
"""

from __future__ import annotations

DEFAULT_ACCURACY = 0.95
"""Accuracy asked for where a study names no stop. By judgement."""

CHECKPOINTS_IN_A_ROW = 2
"""Checkpoints in a row at which the accuracy must be likely: one may be so by chance; two, each with its own fit,
rarely are. Replayed on recorded grids of 60 to 3,072 points with ten goals, 95 in 100 stops were right with two, at
2.0 times the cost of a stop that knows the truth; 97 with three, at 2.7 times (results.md)."""

NOTHING_WORKS = 20
"""Failures with no success before them after which a study stops for a person to see: a grid of which three quarters
cannot run has so many by chance once in 300 studies. By calculation."""

VERIFY_ROUNDS = 5
"""Rounds of measuring the winner and its closest rival. By judgement; not measured."""

WORTH_A_RUN = 0.5
"""Probability of meeting the conditions from which the most probable point is measured. By judgement; not measured."""

POINTS_PER_CONTROL = 5
"""Audited points for each control: a point measured again to see whether the machine has changed. By judgement; not
measured."""
