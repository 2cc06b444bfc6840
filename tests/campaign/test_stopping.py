"""When a study ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.campaign.stopping import AccuracyRule, Limits
from planner.evaluation.estimate import Estimate
from planner.ledger.observations import Observations, Run
from planner.space.grid import full_grid
from planner.space.types import Axis, Cost, Measurement, Status

GRID = full_grid([Axis("batch", (1, 2, 4))])


def observations(*runs: tuple[Status, float]) -> Observations:
    return Observations(GRID, ("y",), [
        Run(i, {"batch": 1}, Measurement(status, Cost(measure_s=cost))) for i, (status, cost) in enumerate(runs)])


def surely(accuracy: float, ceiling: float = 1.0) -> Estimate:
    """An estimate without doubt: it is likely just where it reaches what was asked for."""
    return Estimate(accuracy, accuracy, accuracy, ceiling)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=12), st.floats(0.01, 0.99))
def test_the_rule_wants_every_target_on_two_looks_in_a_row(
    checkpoints: list[tuple[float, float]], asked: float
) -> None:
    rule, met = AccuracyRule(asked), 0
    for a, b in checkpoints:
        met = met + 1 if 1 - a <= 1 - asked and 1 - b <= 1 - asked else 0
        assert rule.checkpoint({"a": surely(a), "b": surely(b)}) == ("accuracy" if met >= 2 else None)


def test_an_unknown_accuracy_is_not_reached() -> None:
    rule = AccuracyRule(0.5)
    for _ in range(3):
        assert rule.checkpoint({"a": surely(0.9), "b": None}) is None
        assert rule.checkpoint({}) is None
        assert rule.checkpoint({"a": Estimate(0.99, float("nan"), 1.0)}) is None
        assert rule.checkpoint({"a": Estimate(0.501, -5.0, 0.99)}) is None  # the middle alone is not enough


@pytest.mark.parametrize(("checkpoints", "reason"), [
    # Noise leaves 0.9 to a perfect prediction, 0.95 is asked for, and 0.89 is near to all there is.
    ([{"a": surely(0.89, 0.9)}] * 2, "noise"),
    ([{"a": surely(0.89, 0.9)}], None),
    ([{"a": surely(0.85, 0.9)}] * 9, None),  # more can be learned
    ([{"a": surely(0.93, 0.945)}] * 9, None),  # near to the ceiling, but that is not surely too low
    ([{"a": surely(0.96, 0.9)}] * 2, "accuracy"),  # it was reached all the same
    ([{"a": surely(0.89, 0.9), "b": surely(0.96)}] * 2, "noise"),
    ([{"a": surely(0.89, 0.9), "b": surely(0.94)}] * 9, None),
    ([{"a": surely(0.89, 0.9), "b": None}] * 9, None),
    ([{"a": surely(0.89, 0.9)}, {"a": surely(0.85, 0.9)}, {"a": surely(0.89, 0.9)}], None),
    ([{"a": surely(0.89, 0.9)}, {"a": surely(0.96, 0.9)}], "accuracy"),
])
def test_an_accuracy_ruled_out_by_noise_is_not_waited_for(
    checkpoints: list[dict[str, Estimate | None]], reason: str | None
) -> None:
    rule = AccuracyRule(0.95)
    assert [rule.checkpoint(checkpoint) for checkpoint in checkpoints][-1] == reason


@pytest.mark.parametrize(("limits", "price", "plain", "reason"), [
    (Limits(), 1e12, 1.0, None),
    (Limits(trials=3), 0.0, None, None), (Limits(trials=2), 0.0, None, "trials"),
    (Limits(cost=9.0), 2.0, None, None), (Limits(cost=9.0), 2.1, None, "cost"), (Limits(cost=7.0), 0.0, None, None),
    (Limits(cost=6.9), 0.0, None, "cost"),
    (Limits(share=0.1), 100.0, None, None),  # no share can be taken of a sum that is not known
    (Limits(share=0.1), 3.0, 100.0, None), (Limits(share=0.1), 3.1, 100.0, "cost"),
    (Limits(cost=9.0, trials=2), 99.0, None, "trials"), (Limits(cost=9.0, trials=9), 99.0, None, "cost"),
])
def test_limits(limits: Limits, price: float, plain: float | None, reason: str | None) -> None:
    """Two finished runs, one of them failed, and one that was interrupted: 7 accelerator-seconds."""
    spent = observations((Status.OK, 1.0), (Status.FAILED, 2.0), (Status.INTERRUPTED, 4.0))
    assert limits.reached(spent, price, plain) == reason
