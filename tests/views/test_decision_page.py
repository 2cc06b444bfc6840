"""The page on one decision: it fits a screen, says what `recommend` says, and is safe to pass on."""

from __future__ import annotations

import csv
import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from planner.analysis.rates import Rates, rates_of
from planner.analysis.recommendation.page import DecisionPage
from planner.study import Study, open_study
from planner.views.decision import decision_lines
from planner.views.figures.decision import decision_figure
from planner.views.figures.tradeoff import tradeoff
from planner.views.page.decision import decision_html, decision_markdown, page_json
from planner.views.page.decision_words import compared, headline, paragraphs
from tests.conftest import Ran
from tests.played import Browser

ONE = ("input_len=512,output_len=64",)
KINDS = {"bfloat16": (1.0, 0.71), "<b>fp8</b>": (1.5, 0.705), "int4": (1.7, 0.66)}


def rows() -> list[dict[str, Any]]:
    """A static batch by its own formula: fewer bits are faster, and answer worse."""
    found = []
    axes = (tuple(KINDS), (1, 2), (128, 512), (16, 64), (1, 4, 16, 64))
    for dtype, devices, inputs, outputs, batch in itertools.product(*axes):
        speed = (1.8 if devices == 2 else 1.0) * KINDS[dtype][0]
        first, step = (5 + 0.01 * inputs * batch) / speed, (6 + 0.1 * batch) / speed
        whole = first + step * (outputs - 1)
        found.append({"dtype": dtype, "tensor_parallel_size": devices, "input_len": inputs, "output_len": outputs,
                      "batch_size": batch, "cost_s": whole / 100, "ttft_ms": first, "tpot_ms": step,
                      "output_throughput": 1000 * batch * outputs / whole, "mmlu": KINDS[dtype][1]})
    return found


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study file of a study that has run."""
    home = tmp_path_factory.mktemp("decision")
    with (home / "grid.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows()[0]))
        writer.writeheader()
        writer.writerows(rows())
    found = home / "study.yaml"
    found.write_text(yaml.safe_dump({
        "study": {"name": "a <i>study</i>", "storage": f"sqlite:///{home / 'study.db'}"},
        "space": {"axes": {
            "dtype": {"scope": "engine", "scale": "category"},
            "tensor_parallel_size": {"scale": "log", "scope": "engine"}, "input_len": {"scale": "log"},
            "output_len": {"scale": "log"}, "batch_size": {"scale": "log"}}},
        "runner": {"kind": "replay", "table": "grid.csv", "cost_s": "cost_s", "accelerators": "tensor_parallel_size",
                   "engine_start_s": 1.0},
        "price": {"per_accelerator_hour": 250.0}, "slo": ["ttft_ms <= 40"],
        "baseline": {"dtype": "bfloat16", "tensor_parallel_size": 1},
        "targets": ["ttft_ms", "tpot_ms", "output_throughput",
                    {"metric": "mmlu", "kind": "share", "direction": "maximize", "transform": "logit"}],
        "stop": {"trials": 18}}))
    open_study(found).run()
    return found


@pytest.fixture(scope="module")
def study(path: Path) -> Study:
    """That study."""
    return open_study(path)


@pytest.fixture(scope="module")
def page(study: Study) -> DecisionPage:
    """Its decision for one workload."""
    return study.decision_page(workload=ONE)


def visible(text: str) -> str:
    """A page's own words, without scripts and styles."""
    return re.sub(r"<(script|style).*?</\1>", "", text, flags=re.DOTALL)


# ------------------------------------------------------------------------------------------------------- what it says


def test_it_says_what_recommend_says(page: DecisionPage, study: Study) -> None:
    answer = study.recommend(workload=ONE).only
    assert answer is not None and page.answer is not None and page.marked["best"] == answer.winner
    assert page.marked["runner-up"] == answer.second == int(answer.best[1])
    gain = answer.gain(page.marked["best"])
    assert gain is not None and f"tuning gain {gain[0]:.2f}× ({gain[1]:.2f} … {gain[2]:.2f})" in headline(page)
    said = page_json(page)
    assert said["best"][0]["point"] == said["marked"]["best"]["point"] | {"input_len": 512, "output_len": 64}
    assert said["baseline"]["gain"] == pytest.approx(gain) and said["headline"] == headline(page)
    lines = list(decision_lines(page.decision, page.answer))
    assert len(lines) <= 11 and max(map(len, lines)) <= 100
    assert f"  tuning gain {gain[0]:.2f}×" in "\n".join(lines) and lines[-3].startswith("runner-up: ")


def test_the_baseline_is_one_that_meets_the_conditions(page: DecisionPage) -> None:
    """It leaves the batch open; that of most throughput is far from meeting them."""
    answer = page.answer
    assert answer is not None and answer.candidates.baseline == page.marked["baseline"]
    base = page.marked["baseline"]
    point = answer.grid.point(base)
    assert (point["dtype"], point["tensor_parallel_size"]) == ("bfloat16", 1) and answer.probability[base] >= 0.9
    same = [row for row in range(len(answer.grid)) if {**answer.grid.point(row), "batch_size": 0} == {
        **point, "batch_size": 0}]
    assert answer.score[base] < np.nanmax(answer.score[same])


def test_what_separates_two_is_their_ratio_and_a_share_s_difference(page: DecisionPage) -> None:
    answer, found = page.answer, page.separation("baseline")
    assert answer is not None and found is not None
    best, base = page.marked["best"], page.marked["baseline"]
    assert found.settings == {name: value for name, value in answer.grid.point(base).items()
                              if value != answer.grid.point(best)[name]}
    gaps = {gap.metric: gap for gap in found.gaps}
    gain = answer.gain(best)
    assert gain is not None and found.gaps[0].metric == "output_throughput"
    assert 1 + gaps["output_throughput"].more == pytest.approx(1 / gain[0])
    assert 1 + gaps["output_throughput"].low == pytest.approx(1 / gain[2])
    known = answer.known["mmlu"]
    assert not gaps["mmlu"].is_share and gaps["mmlu"].more == pytest.approx(known.value[base] - known.value[best])
    costs = [answer.cost_per_million(row) for row in (best, base)]
    assert costs[0] is not None and costs[1] is not None
    if answer.accelerators[best] != answer.accelerators[base]:
        assert 1 + found.gaps[1].more == pytest.approx(costs[1][0] / costs[0][0])
    for gap in found.gaps:
        assert gap.low <= gap.more <= gap.high and gap.is_sure == (gap.low > 0 or gap.high < 0)


def test_being_surer_costs_what_the_strategy_expects(page: DecisionPage) -> None:
    rows = page.decision.to_measure
    if page.answer is not None and page.answer.measured[page.marked["best"]]:
        assert page.surer is None and not rows
        return
    assert page.surer is not None and page.surer.runs == len(rows) >= 1
    strategy = page.study.strategy("sweepwise")
    seconds = sum(strategy.price(row, page.observations) for row in rows)
    assert page.surer.cost_s == pytest.approx(seconds) and seconds > 0
    assert page.surer.money == pytest.approx(seconds / 3600 * 250)
    said = paragraphs(page)[-1]
    assert said.label == "To be surer" and "--verify" in said.text and f"${page.surer.money:,.2f}" in said.text


def test_a_measured_winner_has_nothing_to_be_surer_of(path: Path, tmp_path: Path) -> None:
    given = yaml.safe_load(path.read_text())
    given["study"] = {"name": "whole", "storage": f"sqlite:///{tmp_path / 'whole.db'}"}
    given["runner"]["table"] = str(path.parent / "grid.csv")
    file = tmp_path / "whole.yaml"
    file.write_text(yaml.safe_dump(given))
    open_study(file).run(strategy="full")
    found = open_study(file).decision_page(workload=ONE)
    assert found.surer is None and "it was measured" in paragraphs(found)[-1].text
    assert page_json(found)["to_be_surer"] is None


def test_the_figure_has_cost_against_interactivity_and_the_marks(page: DecisionPage) -> None:
    answer, found = page.answer, page.tradeoff
    assert answer is not None and found is not None
    best = page.marked["best"]
    cost = answer.cost_per_million(best)
    assert cost is not None
    band = found.cost.band
    assert (band.value[best], band.low[best], band.high[best]) == pytest.approx(cost)
    assert found.interactivity.band.value[best] == pytest.approx(1000 / answer.known["tpot_ms"].value[best])
    assert found.quality is not None and set(found.front) <= set(found.quality.front)
    figure = decision_figure(page)
    assert figure is not None
    marks = {trace.name: trace for trace in figure.data}
    assert set(page.marked) == {"best", "runner-up", "baseline"} <= set(marks)
    assert marks["best"].y[0] == pytest.approx(cost[0], rel=1e-3)
    assert marks["best"].y[0] + marks["best"].error_y.array[0] == pytest.approx(cost[2], rel=1e-2)
    assert sum(len(trace.x) for trace in figure.data) == found.usable.sum() + 3
    assert "mmlu" in figure.layout.coloraxis.colorbar.title.text


def test_a_report_shows_quality_as_the_third_figure_of_its_trade_off(study: Study) -> None:
    observations, posterior = study.posterior()
    rates = rates_of(study.decision_page(workload=ONE).study.accelerators, observations, posterior)
    assert isinstance(rates, Rates) and rates.quality is not None
    figures = [rates.user.value, rates.accelerator.value, rates.quality.figure.value]
    assert rates.quality.figure.name == "mmlu" and set(rates.front) <= set(rates.quality.front)
    there = np.flatnonzero(rates.usable)
    for row in there:
        beaten = np.any(np.all([one[there] >= one[row] for one in figures], axis=0)
                        & np.any([one[there] > one[row] for one in figures], axis=0))
        assert row not in rates.quality.front if beaten else True
        assert beaten or any(np.all([one[row] == one[kept] for one in figures]) for kept in rates.quality.front)
    figure = tradeoff(observations, rates)
    assert "on the front of three, with mmlu" in [trace.name for trace in figure.data]
    drawn = sum(len(trace.x) for trace in figure.data if trace.name != "measured")
    assert drawn == rates.usable.sum() and figure.layout.coloraxis.cmax == max(figures[2][there])


def test_without_a_price_cost_is_throughput_an_accelerator(path: Path, tmp_path: Path) -> None:
    given = yaml.safe_load(path.read_text())
    del given["price"]
    given["runner"]["table"] = str(path.parent / "grid.csv")
    file = tmp_path / "free.yaml"
    file.write_text(yaml.safe_dump(given))
    found = open_study(file).decision_page(workload=ONE)
    assert found.tradeoff is not None and found.tradeoff.cost.name == "tokens/s per accelerator"
    assert found.surer is None or found.surer.money is None
    assert "$" not in visible(decision_html(found))


def test_nothing_that_meets_the_conditions_is_said_plainly(study: Study) -> None:
    found = study.decision_page(workload=ONE, slo=["ttft_ms <= 0.1"])
    assert headline(found).startswith("No configuration meets every condition with 90.0 %: ttft_ms <= 0.1 stands")
    assert next(iter(found.marked)) == "most probable" and "runner-up" not in found.marked
    assert "The most probable one, " in paragraphs(found)[1].text
    assert "not worth a run" in paragraphs(found)[-1].text or "was measured" in paragraphs(found)[-1].text


# ------------------------------------------------------------------------------------------------------------ its forms


def test_several_kinds_of_requests_get_a_table_and_a_sentence(study: Study) -> None:
    found = study.decision_page()
    assert found.answer is None and found.tradeoff is None and headline(found).startswith("4 kinds of requests")
    assert [row[0] for row in compared(found).rows] == ["128 · 16", "128 · 64", "512 · 16", "512 · 64"]
    text = decision_html(found)
    assert "A workload gives one answer" in text and "Plotly" not in text and len(text) < 40_000
    assert decision_markdown(found).count("\n| ") == 6
    assert len(page_json(found)["cases"]) == 4 and page_json(found)["marked"] == {}


def test_what_people_wrote_is_text(study: Study) -> None:
    found = study.decision_page(workload=ONE, baseline="dtype=<b>fp8</b>")
    text = decision_html(found)
    assert "a &lt;i&gt;study" in text and "<i>study" not in text and "<b>fp8" not in text
    said = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])  # type: ignore[index]
    hovers = [line for trace in said["data"] for line in trace["text"]]
    assert any("&lt;b&gt;fp8" in line for line in hovers) and not any("<b>" in line for line in hovers)
    assert "<b>" not in re.sub(r"\\<", "", decision_markdown(found))


def test_the_page_is_one_screen_without_network(page: DecisionPage, browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "decision.html"
    file.write_text(decision_html(page), encoding="utf-8")
    for dark in (False, True):
        browser.open(file, 1280, 800, dark)
        assert browser.complaints == []
        assert {address.split(":", 1)[0] for address in browser.requests} <= {"file", "data", "blob"}
        assert browser.run("document.documentElement.scrollHeight") <= 800
        assert browser.run("document.documentElement.scrollWidth") <= 1280
        assert browser.run("document.querySelectorAll('#tradeoff .scatterlayer .trace').length") == len(
            decision_figure(page).data)  # type: ignore[union-attr]
    browser.open(file, 400, 800)
    assert browser.run("document.documentElement.scrollWidth") <= 400


# -------------------------------------------------------------------------------------------------- the command line


def test_the_command_writes_each_form(
    path: Path, sweepwise: Callable[..., Ran], answer: Callable[..., Any], tmp_path: Path
) -> None:
    out = tmp_path / "decision.html"
    said = answer("report", path, "--decision", "-o", out, "--workload", *ONE, "--slo", "ttft_ms <= 60",
                  "--confidence", 0.8)
    assert said["slo"] == ["ttft_ms <= 60"] and said["confidence"] == 0.8
    assert out.read_text(encoding="utf-8").startswith("<!doctype html>") and said["headline"].startswith("Run ")
    assert sweepwise("report", path, "--decision", "-o", tmp_path / "d.md", "--workload", *ONE).code == 0
    assert (tmp_path / "d.md").read_text(encoding="utf-8").startswith("## Run ")
    again = answer("recommend", path, "--workload", *ONE, "--slo", "ttft_ms <= 60", "--confidence", 0.8)
    assert again == {key: said[key] for key in again}


def test_an_option_of_a_question_needs_the_decision(
    path: Path, sweepwise: Callable[..., Ran], tmp_path: Path
) -> None:
    for option in (("--slo", "ttft_ms <= 60"), ("--workload", *ONE), ("--share", 0.9), ("--per-accelerator",)):
        said = sweepwise("report", path, "-o", tmp_path / "report.html", *option)
        assert said.code == 2 and f"{option[0]}: belongs to --decision" in said.err
    missing = sweepwise("report", path, "--decision", "-o", tmp_path / "none" / "d.html")
    assert missing.code == 2 and "--output" in missing.err


def test_a_picture_needs_one_answer(path: Path, sweepwise: Callable[..., Ran], tmp_path: Path) -> None:
    pytest.importorskip("kaleido", reason="pictures need kaleido: pip install 'sweepwise[images]'")
    said = sweepwise("report", path, "--decision", "-o", tmp_path / "d.png")
    assert said.code == 2 and "add --workload" in said.err
    said = sweepwise("report", path, "--decision", "-o", tmp_path / "d.png", "--workload", *ONE)
    assert said.code == 0 and (tmp_path / "d.png").read_bytes().startswith(b"\x89PNG")
