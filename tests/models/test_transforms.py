"""The scales on which metrics are learned, against plain simulation."""

from __future__ import annotations

import numpy as np
import pytest

from planner.models.transforms import back, expected_error, forward, reported_error
from planner.space.types import Transform

RNG = np.random.default_rng(5)
X = {Transform.LOG: np.exp(RNG.normal(0, 3, 50)), Transform.LINEAR: RNG.normal(0, 3, 50),
     Transform.LOGIT: RNG.uniform(0.002, 0.998, 50)}


@pytest.mark.parametrize("transform", Transform)
def test_there_and_back(transform: Transform) -> None:
    np.testing.assert_allclose(back(transform, forward(transform, X[transform])), X[transform], rtol=1e-9)


def test_undefined_points_have_no_value() -> None:
    assert np.isnan(forward(Transform.LOG, np.array([0.0, -1.0, np.nan]))).all()
    assert np.isnan(forward(Transform.LOGIT, np.array([-0.1, 1.1, 87.0]))).all()
    ends = back(Transform.LOGIT, forward(Transform.LOGIT, np.array([0.0, 1.0])))
    assert ends == pytest.approx([0.001, 0.999])  # no share is predicted with certainty


@pytest.mark.parametrize("transform", Transform)
@pytest.mark.parametrize("std", [0.02, 0.3, 1.0])
def test_the_expected_error_is_that_of_draws(transform: Transform, std: float) -> None:
    """Of a prediction at z, where the truth is z + ε. (Of a logarithm and of a linear scale to first order in what the
    error is a share of: the prediction.)"""
    z = forward(transform, np.array([0.9, 0.5, 0.1]))
    truth = z + std * RNG.standard_normal((40_000, 1))
    if transform is Transform.LOGIT:
        drawn = reported_error(transform, z, truth).mean(axis=0)
    elif transform is Transform.LOG:
        drawn = np.abs(np.expm1(truth - z)).mean(axis=0)
    else:
        drawn = (np.abs(truth - z) / np.abs(z)).mean(axis=0)
    assert expected_error(transform, z, np.full(3, std)) == pytest.approx(drawn, rel=0.03)


def test_an_error_is_reported_as_people_read_it() -> None:
    assert reported_error(Transform.LOG, np.log([110.0]), np.log([100.0])) == pytest.approx([0.1])
    assert reported_error(Transform.LINEAR, np.array([-3.0]), np.array([-2.0])) == pytest.approx([0.5])
    share = forward(Transform.LOGIT, np.array([0.8, 0.85]))
    assert reported_error(Transform.LOGIT, share[:1], share[1:]) == pytest.approx([0.05])
