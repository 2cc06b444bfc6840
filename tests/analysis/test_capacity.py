"""What a replica bears, and how many are needed: against servers that are simulated, and against what must hold."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest
import yaml

import planner
from planner.analysis.capacity import Capacity
from planner.analysis.replica import Replica, replicas_of
from planner.evaluation.metric_posterior import MetricPosterior
from planner.evaluation.mix import candidates_of, mixes
from planner.space.grid import Grid, full_grid
from planner.space.metrics import metric_named
from planner.space.question import Question
from planner.space.slo import parse_tier
from planner.space.types import Axis, BoolArray, FloatArray, Metric, Role, Scale, Scope, StudyError, Transform
from planner.tables.workload import PlacedWorkload
from tests.make_served_grid import RUN_NOISE, engine
from tests.scheduler import Routing, Served, simulate_fleet

STUDIES = Path(__file__).parents[2] / "studies"
RATES = (1.0, 2.0, 4.0, 8.0, 16.0)
NOTHING_GIVEN = PlacedWorkload((), np.zeros((1, 0), dtype=np.int64), np.ones(1))


def replicas(grid: Grid, values: Mapping[str, FloatArray], level: str, *, std: float = 0.01, measured: bool = True,
             metrics: Mapping[str, Metric] | None = None) -> list[Replica]:
    """Of a grid whose metrics are known with a relative error of `std`; NaN where there is none."""
    conditions = parse_tier(level, "level").conditions
    question = Question(conditions[0].metric, False, conditions)
    about = {name: (metrics or {}).get(name, metric_named(name)) for name in values}
    known = {name: MetricPosterior(name, value, np.log(value), np.full(len(value), std), Transform.LOG,
                                   np.full(len(value), measured) & np.isfinite(value))
             for name, value in values.items()}
    (mix,) = mixes(grid, NOTHING_GIVEN)
    devices = grid.size_column(Role.ACCELERATORS)
    return replicas_of(question, candidates_of(mix, known, about, np.ones(len(grid)), devices), about)


def rate_axis(*rates: float) -> Axis:
    return Axis("request_rate", rates, scale=Scale.LOG, roles=(Role.RATE,))


def slots_axis(*slots: int) -> Axis:
    return Axis("max_concurrency", slots, scale=Scale.LOG, roles=(Role.CONCURRENCY,))


# ----------------------------------------------------------------------------------------------------------- open loop


@pytest.mark.parametrize("capacity", [9.0, 11.0, 15.0])
def test_between_two_rates_no_more_is_borne_than_a_queue_bears(capacity: float) -> None:
    """Latency as of the textbook queue, s / (1 − λ/μ): it bends upwards, so the chord lies above it."""
    rates = np.array(RATES)
    latency = np.where(rates < capacity, 20 / np.maximum(1 - rates / capacity, 1e-9), np.nan)
    (found,) = replicas(full_grid([rate_axis(*RATES)]), {"ttft_ms": latency}, "ttft_ms <= 60", std=1e-4)
    truth = capacity * (1 - 20 / 60)
    below = max(rate for rate in RATES if rate <= truth)
    assert below <= found.bears(0.9) <= truth
    assert (np.diff(found.probability) <= 0).all()


def test_a_saturated_rate_is_borne_by_nobody() -> None:
    latency = np.array([20.0, 21.0, 22.0, np.nan, np.nan])
    (found,) = replicas(full_grid([rate_axis(*RATES)]), {"ttft_ms": latency}, "ttft_ms <= 1000")
    assert found.bears(0.9) == found.bears(0.05) == 4.0 and not found.is_cut_off(0.9)
    assert found.probability[found.at(4.01)] == 0 and found.probability[found.at(0.1)] == pytest.approx(1)


def test_a_grid_that_ends_too_early_says_so() -> None:
    (found,) = replicas(full_grid([rate_axis(*RATES)]), {"ttft_ms": np.full(5, 20.0)}, "ttft_ms <= 1000")
    assert found.bears(0.9) == 16.0 and found.is_cut_off(0.9)


def test_a_higher_load_tells_of_lower_ones() -> None:
    """An uncertain prediction below a load that was measured well within the bound."""
    grid = full_grid([rate_axis(1.0, 2.0)])
    value = np.array([50.0, 55.0])
    known = MetricPosterior("ttft_ms", value, np.log(value), np.array([1.0, 0.01]), Transform.LOG, value > 50)
    (mix,) = mixes(grid, NOTHING_GIVEN)
    metrics = {"ttft_ms": metric_named("ttft_ms")}
    candidates = candidates_of(mix, {"ttft_ms": known}, metrics, np.ones(2), np.ones(2))
    assert candidates.probability(parse_tier("ttft_ms <= 60", "").conditions[0])[0, 0] < 0.6
    (found,) = replicas_of(Question("ttft_ms", False, parse_tier("ttft_ms <= 60", "").conditions), candidates, metrics)
    assert found.bears(0.9) == 2.0


def test_open_loop_counts_where_both_were_measured() -> None:
    """Closed loops have an infinite rate; open ones a limit that no load reaches."""
    whole = full_grid([rate_axis(1.0, 2.0, np.inf), slots_axis(4, 8, 256)])
    is_closed, limited = np.isinf(whole.column("request_rate")), whole.column("max_concurrency") < 256

    def found(kept: BoolArray) -> list[tuple[str, float | None]]:
        grid = Grid(whole.axes, whole.codes[kept])
        values = {"ttft_ms": np.full(len(grid), 20.0), "request_throughput": np.full(len(grid), 5.0)}
        return [(one.loop, one.slots) for one in replicas(grid, values, "ttft_ms <= 100")]

    assert found(is_closed == limited) == [("open loop", None)]
    assert found(is_closed & limited) == [("closed loop", 4.0), ("closed loop", 8.0)]


# --------------------------------------------------------------------------------------------------------- closed loop


def test_waiting_counts_where_nobody_waited_when_it_was_measured() -> None:
    """One slot, a second a request: with mean times, M/M/1 gives the rate at which 3 s pass, 2 of them waiting."""
    grid = full_grid([slots_axis(1)])
    values = {"mean_e2el_ms": np.array([1000.0]), "request_throughput": np.array([1.0])}
    (found,) = replicas(grid, values, "mean_e2el_ms <= 3000", std=1e-5)
    assert found.bears(0.9) == pytest.approx(2 / 3, abs=0.011)
    (loose,) = replicas(grid, values, "mean_e2el_ms <= 1e9", std=1e-5)
    assert 0.97 < loose.bears(0.9) < 1
    (in_seconds,) = replicas(grid, {"mean_e2el_s": np.array([1.0]), "request_throughput": np.array([1.0])},
                             "mean_e2el_s <= 3", std=1e-5)
    assert in_seconds.bears(0.9) == found.bears(0.9)


def test_a_time_between_tokens_does_not_wait() -> None:
    values = {"tpot_ms": np.array([10.0]), "request_throughput": np.array([1.0])}
    (found,) = replicas(full_grid([slots_axis(1)]), values, "tpot_ms <= 11", std=1e-5)
    assert found.bears(0.9) > 0.97


def test_an_uncertain_throughput_bears_less() -> None:
    values = {"tpot_ms": np.array([10.0]), "request_throughput": np.array([1.0])}
    sure, unsure = (replicas(full_grid([slots_axis(8)]), values, "tpot_ms <= 100", std=std)[0] for std in (0.01, 0.2))
    assert unsure.bears(0.9) < 0.85 < sure.bears(0.9) and unsure.bears(0.05) > sure.bears(0.05)


def test_a_batch_waits_for_nobody() -> None:
    grid = full_grid([Axis("batch_size", (1, 8), scale=Scale.LOG, roles=(Role.BATCH,)),
                      Axis("output_len", (10,), roles=(Role.OUTPUT_TOKENS,))])
    found = replicas(grid, {"ttft_ms": np.array([50.0, 90.0]), "output_throughput": np.array([100.0, 400.0])},
                     "ttft_ms <= 100", std=1e-4)
    assert [(one.loop, one.slots) for one in found] == [("static batch", 1.0), ("static batch", 8.0)]
    assert [one.bears(0.9) for one in found] == pytest.approx([10, 40], rel=0.02)


@pytest.mark.parametrize(("values", "level", "says"), [
    ({"ttft_ms": 1.0}, "ttft_ms <= 2", "targets: requests per second are not known"),
    ({"std_ttft_ms": 1.0, "request_throughput": 1.0}, "std_ttft_ms <= 2", "--slo: what waiting adds to std_ttft_ms"),
])
def test_what_cannot_be_known_is_refused(values: Mapping[str, float], level: str, says: str) -> None:
    with pytest.raises(StudyError, match=says):
        replicas(full_grid([slots_axis(1)]), {name: np.array([value]) for name, value in values.items()}, level)
    with pytest.raises(StudyError, match="no axis is a load"):
        replicas(full_grid([Axis("tp", (1, 2), Scope.ENGINE)]), {"ttft_ms": np.ones(2)}, "ttft_ms <= 2")


# ------------------------------------------------------------------------------------------- against a simulated server

LEVEL = {"p90_ttft_ms": 500.0, "p90_tpot_ms": 25.0}
INPUTS, OUTPUTS, CHUNK, SPREAD = 1024, 64, 8192, 0.5  # lengths are uniform on the upper half


@cache
def _grid_rows() -> pd.DataFrame:
    table = pd.read_csv(STUDIES / "data/served_simulated.csv")
    table = table[(table["input_len"] == INPUTS) & (table["output_len"] == OUTPUTS)
                  & (table["max_num_batched_tokens"] == CHUNK) & table["tensor_parallel_size"].isin([1, 4])]
    return table.assign(request_throughput=table["output_throughput"] / ((1 - SPREAD / 2) * OUTPUTS))


@pytest.fixture
def served(tmp_path: Path) -> planner.Study:
    """A study of the simulated server, all of it measured in closed loop."""
    _grid_rows().to_csv(tmp_path / "grid.csv", index=False, quoting=csv.QUOTE_MINIMAL)
    (tmp_path / "served.yaml").write_text(yaml.safe_dump({
        "study": {"name": "served", "storage": f"sqlite:///{tmp_path}/served.db"},
        "space": {"axes": {"tensor_parallel_size": {"scope": "engine", "scale": "log"},
                           "max_concurrency": {"scale": "log"}}},
        "runner": {"kind": "replay", "table": "grid.csv", "cost_s": 60, "accelerators": "tensor_parallel_size",
                   "repeats": 3},
        "targets": [*LEVEL, "request_throughput"], "price": {"per_accelerator_hour": 2.0},
        "slo": [f"{name} <= {bound:g}" for name, bound in LEVEL.items()], "stop": {"trials": 100}}))
    study = planner.open_study(tmp_path / "served.yaml")
    study.run(strategy="full")
    return study


def keeps_its_level(fleet: Served) -> bool:
    inside = fleet.window()
    return (1e3 * float(np.quantile(fleet.ttft_s[inside], 0.9)) <= LEVEL["p90_ttft_ms"]
            and 1e3 * float(np.nanquantile(fleet.tpot_s[inside], 0.9)) <= LEVEL["p90_tpot_ms"])


def played(found: Capacity, number: int, devices: int, seed: int, routing: Routing) -> bool:
    """Whether so many simulated replicas serve the load as asked."""
    fleet = next(one for one in found.fleets if one.replica.point["tensor_parallel_size"] == devices)
    one = replace(engine(devices, CHUNK), max_num_seqs=int(fleet.replica.slots or 0), noise=RUN_NOISE / 2)
    return keeps_its_level(simulate_fleet(number, found.rate, INPUTS, OUTPUTS, one, 700 * number, seed,
                                          routing, SPREAD))


def test_so_many_simulated_replicas_serve_the_load_and_one_fewer_does_not(served: planner.Study) -> None:
    found = served.capacity([9.0])
    small = next(fleet for fleet in found.fleets if fleet.replica.point["tensor_parallel_size"] == 1)
    assert small.replicas == 2 and small.probability >= 0.9
    assert small.replica.probability[small.replica.at(found.rate / (small.replicas - 1))] < 0.05  # it says so
    runs = [(seed, routing) for seed in range(4) for routing in get_args(Routing)]
    kept = [played(found, small.replicas, 1, *run) for run in runs]
    assert np.mean(kept) >= 0.9
    assert not any(played(found, small.replicas - 1, 1, seed, "random") for seed in range(4))


def test_the_answer_adds_up(served: planner.Study) -> None:
    found = served.capacity([40.0])
    best = found.best
    assert best is not None and best.replica.point["tensor_parallel_size"] == 4
    assert [fleet.accelerators for fleet in found.fleets] == sorted(fleet.accelerators for fleet in found.fleets)
    for fleet in (*found.fleets, *found.sensitivity):
        assert fleet.share <= fleet.bears and fleet.probability >= 0.9
        assert fleet.replicas == 1 or fleet.rate / (fleet.replicas - 1) > fleet.bears
        assert fleet.price_an_hour == 2.0 * fleet.accelerators
        low, high = fleet.interval
        assert low <= fleet.bears <= high
    assert [fleet.rate for fleet in found.sensitivity] == [20, 40, 60, 80]
    assert all(a.accelerators <= b.accelerators for a, b in pairwise(found.sensitivity))
    assert found.step is not None and found.step.rate == pytest.approx(best.limit)
    at_step = found.cheapest(found.step.rate * 0.999)
    assert at_step is not None and at_step.accelerators == best.accelerators < found.step.then.accelerators
    assert [fleet.rate for fleet in served.capacity([40.0, 10.0]).sensitivity] == [40, 10]


def test_questions_that_make_no_sense_are_refused(served: planner.Study) -> None:
    for rates, levels, says in (
        ([], None, "--rate: is missing"), ([0.0], None, "--rate: 0 is no number"),
        ([float("inf")], None, "--rate: inf is no number"),
        ([1.0], ["request_throughput >= 3"], "is asked of a server, not for a request"),
    ):
        with pytest.raises(StudyError, match=says):
            served.capacity(rates, slo=levels)
    assert served.capacity([1.0], slo=["p90_ttft_ms <= 0.001"]).fleets == ()
