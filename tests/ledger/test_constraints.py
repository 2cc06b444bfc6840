"""Service levels as Optuna constraints."""

from __future__ import annotations

from collections.abc import Callable

import optuna
import pytest
import yaml

from planner.ledger.constraints import conditions_of, violations
from tests.conftest import Bench, Ran

STUDY = """
space: {axes: {batch_size: {values: [1, 2]}}}
runner: {kind: command, command: [echo]}
targets: [latency_ms]
slo: ["latency_ms <= 10", "output_throughput >= 100", "p99_ttft_ms < 50"]
"""


def test_a_level_is_missed_by_what_is_above_zero() -> None:
    conditions = conditions_of(STUDY)
    metrics = {"latency_ms": (8.0, 12.0, 30.0), "output_throughput": (130.0,), "p99_ttft_ms": (49.0,)}
    assert violations(conditions, metrics) == [2.0, -30.0, -1.0]


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    assert violations(conditions_of(STUDY), {"latency_ms": (8.0,), "output_throughput": ()}) == [-2.0]


@pytest.mark.parametrize("text", ["", "no: study", "["])
def test_a_study_file_that_cannot_be_read_has_no_levels(text: str) -> None:
    assert conditions_of(text) == ()


def test_optuna_counts_only_feasible_trials_as_best(
    bench: Callable[..., Bench], sweepwise: Callable[..., Ran], trials: Callable[..., list[optuna.trial.FrozenTrial]]
) -> None:
    given = bench(stop={"trials": 10})
    data = yaml.safe_load(given.study.read_text())
    given.study.write_text(yaml.safe_dump({**data, "slo": ["latency_ms >= 10"]}))
    assert sweepwise("run", given.study, "--quiet").code == 0
    found = trials(given.storage, "bench")
    for trial in found:
        assert list(trial.constraints.values()) == pytest.approx([10 - trial.value])
    best = optuna.load_study(study_name="bench", storage=given.storage).best_trial
    assert best.value == min(trial.value for trial in found if trial.value >= 10)
    assert best.value > min(trial.value for trial in found)
