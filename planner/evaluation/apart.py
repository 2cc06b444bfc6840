"""How far two candidates are apart in a metric, with the ends of the 90 % interval.

Configurations that are alike err alike, so what separates them is known better than what either gives. The interval is
taken from the joint draws that the probability of a choice rests on (planner.evaluation.choice): what is said of the
two and of the choice cannot disagree. That probability allows for larger errors of what is selected from many
(settings.UNMEASURED_WIDENING); the interval does so where neither of the two was measured.

Without draws of the two, errors count as independent, and the interval is rather too wide: where cases are too many to
be drawn, or of two that an answer does not show. Draws of a model that has no covariances, such as a random forest, are
independent too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from planner.evaluation import settings
from planner.evaluation.choice_case import Draws
from planner.evaluation.joint import joint_metric
from planner.evaluation.metric_posterior import MetricPosterior
from planner.evaluation.mix import Candidates, excess_over
from planner.ledger.observations import Observations
from planner.models.joint_errors import JointErrors
from planner.space.types import Z90, FloatArray, IntArray, Transform

__all__ = ["beside_baseline", "difference_of", "ratio_of"]

_Triple = tuple[float, float, float]


def ratio_of(candidates: Candidates, metric: str, row: int, base: int, draws: Draws | None) -> _Triple | None:
    """The metric at `row` over that at `base`; None if it has no ratio."""
    known = candidates.known[metric]
    if known.transform is not Transform.LOG:
        return None
    middle = float(np.exp(known.mean[row] - known.mean[base]))
    drawn = _both(candidates, metric, row, base, draws)
    if drawn is not None:
        return _around(middle, drawn[0] / drawn[1])
    width = math.exp(Z90 * float(excess_over(known, base, 1.0).std[row]))
    return middle, middle / width, middle * width


def difference_of(candidates: Candidates, metric: str, row: int, base: int, draws: Draws | None) -> _Triple:
    """The metric at `row` less that at `base`."""
    known = candidates.known[metric]
    low, high = known.interval
    middle = float(known.value[row] - known.value[base])
    drawn = _both(candidates, metric, row, base, draws)
    if drawn is not None:
        return _around(middle, drawn[0] - drawn[1])
    return (middle, middle - math.hypot(known.value[row] - low[row], high[base] - known.value[base]),
            middle + math.hypot(high[row] - known.value[row], known.value[base] - low[base]))


def beside_baseline(
    candidates: Candidates, known: Mapping[str, MetricPosterior], errors: JointErrors | None, observations: Observations
) -> Candidates:
    """The candidates with how their errors go with the baseline's, for conditions relative to it. known: the metrics of
    such conditions at each grid point. Where there are very many candidates, errors count as independent."""
    mix, base = candidates.mix, candidates.baseline
    if errors is None or base is None or len(mix.rows) > settings.CONTENDER_ROWS:
        return candidates
    each = {name: np.array([_correlation(one, errors, observations, np.maximum(rows, 0), base) for rows in mix.rows.T])
            for name, one in known.items()}
    return replace(candidates, alike=each)


def _correlation(
    known: MetricPosterior, errors: JointErrors, observations: Observations, rows: IntArray, base: int
) -> FloatArray:
    """Correlation of the errors at `rows` with that at the one numbered `base`, (n,)."""
    covariance = joint_metric(known, errors, observations, rows).covariance
    scale = np.sqrt(np.diagonal(covariance))
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation: FloatArray = np.nan_to_num(covariance[base] / scale / scale[base])
    return correlation


def _both(candidates: Candidates, metric: str, row: int, base: int, draws: Draws | None
          ) -> tuple[FloatArray, FloatArray] | None:
    if draws is None:
        return None
    widened = not candidates.known[metric].measured[[row, base]].any()
    one, other = (draws.of(metric, candidates.mix, which, widened) for which in (row, base))
    return None if one is None or other is None else (one, other)


def _around(middle: float, drawn: FloatArray) -> _Triple:
    """The 90 % interval of the draws; what is said to be the middle is always inside."""
    low, high = np.quantile(drawn, [0.05, 0.95])
    return middle, min(middle, float(low)), max(middle, float(high))
