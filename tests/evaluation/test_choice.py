"""The probability that a choice is right is that of the joint distribution of what is not known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from scipy.stats import norm

from planner.evaluation import settings
from planner.evaluation.choice import Case, ChoiceQuestion, Named, choice_of
from planner.evaluation.metric_posterior import metric_posterior
from planner.evaluation.mix import candidates_of, mixes
from planner.ledger.observations import Observations, Run
from planner.models.grid_model import Prediction
from planner.space.grid import Grid, full_grid
from planner.space.question import Question
from planner.space.slo import parse_condition
from planner.space.types import Z90, Axis, Cost, FloatArray, IntArray, Measurement, Reading, Scale, Status

SAME = 1 - settings.CHOICE_TOLERANCE


class Alike:
    """Errors with one correlation, for JointErrors: latent variance and noise of each row."""

    def __init__(self, correlation: float, noise: float = 0.05) -> None:
        self._correlation, self._noise = correlation, noise

    def covariance(self, metric: str, rows: IntArray) -> FloatArray:
        n = len(rows)
        return self._correlation * np.ones((n, n)) + (1 - self._correlation) * np.eye(n)

    def noise(self, metric: str, rows: IntArray) -> FloatArray:
        return np.full(len(rows), self._noise)


def a_grid(count: int) -> Grid:
    return full_grid([Axis("batch_size", tuple(range(1, count + 1)), scale=Scale.LOG)])


def asked(
    values: Sequence[float], std: float = 0.1, *, measured: dict[int, tuple[float, ...]] | None = None,
    feasibility: Sequence[float] | None = None, errors: Alike | None = None, slo: Sequence[str] = (),
    ttft: Sequence[float] | None = None, again: int = 1,
) -> Case:
    """The case of candidates with predicted throughputs, of which some were measured, `again` times with the same."""
    grid = a_grid(len(values))
    targets = ("output_throughput", "ttft_ms") if slo else ("output_throughput",)
    observations = Observations(grid, targets)
    columns = {"output_throughput": np.array(values, dtype=float), "ttft_ms": np.array(ttft or values, dtype=float)}
    for row, repeats in (measured or {}).items():
        for _ in range(again):
            metrics = {"output_throughput": repeats, **({"ttft_ms": (columns["ttft_ms"][row],)} if slo else {})}
            reading = Reading(grid.point(row), metrics, 1.0)
            observations.add(Run(len(observations.runs), grid.point(row), Measurement(
                Status.OK, Cost(measure_s=1.0), (reading,))))
    prediction = Prediction(
        columns, {name: x * np.exp(-Z90 * std) for name, x in columns.items()},
        {name: x * np.exp(Z90 * std) for name, x in columns.items()},
        {name: np.full(len(values), std) for name in columns})
    question = Question("output_throughput", True, tuple(parse_condition(text, "") for text in slo))
    found = choice_of(
        ChoiceQuestion(question, mixes(grid, None), np.ones(len(values)), 0.95), prediction,
        np.array(feasibility or np.ones(len(values)), dtype=float), errors, observations)  # type: ignore[arg-type]
    return found.cases[0]


def test_of_two_it_is_the_probability_that_the_other_is_not_better_by_more_than_two_percent() -> None:
    case = asked([100, 90])
    spread = settings.UNMEASURED_WIDENING * 0.1 * np.sqrt(2)
    assert case.chosen == 0 and case.runner_up == 1
    assert case.probability == pytest.approx(norm.cdf(np.log(100 / 90 / SAME) / spread), abs=0.06)
    assert case.ahead[1] < case.ahead[0] < 0 < case.ahead[2]


def test_candidates_that_err_alike_are_easier_to_tell_apart() -> None:
    alone, alike = asked([100, 90]), asked([100, 90], errors=Alike(0.95))
    assert alike.probability > alone.probability + 0.05
    assert alike.regret < alone.regret


def test_many_that_may_be_better_make_a_choice_less_sure() -> None:
    assert asked([100, *[85] * 20]).probability < asked([100, 85]).probability - 0.1


def test_what_is_far_behind_is_no_contender() -> None:
    case = asked([100, 90, 1, 0.5], 0.05)
    assert set(case.contenders.tolist()) == {0, 1}


def test_readings_with_known_noise_err_by_that_alone() -> None:
    case = asked([100, 90], measured={0: (99.9, 100.0, 100.1), 1: (89.9, 90.0, 90.1)})
    assert case.state == "decided" and case.probability > 0.999
    noisy = asked([100, 97], measured={0: (60.0, 100.0, 160.0), 1: (60.0, 97.0, 150.0)})
    assert noisy.probability < 0.95 and noisy.if_exact == 1.0


def test_noise_alone_ties_two_and_more_runs_would_tell_them_apart() -> None:
    case = asked([100, 96], measured={0: (85.0, 100.0, 115.0), 1: (82.0, 96.0, 110.0)}, again=4)
    assert case.state == "tied" and {case.chosen, case.runner_up} == {0, 1}
    assert case.runs is not None and case.runs > settings.MOST_RUNS_A_POINT


def test_single_readings_are_as_noisy_as_the_surface_leaves_unexplained_until_they_are_run_again() -> None:
    once = asked([100, 93], measured={0: (100.0,), 1: (93.0,)}, errors=Alike(0.5, noise=0.1))
    twice = asked([100, 93], measured={0: (100.0,), 1: (93.0,)}, errors=Alike(0.5, noise=0.1), again=3)
    assert once.probability < 0.85 and once.state == "open"
    assert twice.probability > once.probability + 0.05


def test_it_is_said_that_none_meets_the_conditions() -> None:
    case = asked([100, 90], 0.02, slo=["ttft_ms <= 10"], ttft=[50, 40])
    assert case.none and case.state == "decided" and case.probability > 0.99
    some = asked([100, 90], 0.02, slo=["ttft_ms <= 45"], ttft=[50, 40])
    assert not some.none and some.chosen == 1 and some.state == "decided"


def test_where_memory_ends_for_one_it_ends_for_the_larger() -> None:
    """Ten better candidates that run with 10 % each: one of them runs with 10 %, not with 65 %."""
    case = asked([100, *[150] * 10], 0.01, feasibility=[1.0, *[0.1] * 10])
    assert case.chosen == 0
    assert case.probability == pytest.approx(0.9, abs=0.03)


def test_a_choice_that_is_named_is_the_one_that_is_judged() -> None:
    grid = a_grid(2)
    observations = Observations(grid, ("output_throughput",))
    x = {"output_throughput": np.array([100.0, 60.0])}
    prediction = Prediction(x, {k: v * 0.95 for k, v in x.items()}, {k: v * 1.05 for k, v in x.items()},
                            {k: np.full(2, 0.03) for k in x})
    question = ChoiceQuestion(Question("output_throughput", True), mixes(grid, None), np.ones(2), 0.95)
    (own,) = choice_of(question, prediction, np.ones(2), None, observations).cases
    known = metric_posterior("output_throughput", prediction, observations)
    candidates = candidates_of(question.mixes[0], {known.name: known}, {known.name: observations.metric(known.name)},
                               np.ones(2), np.ones(2))
    (other,) = choice_of(question, prediction, np.ones(2), None, observations, [Named(candidates, 1)]).cases
    assert own.chosen == 0 and own.probability > 0.99
    assert other.chosen == 1 and other.probability < 0.01


def test_a_tie_names_as_many_as_hold_the_probability() -> None:
    """Of four alike that err by ± 10 %, any two are as good as the best in about half of all draws."""
    alike = asked([100, 100, 100, 100, 60])
    assert set(alike.among.tolist()) == {0, 1, 2, 3} and alike.among[:2].tolist() == [alike.chosen, alike.runner_up]
    two = asked([100, 99, 80], std=0.03)
    assert two.probability < 0.95 and two.among.tolist() == [two.chosen, two.runner_up]


def test_what_is_decided_names_one() -> None:
    case = asked([100, 60])
    assert case.state == "decided" and case.among.tolist() == [case.chosen]


def test_those_named_are_among_what_meets_the_conditions() -> None:
    """Where none may serve, they hold the probability wherever one does."""
    case = asked([100, 100, 100], slo=["ttft_ms <= 10"], ttft=[9.9, 9.9, 30.0], std=0.05)
    assert sorted(case.among.tolist()) == [0, 1]
