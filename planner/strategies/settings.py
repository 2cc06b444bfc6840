"""Every constant of the strategies: what it does, and where its evidence lies."""

from __future__ import annotations

from planner.models.settings import REFIT_GROWTH

BATCH_SHARE = REFIT_GROWTH
"""A batch is this share of the runs made: one refit for each batch. Evidence with REFIT_GROWTH: results.md."""

SMALLEST_BATCH, LARGEST_BATCH = 4, 20
"""Runs of a batch at least and at most. Batches half as large made no difference on MI300X, which is not in the
repository (studies/compare/results.md)."""

PRIOR_RUNS = 4
"""First runs of a study with priors, which tell whether the priors suffice; if not, the usual first design follows. By
judgement; not varied."""

SUFFICIENT_SPREAD = 0.15
"""Standard deviation of the first readings about a prior, in most cases of a logarithm, up to which no first design is
needed. Between B200 and B300 the time per token spreads by 0.1, and four first runs do. Where it is 0.26 (A100 and
MI250), a study without the first design was up to 5 points behind one without a prior at 1 and 2 % of the cost; with it
none was behind, ten seeds (results.md)."""

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
