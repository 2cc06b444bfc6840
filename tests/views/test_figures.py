"""The figures of a study: what they show is what the study says, and no more."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.analysis.checkpoints import checkpoints, worst
from planner.analysis.predict import answers
from planner.analysis.rates import Rates, rates_of
from planner.analysis.spending import cost_after, failures, spending_of
from planner.analysis.surface import surface_of
from planner.ledger.observations import Observations, Run
from planner.space.types import Axis, Scale, Status
from planner.views.figures import history, surface, tradeoff
from planner.views.figures.style import rounded, scale_of


def steps(figure: Any) -> list[Any]:
    """Every position of every slider that the menu can bring."""
    return [step for button in figure.layout.updatemenus[0].buttons for step in button.args[1]["sliders"][0]["steps"]]


def drawn(ran: Any, target: str) -> Any:
    """The figure of a target."""
    return surface(ran.study.name, surface_of(target, ran.observations, ran.posterior))


@pytest.mark.parametrize("target", ["ttft_ms", "tpot_ms", "output_throughput"])
def test_a_surface_shows_every_answer_once_a_pair_of_axes(ran: Any, target: str) -> None:
    figure = drawn(ran, target)
    value = answers(ran.posterior, ran.observations, target)[0]
    expected = sorted(value[np.isfinite(value)])
    for button in figure.layout.updatemenus[0].buttons:
        cells = [cell for step in button.args[1]["sliders"][0]["steps"] for line in step["args"][0]["customdata"][0]
                 for cell in line if cell is not None]
        np.testing.assert_allclose(sorted(cells), expected, rtol=1e-3)
    assert len(figure.layout.updatemenus[0].buttons) == 6  # pairs of four axes
    assert len(figure.to_json()) < 1_500_000


def test_a_surface_marks_what_was_measured_and_what_failed(ran: Any) -> None:
    figure = drawn(ran, "ttft_ms")
    per_pair = len(steps(figure)) and len(figure.layout.updatemenus[0].buttons)
    measured = sum(len(step["args"][0]["x"][2]) for step in steps(figure))
    failed = sum(len(step["args"][0]["x"][4]) for step in steps(figure))
    assert measured == per_pair * ran.observations.measured.sum() > 0
    assert failed == per_pair * ran.observations.failed.sum() > 0


def test_a_surface_places_each_answer_at_its_point(ran: Any) -> None:
    """The cell under the names of a point's values holds that point's answer."""
    figure, grid = drawn(ran, "ttft_ms"), ran.study.grid
    value = answers(ran.posterior, ran.observations, "ttft_ms")[0]
    menu = figure.layout.updatemenus[0].buttons[0]
    x_name, y_name = menu.label.split(" × ")
    for step in menu.args[1]["sliders"][0]["steps"]:
        others = dict(part.split(" ") for part in step["label"].split(" · "))
        data = step["args"][0]
        for row in range(len(grid)):
            point = {name: str(chosen) for name, chosen in grid.point(row).items()}
            if all(point[name] == chosen for name, chosen in others.items()) and np.isfinite(value[row]):
                line, column = data["y"][0].index(point[y_name]), data["x"][0].index(point[x_name])
                assert data["customdata"][0][line][column] == pytest.approx(value[row], rel=1e-3)


def test_a_study_s_own_words_are_text_in_a_figure(ran: Any) -> None:
    assert "&lt;i&gt;study" in drawn(ran, "ttft_ms").layout.title.text


def test_the_rates_follow_from_the_definitions(ran: Any) -> None:
    rates = rates_of(ran.study.accelerators, ran.observations, ran.posterior)
    assert not isinstance(rates, str)
    tpot, total = (answers(ran.posterior, ran.observations, name)[0] for name in ("tpot_ms", "output_throughput"))
    devices = ran.study.grid.column("tensor_parallel_size")
    usable = rates.usable
    np.testing.assert_allclose(rates.user.value[usable], 1000 / tpot[usable])
    np.testing.assert_allclose(rates.accelerator.value[usable], (total / devices)[usable])
    for band in (rates.user, rates.accelerator):
        assert (band.low[usable] <= band.value[usable]).all() and (band.value[usable] <= band.high[usable]).all()
    assert not usable[ran.observations.failed].any() and not usable[ran.study.grid.column("output_len") == 1].any()
    assert rates.decoding


@pytest.mark.parametrize(("targets", "decoding"), [
    (("ttft_ms", "tpot_ms"), True), (("ttft_ms", "e2el_ms"), True), (("e2el_ms",), False),
    (("output_throughput",), False),
])
def test_other_metrics_give_the_same_rates(ran: Any, targets: tuple[str, ...], decoding: bool) -> None:
    """Where a study has fewer metrics, what it can tell at its measured points is what was measured there."""
    observations = Observations(ran.study.grid, targets, ran.observations.runs)
    rates = rates_of(ran.study.accelerators, observations, ran.study.strategy("sweepwise").posterior(
        Observations(ran.study.grid, (*targets, ), ran.observations.runs)))
    assert not isinstance(rates, str) and rates.decoding is decoding
    there = rates.usable & ran.observations.measured & np.isfinite(ran.observations.column("tpot_ms"))
    assert there.any()
    devices, batch = (np.asarray(ran.study.grid.column(name)) for name in ("tensor_parallel_size", "batch_size"))
    total = ran.observations.column("output_throughput")
    np.testing.assert_allclose(rates.accelerator.value[there], (total / devices)[there], rtol=1e-6)
    expected = 1000 / ran.observations.column("tpot_ms") if decoding else total / batch
    np.testing.assert_allclose(rates.user.value[there], expected[there], rtol=1e-6)


def test_without_the_metrics_there_is_no_trade_off(ran: Any) -> None:
    observations = Observations(ran.study.grid, ("ttft_ms",), ran.observations.runs)
    posterior = ran.study.strategy("sweepwise").posterior(observations)
    assert "output_throughput" in str(rates_of(ran.study.accelerators, observations, posterior))


def test_a_trade_off_names_the_configuration_of_each_point(ran: Any) -> None:
    rates = rates_of(ran.study.accelerators, ran.observations, ran.posterior)
    assert isinstance(rates, Rates)
    figure = tradeoff(ran.observations, rates)
    front = figure.data[1]
    assert len(front.x) == len(front.text) == len(front.error_y.array) > 1
    assert all("batch_size" in text and "tensor_parallel_size" in text for text in front.text)
    assert list(front.x) == sorted(front.x) and list(front.y) == sorted(front.y, reverse=True)
    assert len(figure.to_json()) < 1_500_000


def test_looks_are_prefixes_of_the_study(ran: Any) -> None:
    found = checkpoints(ran.study.posterior, ran.observations, ran.posterior, 4)
    assert found[-1].posterior is ran.posterior and found[-1].runs == len(ran.observations.runs)
    cost = cost_after(ran.observations)
    assert [checkpoint.cost for checkpoint in found] == pytest.approx([cost[checkpoint.runs - 1]
        for checkpoint in found])
    early = ran.study.strategy("sweepwise").posterior(ran.observations.prefix(found[0].runs))
    assert {name: e and e.estimated for name, e in early.accuracy.items()} == pytest.approx(
        {name: e and e.estimated for name, e in found[0].accuracy.items()})


def test_the_course_shows_estimates_and_cost(ran: Any) -> None:
    found = checkpoints(ran.study.posterior, ran.observations, ran.posterior, 4)
    figure = history(found, cost_after(ran.observations), ran.study.targets, None)
    lines = {trace.name: trace for trace in figure.data if trace.mode == "lines+markers"}
    assert set(lines) == set(ran.study.targets)
    for target, line in lines.items():
        said = [e.estimated for checkpoint in found if (e := checkpoint.accuracy[target]) is not None]
        assert list(line.y) == pytest.approx([max(0.0, value) for value in said])
    cost = next(trace for trace in figure.data if trace.name == "cost")
    assert cost.y[-1] == pytest.approx(ran.observations.spent, rel=1e-3)


def test_all_the_money_is_accounted_for(ran: Any) -> None:
    spent = spending_of(ran.observations)
    assert spent.total == pytest.approx(ran.observations.spent)
    assert spent.starts > 0 and spent.measuring > 0 and spent.lost > 0
    planned = Observations(ran.study.grid, ran.study.targets,
                           [Run(r.number, r.point, r.measurement, 2.0) for r in ran.observations.runs])
    assert spending_of(planned).planning == pytest.approx(
        sum(2.0 * r.measurement.cost.accelerators for r in ran.observations.runs))
    assert spending_of(planned).total == pytest.approx(planned.spent) == pytest.approx(cost_after(planned)[-1])
    assert [run.number for run in failures(ran.observations)] == [
        run.number for run in ran.observations.runs if run.measurement.status is Status.FAILED]


def test_the_worst_target_is_unknown_while_one_is(ran: Any) -> None:
    accuracy = dict(ran.posterior.accuracy)
    named = worst(accuracy, ran.study.targets)
    assert named is not None
    lowest = accuracy[named]
    assert lowest is not None and all(lowest.estimated <= e.estimated for e in accuracy.values() if e)
    assert worst({**accuracy, "ttft_ms": None}, ran.study.targets) is None


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), min_size=1, max_size=20))
def test_rounding_keeps_four_digits_and_makes_no_number(values: list[float]) -> None:
    for value, kept in zip(values, rounded(np.array(values)), strict=True):
        if np.isfinite(value):
            assert kept == pytest.approx(value, rel=6e-4)
            assert len(f"{abs(kept):.15g}".replace(".", "").strip("0").partition("e")[0]) <= 4
        else:
            assert kept is None


@pytest.mark.parametrize(("axis", "scale"), [
    (Axis("request_rate", (1.0, 2.0, float("inf"))), "category"),  # a number line would leave inf out
    (Axis("request_rate", (1.0, 2.0, float("inf")), scale=Scale.LOG), "category"),
    (Axis("mode", ("a", "b")), "category"), (Axis("size", (1, 2), scale=Scale.CATEGORY), "category"),
    (Axis("batch", (1, 8), scale=Scale.LOG), "log"), (Axis("rate", (0, 8), scale=Scale.LOG), "linear"),
    (Axis("batch", (1, 8)), "linear"),
])
def test_every_value_of_an_axis_has_a_place(axis: Axis, scale: str) -> None:
    assert scale_of(axis) == scale
