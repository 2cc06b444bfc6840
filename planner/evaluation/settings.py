"""Every constant of the evaluation: what it does, and where its evidence lies.

"The recorded grids" are the 22 of studies/compare/results.md. The quickstart, H100 and the two grids of chunks are in
studies/data; the others, A100 and MI300X among them, are not in the repository.
"""

from __future__ import annotations

MODEL_SPREAD = 0.16
"""Spread of log(estimated MAPE / true MAPE) that remains with many runs. Set on the recorded grids other than A100 +
V100, where its root mean square was 0.8 below 30 runs, 0.57 at 30 to 60, 0.27 at 60 to 100 and 0.2 from there on."""

SMALL_SAMPLE_SPREAD = 10.0
"""What few runs add to that spread: this over their number. Set with MODEL_SPREAD, on the same recorded grids."""

PRIOR_RUNS = 4.0
"""The prior that errors are as large as the model expects counts as so many runs. By judgement; not measured."""

BOOTSTRAPS = 200
"""Resamples of the runs behind the spread of the ratio of errors. By judgement; not measured."""

LEAST_RUNS = 3
"""Forecast runs below which no accuracy is estimated. By judgement; not measured."""

LEAST_RATIO = 1e-6
"""Floor of the ratio of errors, so that its logarithm exists. Numerical."""

Z_LIKELY = 0.4307
"""Normal quantile of "likely": two cases of three. Of stops by it on two checkpoints in a row, 95 in 100 were right on
the recorded grids, at 2.0 times the cost of a stop that knows the truth; results.md gives the figures of other
choices."""

SURE_NOISE = 0.8
"""Noise, too, is only learned: an accuracy is called out of reach where this share of the noise would forbid it. By
judgement; not measured."""

NEAR_CEILING = 1.2
"""At this ratio of the error to that of noise alone, little is left to learn. By judgement; not measured."""

FEASIBLE = 0.5
"""Probability from which a point counts as predicted to run, in the balanced accuracy. By definition."""

TAIL_FREEDOM = 4
"""Degrees of freedom of Student's t for large errors, which are likelier than a normal distribution has them: of
winners predicted on the quickstart grid (studies/data) to hold with 0.97 or 0.99 and more, 0.96 did; with these tails,
0.98 and 0.99 (6 seeds, 6 to 80 runs)."""

UNMEASURED_WIDENING = 1.25
"""Factor on σ of points not measured, in probabilities: the winner of thousands of predictions looks better than it
is. Predicted winners said to hold with 0.9 and more did so in 0.61 to 0.89 of cases on the noisy quickstart grid
(studies/compare/recommend.py); so widened, in 0.86 to 1; of studies of some 40 single readings still in 0.78. 1.5 cost
more. Chosen on that grid; of five others one was below 0.9, before as after: one in seven of its early predicted
winners could not run or was slow. The interval of what separates the runner-up is widened where neither of the two was
measured: the truth was in 0.93 of 785 such intervals on the quickstart, MI300X and closed-loop grids, unwidened in 0.80
of those of the quickstart's first runs. Where one was measured, it was in 0.96 of 379 unwidened ones."""

BOUNDARY_WIDENING = 1.25
"""Factor on the model's own σ of points not measured, in the probability of meeting a tier. Chosen among 1, 1.25, 1.5,
the calibrated σ and others by the logarithmic loss of the probabilities of five bounds of two metrics, on two recorded
server sweeps (DeepSeek-R1 and -V3 on SGLang, three seeds at 10 and 20 % of the cost). Confirmed on two others and on
the simulated server of studies/data: 0.4 to 0.8 % of what counted as decided was wrong, and the calibrated σ decided a
fifth fewer points (results.md describes the sweeps, which are not in the repository). While runs are few the models'
small-sample inflation is larger and takes its place. Without it 0.88 of what was said to be met with 0.99 was met after
15 runs on a third sweep, MiniMax-M2.5 on vLLM; 0.99 after 25."""

NEARLY_FALLING = 0.1
"""Share of all movement along a line that margins may rise by and still count as falling with the load. By judgement;
not measured."""

LEAST_BERNOULLI = 1e-4
"""Variance that even a certain answer keeps in the isotonic regression. By judgement; not measured."""

MOST_RUNS_A_POINT = 4
"""Runs of one point after which its noise is taken for irreducible and it lies on the boundary. By judgement; not
measured."""

LEAST_DRIFT = 0.02
"""A machine that has changed by less is not said to have: repeats of one run often differ by as much. By judgement."""

NEIGHBOUR_SHARE = 0.05
"""Share by which a metric may differ beside a neighbour before a study says that neighbours disturb: the accuracy that
a study reaches by default leaves no more. By judgement; not measured."""

CHANGE_LEVEL, CHANGE_SMOOTH, CHANGE_OFFSET, CHANGE_OWN = 4.0, 0.5, 0.4, 1.2
"""Standard deviations of what a new version may have more than an old one, in units of the amount that is asked about:
in common, smooth in the sizes, of a value of an engine axis, of an engine configuration. By judgement: a change of
that amount is possible anywhere until runs there say otherwise."""

CHANGE_QUIET = 0.1
"""Departures in proportion where next to nothing has changed, which is as likely beforehand as that they have their
full size: for the noise alone. By judgement."""

CHANGE_OWN_PARTS = (0.25, 0.5, 0.25)
"""Shares of an engine configuration's own departure: the same at all of its sizes, the same in a block (each size in
the upper or the lower half of its axis), smooth. By judgement, after a 10 % change in the largest block of one of 24
engine configurations of MI300X, which is not in the repository, was missed three times of four without blocks: cheaper
neighbours outside had taken its place."""

CHANGE_LENGTHSCALE = 0.5
"""Of departures, as a share of each axis: a run tells of about a third of it on either side. By judgement: a change
that is narrower than half of an axis may be missed."""

CHANGE_NOISES = tuple(0.005 * 1.4**k for k in range(12))
"""Noises of one reading's difference that are averaged over. Numerical: 0.5 to 20 %."""

CHANGE_NOISE_PRIOR = (-3.5, 1.0)
"""Normal, of the logarithm of that noise: median 3 %. By judgement: repeats on a quiet machine differ by 0.5 to 2 %, on
the H100 grid of studies/data by 5 to 15 %."""

CHANGE_SHARED_NOISE = 0.8
"""Share of a reading's noise that all readings of its run have. By judgement; not measured."""

CHANGE_DRIFTS, CHANGE_STEADY = (0.0, 0.02, 0.06, 0.18), 0.6
"""Standard deviations of the machine's drift over a study that are averaged over, and the prior probability of the
first. By judgement."""

CHANGE_LEAST_WEIGHT, LEAST_VARIANCE = 0.02, 1e-10
"""Members of the average below the first are left out; no variance is smaller than the second. Numerical."""

CHANGE_OUTLIER, CHANGE_OUTLIER_ROUNDS = 4.0, 3
"""Standard deviations from which a reading counts as an outlier among the others, and how often they are looked for. By
judgement: with normal noise one reading in 16,000 is one."""

CHANGE_LEAST_PROBABILITY = 0.8
"""A point that is called changed is so with this probability at least, however sure the others are. By judgement."""

CHANGE_UNDECIDED, CHANGE_OPEN_SHARE = 0.05, 0.005
"""A point that differs by twice the amount with no more than this probability is left alone; a study ends once no
larger share of the points is undecided. By judgement: on MI300X, which is not in the repository, an equal pair with 2 %
noise took 22 % of the cost where the amount itself had to be improbable. What stays undecided is
the most expensive: with 2 % in place of 0.5 a corner of an A100 grid was never run. On MI300X 0.5 takes 0 to 0.5 points
of the grid's cost more, in three studies."""

CHANGE_SUSPECT, CHANGE_RUNS_A_SUSPECT = 0.35, 3
"""Probability from which a point is a suspect, which is run until it is decided, or has had so many runs. With 0.5 a
change of 10 % in a corner of MI300X was missed in four of fifteen cases (results.md)."""

PART_CORRELATION = 0.2
"""Correlation of the errors of one metric at two parts of a workload, for one configuration. Over all pairs of lengths
of the five recorded grids of studies/ at two costs and two seeds it was -0.04 to 0.41, median 0.15 (results.md)."""

COMMON_NODES = 24
"""Nodes of the integral over what the parts of a configuration have in common: probabilities are then within 1e-8 of
those with 96. Numerical."""

SHARE_BINS = 200
"""Steps in which shares of requests are added up: half a percent. Numerical."""

CHOICE_TOLERANCE = 0.02
"""A choice is right if the best is better by no more than this share. By definition."""

CHOICE_DRAWS = 1000
"""Joint draws behind the probability of a choice: one of 0.95 is then known to 0.007. Numerical."""

CONTENDERS, CONTENDER_ROWS = 60, 600
"""Candidates of a case, and rows of all cases, that are drawn together, the likeliest to beat the chosen one: memory
and time. By judgement; not measured."""

RUNS_TO_TELL = (8, 16, 32, 64)
"""Runs of a point that are tried, to say how many would tell two candidates apart. By judgement; not measured."""

MOST_CASES = 300
"""Cases of one choice, so that each has two of these rows at least. Numerical."""

LEAST_HOPE = 1e-3
"""Probability of beating the chosen candidate below which another is no contender. By judgement; not measured."""

NOISE_PRIOR = 1.0
"""Runs that the prior counts for, that all which the surface leaves unexplained is noise of readings. By judgement."""

MISSED_CONDITION = 0.1
"""What a choice that misses a condition loses, as a share of the objective, where runs are weighed. By judgement."""

HUGE_STD = 10.0
"""Standard deviation in place of an infinite one, on the scale of a transform. Numerical."""

LEAST_EIGENVALUE = 1e-9
"""Floor of the eigenvalues of a correlation. Numerical: with it the root of a part is the part of the root."""

EQUAL = 1e-9
"""What equals a bound relative to the baseline meets it, within so much. Numerical."""
