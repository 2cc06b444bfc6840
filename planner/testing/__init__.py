"""Conformance suites: what every implementation of a contract must do, as plain asserts; no test framework is needed.

Write one test that calls the suite for each class of yours:

    def test_my_strategy_keeps_the_contract():
        check_strategy(MyStrategy)
"""

from planner.testing.importer import check_importer
from planner.testing.recorder import check_recorder
from planner.testing.regressor import check_regressor
from planner.testing.runner import check_runner
from planner.testing.strategy import check_strategy

__all__ = ["check_importer", "check_recorder", "check_regressor", "check_runner", "check_strategy"]
