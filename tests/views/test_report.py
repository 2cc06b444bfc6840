"""The report: what it says is what the study says, it is safe to pass on, and it works in a browser."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from planner.analysis.baselines import BASELINES
from planner.analysis.predict import answers
from planner.analysis.provenance import provenance_of
from planner.analysis.report import Report, ReportOptions, report_of
from planner.analysis.spending import cost_after
from planner.study import open_study
from planner.views.page.html import page, payload
from planner.views.page.markdown import markdown
from planner.views.page.words import headline, tables


@pytest.fixture(scope="module")
def made(ran: Any) -> Report:
    """The report of the study that has run, with baselines."""
    fingerprint = ran.study.ledger().fingerprint
    provenance = provenance_of(ran.study, ran.observations, fingerprint, None, ran.path, ["study.yaml"])
    return report_of(ran.study, ran.observations, ran.posterior, provenance, None, ReportOptions())


@pytest.fixture(scope="module")
def written(made: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its page."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page(made), encoding="utf-8")
    return path


# --------------------------------------------------------------------------------------------------------- what it says


def test_the_four_figures_are_those_of_the_study(made: Report) -> None:
    asked, spent, plain, rest = headline(made)
    assert f"{len(made.observations.grid):,}" in asked.value and "24 runs" in asked.notes[0]
    assert f"{made.observations.finished} runs" in spent.notes[0] and "failed" in spent.notes[0]
    assert "as measured" in plain.notes[0]  # the whole recorded grid is there
    assert rest.label.startswith("true")
    worst = min(score.accuracy for score in made.evaluation.scores.values())
    assert rest.value == f"{worst * 100:.1f} %"


def test_truth_and_estimate_are_distinguished(made: Report) -> None:
    said = made.to_json()
    for target, one in said["accuracy"].items():
        assert one["kind"] == "true" and one["value"] == made.evaluation.scores[target].accuracy
        estimate = made.posterior.accuracy[target]
        assert (one["estimated"], one["low"], one["high"]) == (estimate.estimated, estimate.low, estimate.high)
    assert said["accuracy"][said["worst_target"]]["value"] == min(one["value"] for one in said["accuracy"].values())
    assert said["plain_sweep_s"]["value"] == pytest.approx(said["resource_gain"]["value"] * said["cost_s"])


def test_without_truth_nothing_is_called_true(bench: Any, sweepwise: Any, answer: Any, tmp_path: Path) -> None:
    study = bench(stop={"trials": 10}).study
    assert sweepwise("run", study).code == 0
    out = tmp_path / "report.html"
    said = answer("report", study, "-o", out)
    status = answer("status", study)
    one = said["accuracy"]["latency_ms"]
    assert one["kind"] == "estimated" and one["value"] == one["estimated"]
    assert one["estimated"] == pytest.approx(status["accuracy"]["latency_ms"]["estimated"], rel=1e-6)
    assert said["cost_s"] == pytest.approx(status["cost_s"]) and said["plain_sweep_s"]["estimated"] is True
    text = visible(out.read_text(encoding="utf-8"))
    assert "estimated accuracy of the rest" in text and "true" not in re.sub("<[^>]*>", "", text).lower()
    assert "Left out: needs output_throughput" in text  # the trade-off, and why


def test_a_study_wholly_measured_claims_no_accuracy(
        recorded: Any, sweepwise: Any, answer: Any, tmp_path: Path) -> None:
    study = recorded(models=["small"], inputs=[128], outputs=[16, 64], batches=[1, 2, 4]).study
    assert sweepwise("run", study, "--strategy", "full").code == 0
    out = tmp_path / "report.md"
    said = answer("report", study, "-o", out)
    assert said["accuracy"]["latency_s"]["value"] is None and said["worst_target"] is None
    assert "every point was measured; nothing is predicted" in out.read_text()
    assert "accurate" not in out.read_text()


def test_too_few_runs_are_reported(sweepwise: Any, bench: Any, tmp_path: Path) -> None:
    study = bench(stop={"trials": 2}).study
    assert sweepwise("run", study).code == 0
    for out in (tmp_path / "report.md", tmp_path / "report.html"):
        assert sweepwise("report", study, "-o", out).code == 0
        assert "too few runs to estimate it for latency" in out.read_text().replace("\\", "")


def test_our_curve_ends_at_the_evaluation_report(made: Report) -> None:
    ours = next(curve for curve in made.curves if curve.strategy == "sweepwise")
    assert ours.accuracy[-1] == pytest.approx(min(s.accuracy for s in made.evaluation.scores.values()))
    assert ours.cost[-1] == pytest.approx(made.observations.spent) == pytest.approx(cost_after(made.observations)[-1])


def test_baselines_have_the_same_budget_as_ours(made: Report) -> None:
    assert {curve.strategy for curve in made.curves} == {"sweepwise", *BASELINES}
    for curve in made.curves:
        assert list(curve.cost) == sorted(curve.cost)
        assert all(accuracy is None or accuracy <= 1 for accuracy in curve.accuracy)
        if curve.strategy in {"random", "lhs"}:
            # The last run begun inside the budget may end beyond it.
            assert curve.cost[-1] <= made.observations.spent * 1.0001
    powers = next(curve for curve in made.curves if curve.strategy == "powers_of_two")
    # Its set of points is fixed: it is played to its end, whatever that costs, and scored there once. Here that is
    # the whole grid, so that no point is left to score.
    sizes = np.asarray(made.observations.grid.column("batch_size"), dtype=float)
    assert not (np.log2(sizes) % 1).any() and len(powers.cost) == 1 and powers.accuracy == (None,)
    assert powers.cost[0] > 3 * made.observations.spent
    assert any("powers of two" in note and "measures every point" in note for note in made.notes)


def test_baselines_can_be_left_out(ran: Any, made: Report) -> None:
    bare = report_of(ran.study, ran.observations, ran.posterior, made.provenance, None, ReportOptions(baselines=False))
    assert [curve.strategy for curve in bare.curves] == ["sweepwise"] and "--no-baselines" in bare.notes[0]
    none = report_of(ran.study, ran.observations, ran.posterior, made.provenance, None, ReportOptions(curves=False))
    assert not none.curves and not none.checkpoints


def test_every_failure_is_accounted_for(made: Report) -> None:
    rows = tables(made)["failures"].rows
    assert sum(int(row[2]) for row in rows) == made.observations.failures > 0
    assert rows[0][:2] == ("out of memory", "out of memory <b>now</b>")


# ------------------------------------------------------------------------------------------------------ the data inside


def test_the_data_is_all_answers_in_four_digits(ran: Any, made: Report) -> None:
    data = payload(made)
    grid = ran.study.grid
    for target, sent in zip(ran.study.targets, data["targets"], strict=True):
        for column, name in zip(answers(ran.posterior, ran.observations, target), ("value", "low", "high"),
                                strict=True):
            np.testing.assert_allclose(np.array(sent[name], dtype=float), column, rtol=6e-4)
        assert {int(row) for row in sent["model"]} == set(np.flatnonzero(ran.observations.measured).tolist())
        assert {int(row): tuple(np.round(v, 3)) for row,
                v in sent["repeats"].items()}.keys() == ran.observations.repeats(
            target).keys()
    for row in range(len(grid)):
        point = {axis["name"]: axis["values"][data["codes"][i][row]] for i, axis in enumerate(data["axes"])}
        assert point == {name: str(value) for name, value in grid.point(row).items()}
    assert data["measured"] == np.flatnonzero(ran.observations.measured).tolist()
    assert data["failed"] == np.flatnonzero(ran.observations.failed).tolist()


def test_the_page_opens_where_the_target_is_defined(sweepwise: Any, tmp_path: Path) -> None:
    """Time per output token has no value at one output token, where most cheap runs are."""
    rows = ["input_len,batch_size,output_len,tpot_ms,cost_s"]
    rows += [f"{i},{b},{o},{b + i / 100 if o > 1 else ''},{o}" for i in (16, 32) for b in (1, 2, 4) for o in (1, 8)]
    (tmp_path / "grid.csv").write_text("\n".join(rows) + "\n")
    study = tmp_path / "study.yaml"
    study.write_text(yaml.safe_dump({
        "study": {"storage": f"sqlite:///{tmp_path / 'study.db'}"},
        "space": {"axes": {name: {"scale": "log"} for name in ("input_len", "batch_size", "output_len")}},
        "runner": {"kind": "replay", "table": "grid.csv", "cost_s": "cost_s"}, "targets": ["tpot_ms"],
        "stop": {"trials": 11},
    }))
    assert sweepwise("run", study, "--quiet").code == 0
    data = payload(open_study(study).report(baselines=False))
    start, values = data["start"], data["targets"][0]["value"]
    kept = [i for i in range(3) if i not in {start["x"], start["y"]}]
    shown = [row for row in range(12) if all(data["codes"][i][row] == start["fixed"][i] for i in kept)]
    assert any(values[row] is not None for row in shown)


def visible(text: str) -> str:
    """A page's own words, without scripts and styles."""
    return re.sub(r"<(script|style).*?</\1>", "", text, flags=re.DOTALL)


def test_what_people_wrote_is_text(written: Path) -> None:
    text = written.read_text(encoding="utf-8")
    own = visible(text)
    assert "a &lt;i&gt;study&lt;/i&gt;" in own and "<i>" not in own and "<b>" not in own
    assert "out of memory &lt;b&gt;now" in own
    inside = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, flags=re.DOTALL)
    assert inside is not None and "<" not in inside[1] and json.loads(inside[1])["axes"]


def test_nothing_is_fetched_and_the_page_is_small(written: Path) -> None:
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", visible(written.read_text(encoding="utf-8")))
    assert written.stat().st_size < 6_000_000


def test_markdown_has_whole_tables_and_no_markup_of_others(made: Report) -> None:
    text = markdown(made)
    cells = [len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines() if line.startswith("|")]
    blocks = re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)
    assert len(blocks) >= 4 and cells
    for block in blocks:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1
    assert not re.search(r"(?<!\\)<", text) and "sweepwise report" in text


# ---------------------------------------------------------------------------------------------------- bad input, images


@pytest.mark.parametrize(("arguments", "says"), [
    (("-o", "report.pdf"), "--output"), (("-o", "nowhere/report.html"), "--output"),
    (("--format", "pdf"), "--format"), (("--truth", "missing.csv"), "missing.csv"),
])
def test_bad_input_is_answered_in_a_line(
        ran: Any, sweepwise: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: Any, says: str) -> None:
    monkeypatch.chdir(tmp_path)
    said = sweepwise("report", ran.path, "--no-baselines", *arguments)
    assert said.code == 2 and says in said.err and said.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_another_truth_is_refused(ran: Any, sweepwise: Any, tmp_path: Path) -> None:
    lines = (ran.path.parent / "grid.csv").read_text().splitlines()
    other, out = tmp_path / "other.csv", tmp_path / "report.html"
    other.write_text("\n".join([lines[0], *lines[2:]]) + "\n")
    said = sweepwise("report", ran.path, "--truth", other, "-o", out, "--no-rivals")
    assert said.code == 2 and "fingerprint" in said.err and not out.exists()


def test_an_empty_study_is_bad_input(bench: Any, sweepwise: Any, tmp_path: Path) -> None:
    said = sweepwise("report", bench().study, "-o", tmp_path / "report.html")
    assert said.code == 2 and not (tmp_path / "report.html").exists()


def test_pictures_need_their_exporter(
        ran: Any, sweepwise: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("planner.views.page.images.find_spec", lambda _: None)
    said = sweepwise("report", ran.path, "-o", tmp_path / "report.png")
    assert said.code == 2 and "sweepwise[images]" in said.err and not list(tmp_path.iterdir())


def test_pictures_are_written(ran: Any, sweepwise: Any, tmp_path: Path) -> None:
    pytest.importorskip("kaleido", reason="pictures need kaleido: pip install 'sweepwise[images]'")
    said = sweepwise("report", ran.path, "-o", tmp_path / "deck.svg", "--no-baselines")
    if "Chromium" in said.err:
        pytest.skip("no Chromium or Chrome is installed")
    assert said.code == 0, said.err
    assert {path.name for path in tmp_path.iterdir()} == {
        "deck.svg", "deck-tradeoff.svg", "deck-course.svg", "deck-bargain.svg"}
    assert all(path.read_text().startswith("<svg") for path in tmp_path.iterdir())


# -------------------------------------------------------------------------------------------------------- in a browser


CHOOSE = """(() => {{ const list = [...document.querySelectorAll('#{box} select')].find(s => s.dataset.name === {name});
    list.value = {value}; list.dispatchEvent(new Event('change')); }})()"""


def choose(browser: Any, box: str, name: str, value: int) -> None:
    browser.run(CHOOSE.format(box=box, name=json.dumps(name), value=json.dumps(str(value))))


def slice_of(ran: Any, target: str, x: str, y: str, fixed: dict[str, int]) -> list[list[float | None]]:
    """The answers that the surface must show, by the study's own words."""
    grid = ran.study.grid
    values = answers(ran.posterior, ran.observations, target)[0]
    cells: list[list[float | None]] = [[None] * len(grid.axis(x).values) for _ in grid.axis(y).values]
    for row in range(len(grid)):
        codes = {axis.name: int(code) for axis, code in zip(grid.axes, grid.codes[row], strict=True)}
        if all(codes[name] == code for name, code in fixed.items()) and np.isfinite(values[row]):
            cells[codes[y]][codes[x]] = float(values[row])
    return cells


def same(shown: Any, expected: Any) -> None:
    np.testing.assert_allclose(np.array(shown, dtype=float), np.array(expected, dtype=float), rtol=2e-3)


def test_controls_change_the_surface(browser: Any, written: Path, ran: Any) -> None:
    browser.open(written)
    shown = "document.getElementById('surface').data[0].z"
    before = browser.run(shown)
    choose(browser, "surface-controls", "target", ran.study.targets.index("ttft_ms"))
    names = [axis.name for axis in ran.study.grid.axes]
    choose(browser, "surface-controls", "across", names.index("batch_size"))
    choose(browser, "surface-controls", "up", names.index("input_len"))
    choose(browser, "surface-controls", "output_len", 1)
    choose(browser, "surface-controls", "tensor_parallel_size", 1)
    fixed = {"output_len": 1, "tensor_parallel_size": 1}
    after = browser.run(shown)
    assert after != before
    same(10 ** np.array(after, dtype=float), slice_of(ran, "ttft_ms", "batch_size", "input_len", fixed))
    choose(browser, "surface-controls", "tensor_parallel_size", 0)
    same(10 ** np.array(browser.run(shown), dtype=float),
         slice_of(ran, "ttft_ms", "batch_size", "input_len", {**fixed, "tensor_parallel_size": 0}))
    choose(browser, "surface-controls", "show", 2)
    probability = np.array(browser.run(shown), dtype=float)
    assert np.nanmin(probability) >= 0 and np.nanmax(probability) <= 1
    choose(browser, "surface-controls", "show", 1)
    assert browser.run(shown) != probability.tolist()
    assert not browser.complaints


def test_a_line_shows_predictions_measurements_and_repeats(browser: Any, written: Path, ran: Any) -> None:
    browser.open(written)
    names = [axis.name for axis in ran.study.grid.axes]
    choose(browser, "lines-controls", "target", ran.study.targets.index("output_throughput"))
    choose(browser, "lines-controls", "along", names.index("batch_size"))
    grid, column = ran.study.grid, ran.observations.column("output_throughput")
    row = int(np.flatnonzero(np.isfinite(column))[0])
    for name in ("tensor_parallel_size", "input_len", "output_len"):
        choose(browser, "lines-controls", name, int(grid.codes[row, grid.position(name)]))
    traces = browser.run("document.getElementById('lines').data.map(t => ({name: t.name, x: t.x, y: t.y}))")
    dots = next(trace for trace in traces if trace.get("name") == "measured")
    at = grid.point(row)["batch_size"]
    assert dots["y"][dots["x"].index(at)] == pytest.approx(column[row], rel=1e-3)
    line = next(trace for trace in traces if str(trace.get("name")).startswith("predicted"))
    said = ran.posterior.prediction.value["output_throughput"]
    assert line["y"][line["x"].index(at)] == pytest.approx(said[row], rel=1e-3)
    assert not browser.complaints


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("dark", [False, True])
def test_the_page_fits_complains_of_nothing_and_asks_for_nothing(
        browser: Any, written: Path, width: int, dark: bool) -> None:
    browser.open(written, width, 850, dark)
    time.sleep(0.2)
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert not browser.complaints
    assert {address.split(":", 1)[0] for address in browser.requests} <= {"file", "data", "blob"}
    assert browser.run("document.querySelectorAll('.figure .main-svg').length") >= 5
    shade = browser.run("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)")
    assert (sum(shade) < 384) is dark
    # What people wrote makes no elements.
    assert browser.run("document.querySelectorAll('main i, main b').length") == 0


def test_a_page_that_asks_for_something_would_be_seen(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "bad.html"
    path.write_text("<html><body><img src='http://127.0.0.1:9/a.png'><script>console.error('no');"
                    "document.documentElement.dataset.ready = 'yes'</script><p style='width: 900px'>wide</p>")
    browser.open(path, 390)
    time.sleep(0.2)
    browser.run("1")
    assert browser.complaints and any(address.startswith("http:") for address in browser.requests)
    assert browser.run("document.documentElement.scrollWidth") > 390


def test_cells_expected_to_fail_are_marked(browser: Any, made: Report, ran: Any, tmp_path: Path) -> None:
    names, grid = [axis.name for axis in ran.study.grid.axes], ran.study.grid
    row = int(np.flatnonzero(~ran.observations.known)[0])
    feasibility = np.where(np.arange(len(grid)) == row, 0.3, ran.posterior.feasibility)
    path = tmp_path / "report.html"
    path.write_text(page(replace(made, posterior=replace(ran.posterior, feasibility=feasibility))), encoding="utf-8")
    browser.open(path)
    choose(browser, "surface-controls", "across", names.index("batch_size"))
    choose(browser, "surface-controls", "up", names.index("input_len"))
    for name in ("tensor_parallel_size", "output_len"):
        choose(browser, "surface-controls", name, int(grid.codes[row, grid.position(name)]))
    marks = browser.run("(t => t.x.map((x, i) => [x, t.y[i]]))(document.getElementById('surface').data[3])")
    point = grid.point(row)
    assert marks == [[str(point["batch_size"]), str(point["input_len"])]]
