"""What is left of a study follows from its budget, or from how its error has been falling."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from planner.analysis.outlook import Outlook
from planner.campaign.stopping import Limits
from planner.evaluation.estimate import Estimate


def observed(spent: float, runs: int = 10) -> Any:
    return SimpleNamespace(spent=spent, finished=runs)


def posterior(error: float, plain: float = 1000.0) -> Any:
    accuracy = {"a": Estimate(1 - error / 2, 1 - error, 1.0), "b": Estimate(1.0, 1.0, 1.0), "c": None}
    return SimpleNamespace(accuracy=accuracy, plain=SimpleNamespace(cost=(plain,)))


@pytest.mark.parametrize("slope", [0.5, 1.0, 2.0])
def test_an_error_that_falls_as_a_power_of_the_cost_goes_on_so(slope: float) -> None:
    outlook = Outlook(Limits(accuracy=0.95), 100)
    for spent in (10.0, 20.0, 40.0):
        outlook.checkpoint(posterior(2.0 * spent**-slope), observed(spent))
    goal = (2.0 / 0.05) ** (1 / slope)
    assert outlook.left(observed(40.0)) == pytest.approx(max(0.0, goal - 40.0))


def test_what_ends_first_counts() -> None:
    outlook = Outlook(Limits(accuracy=0.999, cost=100.0, trials=20), 100)
    assert outlook.left(observed(30.0, 10)) == pytest.approx(30.0)  # as many runs again
    assert outlook.left(observed(90.0, 10)) == pytest.approx(10.0)
    assert outlook.left(observed(110.0, 10)) == 0.0


def test_a_share_of_the_sweep_is_known_from_the_first_checkpoint_on() -> None:
    outlook = Outlook(Limits(share=0.05), 100)
    assert outlook.ceiling is None and outlook.left(observed(10.0)) is None
    outlook.checkpoint(posterior(0.5, plain=2000.0), observed(10.0))
    assert outlook.ceiling == pytest.approx(100.0) and outlook.left(observed(10.0)) == pytest.approx(90.0)


def test_where_nothing_tells_nothing_is_said() -> None:
    outlook = Outlook(Limits(accuracy=0.95), 100)
    assert outlook.left(observed(0.0)) is None
    for spent, error in ((10.0, 0.2), (20.0, 0.3)):  # it grows
        outlook.checkpoint(posterior(error), observed(spent))
    assert outlook.left(observed(20.0)) is None
