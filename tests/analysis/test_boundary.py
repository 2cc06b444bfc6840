"""The boundary of each line is where its definition says, and what is said of it holds as often as is said."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.analysis.boundary import Boundaries, HighestLoad, boundary_of, crossing
from planner.evaluation.attainment import Attainment, attainment_of, falling
from planner.ledger.observations import Observations, Run
from planner.models.grid_model import Prediction
from planner.models.settings import SMALL_SAMPLE_INFLATION
from planner.space.grid import Grid, full_grid
from planner.space.slo import Boundary, Tier, parse_condition, parse_tier
from planner.space.types import (
    Axis,
    Cost,
    FloatArray,
    Measurement,
    Reading,
    Role,
    Scale,
    Scope,
    Status,
    StudyError,
)
from planner.strategies.strategy import Posterior
from planner.tables.recorded_grid import Sweep

Z90 = 1.6448536269514722
FEW_RUNS = 1 + SMALL_SAMPLE_INFLATION
"""The factor on the model's σ with two runs or fewer."""
LOADS = (1, 2, 4, 8, 16, 32, 64, 128)


def a_grid(engines: int = 1, loads: tuple[int, ...] = LOADS) -> Grid:
    return full_grid([
        Axis("max_num_seqs", tuple(range(1, engines + 1)), Scope.ENGINE, Scale.LOG),
        Axis("max_concurrency", loads, scale=Scale.LOG, roles=(Role.CONCURRENCY,)),
    ])


def posterior_with(values: Mapping[str, FloatArray], std: float, feasibility: FloatArray | None = None) -> Posterior:
    """Log-normal predictions whose σ, widened as it is for a boundary, is `std`."""
    half = np.exp(Z90 * std)
    n = len(next(iter(values.values())))
    own = np.full(n, std / FEW_RUNS)
    prediction = Prediction(dict(values), {k: v / half for k, v in values.items()},
                            {k: v * half for k, v in values.items()}, dict.fromkeys(values, own))
    nothing = Sweep((np.nan,) * 3, (np.nan,) * 3)
    return Posterior(prediction, {}, np.ones(n) if feasibility is None else feasibility, nothing)


def measured(observations: Observations, row: int, **metrics: tuple[float, ...]) -> None:
    point = observations.grid.point(row)
    reading = Reading(point, metrics, 1.0)
    observations.add(Run(len(observations.runs), point, Measurement(Status.OK, Cost(measure_s=1.0), (reading,))))


def failed(observations: Observations, row: int) -> None:
    point = observations.grid.point(row)
    observations.add(Run(len(observations.runs), point, Measurement(Status.FAILED, Cost(measure_s=1.0))))


def ask(posterior: Posterior, observations: Observations, *tiers: str) -> Boundaries:
    return boundary_of([parse_tier(text, "--slo") for text in tiers], posterior, observations)


def straight(grid: Grid) -> FloatArray:
    """100 ms at one request in flight, and as many times as much at more."""
    return 100.0 * grid.numbers("max_concurrency")


def test_the_boundary_is_interpolated_on_the_logarithmic_axis() -> None:
    grid = a_grid()
    found = ask(posterior_with({"ttft_ms": straight(grid)}, 0.05), Observations(grid, ("ttft_ms",)), "ttft_ms <= 1000")
    (line,) = found.lines
    assert line.highest[0].position == "within"
    assert line.highest[0].load == pytest.approx(10.0)
    assert (line.highest[0].low, line.highest[0].high) == (8.0, 16.0)
    assert found.loads == ("max_concurrency",)


def test_every_tier_is_answered_at_once_and_its_conditions_together() -> None:
    grid = a_grid()
    loads = straight(grid)
    posterior = posterior_with({"ttft_ms": loads, "tpot_ms": 4 * np.sqrt(loads)}, 0.02)
    observations = Observations(grid, ("ttft_ms", "tpot_ms"))
    found = ask(posterior, observations, "ttft_ms <= 700", "tpot_ms <= 60", "ttft_ms <= 700 and tpot_ms <= 60",
                "ttft_ms <= 50", "ttft_ms <= 1e6")
    loads_found = [highest.load for highest in found.lines[0].highest]
    assert loads_found[0] == pytest.approx(7.0)
    assert loads_found[1] == pytest.approx(2.25)
    assert loads_found[2] == pytest.approx(2.25)  # the tighter of the two
    assert found.lines[0].highest[3] == HighestLoad(None, "below the grid", None, 1.0)
    assert found.lines[0].highest[4] == HighestLoad(None, "above the grid", 128.0, None)


def test_the_interval_widens_with_the_deviation() -> None:
    grid = a_grid()
    posterior = posterior_with({"ttft_ms": straight(grid)}, 0.7)
    (line,) = ask(posterior, Observations(grid, ("ttft_ms",)), "ttft_ms <= 1000").lines
    # log(1000 / 400) = 0.92 = 1.3 σ: surely not yet; log(1000 / 200) = 2.3 σ.
    assert (line.highest[0].low, line.highest[0].high) == (2.0, 64.0)
    assert line.highest[0].load == pytest.approx(10.0)


def test_a_load_that_cannot_run_meets_nothing() -> None:
    grid = a_grid()
    observations = Observations(grid, ("ttft_ms",))
    failed(observations, 5)
    feasibility = np.array([1, 1, 1, 1, 1, 0, 0.1, 0.01])
    (line,) = ask(posterior_with({"ttft_ms": straight(grid)}, 0.05, feasibility), observations, "ttft_ms <= 9e9").lines
    assert line.probability[0, 5] < 1e-3
    assert line.highest[0].low == 16.0
    assert line.highest[0].load is not None and 16 <= line.highest[0].load <= 32


def test_a_measured_value_decides_and_pulls_its_neighbours() -> None:
    """Of 16 and more the model knows little, but 8 was measured far above the bound: more load does not help."""
    grid = a_grid()
    values = np.array([100.0, 110, 120, 480, 4000, 4000, 4000, 4000])
    observations = Observations(grid, ("ttft_ms",))
    measured(observations, 3, ttft_ms=(4900.0, 5000.0, 5100.0))
    attainment = attainment_of(Boundary((parse_tier("ttft_ms <= 500", ""),), 0.95),
                               posterior_with({"ttft_ms": values}, 1.2).prediction, np.ones(8), observations)
    pointwise = attainment.metrics["ttft_ms"].probability(parse_condition("ttft_ms <= 500", ""), FEW_RUNS)
    assert (pointwise[4:] > 0.04).all()
    assert (attainment.probability[0, 4:] < 0.04).all()
    assert np.array_equal(attainment.probability[0, :3], pointwise[:3])


def test_where_a_bound_is_met_with_more_load_only_nothing_is_made_to_fall() -> None:
    """A throughput rises with the load, a latency too: both are met in the middle."""
    grid = a_grid()
    loads = grid.numbers("max_concurrency")
    posterior = posterior_with({"ttft_ms": 100 * loads, "output_throughput": 50 * loads}, 0.05)
    observations = Observations(grid, ("ttft_ms", "output_throughput"))
    (line,) = ask(posterior, observations, "ttft_ms <= 3000 and output_throughput >= 300").lines
    assert np.round(line.probability[0]).tolist() == [0, 0, 0, 1, 1, 0, 0, 0]
    assert line.highest[0].load == pytest.approx(30.0)
    assert (line.highest[0].low, line.highest[0].high) == (16.0, 32.0 if line.probability[0, 5] < 0.05 else 64.0)


def test_a_time_between_tokens_cannot_be_missed_where_there_is_one_token() -> None:
    """At one output token no load met `tpot_ms <= 40`, and this was said with certainty."""
    grid = full_grid([
        Axis("output_len", (1, 64), scale=Scale.LOG, roles=(Role.OUTPUT_TOKENS,)),
        Axis("max_concurrency", LOADS, scale=Scale.LOG, roles=(Role.CONCURRENCY,))])
    load = grid.numbers("max_concurrency")
    tpot = np.where(grid.single_token, np.nan, 5.0 * load)
    observations = Observations(grid, ("ttft_ms", "tpot_ms"))
    posterior = posterior_with({"ttft_ms": 100.0 * load, "tpot_ms": tpot}, 0.01)
    found = ask(posterior, observations, "ttft_ms <= 2000 and tpot_ms <= 40", "tpot_ms <= 40")
    by_length = {grid.point(int(line.rows[0]))["output_len"]: line.highest for line in found.lines}
    assert by_length[1][0].load == pytest.approx(20, rel=0.01) and by_length[1][1].position == "above the grid"
    assert [one.load for one in by_length[64]] == pytest.approx([8, 8], rel=0.01)


def test_a_grid_without_a_load_is_refused_in_one_line() -> None:
    grid = full_grid([Axis("input_len", (1, 2), scale=Scale.LOG, roles=(Role.INPUT_TOKENS,))])
    posterior = posterior_with({"ttft_ms": np.ones(2)}, 0.1)
    with pytest.raises(StudyError, match="role: concurrency"):
        ask(posterior, Observations(grid, ("ttft_ms",)), "ttft_ms <= 1")


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_falling_probabilities_fall_and_stay_probabilities(values: list[float]) -> None:
    found = falling(np.array(values))
    assert (np.diff(found) <= 1e-9).all()
    assert (found >= -1e-9).all() and (found <= 1 + 1e-9).all()


@given(st.lists(st.floats(0, 1), min_size=2, max_size=12))
def test_what_falls_already_is_left_alone(values: list[float]) -> None:
    ordered = np.sort(values)[::-1]
    assert np.array_equal(falling(ordered), ordered)


@given(st.integers(1, 6), st.floats(0.01, 5), st.floats(0.01, 5))
def test_a_crossing_lies_between_its_loads(i: int, left: float, right: float) -> None:
    loads = np.array(LOADS, dtype=float)
    margin = np.where(np.arange(len(loads)) <= i, left, -right)
    load, position = crossing(loads, margin, margin)
    assert position == "within" and load is not None
    assert loads[i] - 1e-9 <= load <= loads[i + 1] + 1e-9
    assert math.log(load / loads[i]) == pytest.approx(left / (left + right) * math.log(2))


# ------------------------------------------------------------------------------------------- undecided, and settled


def attainment(observations: Observations, values: FloatArray, std: float, *tiers: str, confidence: float = 0.95
               ) -> Attainment:
    boundary = Boundary(tuple(parse_tier(text, "") for text in tiers), confidence)
    posterior = posterior_with({"ttft_ms": values}, std)
    return attainment_of(boundary, posterior.prediction, posterior.feasibility, observations)


def test_undecided_is_what_lies_between_the_confidences() -> None:
    grid = a_grid()
    observations = Observations(grid, ("ttft_ms",))
    found = attainment(observations, straight(grid), 0.5, "ttft_ms <= 1000", "ttft_ms <= 1e9")
    assert found.undecided[0].tolist() == [False, False, False, True, True, False, False, False]
    assert not found.undecided[1].any()
    assert (found.open_count, found.total) == (2, 16)
    more = attainment(observations, straight(grid), 0.5, "ttft_ms <= 1000", confidence=0.999)
    assert more.open_count > 2


def test_a_single_reading_within_its_noise_is_settled_at_once() -> None:
    """Without repeats nobody knows the noise, and a replay gives the same number again."""
    grid = a_grid()
    observations = Observations(grid, ("ttft_ms",))
    measured(observations, 3, ttft_ms=(995.0,))
    found = attainment(observations, straight(grid), 0.1, "ttft_ms <= 1000")
    assert 0.05 < found.probability[0, 3] < 0.95
    assert found.settled[0, 3] and not found.undecided[0, 3] and not found.repeatable[0, 3]


def test_repeats_are_measured_again_up_to_a_limit() -> None:
    grid = a_grid()
    observations = Observations(grid, ("ttft_ms",))
    measured(observations, 3, ttft_ms=(870.0, 940.0, 1010.0))
    first = attainment(observations, straight(grid), 0.1 * FEW_RUNS, "ttft_ms <= 1000")
    assert first.undecided[0, 3] and first.repeatable[0, 3]
    for _ in range(3):
        measured(observations, 3, ttft_ms=(870.0, 995.0, 1010.0))
    last = attainment(observations, straight(grid), 0.1 * FEW_RUNS, "ttft_ms <= 1000")
    assert last.settled[0, 3] and not last.undecided[0, 3] and not last.repeatable[0, 3]


def test_repeats_on_the_bound_itself_are_settled_at_once() -> None:
    """Four runs halve the deviation: where the mean is a tenth of it away they would not decide."""
    grid = a_grid()
    observations = Observations(grid, ("ttft_ms",))
    measured(observations, 3, ttft_ms=(900.0, 995.0, 1100.0))
    found = attainment(observations, np.full(8, 995.0), 0.1 * FEW_RUNS, "ttft_ms <= 1000")
    assert 0.05 < found.probability[0, 3] < 0.95 and found.settled[0, 3] and not found.repeatable[0, 3]


# ---------------------------------------------------------------------------------------------------- what is said


@pytest.mark.parametrize("std", [0.1, 0.4])
def test_what_is_said_holds_as_often(std: float) -> None:
    """Truths drawn from the posterior itself: P(met) and the interval are right as often as they say. A line's errors
    are equal along it, as those of a smooth model nearly are, so that every truth rises with the load."""
    grid = a_grid(2000)
    rng = np.random.default_rng(0)
    predicted = straight(grid) * np.repeat(rng.uniform(0.3, 3, 2000), len(LOADS))
    truth = predicted * np.repeat(np.exp(std * rng.standard_normal(2000)), len(LOADS))
    observations = Observations(grid, ("ttft_ms",))
    found = ask(posterior_with({"ttft_ms": predicted}, std), observations, "ttft_ms <= 1000")
    said = np.concatenate([line.probability[0] for line in found.lines])
    held = np.concatenate([truth[line.rows] <= 1000 for line in found.lines])
    for low, high in ((0.0, 0.1), (0.1, 0.35), (0.35, 0.65), (0.65, 0.9), (0.9, 1.0)):
        within = (said >= low) & (said <= high)
        assert held[within].mean() == pytest.approx(said[within].mean(), abs=0.05)
    inside = []
    for line in found.lines:
        highest, boundary = line.highest[0], line.loads * 1000 / truth[line.rows]
        inside.append((highest.low or 0) <= boundary[0] <= (highest.high or math.inf))
    assert np.mean(inside) >= 0.9
    # Not by being wide: the interval is at most one load wider on each side than 90 % of truths need.
    assert np.mean([(h.high or 256) / (h.low or 0.5) for line in found.lines for h in line.highest]) < 4 * math.exp(
        2 * Z90 * std)


def test_the_boundary_is_tier_by_tier() -> None:
    tier = Tier((parse_tier("ttft_ms <= 5", "").conditions[0],))
    assert str(parse_tier("ttft_ms <= 5 AND tpot_ms<3", "")) == "ttft_ms <= 5 and tpot_ms <= 3"
    assert tier.metrics == ("ttft_ms",)


def test_predictions_without_deviations_decide_nothing() -> None:
    grid = a_grid()
    observations = Observations(grid, ("ttft_ms",))
    measured(observations, 3, ttft_ms=(900.0,))
    unknown = {"ttft_ms": np.full(len(grid), np.nan)}
    prediction = Prediction({"ttft_ms": straight(grid)}, unknown, unknown, unknown)
    boundary = Boundary((parse_tier("ttft_ms <= 1000", ""),), 0.95)
    found = attainment_of(boundary, prediction, np.ones(len(grid)), observations)
    assert found.undecided[0].tolist() == [row != 3 for row in range(len(grid))]


def test_few_runs_decide_less() -> None:
    """The same predictions, after one run and after many at one load."""
    grid = a_grid(60)
    few, many = Observations(grid, ("ttft_ms",)), Observations(grid, ("ttft_ms",))
    predicted = straight(grid)
    for row in range(0, len(grid), len(LOADS)):
        measured(many, row, ttft_ms=(100.0,))
    measured(few, 0, ttft_ms=(100.0,))
    after = [attainment(observations, predicted, 0.2 * FEW_RUNS, "ttft_ms <= 1000").open_count
             for observations in (few, many)]
    assert after[0] > 2 * after[1]
