"""The meta-metrics against hand-made truths."""

from __future__ import annotations

import numpy as np
import pytest

from planner.evaluation.accuracy import balanced_accuracy, score
from planner.space.types import Direction, Kind, Metric

TRUTH = np.array([10.0, 20.0, 40.0, 80.0, np.nan])
KNOWN = np.array([True, False, False, False, False])


def _score(value: list[float], measured: list[float], low: list[float], high: list[float], more: bool = False):
    return score(TRUTH, np.array(value), (np.array(low), np.array(high)), np.array(measured), KNOWN,
                 Metric("y", direction=Direction.MAXIMIZE if more else Direction.MINIMIZE))


NAN = float("nan")
MEASURED = [11.0, NAN, NAN, NAN, NAN]


def test_accuracy_is_over_unmeasured_points_that_can_run() -> None:
    result = _score([99, 22, 36, 80, 7], MEASURED, [0] * 5, [100] * 5)
    # Errors of 10 %, 10 % and 0; the measured point and the failed one do not count.
    assert result.points == 3
    assert result.accuracy == pytest.approx(1 - 0.2 / 3)
    assert result.median_ape == pytest.approx(0.1)
    assert result.max_ape == pytest.approx(0.1)
    # Over the whole grid the measured point is off by its own 10 %, not by its prediction's 890 %.
    assert result.accuracy_all == pytest.approx(1 - 0.3 / 4)


def test_coverage_counts_both_ends() -> None:
    result = _score([20, 20, 40, 80, 1], MEASURED, [0, 21, 40, 70, 0], [100, 30, 40, 79, 1])
    assert result.coverage90 == pytest.approx(1 / 3)


def test_a_point_without_prediction_makes_accuracy_undefined() -> None:
    result = _score([10, NAN, 40, 80, 1], MEASURED, [0] * 5, [100] * 5)
    assert np.isnan(result.accuracy)
    assert np.isnan(result.median_ape)


def test_regret_and_rank() -> None:
    right = _score([10, 20, 40, 80, 1], [10, NAN, NAN, NAN, NAN], [0] * 5, [100] * 5, more=True)
    assert right.top1_regret == 0
    assert right.rank_correlation == pytest.approx(1)
    # The predictions call the point of 40 the best, which is half as good as the one of 80.
    wrong = _score([10, 20, 90, 30, 1], [10, NAN, NAN, NAN, NAN], [0] * 5, [100] * 5, more=True)
    assert wrong.top1_regret == pytest.approx(0.5)
    less = _score([10, 5, 90, 30, 1], [10, NAN, NAN, NAN, NAN], [0] * 5, [100] * 5)
    assert less.top1_regret == pytest.approx(1.0)


def test_without_a_direction_there_is_no_regret() -> None:
    unknown = score(TRUTH, TRUTH, (TRUTH, TRUTH), TRUTH, KNOWN, Metric("y"))
    assert np.isnan(unknown.top1_regret) and unknown.accuracy == 1


def test_the_error_of_a_share_is_the_difference_itself() -> None:
    """0.02 where 0.04 is true is off by two points, not by half; a share of zero counts, too."""
    truth, value = np.array([0.04, 0.0, 0.9]), np.array([0.02, 0.01, 0.9])
    known = np.zeros(3, dtype=bool)
    as_share = score(truth, value, (value, value), truth * NAN, known, Metric("accuracy", kind=Kind.SHARE))
    assert as_share.points == 3 and as_share.accuracy == pytest.approx(1 - 0.03 / 3)
    as_number = score(truth, value, (value, value), truth * NAN, known, Metric("accuracy"))
    assert as_number.points == 2 and as_number.accuracy == pytest.approx(1 - 0.5 / 2)


def test_balanced_accuracy_of_failures() -> None:
    failed = np.array([True, True, False, False, False])
    feasibility = np.array([0.1, 0.9, 0.8, 0.7, 0.0])
    known = np.array([False, False, False, False, True])
    assert balanced_accuracy(feasibility, failed, known) == pytest.approx((0.5 + 1.0) / 2)
    assert np.isnan(balanced_accuracy(feasibility, np.zeros(5, dtype=bool), known))
