"""Every constant of the models: what it does, and where its evidence lies.

"results.md" is studies/compare/results.md, which gives the figures. Of the grids named there, the quickstart, H100 and
the two grids of chunks are in studies/data; the A100, V100, MI300X, DeepSpeed-MII, CPU and simulated grids are not in
the repository. "By judgement; not measured" means that no measurement of this constant is on record.
"""

from __future__ import annotations

import math

# ------------------------------------------------------------------------------------------------ Gaussian process

LEAST_SCALE = 0.1
"""Least unit of y. y is a logarithm: a metric that moved by less than 10 % over the data has not shown how much it can
move. By judgement; not measured."""

BOUND_WIDTHS = 4.0
"""Hyper-parameters stay within so many prior standard deviations of their logarithm: beyond, there is only overflow.
By judgement; not measured."""

REFIT_GROWTH = 0.12
"""Hyper-parameters are learned again once the data has grown by this share, and a batch of runs is as large: each run
then changes little, and planning costs time. Batches half as large made no difference on MI300X, which is not in the
repository (results.md)."""

MOVED_MEAN, MOVED_SCALE = 0.25, 1.25
"""They are learned again earlier where the mean of y has moved by so many of its units, or its unit by this factor. By
judgement; not measured."""

RESTART_GROWTH = 2
"""Data that has grown by this factor gets fresh starts: the optimum found long ago may be a poor one. By judgement;
not measured."""

STARTS = 2
"""Optimisations of a cold fit: from the priors' medians, and from a rougher, noisier reading of the data. By
judgement; not measured."""

ROUGH_START = 1.0
"""The second start's lengthscales are shorter, and its noise larger, by this much in the logarithm. By judgement; not
measured."""

LBFGS_OPTIONS = {"maxiter": 100, "ftol": 1e-7, "gtol": 1e-3}
"""When a search for hyper-parameters ends. Numerical: errors in y that it leaves are far below its noise."""

MAX_HYPER_POINTS, MAX_POINTS = 500, 2000
"""Readings that hyper-parameters are learned on, and that predictions use, at most: time grows with the cube. The
times that this keeps are in results.md; what it costs in accuracy was not measured."""

LEFT_TO_RIGHT = 8
"""numpy adds fewer terms of a row than this from left to right, as a sum of columns does. Numerical: the same to the
last bit, five times as fast."""

THINNED = 4
"""On a large grid, readings beyond so many times those in use are left out at random before a subset is spread over
them: time. By judgement; not measured."""

COST_POINTS = 500
"""On a large grid, readings that prices are learned from: a price needs not be more precise than the choice that it
weighs. By judgement; not measured."""

CHUNK_ENTRIES = 1_000_000
"""Entries of a prediction's cross-covariance held at once: 8 MiB a matrix, which fits caches. Numerical: changes no
result."""

EXACT_POINTS = 50_000
"""Grids of more points are predicted where somebody asks, and means over them are taken over a sample: with 2,000
readings a prediction of 1,000,000 points takes minutes (results.md). The limit itself is by judgement."""

SAMPLE_POINTS = 2_000
"""Points of that sample. Expected errors differ between points by about their mean, so that the mean of an error of
3 % is known to 0.07 points, by calculation. The cost of the plain sweep is known to 2 % on two grids of a million
points (one standard deviation; results.md). Both are far less than the stated intervals are wide."""

# ---------------------------------------------------------------------------------------------------------- kernel

CONSTANT_VARIANCE = 4.0
"""Prior variance of the level, in units of the scaled y, squared: after centring, the level is known only roughly
where the measured points are a biased part of the grid. By judgement; not measured."""

LENGTHSCALE_PRIOR = (1.5, 0.55)
"""Log-normal priors, each (median, standard deviation of the logarithm). Lengthscales are in units of a standardised
column and before the factor √D (Hvarfner, Hellsten & Nardi, arXiv 2402.02229); all others are standard deviations in
units of the scaled y. Medians of lengthscales, amplitudes and noise half or twice as large moved accuracy by at most
0.3 points on every grid of results.md."""
LINEAR_PRIOR = (0.7, 0.7)
MATERN_PRIOR = (1.2, 0.6)
OFFSET_PRIOR = (0.2, 0.7)
SLOPE_PRIOR = (0.1, 0.7)
RESIDUAL_PRIOR = (0.3, 0.7)
NOISE_PRIOR = (0.03, 0.8)
"""A few per cent of benchmark noise on the logarithm of a metric that spans two or three e-folds is 0.01 to 0.05.
Evidence as for LENGTHSCALE_PRIOR, in results.md."""
RUN_NOISE_PRIOR = (0.03, 0.8)
DRIFT_START = 0.1
"""Where a search for the drift begins at least. Numerical: searches that began at 0.005 stayed there."""
DRIFT_PRIOR = (0.01, 1.5)
"""Of the machine's drift over the whole study so far: 1 % of a metric that spans e-folds, wide enough for 30 %. By
judgement; without a drift accuracy on the quickstart's grid is the same with and without this term (results.md)."""

CATEGORY_DISTANCE = 1.5
"""Another category is as far away as this difference of a standardised size: where the initial design spreads, and
where a subset of the readings is chosen. In place of it, 2.0 changed no result on MI300X for five of eight seeds; for
the other three accuracy at 1 % of the cost went from 79, 45 and 6 to 73, 83 and 53 %, at 3 % from 86, 89 and 78 to 85,
87 and 87 %. In the mean of two seeds it made at most 0.3 points of difference on A100, and at most 1 point, either
way, on the chunks of 2,048 in studies/data. A100 and MI300X are not in the repository. Too few seeds to choose by: the
value that changes no recorded result is kept."""

# ----------------------------------------------------------------------------------------------------------- priors

DIFFERENCE_LENGTHSCALE_PRIOR = (1.0, 0.4)
DIFFERENCE_LINEAR_PRIOR = (0.1, 0.7)
DIFFERENCE_MATERN_PRIOR = (0.3, 0.6)
DIFFERENCE_SLOPE_PRIOR = (0.05, 0.7)
DIFFERENCE_RESIDUAL_PRIOR = (0.2, 0.6)
"""Log-normal priors of what a new surface has more than an old one, in units of a logarithm. Of eight sets these were
best with 8 to 20 runs on three pairs of devices (A100 to MI250 and MI300X, MI250 to MI300X), by up to 5 points:
differences that are less smooth than a surface itself are not carried far (results.md)."""

PRIOR_LEFT_OUT = 2.0
"""A prior is left out whose forecasts have errors so many times those of the readings alone. By judgement."""

PRIOR_COUNT = 30.0
"""Forecast runs that priors count as, times their weight, in the small-sample inflation: how a surface bends is known
from them. Set on the same three pairs: estimated − true accuracy from −10 to +2 there, without it −40 to −1
(results.md)."""

OWN_RUNS = 20.0
"""The readings alone weigh n/(n + this) of what their forecasts ask for: few and cheap ones extrapolate badly, which
forecasts of cheap ones do not show. Chosen with 4 to 80 runs on the three pairs of devices that chose the priors of a
difference: 5 is up to 2 points worse there, 10 up to 1 (results.md)."""

CONTRADICTION, CONTRADICTING_RUNS = 0.9, 8
"""A prior is left out, too, where so many points vary about it by more than this share of their own spread: then it
explains nothing. By judgement: over whole grids of two devices it is 0.08 to 0.57 (26 pairs and targets in
results.md)."""

# --------------------------------------------------------------------------------------------------------- ensemble

LEAST_RUNS_TO_WEIGH = 5
"""Members weigh equally below so many runs: fewer forecasts rank them by chance. By judgement; not measured."""

GLITCH = 3.0
"""A squared error counts for at most (this)² times the median one: one glitch must not choose the member. By
judgement; not measured."""

MANY_CATEGORIES = 5
"""Categories of an axis from which their numbers tell what one never run does. By judgement, having seen both: with 6
and 19 models it is so, with 3 devices it is not (results.md)."""

EMBEDDING_FOLDS = 4
"""Parts in which the later runs are forecast by the member with the category embedding; each part's embedding is read
off all other runs. Read off the same runs, it promised up to 11 points too much on V100, which is not in the
repository (results.md); the number of parts is by judgement."""

# ----------------------------------------------------------------------------------------------- category embedding

CATEGORIES_PER_COORDINATE = 8
"""One coordinate for each so many categories: with fewer, every category is a dimension of its own. By judgement; not
measured."""

MOST_COORDINATES = 3
"""Coordinates of one axis at most. One or three made accuracy 88.4 to 91.0 in place of 91.1 % on A100 at 0.45 % of its
cost (results.md), which is not in the repository."""

EMBEDDING_PLACES = 80
"""Grid places at which categories are compared. By judgement; not measured."""

# ---------------------------------------------------------------------------------------------------- latency model

RIDGE = 1e-2
"""Pulls weights that the data does not settle towards zero; relative to columns of unit length. By judgement; not
measured."""

CHUNKS_LEAST_IMPROVEMENT = 0.05
"""What a chunk size must take off the latency model's root mean square error, of logarithms, to be used: where a batch
outgrows a step, times are off by factors. Set on the grid of chunks of 2,048 tokens in studies/data. With all chunk
sizes at once and no threshold, only 6 of 10 stops were right on the simulated grid, which is not in the repository
(results.md)."""

CHUNK_SIZES = tuple(size for k in range(9, 17) for size in (2.0**k, 1.5 * 2.0**k))
"""Chunk sizes that are tried, in tokens: 512 to 98,304, half as much again or a third more each time. vLLM's defaults
are 2,048 to 16,384; by judgement."""

WHOLE_PROMPT = 2.0**53
"""A chunk of this many tokens divides no prompt: what an engine means by a chunk size of 0 or −1. By definition."""

SAME_TERM = 1e-6
"""Relative difference below which two terms of the latency model are one. Numerical."""

LEAST_PARAMETERS = 1e-6
"""Least parameter count, in billions, so that no term is 0. Numerical."""

# ----------------------------------------------------------------------------------------------------- server model

SERVER_LEAST_IMPROVEMENT = 0.01
"""What another shape of the load must take off the root mean square relative error to be preferred to the plainest.
0 and 0.03 are as good on three recorded served grids; 0.1 costs the model by itself 2 points at 25 runs
(results.md)."""

FACTOR_WEIGHT = 2.0
"""The prior that a category is as fast as the others counts as so many runs. 0.5 and 1 moved the accuracy of the model
by itself by at most 1 point on four recorded served grids (results.md)."""

FACTOR_ROUNDS = 5
"""Rounds in which weights and factors are fitted in turn. 2 and 15 are as good (results.md)."""

LEAST_IDLE = {"first": 0.02, "step": 0.1}
"""An engine is idle at least so much of the time, as far as latencies go: queues grow to the end of a run, steps only
to the largest batch. Chosen on two simulated grids in open loop (results.md)."""

INPUT_TOKEN_COSTS = (0.02, 0.1, 0.5)
"""What an input token may cost of an output token in an engine's work. By judgement; not varied."""

MOST_UTILISATIONS = tuple(1.5**k / 4 for k in range(14))
"""Utilisations that the heaviest load of the grid may mean: 0.25 to 49, half as much again each time. By judgement; not
varied."""

# ------------------------------------------------------------------------------------------------ feasibility, cost

FEASIBILITY_C = 10.0
"""Inverse regularisation of the logistic regression. High: memory limits are sharp. By judgement; not measured."""

FEASIBILITY_ITERATIONS = 500
"""Iterations it may take. Numerical."""

FEASIBILITY_UNKNOWN = 0.5
"""Probability elsewhere while every run has failed: nothing else is known. By judgement."""

SLOPE_DEVIATION, CATEGORY_OFFSET, ENGINE_OFFSET = 3.0, 2.0, 2.0
"""Prior standard deviations of the log odds that memory is enough: by a standard deviation of a size, by category, by
engine configuration. Chosen on A100 rows, where slopes of 6, category offsets of 3 and engine offsets of 1 or 3 are as
good; without engine offsets the Brier score at 10 % of the cost is 0.055 in place of 0.052 (results.md)."""

EXCEPTION = 0.01
"""Probability left to what a known point settles. Of 207 lines of batch sizes and 747 of output lengths on A100 none
and 4 contradict the order, of 186 and 658 on V100 2 and 9; 0.003 and 0.03 are as good (results.md). Of 594 lines of
accelerators 42 do, which is why those settle nothing."""

LARGEST_LATTICE = 50_000_000
"""Cells of the array in which known points are compared with all others, a byte each: beyond, that is left out.
Numerical: bounds memory."""

CHANCE_WEIGHT = 2.0
"""The prior that no run crashes by chance counts as so many runs: one crash at the start must not rule out all points.
By judgement; not measured."""

FEASIBILITY_BROKEN = 0.5
"""Probability that a run succeeds where one has crashed or hung before: as likely the machine's fault as the point's.
By judgement: half the utility keeps a second try behind other points that tell as much."""

HANG_FACTOR, HANG_FLOOR_S, HANG_LEAST_RUNS = 30.0, 60.0, 8
"""A run has hung that takes longer than this factor times the upper end of its predicted time, and this floor; known
from so many good runs on. None of 2,616 good runs on three recorded grids took so long; with a factor of 10 one would
have been ended (results.md). Where one was ended the next try gets the factor once more."""

SURE = 0.05
"""A point's feasibility is taken for certain within this much of 0 or 1 in the cost of the plain sweep: one side of a
90 % interval, by definition."""

# ------------------------------------------------------------------------------------------------------ heavy tails

OUTLIER = 2.5
"""A reading of a server is an outlier where the others predict it with an error of so many σ. Ten-fold cross-validation
and random subsets of four recorded served grids chose it (results.md): 2 is as good; with 4, a tenth of the gain is
left on one grid and two thirds on another."""

HEAVY_TAILS = 2.0
"""On a grid of static batches outliers are looked for where the mean square of the errors is so many times that of
normal errors with the same median. By judgement: it was 0.8 to 2 in most fits on five recorded grids, 1 to 10 on two
noisy CPU grids (results.md)."""

WILD, WILD_EVIDENCE = 0.69, 7.0
"""A run is wild where the others predict it with a mean error of a factor of two, and the data are e⁷ = 1,100 times as
probable once it is set aside: one run in a thousand may be wild. By judgement. On the quickstart's grid, one repeat a
run, a repeat that is ten times as long moved up to 15 % of all predictions by up to nine of their intervals; with this
none by more than 0.2 (12 runs in turn; results.md)."""

OUTLIERS_LEAST_GAIN = 2.0
"""On a grid of static batches outliers are set aside where all other readings are then predicted with a median error so
many times smaller. That was 2 to 7 in fits on a CPU grid where a reading in twenty is off by a factor of three or more,
1.0 to 1.6 on six other recorded grids (medians; results.md)."""

OUTLIER_ROUNDS = 2
"""Rounds of finding outliers: without the worst, others show. Four rounds are no better (results.md)."""

# ------------------------------------------------------------------------------------------ grid model, calibration

LEAST_RUNS_TO_FORECAST = 3
"""Runs from which one-step-ahead forecasts are made. By judgement; not measured."""

JUDGES_LEAST_SHARE = 0.25
"""The forecast runs of a category judge where its share of the points left is at least this part of that of the runs:
one that is measured throughout judges nothing, and the usual unevenness of a study changes nothing. By judgement."""

IMPORTED_LEAST_SHARE = 0.9
"""Imported runs are a prior where so many of their points are of categories that the study hardly ran. By judgement."""

SMALL_SAMPLE_INFLATION = 5.0
"""Errors are 1 + this/n times as large as n forecast runs show: half as much again after 10. Set on the recorded grids
of results.md other than A100 + V100; most are not in the repository."""

LARGEST_Z = 4.0
"""A forecast's error counts as at most so many σ: one outlier must not widen every interval. By judgement; not
measured."""

CALIBRATION_WEIGHT = 8.0
"""The prior that σ is right counts as so many runs. By judgement; not measured."""

RANK_WEIGHT = 4.0
"""The prior that errors are normal counts as so many runs where intervals come from ranks (served grids). By judgement;
not varied. With it 90 % of the points were in their intervals on the three served grids that chose the method."""

RANK_NODES = 40
"""Quantiles that stand for the normal distribution in that prior. Numerical."""

FIRST_REFIT, REFIT_STEP = 6, 1.25
"""Served grids: the model is fitted anew to the first 6 runs, to 8, and so on by a quarter more, to forecast what came
next. By judgement; not varied."""

LARGEST_SPREAD = 2.0
"""σ of a logarithm beyond which the expected percentage error grows no more: beyond e², the mean of a log-normal is
all tail. By judgement; not measured."""

USUAL_WEIGHT = 4.0
"""The spread of repeats that is usual among all points counts, in a point's own, as so many repeats. By judgement; not
measured."""

# ----------------------------------------------------------------------------------------------------------- forest

TREES = 200
"""Trees of the forest, a baseline. By judgement; not measured."""

FOREST_FEATURE_SHARE = 0.7
"""Share of the columns that a split may choose from. By judgement; not measured."""

FOREST_LEAST_STD = 0.01
"""Trees that agree to the last digit have not learned that much: σ is at least this share of y's spread. By judgement;
not measured."""

# -------------------------------------------------------------------------------------------------------- numerical

MEAN_ABSOLUTE = math.sqrt(2 / math.pi)
"""Mean of |x| for a standard normal x. Mathematics."""

TINY = 1e-12
"""Floor that keeps divisions, logarithms and variances finite. Numerical: far below anything measured."""

EQUAL = 1e-9
"""Differences below this count as none. Numerical: the rounding of standardised columns and of logarithms."""

LEAST_SHARE = 1e-3
"""A share of exactly 0 or 1 has no logit: it is learned as this far from it. By judgement; not measured."""

FEASIBILITY_CHUNK = 100_000
"""Points whose feasibility is predicted at once: bounds the memory that encoded categories take. Numerical: changes no
figure."""

HALF_NORMAL_NODES, HALF_NORMAL_WIDTH = 24, 6.0
"""Nodes of Gauss and Legendre over half a normal distribution, up to so many standard deviations. Numerical: the mean
of an absolute error is exact to seven digits."""

SHARE_RUNS = 20
"""Runs whose seconds, against those of the plain sweep at their points, tell what the next run takes. By judgement; not
measured."""
