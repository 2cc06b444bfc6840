"""The lines of a decision come from one set of draws, so that none contradicts another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from planner.analysis.recommendation.decision import Decision, decide
from planner.analysis.recommendation.separation import separation
from planner.ledger.observations import Observations
from planner.space.question import Question
from planner.space.slo import Condition
from planner.space.workload import Part, Workload
from planner.strategies.strategy import Posterior
from planner.tables.workload import placed
from planner.views.choice import sure_lines
from planner.views.decision import decision_lines
from tests.analysis.test_recommend import measured, scene
from tests.evaluation.test_choice import Alike


def alike(posterior: Posterior, correlation: float) -> Posterior:
    """The posterior with errors of one correlation."""
    return replace(posterior, errors=Alike(correlation, noise=0.0))  # type: ignore[arg-type]


def decided(question: Question, posterior: Posterior, observations: Observations) -> Decision:
    """The answer for one workload."""
    grid = observations.grid
    mix = placed(Workload((Part({"output_len": 64}),)), grid, Path())
    return decide(question, posterior, observations, grid.size_column(grid.axes[0].roles[0]), None, mix)


def test_a_runner_up_is_no_chance_where_its_errors_are_the_winner_s() -> None:
    _, observations, posterior, _ = scene(std=0.3)
    said = {}
    for correlation in (0.0, 0.995):
        found = decided(Question("output_throughput", True), alike(posterior, correlation), observations)
        assert found.only is not None
        said[correlation] = "\n".join(decision_lines(found, found.only))
        assert len(said[correlation].splitlines()) <= 10
    assert "which may be chance" in said[0.0] and "which may be chance" not in said[0.995]
    assert said[0.0].count("% less output_throughput") == said[0.995].count("% less output_throughput") == 1


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9, 0.99])
def test_a_sure_winner_has_no_runner_up_that_may_be_much_better(correlation: float) -> None:
    _, observations, posterior, _ = scene(std=0.1)
    found = decided(Question("output_throughput", True, baseline={"batch_size": 1}), alike(posterior, correlation),
                    observations)
    answer, (sure,) = found.only, found.sure
    assert answer is not None and answer.winner is not None and answer.second is not None
    gap = separation(answer, answer.winner, answer.second).gaps[0]
    assert gap.metric == "output_throughput" and (sure.probability < 0.95 or gap.high <= 0.0205)
    gain, base = answer.gain(answer.winner), answer.candidates.baseline
    assert gain is not None and base is not None
    back = separation(answer, answer.winner, base).gaps[0]
    assert (1 / gain[2], 1 / gain[1]) == (pytest.approx(1 + back.low, rel=0.01), pytest.approx(1 + back.high, rel=0.01))


def test_of_two_that_are_tied_the_other_is_the_runner_up() -> None:
    """What noise hides is said once, and its figures are those of the runner-up."""
    _, observations, posterior, _ = scene(std=1.0)
    grid = observations.grid
    spread = np.array([0.8, 1.0, 1.2])
    rows = [row for row in range(len(grid)) if grid.point(row)["output_len"] == 64]
    for row in rows:
        value = 1000.0 if grid.point(row)["batch_size"] == 32 else 600.0
        for _ in range(4):
            measured(observations, row, {"output_throughput": tuple(value * spread), "tpot_ms": (10.0,)})
    found = decided(Question("output_throughput", True), posterior, observations)
    answer, (sure,) = found.only, found.sure
    assert answer is not None and sure.state == "tied" and answer.second == answer.tied_with is not None
    assert sure.runner_up == answer.grid.point(answer.second)
    lines = list(decision_lines(found, answer))
    assert any(line.startswith("  noise hides whether the runner-up is better; ") for line in lines)
    assert lines[-3].startswith("runner-up: ") and "which may be chance" in lines[-2]
    assert not any("cannot tell" in line for line in lines)


def test_what_stands_in_the_way_of_being_surer_is_named_where_the_runner_up_does_not() -> None:
    """Much faster, and it may well miss the condition: no runner-up, but why the choice is not sure."""
    _, observations, posterior, _ = scene(std=0.1)
    question = Question("output_throughput", True, (Condition("tpot_ms", 13.0, True),))
    found = decided(question, posterior, observations)
    answer, (sure,) = found.only, found.sure
    assert answer is not None and answer.second is not None and sure.runner_up is not None and sure.chosen is not None
    assert sure.state == "open" and sure.runner_up != answer.grid.point(answer.second)
    differs = " ".join(f"{name}={value}" for name, value in sure.runner_up.items() if value != sure.chosen[name])
    said = [line for line in decision_lines(found, answer) if line.endswith(f"; {differs} may be better")]
    assert len(said) == 1 and said[0].startswith("  within 2 % of the best with ")
    assert not any("may be better" in line for line in sure_lines(sure, sure.runner_up))


def test_a_condition_relative_to_the_baseline_knows_what_it_shares_with_it() -> None:
    _, observations, posterior, _ = scene(std=0.1)
    question = Question("output_throughput", True, (Condition("tpot_ms", 1.2, True, of_baseline=True),),
                        baseline={"batch_size": 8, "tensor_parallel_size": 2})
    answers = [decided(question, alike(posterior, correlation), observations).only for correlation in (0.0, 0.9)]
    alone, shared = answers
    assert alone is not None and shared is not None
    base = alone.candidates.baseline
    row = next(row for row in range(len(alone.grid))
               if alone.grid.point(row) == {"tensor_parallel_size": 2, "batch_size": 16})
    assert alone.candidates.baseline == shared.candidates.baseline == base is not None
    assert alone.probability[base] == shared.probability[base] > 0.99
    assert 0.5 < alone.probability[row] < shared.probability[row] - 0.05


@pytest.mark.parametrize("correlation", [0.0, 0.9])
def test_a_winner_is_not_within_two_percent_more_surely_than_it_meets_the_conditions(correlation: float) -> None:
    _, observations, posterior, _ = scene(std=0.05)
    for factor in (1.1, 1.2, 1.3):
        question = Question("output_throughput", True, (Condition("tpot_ms", factor, True, of_baseline=True),),
                            baseline={"batch_size": 8, "tensor_parallel_size": 2})
        found = decided(question, alike(posterior, correlation), observations)
        assert found.only is not None and found.only.winner is not None
        assert found.sure[0].probability <= found.only.probability[found.only.winner] + 0.03


def test_what_is_undefined_for_one_of_two_separates_nothing() -> None:
    """A metric that the runner-up was measured without."""
    grid, observations, posterior, _ = scene(std=0.01)
    (best,) = [row for row in range(len(grid)) if grid.point(row) == {
        "tensor_parallel_size": 2, "output_len": 64, "batch_size": 32}]
    measured(observations, best, {"output_throughput": (5000.0,)})
    found = decided(Question("output_throughput", True), posterior, observations)
    assert found.only is not None and found.only.winner is not None and found.only.second is not None
    gaps = separation(found.only, found.only.winner, found.only.second).gaps
    assert gaps[0].metric == "output_throughput" and "tpot_ms" not in [gap.metric for gap in gaps]
    assert all(np.isfinite([gap.more, gap.low, gap.high]).all() for gap in gaps)
