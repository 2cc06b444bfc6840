"""Quality beside speed: evaluated once for each combination of what can change it, charged once, recorded with all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from planner.analysis.predict import answers
from planner.campaign.loop import Loop
from planner.campaign.quality import Evaluating
from planner.campaign.stopping import Limits
from planner.evaluation.estimate import Estimate
from planner.evaluation.metric_posterior import metric_posterior
from planner.ledger.observations import Observations, Run, Underway
from planner.models.cost import CostModel
from planner.space.evaluation import Evaluation
from planner.space.grid import Grid, full_grid
from planner.space.metrics import metric_named
from planner.space.slo import Condition
from planner.space.types import (
    Axis,
    Cost,
    Direction,
    Kind,
    Measurement,
    Metric,
    Proposal,
    Reading,
    Role,
    Scale,
    Scope,
    Status,
    StudyError,
    Transform,
)
from planner.strategies.adaptive import AdaptiveStrategy
from planner.strategies.registry import make_strategy
from planner.strategies.strategy import StrategyContext
from tests.campaign.test_loop import Memory

DTYPES = ("bf16", "fp8", "int4", "int8")
GRID = full_grid([Axis("dtype", DTYPES, Scope.ENGINE, Scale.CATEGORY), Axis("tp", (1, 2), Scope.ENGINE),
                  Axis("max_concurrency", (1, 2, 4, 8, 16), scale=Scale.LOG, roles=(Role.CONCURRENCY,))])
SHARE = {"bf16": 0.8, "fp8": 0.79, "int4": 0.6, "int8": 0.77}
ACCURACY = Metric("accuracy", "", Direction.MAXIMIZE, Kind.SHARE, Transform.LOGIT, ("dtype",))
METRICS = (metric_named("ttft_ms"), ACCURACY)
ASKED = Evaluation(("evaluate",), {"accuracy": ""})


class Fake:
    """A runner that evaluates where it is asked to; `broken` dtypes cannot be evaluated."""

    def __init__(self, *broken: str) -> None:
        self.trajectory_axis, self.broken = None, broken
        self.proposals: list[Proposal] = []

    def measure(self, proposal: Proposal) -> Measurement:
        self.proposals.append(proposal)
        point = proposal.point
        metrics = {"ttft_ms": (10.0 * float(point["max_concurrency"]) / float(point["tp"]),)}
        cost, quality = Cost(0.0, 0.0, 1.0), {}
        if proposal.evaluate:
            cost = replace(cost, evaluation_s=100.0)
            quality = {"failed": "no"} if point["dtype"] in self.broken else {"seed": 0}
            if point["dtype"] not in self.broken:
                metrics |= {"accuracy": (SHARE[str(point["dtype"])],), "accuracy_stderr": (0.02,)}
        return Measurement(Status.OK, cost, (Reading(point, metrics, 1.0),), quality=quality)


def campaign(runner: Fake, limits: Limits | None = None, strategy: str = "full") -> tuple[str, Observations]:
    seen = Observations(GRID, METRICS)
    context = StrategyContext(GRID, seen.targets, None, np.ones(len(GRID)), 0, None)
    loop = Loop(Evaluating(runner, ASKED, seen), make_strategy(strategy, context), Memory(), seen, limits or Limits(),
                clock=None)
    return loop.run(), seen


def test_each_combination_is_evaluated_and_charged_once_and_every_run_has_its_result() -> None:
    runner = Fake()
    reason, seen = campaign(runner)
    assert reason == "grid" and len(runner.proposals) == len(GRID) == 40
    asked = [proposal.point["dtype"] for proposal in runner.proposals if proposal.evaluate]
    assert sorted(asked) == sorted(DTYPES), "not for the sizes that only divide the work"
    assert seen.spent == pytest.approx(40 * 1.0 + 4 * 100.0)
    assert np.array_equal(seen.column("accuracy"), [SHARE[d] for d in GRID.column("dtype")])
    assert np.array_equal(seen.column("accuracy_stderr"), np.full(40, 0.02))
    own = [run for run in seen.runs if run.measurement.quality == {"seed": 0}]
    copied = {run.measurement.quality.get("run") for run in seen.runs} - {None}
    assert copied == {run.number for run in own} and len(own) == 4
    assert len(seen.readings("accuracy")) == 4, "a copy of a result is no other reading"


def test_a_record_has_the_evaluation_as_it_was() -> None:
    measured = Fake().measure(Proposal(GRID.point(0), (GRID.point(0),), evaluate=True))
    again = Measurement.from_json(json.loads(json.dumps(measured.to_json())))
    assert again == measured and again.cost.seconds == 101.0 and again.cost.run_s == 1.0
    assert Metric.from_json(json.loads(json.dumps(ACCURACY.to_json()))) == ACCURACY


def test_what_cannot_be_evaluated_keeps_its_speed_and_is_not_tried_for_ever() -> None:
    runner = Fake("int4")
    reason, seen = campaign(runner)
    tried = [proposal.point["dtype"] for proposal in runner.proposals if proposal.evaluate]
    assert reason == "grid" and tried.count("int4") == 2 and len(tried) == 5
    assert np.isfinite(seen.column("ttft_ms")).all()
    assert np.array_equal(np.isnan(seen.column("accuracy")), GRID.column("dtype") == "int4")


def test_a_study_whose_evaluation_never_works_ends_at_once_and_says_why() -> None:
    with pytest.raises(StudyError, match=r"quality: run 0 could not evaluate 'accuracy' \(no\)"):
        campaign(Fake(*DTYPES))


def test_what_another_worker_evaluates_now_is_left_to_it() -> None:
    seen, runner = Observations(GRID, METRICS), Fake()
    row, other = GRID.find({"dtype": "fp8", "tp": 1, "max_concurrency": 1}), GRID.find(
        {"dtype": "fp8", "tp": 2, "max_concurrency": 4})
    assert row is not None and other is not None
    seen.add(Run(0, GRID.point(0), runner.measure(Proposal(GRID.point(0), (GRID.point(0),), evaluate=True))))
    seen.underway = (Underway(other),)
    evaluating = Evaluating(runner, ASKED, seen)
    measured = evaluating.measure(Proposal(GRID.point(row), (GRID.point(row),)))
    assert not runner.proposals[-1].evaluate and "accuracy" not in measured.readings[0].metrics
    seen.underway = ()
    evaluating.measure(Proposal(GRID.point(row), (GRID.point(row),)))
    assert runner.proposals[-1].evaluate


def test_a_study_without_an_evaluation_asks_for_none() -> None:
    runner, seen = Fake(), Observations(GRID, METRICS)
    Evaluating(runner, None, seen).measure(Proposal(GRID.point(0), (GRID.point(0),)))
    assert not runner.proposals[0].evaluate


def observed(*dtypes: str) -> Observations:
    """One run of each dtype, evaluated."""
    seen, runner = Observations(GRID, METRICS), Fake()
    for number, dtype in enumerate(dtypes):
        point = {"dtype": dtype, "tp": 1, "max_concurrency": 4}
        seen.add(Run(number, point, runner.measure(Proposal(point, (point,), evaluate=True))))
    return seen


def predicted(seen: Observations) -> tuple[Mapping[str, tuple[float, float, float]], Mapping[str, Estimate | None]]:
    """Value, low and high of the accuracy by dtype, and the estimates."""
    posterior = AdaptiveStrategy(StrategyContext(GRID, seen.targets, None, np.ones(len(GRID)), 0, None)).posterior(seen)
    arrays = [getattr(posterior.prediction, part)["accuracy"] for part in ("value", "low", "high")]
    for array in arrays:
        for dtype in DTYPES:
            assert np.ptp(array[GRID.column("dtype") == dtype]) < 1e-9, "no load and no parallel size changes it"
    places = {dtype: int(np.flatnonzero(GRID.column("dtype") == dtype)[0]) for dtype in DTYPES}
    return ({dtype: (arrays[0][row], arrays[1][row], arrays[2][row]) for dtype, row in places.items()},
            posterior.accuracy)


def test_an_evaluated_configuration_has_its_value_and_sampling_error_at_every_load() -> None:
    found, _ = predicted(observed("bf16", "fp8"))
    for dtype in ("bf16", "fp8"):
        value, low, high = found[dtype]
        assert value == pytest.approx(SHARE[dtype])
        assert high - low == pytest.approx(2 * 1.645 * 0.02, rel=0.05), "90 % of what 0.02 is one deviation of"


def test_a_configuration_without_a_result_is_only_an_interval() -> None:
    found, accuracy = predicted(observed("bf16", "fp8"))
    _, low, high = found["int4"]
    assert low < SHARE["int4"] < high and high - low > 0.2, "two of four, and nothing says that the others are alike"
    before = accuracy["accuracy"]
    everything = predicted(observed(*DTYPES))[1]["accuracy"]
    assert before is not None and everything is not None
    assert before.estimated < 0.95 < everything.estimated < 1.0, "what is left is the sampling error"


def test_a_measured_point_without_a_result_is_predicted_and_a_point_measured_twice_keeps_its_interval() -> None:
    perplexity = replace(metric_named("perplexity"), depends_on=("dtype",))
    seen = Observations(GRID, (metric_named("ttft_ms"), perplexity))
    rows = {dtype: int(np.flatnonzero(GRID.column("dtype") == dtype)[0]) for dtype in DTYPES}
    for number, dtype in enumerate(("bf16", "bf16", "fp8", "int4")):
        point = GRID.point(rows[dtype])
        metrics = {"ttft_ms": (10.0,), "perplexity": (5.0,), "perplexity_stderr": (0.1,)}
        given = {name: value for name, value in metrics.items() if name == "ttft_ms" or dtype != "int4"}
        seen.add(Run(number, point, Measurement(Status.OK, Cost(measure_s=1.0), (Reading(point, given, 1.0),))))
    context = StrategyContext(GRID, seen.targets, None, np.ones(len(GRID)), 0, None)
    posterior = AdaptiveStrategy(context).posterior(seen)
    value, low, high = answers(posterior, seen, "perplexity")
    twice = rows["bf16"]
    assert (low[twice], value[twice], high[twice]) == pytest.approx(
        (5.0 * np.exp(-1.645 * 0.02), 5.0, 5.0 * np.exp(1.645 * 0.02)), rel=1e-3)
    without = rows["int4"]
    assert seen.measured[without] and low[without] < value[without] < high[without]
    whole = metric_posterior("perplexity", posterior.prediction, seen)
    assert np.isfinite(whole.value).all() and whole.probability(Condition("perplexity", 9.0, True))[without] > 0


def test_an_evaluation_is_part_of_what_starting_a_configuration_costs() -> None:
    seen = observed("bf16", "fp8")
    cost = CostModel(GRID, np.ones(len(GRID))).fit(seen)
    left = np.isin(GRID.column("dtype"), ["int4", "int8"])
    assert np.array_equal(cost.start_seconds(), np.where(left, 100.0, 0.0))
    assert cost.sweep().cost[0] == pytest.approx(40 * 1.0 + 4 * 100.0, rel=0.01), "the plain sweep evaluates each once"


def test_grids_say_which_points_share_a_value() -> None:
    grid: Grid = GRID
    assert len(np.unique(grid.combinations(("dtype",)))) == 4
    assert len(np.unique(grid.combinations(("dtype", "tp")))) == 8
    assert len(np.unique(grid.combinations(()))) == 1
    assert grid.features_of(()).numeric.shape == (40, 0) and grid.features_of(("dtype",)).levels == (4,)
