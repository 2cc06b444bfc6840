"""Every constant of the acquisition: what it does, and where its evidence lies."""

from __future__ import annotations

COST_EXPONENT = 0.38
"""How strongly the initial design prefers cheap points: 0 spreads blindly, 1/2 starves the expensive corner where runs
are few. Chosen on 17 small grids of 60 to 727 points, CPU and simulated, with 20 to 40 seeds: up to 2.4 points better
than 1/3 below 1 % of the cost, level from 2 % on. These grids are not in the repository; the figures are in
studies/compare/results.md."""

BASELINE_RUNS = 3
"""Parts of a workload at which the baseline is measured before all else. By judgement; not measured."""

RUNS_A_SIZE = 3
"""Runs of the initial design for each size that is swept, to see it bend. Two are as good where models are few, worse
with seven: 78 against 84 % on MI300X at 0.5 %, which is not in the repository (results.md)."""

DESIGN_CANDIDATES = 20_000
"""Points that the initial design chooses from, at random on a larger grid: memory and time. By judgement; not
measured."""

RETURN_SHARE = 0.3
"""An engine is not left while coming back to it would have this share of the utility of what is better: as much is
learned of every engine in the end, and one start for each is enough. By judgement; not measured."""

CAUTION = 2.0
"""Standard deviations by which a run's price is taken higher while other workers measure: the runs that end first are
the short ones. By the expected prices, 64 workers on an A100 grid chose runs that cost 10 to 26 times what they were
taken for (results.md)."""

CANDIDATES, REFERENCES = 600, 400
"""Points that may be chosen, and points whose variance counts, drawn at random each time: memory and time. 80 to 3,000
candidates, or other references, made no difference on MI300X, which is not in the repository (results.md)."""

STRADDLE = 1.96
"""Deviations within which a point may lie on either side of its bound. By definition of the straddle heuristic, a 95 %
interval."""

LEAST_AMBIGUITY = 1e-6
"""Utility that an undecided point has at least. Numerical."""

FULL_EVERY, LEAST_FULL_RUNS = 20, 3
"""One run in so many makes all warm-ups and repeats that the study asks for, and the first so many do, so that noise
and warm-ups stay known. By judgement; not measured."""

CONTROL_ERROR_SHARE, CONTROL_SHARE, LEAST_RUNS_BETWEEN_CONTROLS = 0.5, 0.05, 5
"""A point is measured again when the drift since the last time may be more than this share of the error; all such runs
take this share of the cost at most, and so many others lie between two of them at least. By judgement: controls that
were due without a drift, each time a study had doubled, changed no accuracy by more than a point (results.md)."""

CONTROL_LEAST_DRIFT = 0.03
"""A drift that cannot have become larger is not looked for. By judgement: where there is none, 1 to 2 % are learned,
the median of its prior, and repeats of one run differ by as much."""

SAME_WARMUP = 0.02
"""A warm-up that differs from the repeats by no more than this share, for certain, is like them. By judgement; on two
CPU cores warm-ups took 5 to 8 % longer (studies/compare/results.md)."""

EARLY_RUNS = 6
"""Of so many first runs one is made again before a change is reported, to tell it from the machine's drift. By
judgement."""

RUNS_A_SUSPECT = 1
"""Runs for each engine configuration with a suspect before it is asked again whether it is one. By judgement: with
whole batches, an equal pair on MI300X, which is not in the repository, took 12 % of the cost."""

MOST_CONTRASTS = 400
"""Differences between candidates that count in a choice, those of the largest expected loss: memory and time. By
judgement; not measured."""

LEAST_CONTRAST = 1e-10
"""Variance that a difference has at least. Numerical."""

LEAST_OPENNESS = 0.01
"""A condition counts as certain where it is more certain than this: p (1 − p) against its largest value. By judgement;
not measured."""
