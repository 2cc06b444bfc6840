"""Every constant of the analysis: its effect and its evidence."""

from __future__ import annotations

LIKELY = 0.5
"""Probability from which a point counts as one that can run: one that will rather fail has nothing to offer or
compare. By judgement; not measured."""

HOPELESS = 1e-2
"""Largest probability of meeting the conditions below which a recommendation says that no point meets them. By
judgement; not measured."""

BOOTSTRAPS = 2000
"""Resamples behind the interval of an audited accuracy: enough for two digits of its ends. By judgement; not
measured."""

FIT_BOOTSTRAPS = 200
"""Fits behind the interval of an isolated latency; fewer, since each is a regression. By judgement; not measured."""

LEAST_LOADED = 16
"""Loaded requests from which an isolated latency is regressed. By judgement; not measured."""

LEAST_PAIRS = 10
"""Runs made by both sides from which their scatter is used: fewer say too little about how runs scatter. A scatter
known from few is made wider. By judgement; not measured."""

NORMAL_MAD = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation. Mathematics."""

LEAST_SIGMA = 1e-9
"""Floor of σ of a ratio's logarithm. Numerical."""

ADAPTIVE_SHARE = (0.01, 0.05)
"""Share of a grid's cost that adaptive sampling is said to need before any run: recorded grids needed 1 to 5 % for an
accuracy of 95 % (studies/compare/results.md; most are not in the repository)."""

SERVED_SHARE = (0.05, 1.0)
"""The same where an axis is a concurrency or a request rate. On six of seven recorded server sweeps the easiest target
reached 90 % at 6 to 27 % of the cost. Every target reached it on one sweep only, at 17 to 37 %, and 95 % on none within
a third of the cost (results.md describes the sweeps)."""

SATURATION_SHARE = 0.02
"""Relative gain for a doubling of the batch below which throughput counts as saturated. By judgement; not measured."""

LEAST_BATCHES = 3
"""Batch sizes of a line from which saturation is judged. By judgement; not measured."""

LEAST_LOADS = 3
"""Loads of a line from which it is drawn as a curve, and its saturation judged. By judgement; not measured."""

BASELINE_SEEDS = 2
"""Seeds that a baseline of a report is played with. By judgement; not measured."""

BASELINE_CHECKPOINTS = 4
"""Costs at which a baseline is scored. By judgement; not measured."""

BASELINE_EARLIEST = 0.1
"""Share of the study's own cost at which baselines are scored first. By judgement; not measured."""

BASELINE_PATIENCE_S = 40.0
"""Seconds that a report spends on baselines; it says which were left out. By judgement; not measured."""

CHECKPOINTS = 10
"""Checkpoints at which a study's history is shown. By judgement; not measured."""

FIRST_CHECKPOINT_RUNS = 4
"""Runs at the first of them. By judgement; not measured."""

DRIFT = 0.05
"""|log(now / then)| of an audit's median control from which the machine counts as changed: more than repeats differ by.
By judgement; not measured."""

LOOK_BACK = 5
"""Checkpoints from whose errors the time left is extrapolated. By judgement; not measured."""

DECIDED = 0.95
"""Probability from which a load counts as one that meets a tier, and 1 − this as one that does not: the two sides of a
90 % interval, by definition."""

REST_QUANTILE = 0.95
"""Share of the points without a finding whose largest difference is stated. By definition of the sentence."""

WORTH_A_RUN = 0.5
"""Probability of meeting the conditions from which the most probable point is measured. By judgement; not measured."""

MOST_VERIFIED = 8
"""Combinations of given values whose winners --verify measures without a workload. By judgement; not measured."""

RATES_BETWEEN = 12
"""Rates between two of the grid at which a replica's load is looked up: steps of 6 % where the grid doubles. The lower
one counts. Numerical."""

RATES_UP_TO_CAPACITY = 120
"""Rates up to 1.2 times the throughput with all slots busy at which the same is looked up: steps of 1 %. Numerical."""

THROUGHPUT_NODES = 40
"""Equally probable throughputs over which the probability to bear a rate is averaged: within 0.01 of that of 400.
Numerical."""

SENSITIVITY = (0.5, 1.0, 1.5, 2.0)
"""Multiples of the load for which a capacity plan is shown where no other loads are named. By judgement."""
