"""Every constant of the strategies: what it does, and where its evidence lies."""

from __future__ import annotations

from planner.models.settings import REFIT_GROWTH

BATCH_SHARE = REFIT_GROWTH
"""A batch is this share of the runs made: one refit for each batch. Evidence with REFIT_GROWTH: results.md."""

SMALLEST_BATCH, LARGEST_BATCH = 4, 20
"""Runs of a batch at least and at most. Batches half as large made no difference on MI300X, which is not in the
repository (studies/compare/results.md)."""

PRIOR_RUNS = 4
"""First runs of a study with priors at most, before runs are chosen by what they tell. By judgement; not varied."""

RUNS_TO_SCALE = 5
"""Runs that give the one factor of the baseline prior_scaled. By definition of that baseline."""

CHECKPOINT_SHARE = 0.125
"""Strategies that do not plan in batches estimate their accuracy each time the runs have grown by this share. By
judgement; not measured."""

LHS_POINTS = 512
"""Points of the Latin hypercube, a baseline; after them rows are random. By judgement; not measured."""

BOTORCH_LEAST_FIRST_RUNS = 10
"""First runs of the BoTorch baseline at least; 2 (d + 1) of d dimensions where that is more. By judgement; not
measured."""

BOTORCH_BLOCK = 1000
"""Points that the BoTorch baseline predicts at once: memory. Numerical: changes no result."""
