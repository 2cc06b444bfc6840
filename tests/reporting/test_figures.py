"""The figures of a study: what they show is what the study says, and no more."""

from __future__ import annotations

import csv
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from planner.acquisition.strategy import Belief
from planner.cli.record import opened
from planner.ledger.observations import Observations, Run
from planner.loop import Loop, Observer
from planner.reporting.figures import course, surface, tradeoff
from planner.reporting.figures.style import rounded
from planner.reporting.looks import looks, worst
from planner.reporting.predict import answers
from planner.reporting.rates import pareto, rates_of
from planner.reporting.spending import cost_after, failures, spending_of
from planner.space.types import Cost, Measurement, Status
from planner.study import Study, open_study


@dataclass(frozen=True)
class Opened:
    """A study that has run, as a verb has it."""

    path: Path
    study: Study
    seen: Observations
    belief: Belief


def rows() -> list[dict[str, Any]]:
    """A static batch by its own laws: two devices are 1.8 times as fast; the largest requests do not fit."""
    found = []
    for devices, inputs, outputs, batch in itertools.product((1, 2), (128, 512, 2048), (1, 16, 64), (1, 2, 4, 8, 16)):
        speed = 1.8 if devices == 2 else 1.0
        first, step = (5 + 0.01 * inputs * batch) / speed, (6 + 0.1 * batch) / speed
        whole = first + step * (outputs - 1)
        fits = inputs * batch < 30_000 * devices
        good = {"ttft_ms": first, "tpot_ms": step if outputs > 1 else "", "e2el_ms": whole,
                "output_throughput": 1000 * batch * outputs / whole}
        found.append({"tensor_parallel_size": devices, "input_len": inputs, "output_len": outputs, "batch_size": batch,
                      "status": "ok" if fits else "out of memory <b>now</b>", "cost_s": whole / 1000,
                      **(good if fits else dict.fromkeys(good, ""))})
    return found


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    """A study over that grid, some runs long, some of them failed."""
    home = tmp_path_factory.mktemp("figures")
    with (home / "grid.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows()[0]))
        writer.writeheader()
        writer.writerows(rows())
    path = home / "study.yaml"
    path.write_text(yaml.safe_dump({
        "study": {"name": "a <i>study</i>", "storage": f"sqlite:///{home / 'study.db'}"},
        "space": {"axes": {"tensor_parallel_size": {"scale": "log", "scope": "engine"}, "input_len": {"scale": "log"},
                           "output_len": {"scale": "log"}, "batch_size": {"scale": "log"}}},
        "runner": {"kind": "replay", "table": "grid.csv", "cost_s": "cost_s", "accelerators": "tensor_parallel_size",
                   "status": "status", "engine_start_s": 1.0, "run_overhead_s": 0.1},
        "targets": ["ttft_ms", "tpot_ms", "output_throughput"], "stop": {"trials": 24},
    }))
    study = open_study(path)
    ledger = study.create_or_resume()
    seen = ledger.observations(study.grid)
    Loop(study.runner, study.strategy("sweepwise"), ledger, seen, study.limits(), 0, Observer(), clock=None).run()
    worst_point = study.grid.find({"tensor_parallel_size": 1, "input_len": 2048, "output_len": 16, "batch_size": 16})
    assert worst_point is not None
    if not seen.failed.any():  # one failure there must be, for what the figures say of failures
        trial, point = ledger.begin(study.grid.point(worst_point), 99)
        ledger.finish(trial, Measurement(Status.FAILED, Cost(0.0, 0.1, 0.5, 1.0), reason="out of memory <b>now</b>"))
        assert point
    return Opened(path, *opened(path, None, None, 0))


def steps(figure: Any) -> list[Any]:
    """Every position of every slider that the menu can bring."""
    return [step for button in figure.layout.updatemenus[0].buttons for step in button.args[1]["sliders"][0]["steps"]]


@pytest.mark.parametrize("target", ["ttft_ms", "tpot_ms", "output_throughput"])
def test_a_surface_shows_every_answer_once_a_pair_of_axes(ran: Opened, target: str) -> None:
    figure = surface(ran.study, ran.seen, ran.belief, target)
    value = answers(ran.belief, ran.seen, target)[0]
    expected = sorted(value[np.isfinite(value)])
    for button in figure.layout.updatemenus[0].buttons:
        cells = [cell for step in button.args[1]["sliders"][0]["steps"] for line in step["args"][0]["customdata"][0]
                 for cell in line if cell is not None]
        np.testing.assert_allclose(sorted(cells), expected, rtol=1e-3)
    assert len(figure.layout.updatemenus[0].buttons) == 6  # pairs of four axes
    assert len(figure.to_json()) < 1_500_000


def test_a_surface_marks_what_was_measured_and_what_failed(ran: Opened) -> None:
    figure = surface(ran.study, ran.seen, ran.belief, "ttft_ms")
    per_pair = len(steps(figure)) and len(figure.layout.updatemenus[0].buttons)
    measured = sum(len(step["args"][0]["x"][2]) for step in steps(figure))
    failed = sum(len(step["args"][0]["x"][4]) for step in steps(figure))
    assert measured == per_pair * ran.seen.measured.sum() > 0
    assert failed == per_pair * ran.seen.failed.sum() > 0


def test_a_surface_places_each_answer_at_its_point(ran: Opened) -> None:
    """The cell under the names of a point's values holds that point's answer."""
    figure, grid = surface(ran.study, ran.seen, ran.belief, "ttft_ms"), ran.study.grid
    value = answers(ran.belief, ran.seen, "ttft_ms")[0]
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


def test_a_study_s_own_words_are_text_in_a_figure(ran: Opened) -> None:
    assert "&lt;i&gt;study" in surface(ran.study, ran.seen, ran.belief, "ttft_ms").layout.title.text


def test_the_rates_follow_from_the_definitions(ran: Opened) -> None:
    rates = rates_of(ran.study.runner.accelerators, ran.seen, ran.belief)
    assert not isinstance(rates, str)
    tpot, total = (answers(ran.belief, ran.seen, name)[0] for name in ("tpot_ms", "output_throughput"))
    devices = ran.study.grid.column("tensor_parallel_size")
    usable = rates.usable
    np.testing.assert_allclose(rates.user.value[usable], 1000 / tpot[usable])
    np.testing.assert_allclose(rates.accelerator.value[usable], (total / devices)[usable])
    for band in (rates.user, rates.accelerator):
        assert (band.low[usable] <= band.value[usable]).all() and (band.value[usable] <= band.high[usable]).all()
    assert not usable[ran.seen.failed].any() and not usable[ran.study.grid.column("output_len") == 1].any()
    assert rates.decoding


@pytest.mark.parametrize(("targets", "decoding"), [
    (("ttft_ms", "tpot_ms"), True), (("ttft_ms", "e2el_ms"), True), (("e2el_ms",), False),
    (("output_throughput",), False),
])
def test_other_metrics_give_the_same_rates(ran: Opened, targets: tuple[str, ...], decoding: bool) -> None:
    """Where a study has fewer metrics, what it can tell at its measured points is what was measured there."""
    seen = Observations(ran.study.grid, targets, ran.seen.runs)
    rates = rates_of(ran.study.runner.accelerators, seen, ran.study.strategy("sweepwise").believe(
        Observations(ran.study.grid, (*targets, ), ran.seen.runs)))
    assert not isinstance(rates, str) and rates.decoding is decoding
    there = rates.usable & ran.seen.measured & np.isfinite(ran.seen.column("tpot_ms"))
    assert there.any()
    devices, batch = (np.asarray(ran.study.grid.column(name)) for name in ("tensor_parallel_size", "batch_size"))
    total = ran.seen.column("output_throughput")
    np.testing.assert_allclose(rates.accelerator.value[there], (total / devices)[there], rtol=1e-6)
    expected = 1000 / ran.seen.column("tpot_ms") if decoding else total / batch
    np.testing.assert_allclose(rates.user.value[there], expected[there], rtol=1e-6)


def test_without_the_metrics_there_is_no_trade_off(ran: Opened) -> None:
    seen = Observations(ran.study.grid, ("ttft_ms",), ran.seen.runs)
    belief = ran.study.strategy("sweepwise").believe(seen)
    assert "output_throughput" in str(rates_of(ran.study.runner.accelerators, seen, belief))
    assert tradeoff(ran.study, seen, belief) is None


def test_a_trade_off_names_the_configuration_of_each_point(ran: Opened) -> None:
    figure = tradeoff(ran.study, ran.seen, ran.belief)
    assert figure is not None
    front = figure.data[1]
    assert len(front.x) == len(front.text) == len(front.error_y.array) > 1
    assert all("batch_size" in text and "tensor_parallel_size" in text for text in front.text)
    assert list(front.x) == sorted(front.x) and list(front.y) == sorted(front.y, reverse=True)
    assert len(figure.to_json()) < 1_500_000


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10), st.booleans()), min_size=1, max_size=30))
def test_no_point_beats_one_of_the_front(points: list[tuple[float, float, bool]]) -> None:
    x, y, among = (np.array(column) for column in zip(*points, strict=True))
    front = pareto(x.astype(float), y.astype(float), among.astype(bool))
    assert among.any() == bool(len(front))
    for i in front:
        assert among[i]
        assert not (among & (x >= x[i]) & (y >= y[i]) & ((x > x[i]) | (y > y[i]))).any()
    for i in np.flatnonzero(among):  # and what is left out is beaten, or equalled
        assert (x[front] >= x[i])[y[front] >= y[i]].any()


def test_looks_are_prefixes_of_the_study(ran: Opened) -> None:
    found = looks(ran.study, ran.seen, ran.belief, 4)
    assert found[-1].belief is ran.belief and found[-1].runs == len(ran.seen.runs)
    cost = cost_after(ran.seen)
    assert [look.cost for look in found] == pytest.approx([cost[look.runs - 1] for look in found])
    early = ran.study.strategy("sweepwise").believe(ran.seen.prefix(found[0].runs))
    assert {name: e and e.estimated for name, e in early.accuracy.items()} == pytest.approx(
        {name: e and e.estimated for name, e in found[0].accuracy.items()})


def test_the_course_shows_estimates_and_cost(ran: Opened) -> None:
    found = looks(ran.study, ran.seen, ran.belief, 4)
    figure = course(ran.study, ran.seen, found)
    lines = {trace.name: trace for trace in figure.data if trace.mode == "lines+markers"}
    assert set(lines) == set(ran.study.targets)
    for target, line in lines.items():
        said = [e.estimated for look in found if (e := look.accuracy[target]) is not None]
        assert list(line.y) == pytest.approx([max(0.0, value) for value in said])
    cost = next(trace for trace in figure.data if trace.name == "cost")
    assert cost.y[-1] == pytest.approx(ran.seen.spent, rel=1e-3)


def test_all_the_money_is_accounted_for(ran: Opened) -> None:
    spent = spending_of(ran.seen)
    assert spent.total == pytest.approx(ran.seen.spent)
    assert spent.starts > 0 and spent.measuring > 0 and spent.lost > 0
    planned = Observations(ran.study.grid, ran.study.targets,
                           [Run(r.number, r.point, r.measurement, 2.0) for r in ran.seen.runs])
    assert spending_of(planned).planning == pytest.approx(
        sum(2.0 * r.measurement.cost.accelerators for r in ran.seen.runs))
    assert spending_of(planned).total == pytest.approx(planned.spent) == pytest.approx(cost_after(planned)[-1])
    assert [run.number for run in failures(ran.seen)] == [
        run.number for run in ran.seen.runs if run.measurement.status is Status.FAILED]


def test_the_worst_target_is_unknown_while_one_is(ran: Opened) -> None:
    accuracy = dict(ran.belief.accuracy)
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
